//! Small whole-number tensors, computed because shapes are made from them.

use super::layout::shape_bounds;
use super::node::{Node, axis_of, product};
use super::select::sliced;
use super::{Element, MAX_FOLDED};
use qp_abi::sdk::DType;

/// The elements of a node's first output, of at most one dimension; `None` if they are not computed.
pub(super) fn elements(node: &Node<'_>) -> Option<Vec<Element>> {
    let found = match node.op {
        "Shape" => {
            let shape = node.shape(0)?;
            let (start, end) = shape_bounds(node, shape.len())?;
            shape.get(start..end)?.iter().map(Element::from).collect()
        }
        "Size" => vec![Element::Number(product(node.shape(0)?)?)],
        "Identity" => node.elements(0)?,
        // From one whole-number type to another.
        "Cast" if matches!(node.dtype_attribute("to"), Some(DType::INT64 | DType::INT32)) => {
            node.elements(0)?
        }
        "Squeeze" | "Unsqueeze" | "Reshape" | "Flatten" if is_flat(node) => node.elements(0)?,
        "Concat" if node.int("axis")? == 0 => {
            let mut all = Vec::new();
            for slot in 0..node.layer.inputs.len() {
                all.extend(node.elements(slot)?);
                if all.len() > MAX_FOLDED {
                    return None;
                }
            }
            all
        }
        "Gather" => gather(node)?,
        "Slice" => slice(node)?,
        "Add" | "Sub" | "Mul" | "Div" => arithmetic(node)?,
        "ReduceProd" if node.rank(0) == Some(1) => {
            let numbers = node.numbers(0)?;
            vec![Element::Number(
                numbers.iter().try_fold(1_i64, |product, number| product.checked_mul(*number))?,
            )]
        }
        _ => return None,
    };
    (found.len() <= MAX_FOLDED).then_some(found)
}

/// Whether the output has at most one dimension, so that its order is plain.
fn is_flat(node: &Node<'_>) -> bool {
    node.layer
        .output(0)
        .is_some_and(|id| node.facts.get(id).shape.as_ref().is_some_and(|shape| shape.len() <= 1))
}

fn gather(node: &Node<'_>) -> Option<Vec<Element>> {
    if node.rank(0)? != 1 || node.rank(1)? > 1 || axis_of(node.int_or("axis", 0)?, 1) != Some(0) {
        return None;
    }
    let data = node.elements(0)?;
    let indices = node.numbers(1)?;
    indices.into_iter().map(|index| data.get(axis_of(index, data.len())?).cloned()).collect()
}

fn slice(node: &Node<'_>) -> Option<Vec<Element>> {
    if node.rank(0)? != 1 {
        return None;
    }
    let data = node.elements(0)?;
    let only = |slot: usize, name: &str| match node.opset < 10 {
        true => node.ints(name),
        false => node.numbers(slot),
    };
    let ([start], [end]) = (&only(1, "starts")?[..], &only(2, "ends")?[..]) else { return None };
    let step = if node.opset >= 10 && node.has(4) { *node.numbers(4)?.first()? } else { 1 };
    if step != 1 {
        return None;
    }
    let length = i64::try_from(data.len()).ok()?;
    let first = if *start < 0 { start.saturating_add(length).max(0) } else { (*start).min(length) };
    let count = sliced(length, *start, *end, 1)?;
    let first = usize::try_from(first).ok()?;
    data.get(first..first.checked_add(usize::try_from(count).ok()?)?).map(<[Element]>::to_vec)
}

/// For numbers, and for a name that the other operand leaves unchanged.
fn arithmetic(node: &Node<'_>) -> Option<Vec<Element>> {
    if node.rank(0)? > 1 || node.rank(1)? > 1 {
        return None;
    }
    let (left, right) = (node.elements(0)?, node.elements(1)?);
    let count = match (left.len(), right.len()) {
        (left, right) if left == right => left,
        (1, right) => right,
        (left, 1) => left,
        _ => return None,
    };
    let at = |list: &[Element], index: usize| list[if list.len() == 1 { 0 } else { index }].clone();
    Some((0..count).map(|index| compute(node.op, &at(&left, index), &at(&right, index))).collect())
}

fn compute(op: &str, left: &Element, right: &Element) -> Element {
    use Element::{Number, Symbol, Unknown};
    let computed = match (op, left, right) {
        ("Add", Number(left), Number(right)) => left.checked_add(*right),
        ("Sub", Number(left), Number(right)) => left.checked_sub(*right),
        ("Mul", Number(left), Number(right)) => left.checked_mul(*right),
        // ONNX does not specify how negative numbers are rounded.
        ("Div", Number(left), Number(right)) if *left >= 0 && *right > 0 => left.checked_div(*right),
        ("Add" | "Sub", Symbol(name), Number(0)) | ("Mul" | "Div", Symbol(name), Number(1)) => {
            return Symbol(name.clone());
        }
        ("Add", Number(0), Symbol(name)) | ("Mul", Number(1), Symbol(name)) => return Symbol(name.clone()),
        _ => None,
    };
    computed.map_or(Unknown, Number)
}
