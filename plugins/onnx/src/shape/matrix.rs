//! Products of matrices, and recurrent layers.

use super::Fact;
use super::elementwise::broadcast;
use super::node::{Node, one};
use qp_abi::sdk::{DType, Dimension};

/// What is known about the outputs; `None` for other kinds of operators.
pub(super) fn infer(node: &Node<'_>) -> Option<Vec<Fact>> {
    match node.op {
        "MatMul" => one(node.dtype(0), product(node.shape(0), node.shape(1))),
        "FusedMatMul" => {
            let turned = |slot: usize, name: &str| -> Option<Vec<Dimension>> {
                let mut shape = node.owned_shape(slot)?;
                let rank = shape.len();
                if node.int_or(name, 0)? != 0 && rank >= 2 {
                    shape.swap(rank - 1, rank - 2);
                }
                Some(shape)
            };
            let plain = ["transBatchA", "transBatchB"].iter().all(|name| node.int_or(name, 0) == Some(0));
            let (left, right) = (turned(0, "transA"), turned(1, "transB"));
            one(node.dtype(0), product(left.as_deref(), right.as_deref()).filter(|_| plain))
        }
        "MatMulInteger" => one(Some(DType::INT32), product(node.shape(0), node.shape(1))),
        "MatMulIntegerToFloat" => one(node.dtype(2), product(node.shape(0), node.shape(1))),
        "DynamicQuantizeMatMul" => one(node.dtype(0), product(node.shape(0), node.shape(1))),
        "QLinearMatMul" => one(node.dtype(7), product(node.shape(0), node.shape(3))),
        "MatMulNBits" | "MatMulBnb4" | "MatMulFpQ4" => {
            let shape = node.owned_shape(0).zip(node.int("N")).and_then(|(mut shape, columns)| {
                *shape.last_mut()? = Dimension::fixed(columns);
                Some(shape)
            });
            one(node.dtype(0), shape)
        }
        "Gemm" | "FusedGemm" => one(node.dtype(0), gemm(node, 1)),
        "QGemm" => one(if node.has(8) { node.dtype(8) } else { Some(DType::FLOAT32) }, gemm(node, 3)),
        "LSTM" | "GRU" | "RNN" => recurrent(node),
        "Einsum" => one(node.dtype(0), einsum(node)),
        _ => None,
    }
}

/// NumPy's `matmul`.
fn product(left: Option<&[Dimension]>, right: Option<&[Dimension]>) -> Option<Vec<Dimension>> {
    let (left, right) = (left?, right?);
    let (left_batch, rows) = match left {
        [] => return None,
        [_] => (&left[..0], None),
        [batch @ .., rows, _] => (batch, Some(rows)),
    };
    let (right_batch, columns) = match right {
        [] => return None,
        [_] => (&right[..0], None),
        [batch @ .., _, columns] => (batch, Some(columns)),
    };
    let mut shape = broadcast(&[left_batch, right_batch])?;
    shape.extend(rows.cloned());
    shape.extend(columns.cloned());
    Some(shape)
}

fn gemm(node: &Node<'_>, second: usize) -> Option<Vec<Dimension>> {
    let (left, right) = (node.shape(0)?, node.shape(second)?);
    if left.len() != 2 || right.len() != 2 {
        return None;
    }
    let rows = left[usize::from(node.int_or("transA", 0)? != 0)].clone();
    let columns = right[usize::from(node.int_or("transB", 0)? == 0)].clone();
    Some(vec![rows, columns])
}

fn recurrent(node: &Node<'_>) -> Option<Vec<Fact>> {
    let dtype = node.dtype(0);
    let shapes = || {
        let [length, batch, _] = node.shape(0)? else { return None };
        if node.int_or("layout", 0)? != 0 {
            return None;
        }
        let directions = match node.text("direction") {
            Some("bidirectional") => 2,
            _ => 1,
        };
        let [directions, hidden] = [Some(directions), node.int("hidden_size")]
            .map(|size| size.map_or_else(Dimension::unknown, Dimension::fixed));
        let last = vec![directions.clone(), batch.clone(), hidden.clone()];
        Some((vec![length.clone(), directions, batch.clone(), hidden], last))
    };
    let (all, last) = shapes().map_or((None, None), |(all, last)| (Some(all), Some(last)));
    Some(vec![Fact::new(dtype, all), Fact::new(dtype, last.clone()), Fact::new(dtype, last)])
}

/// Letters only; without an ellipsis.
fn einsum(node: &Node<'_>) -> Option<Vec<Dimension>> {
    let equation: String = node.text("equation")?.chars().filter(|letter| !letter.is_whitespace()).collect();
    let (terms, output) = equation.split_once("->")?;
    if equation.contains('.') {
        return None;
    }
    let mut sizes = std::collections::HashMap::new();
    for (slot, term) in terms.split(',').enumerate() {
        let shape = node.shape(slot).filter(|shape| shape.len() == term.chars().count())?;
        for (letter, dimension) in term.chars().zip(shape) {
            let known = sizes.entry(letter).or_insert_with(|| dimension.clone());
            if known.size < 0 && dimension.size >= 0 {
                *known = dimension.clone();
            }
        }
    }
    output.chars().map(|letter| sizes.get(&letter).cloned()).collect()
}
