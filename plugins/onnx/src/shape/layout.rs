//! Operators that move, repeat and count elements; those that select elements are in `select`.

use super::elementwise::broadcast;
use super::node::{Node, axis_of, one, product, product_dimension, size};
use super::select::{gather, gather_nd, one_hot, range_length, slice, split, top_k};
use super::{Element, Fact, MAX_RANK};
use qp_abi::sdk::{AttributeValue, DType, Dimension};

/// What is known about the outputs; `None` for other kinds of operators.
pub(super) fn infer(node: &Node<'_>) -> Option<Vec<Fact>> {
    let dtype = node.dtype(0);
    match node.op {
        "Reshape" => one(dtype, reshape(node)),
        "Flatten" => one(dtype, flatten(node)),
        "Transpose" => one(dtype, transpose(node)),
        "Concat" => one(dtype, concat(node, &(0..node.layer.inputs.len()).collect::<Vec<_>>())),
        "QLinearConcat" => {
            let slots: Vec<usize> = (2..node.layer.inputs.len().saturating_sub(2)).step_by(3).collect();
            one(node.dtype(1), concat(node, &slots))
        }
        "Split" => Some(split(node)),
        "Slice" => one(dtype, slice(node)),
        "Gather" => one(dtype, gather(node)),
        "GatherElements" => one(dtype, node.owned_shape(1)),
        "GatherND" => one(dtype, gather_nd(node)),
        "Squeeze" => one(dtype, squeeze(node)),
        "Unsqueeze" => one(dtype, unsqueeze(node)),
        "ArgMax" | "ArgMin" => {
            let axis = node.rank(0).zip(node.int_or("axis", 0)).and_then(|(rank, axis)| axis_of(axis, rank));
            one(Some(DType::INT64), axis.and_then(|axis| reduce(node, &[axis])))
        }
        name if name.starts_with("Reduce") => one(dtype, reduce_axes(node)),
        "QLinearReduceMean" => one(dtype, reduce_axes(node)),
        "Pad" => one(dtype, pad(node)),
        "Resize" | "Upsample" => one(dtype, resize(node)),
        "Expand" => {
            let target =
                node.elements(1).map(|elements| elements.iter().map(Dimension::from).collect::<Vec<_>>());
            one(dtype, target.zip(node.shape(0)).and_then(|(target, shape)| broadcast(&[shape, &target])))
        }
        "Tile" => one(dtype, tile(node)),
        "Shape" => one(
            Some(DType::INT64),
            node.rank(0).and_then(|rank| {
                let (start, end) = shape_bounds(node, rank)?;
                Some(vec![Dimension::fixed(i64::try_from(end.saturating_sub(start)).ok()?)])
            }),
        ),
        "Size" => one(Some(DType::INT64), Some(Vec::new())),
        "ConstantOfShape" => one(constant_dtype(node), elements_as_shape(node, 0)),
        "Range" => {
            one(dtype, Some(vec![range_length(node).map_or_else(Dimension::unknown, Dimension::fixed)]))
        }
        "TopK" => {
            let shape = top_k(node);
            Some(vec![Fact::new(dtype, shape.clone()), Fact::new(Some(DType::INT64), shape)])
        }
        "NonZero" => {
            let rank = node.rank(0).and_then(|rank| i64::try_from(rank).ok());
            one(Some(DType::INT64), rank.map(|rank| vec![Dimension::fixed(rank), Dimension::unknown()]))
        }
        "NonMaxSuppression" => one(Some(DType::INT64), Some(vec![Dimension::unknown(), Dimension::fixed(3)])),
        "OneHot" => one(node.dtype(2), one_hot(node)),
        "DepthToSpace" => one(dtype, blocks(node, true)),
        "SpaceToDepth" => one(dtype, blocks(node, false)),
        "RandomNormal" | "RandomUniform" => {
            let dtype = if node.has_attribute("dtype") {
                node.dtype_attribute("dtype")
            } else {
                Some(DType::FLOAT32)
            };
            one(dtype, node.ints("shape").map(|sizes| sizes.into_iter().map(Dimension::fixed).collect()))
        }
        _ => None,
    }
}

fn elements_as_shape(node: &Node<'_>, slot: usize) -> Option<Vec<Dimension>> {
    Some(node.elements(slot)?.iter().map(Dimension::from).collect())
}

