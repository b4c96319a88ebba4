//! Operators that select elements: their inputs determine which remain.

use super::Fact;
use super::node::{Node, axis_of, size};
use qp_abi::sdk::Dimension;

pub(super) fn split(node: &Node<'_>) -> Vec<Fact> {
    let outputs = node.layer.outputs.len();
    let dtype = node.dtype(0);
    let shapes = || {
        let shape = node.shape(0)?;
        let axis = axis_of(node.int_or("axis", 0)?, shape.len())?;
        let given = match (node.has(1), node.has_attribute("split")) {
            (true, _) => node.numbers(1),
            (false, true) => node.ints("split"),
            (false, false) => size(&shape[axis]).and_then(|total| {
                let count = node.int("num_outputs").unwrap_or(i64::try_from(outputs).ok()?).max(1);
                // The last piece is smaller if the size is not divisible.
                let piece = total.checked_add(count - 1)? / count;
                let pieces = (0..count).map(|index| (total - index * piece).clamp(0, piece));
                Some(pieces.take(outputs).collect())
            }),
        };
        let piece = |index: usize| {
            let mut shape = shape.to_vec();
            let size = given.as_ref().and_then(|given| given.get(index));
            shape[axis] = size.map_or_else(Dimension::unknown, |&size| Dimension::fixed(size));
            shape
        };
        Some((0..outputs).map(piece).collect::<Vec<_>>())
    };
    match shapes() {
        Some(shapes) => shapes.into_iter().map(|shape| Fact::new(dtype, Some(shape))).collect(),
        None => vec![Fact::new(dtype, None); outputs],
    }
}

pub(super) fn slice(node: &Node<'_>) -> Option<Vec<Dimension>> {
    let mut shape = node.owned_shape(0)?;
    let (starts, ends, axes, steps) = if node.opset < 10 {
        (
            node.ints("starts")?,
            node.ints("ends")?,
            if node.has_attribute("axes") { Some(node.ints("axes")?) } else { None },
            None,
        )
    } else {
        let optional = |slot: usize| if node.has(slot) { node.numbers(slot).map(Some) } else { Some(None) };
        let axes = optional(3);
        let Some((Some(starts), Some(ends), axes, steps)) = axes
            .clone()
            .zip(optional(4))
            .map(|(axes, steps)| (node.numbers(1), node.numbers(2), axes, steps))
        else {
            // What is cut is unknown, but not the axes that may be cut.
            let axes = axes.flatten();
            for (axis, dimension) in shape.iter_mut().enumerate() {
                let may_be_cut = axes.as_ref().is_none_or(|axes| {
                    axes.iter().any(|given| axis_of(*given, node.rank(0).unwrap_or(0)) == Some(axis))
                });
                if may_be_cut {
                    *dimension = Dimension::unknown();
                }
            }
            return Some(shape);
        };
        (starts, ends, axes, steps)
    };
    let rank = shape.len();
    for (index, (start, end)) in starts.iter().zip(&ends).enumerate() {
        let axis = match &axes {
            Some(axes) => axis_of(*axes.get(index)?, rank)?,
            None if index < rank => index,
            None => return None,
        };
        let step = steps.as_ref().map_or(Some(1), |steps| steps.get(index).copied())?;
        if step == 0 {
            return None;
        }
        let is_all = *start == 0 && *end >= i64::from(i32::MAX) && step == 1;
        if is_all {
            continue;
        }
        shape[axis] = match size(&shape[axis]) {
            Some(size) => Dimension::fixed(sliced(size, *start, *end, step)?),
            None => Dimension::unknown(),
        };
    }
    Some(shape)
}

/// How many elements of `size` a slice has.
pub(super) fn sliced(size: i64, start: i64, end: i64, step: i64) -> Option<i64> {
    let absolute = |bound: i64| if bound < 0 { bound.saturating_add(size) } else { bound };
    let (low, high) = if step > 0 { (0, size) } else { (-1, size - 1) };
    let start = absolute(start).clamp(if step > 0 { 0 } else { -1 }, high);
    // A negative end before the beginning is the beginning.
    let end = absolute(end).clamp(low, high);
    let distance = if step > 0 { end - start } else { start - end };
    let step = step.checked_abs()?;
    Some(if distance <= 0 { 0 } else { (distance - 1) / step + 1 })
}

pub(super) fn gather(node: &Node<'_>) -> Option<Vec<Dimension>> {
    let (data, indices) = (node.shape(0)?, node.shape(1)?);
    let axis = axis_of(node.int_or("axis", 0)?, data.len())?;
    Some(data[..axis].iter().chain(indices).chain(&data[axis + 1..]).cloned().collect())
}

pub(super) fn gather_nd(node: &Node<'_>) -> Option<Vec<Dimension>> {
    let (data, indices) = (node.shape(0)?, node.shape(1)?);
    let batch = usize::try_from(node.int_or("batch_dims", 0)?).ok()?;
    let depth = usize::try_from(size(indices.last()?)?).ok()?;
    let behind = data.get(batch.checked_add(depth)?..)?;
    Some(indices[..indices.len() - 1].iter().chain(behind).cloned().collect())
}

pub(super) fn top_k(node: &Node<'_>) -> Option<Vec<Dimension>> {
    let mut shape = node.owned_shape(0)?;
    let axis = axis_of(node.int_or("axis", -1)?, shape.len())?;
    let count = match node.opset < 10 {
        true => node.int("k"),
        false => node.numbers(1).and_then(|count| count.first().copied()),
    };
    shape[axis] = count.filter(|count| *count >= 0).map_or_else(Dimension::unknown, Dimension::fixed);
    Some(shape)
}

pub(super) fn one_hot(node: &Node<'_>) -> Option<Vec<Dimension>> {
    let mut shape = node.owned_shape(0)?;
    let axis = axis_of(node.int_or("axis", -1)?, shape.len() + 1)?;
    let depth = node.numbers(1).and_then(|depth| depth.first().copied()).filter(|depth| *depth >= 0);
    shape.insert(axis, depth.map_or_else(Dimension::unknown, Dimension::fixed));
    Some(shape)
}

pub(super) fn range_length(node: &Node<'_>) -> Option<i64> {
    let only = |slot: usize| match node.numbers(slot)?[..] {
        [number] => Some(number),
        _ => None,
    };
    let (start, limit, delta) = (only(0)?, only(1)?, only(2)?);
    if delta == 0 {
        return None;
    }
    let distance = limit.checked_sub(start)?;
    let steps =
        distance.checked_div(delta)? + i64::from(distance % delta != 0 && (distance < 0) == (delta < 0));
    Some(steps.max(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `len(range(size)[start:end:step])` in Python.
    #[test]
    fn a_slice_has_pythons_length() {
        let cases = [((10, 2, 8, 1), 6), ((10, -3, 100, 1), 3), ((10, 9, -11, -1), 10), ((10, 8, 2, -2), 3)];
        for ((size, start, end, step), expected) in cases {
            assert_eq!(sliced(size, start, end, step), Some(expected), "{start}:{end}:{step}");
        }
        assert_eq!(sliced(10, 5, 2, 1), Some(0));
        assert_eq!(sliced(10, i64::MAX, i64::MIN, i64::MIN), None);
        assert_eq!(sliced(10, -1, i64::MIN, -1), Some(10));
    }
}