fn reshape(node: &Node<'_>) -> Option<Vec<Dimension>> {
    let target = match node.has(1) {
        true => match node.elements(1) {
            Some(target) => target,
            // Its length, at least, may be known.
            None => {
                let rank =
                    usize::try_from(size(node.shape(1)?.first()?)?).ok().filter(|rank| *rank <= MAX_RANK)?;
                return Some(vec![Dimension::unknown(); rank]);
            }
        },
        false => node.ints("shape")?.into_iter().map(Element::Number).collect(),
    };
    let keeps_zero = node.int_or("allowzero", 0)? != 0;
    let input = node.shape(0);
    let mut shape: Vec<Dimension> = Vec::with_capacity(target.len());
    let mut rest = None;
    for (index, element) in target.iter().enumerate() {
        shape.push(match element {
            Element::Number(0) if !keeps_zero => input.map_or_else(Dimension::unknown, |input| {
                input.get(index).cloned().unwrap_or_else(Dimension::unknown)
            }),
            Element::Number(-1) => {
                rest = Some(index);
                Dimension::unknown()
            }
            element => Dimension::from(element),
        });
    }
    if let (Some(rest), Some(input)) = (rest, input) {
        let others: Vec<Dimension> = shape
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != rest)
            .map(|(_, dimension)| dimension.clone())
            .collect();
        shape[rest] = quotient(input, &others);
    }
    Some(shape)
}

/// The dimension that remains when a product is divided up: from sizes, and from names that are on both sides.
fn quotient(whole: &[Dimension], parts: &[Dimension]) -> Dimension {
    let mut whole: Vec<Dimension> = whole.to_vec();
    let mut sizes = 1_i64;
    for part in parts {
        match size(part) {
            Some(size) => match sizes.checked_mul(size) {
                Some(product) => sizes = product,
                None => return Dimension::unknown(),
            },
            None if part.symbol.is_empty() => return Dimension::unknown(),
            None => match whole.iter().position(|dimension| dimension == part) {
                Some(place) => drop(whole.remove(place)),
                None => return Dimension::unknown(),
            },
        }
    }
    let fixed: Vec<Dimension> = whole.iter().filter(|dimension| dimension.size >= 0).cloned().collect();
    let free: Vec<Dimension> = whole.iter().filter(|dimension| dimension.size < 0).cloned().collect();
    match (product(&fixed), &free[..]) {
        (Some(total), []) if sizes > 0 && total % sizes == 0 => Dimension::fixed(total / sizes),
        (Some(total), [only]) if total == sizes && total > 0 => only.clone(),
        _ => Dimension::unknown(),
    }
}

fn flatten(node: &Node<'_>) -> Option<Vec<Dimension>> {
    let shape = node.shape(0)?;
    let axis = match node.int_or("axis", 1)? {
        axis if axis == i64::try_from(shape.len()).ok()? => shape.len(),
        axis => axis_of(axis, shape.len()).or((shape.is_empty() && axis == 0).then_some(0))?,
    };
    Some(vec![product_dimension(&shape[..axis]), product_dimension(&shape[axis..])])
}

fn transpose(node: &Node<'_>) -> Option<Vec<Dimension>> {
    let shape = node.shape(0)?;
    if !node.has_attribute("perm") {
        return Some(shape.iter().rev().cloned().collect());
    }
    let order = node.ints("perm").filter(|order| order.len() == shape.len())?;
    order.into_iter().map(|axis| Some(shape[axis_of(axis, shape.len())?].clone())).collect()
}

fn concat(node: &Node<'_>, slots: &[usize]) -> Option<Vec<Dimension>> {
    let shapes = slots.iter().map(|slot| node.shape(*slot)).collect::<Option<Vec<_>>>()?;
    let first = *shapes.first()?;
    // Before version 4 the axis could be left out.
    let axis = axis_of(node.int("axis").or((node.opset < 4).then_some(1))?, first.len())?;
    if shapes.iter().any(|shape| shape.len() != first.len()) {
        return None;
    }
    let mut shape = first.to_vec();
    for (index, dimension) in shape.iter_mut().enumerate() {
        if index == axis {
            let total = shapes.iter().try_fold(0_i64, |total, shape| total.checked_add(size(&shape[axis])?));
            *dimension = match total {
                Some(total) => Dimension::fixed(total),
                None if shapes.len() == 1 => first[axis].clone(),
                None => Dimension::unknown(),
            };
        } else if let Some(fixed) = shapes.iter().map(|shape| &shape[index]).find(|other| other.size >= 0) {
            *dimension = fixed.clone();
        }
    }
    Some(shape)
}

fn squeeze(node: &Node<'_>) -> Option<Vec<Dimension>> {
    let shape = node.shape(0)?;
    let axes = node.axes(1, shape.len())?;
    if axes.is_empty() && !node.has(1) && !node.has_attribute("axes") {
        // All ones are removed; a dimension that may or may not be one leaves the rank open.
        return shape
            .iter()
            .all(|dimension| dimension.size >= 0)
            .then(|| shape.iter().filter(|dimension| dimension.size != 1).cloned().collect());
    }
    let kept = shape.iter().enumerate().filter(|(axis, _)| !axes.contains(axis));
    Some(kept.map(|(_, dimension)| dimension.clone()).collect())
}

fn unsqueeze(node: &Node<'_>) -> Option<Vec<Dimension>> {
    let shape = node.shape(0)?;
    let given = if node.has(1) { node.numbers(1)? } else { node.ints("axes")? };
    let rank = shape.len().checked_add(given.len()).filter(|rank| *rank <= MAX_RANK)?;
    let axes = given.into_iter().map(|axis| axis_of(axis, rank)).collect::<Option<Vec<_>>>()?;
    let mut rest = shape.iter();
    (0..rank)
        .map(|axis| if axes.contains(&axis) { Some(Dimension::fixed(1)) } else { rest.next().cloned() })
        .collect()
}

fn reduce_axes(node: &Node<'_>) -> Option<Vec<Dimension>> {
    let rank = node.rank(0)?;
    // QLinearReduceMean has scales where others have axes.
    let slot = if node.op == "QLinearReduceMean" { usize::MAX } else { 1 };
    let axes = node.axes(slot, rank)?;
    if !axes.is_empty() {
        return reduce(node, &axes);
    }
    if node.int_or("noop_with_empty_axes", 0)? != 0 {
        return node.owned_shape(0);
    }
    reduce(node, &(0..rank).collect::<Vec<_>>())
}

fn reduce(node: &Node<'_>, axes: &[usize]) -> Option<Vec<Dimension>> {
    let keeps = node.int_or("keepdims", 1)? != 0;
    let shape = node.shape(0)?.iter().enumerate();
    let reduced = shape.filter_map(|(axis, dimension)| match (axes.contains(&axis), keeps) {
        (false, _) => Some(dimension.clone()),
        (true, true) => Some(Dimension::fixed(1)),
        (true, false) => None,
    });
    Some(reduced.collect())
}

fn pad(node: &Node<'_>) -> Option<Vec<Dimension>> {
    let shape = node.shape(0)?;
    let unknown = || Some(vec![Dimension::unknown(); shape.len()]);
    let pads = match node.has(1) {
        true => node.numbers(1),
        false => node.ints("pads").or_else(|| node.ints("paddings")),
    };
    let Some(pads) = pads else { return unknown() };
    let axes = match node.has(3) {
        true => match node.numbers(3) {
            Some(axes) => {
                axes.into_iter().map(|axis| axis_of(axis, shape.len())).collect::<Option<Vec<_>>>()?
            }
            None => return unknown(),
        },
        false => (0..shape.len()).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return None;
    }
    let mut padded = shape.to_vec();
    for (index, axis) in axes.iter().enumerate() {
        let added = pads[index].checked_add(pads[index + axes.len()])?;
        if added != 0 {
            let size = size(&shape[*axis]).and_then(|size| size.checked_add(added)).filter(|size| *size >= 0);
            padded[*axis] = size.map_or_else(Dimension::unknown, Dimension::fixed);
        }
    }
    Some(padded)
}

fn resize(node: &Node<'_>) -> Option<Vec<Dimension>> {
    let shape = node.shape(0)?;
    let is_old = node.op == "Upsample" || node.opset < 11;
    let is_plain = !node.has_attribute("axes")
        && node.text("keep_aspect_ratio_policy").is_none_or(|policy| policy == "stretch");
    if !is_old && node.has(3) {
        let sizes = elements_as_shape(node, 3).filter(|sizes| is_plain && sizes.len() == shape.len());
        return Some(sizes.unwrap_or_else(|| vec![Dimension::unknown(); shape.len()]));
    }
    let scales = match (is_old, node.has(if is_old { 1 } else { 2 })) {
        (true, true) => node.reals(1),
        (true, false) => node.floats("scales"),
        (false, true) => node.reals(2),
        (false, false) => None,
    };
    let scales = scales.filter(|scales| is_plain && scales.len() == shape.len());
    let scaled = |(dimension, scale): (&Dimension, &f64)| match size(dimension) {
        _ if *scale == 1.0 => dimension.clone(),
        // Scales are float32: so is the product.
        Some(size) if scale.is_finite() && *scale > 0.0 => {
            Dimension::fixed((f64::from(size as f32 * *scale as f32)).floor() as i64)
        }
        _ => Dimension::unknown(),
    };
    Some(match scales {
        Some(scales) => shape.iter().zip(&scales).map(scaled).collect(),
        None => vec![Dimension::unknown(); shape.len()],
    })
}

fn tile(node: &Node<'_>) -> Option<Vec<Dimension>> {
    let shape = node.shape(0)?;
    let Some(repeats) = node.numbers(1).filter(|repeats| repeats.len() == shape.len()) else {
        // The first version has one number of tiles and an axis.
        return (node.opset >= 6).then(|| vec![Dimension::unknown(); shape.len()]);
    };
    let tiled = |(dimension, repeat): (&Dimension, &i64)| match size(dimension) {
        _ if *repeat == 1 => dimension.clone(),
        Some(size) => size
            .checked_mul(*repeat)
            .filter(|size| *size >= 0)
            .map_or_else(Dimension::unknown, Dimension::fixed),
        None => Dimension::unknown(),
    };
    Some(shape.iter().zip(&repeats).map(tiled).collect())
}

/// The part of the shape that `Shape` returns.
pub(super) fn shape_bounds(node: &Node<'_>, rank: usize) -> Option<(usize, usize)> {
    let length = i64::try_from(rank).ok()?;
    let bound = |name: &str, default: i64| {
        let bound = node.int_or(name, default)?;
        let bound = if bound < 0 { bound.saturating_add(length) } else { bound };
        usize::try_from(bound.clamp(0, length)).ok()
    };
    Some((bound("start", 0)?, bound("end", length)?))
}

fn constant_dtype(node: &Node<'_>) -> Option<DType> {
    let value = node.layer.attributes.iter().find(|attribute| attribute.name == "value");
    match value.map(|attribute| &attribute.value) {
        None => Some(DType::FLOAT32),
        Some(AttributeValue::Tensor(_)) => {
            let stored = *node.layer.tensors.first()?;
            Some(node.reader.tensors.get(stored).dtype).filter(|dtype| *dtype != DType::UNDEFINED)
        }
        Some(_) => None,
    }
}

fn blocks(node: &Node<'_>, into_space: bool) -> Option<Vec<Dimension>> {
    let [batch, channels, height, width] = node.shape(0)? else { return None };
    let block = node.int("blocksize").filter(|block| *block > 0)?;
    let area = block.checked_mul(block)?;
    let times = |dimension: &Dimension, factor: i64| {
        size(dimension)
            .and_then(|size| size.checked_mul(factor))
            .map_or_else(Dimension::unknown, Dimension::fixed)
    };
    let over = |dimension: &Dimension, divisor: i64| match size(dimension) {
        Some(size) if size % divisor == 0 => Dimension::fixed(size / divisor),
        _ => Dimension::unknown(),
    };
    Some(match into_space {
        true => vec![batch.clone(), over(channels, area), times(height, block), times(width, block)],
        false => vec![batch.clone(), times(channels, area), over(height, block), over(width, block)],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_product_keeps_its_name() {
        let (batch, four) = (Dimension::symbolic("batch"), Dimension::fixed(4));
        let whole = [batch.clone(), four.clone(), Dimension::fixed(6)];
        assert_eq!(quotient(&whole, std::slice::from_ref(&batch)), Dimension::fixed(24));
        assert_eq!(quotient(&whole, &[Dimension::fixed(24)]), batch);
        assert_eq!(quotient(&whole, &[Dimension::fixed(8)]), Dimension::unknown());
        assert_eq!(quotient(&whole, &[Dimension::unknown()]), Dimension::unknown());
        assert_eq!(quotient(&[four], &[Dimension::fixed(0)]), Dimension::unknown());
    }
}
