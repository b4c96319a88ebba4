//! Operators whose outputs have the shape of an input, or of inputs broadcast to each other.

use super::Fact;
use super::node::{Node, one, size};
use qp_abi::sdk::{DType, Dimension};

/// What is known about the outputs; `None` for other kinds of operators.
pub(super) fn infer(node: &Node<'_>) -> Option<Vec<Fact>> {
    match node.op {
        "Relu"
        | "Sigmoid"
        | "Tanh"
        | "Exp"
        | "Log"
        | "Sqrt"
        | "Neg"
        | "Abs"
        | "Ceil"
        | "Floor"
        | "Round"
        | "Erf"
        | "Softplus"
        | "Softsign"
        | "Elu"
        | "Selu"
        | "Celu"
        | "LeakyRelu"
        | "ThresholdedRelu"
        | "HardSigmoid"
        | "HardSwish"
        | "Mish"
        | "Swish"
        | "Gelu"
        | "QuickGelu"
        | "FastGelu"
        | "BiasGelu"
        | "Softmax"
        | "LogSoftmax"
        | "Hardmax"
        | "Clip"
        | "Sin"
        | "Cos"
        | "Tan"
        | "Asin"
        | "Acos"
        | "Atan"
        | "Sinh"
        | "Cosh"
        | "Asinh"
        | "Acosh"
        | "Atanh"
        | "Reciprocal"
        | "Sign"
        | "CumSum"
        | "LRN"
        | "MeanVarianceNormalization"
        | "InstanceNormalization"
        | "GroupNormalization"
        | "LpNormalization"
        | "RMSNormalization"
        | "SimplifiedLayerNormalization"
        | "Trilu"
        | "Shrink"
        | "PRelu"
        | "Not"
        | "BitwiseNot"
        | "ScatterElements"
        | "ScatterND"
        | "Scatter"
        | "ReverseSequence"
        | "Identity"
        | "QLinearSigmoid"
        | "QLinearLeakyRelu"
        | "QLinearSoftmax"
        | "BatchNormalization"
        | "LayerNormalization"
        | "SkipLayerNormalization"
        | "SkipSimplifiedLayerNormalization"
        | "RotaryEmbedding"
        | "TensorScatter" => same(node),
        "Dropout" => {
            let mask = Fact::new(
                Some(if node.opset < 12 { node.dtype(0)? } else { DType::BOOL }),
                node.owned_shape(0),
            );
            Some(vec![Fact::new(node.dtype(0), node.owned_shape(0)), mask])
        }
        "IsNaN" | "IsInf" => one(Some(DType::BOOL), node.owned_shape(0)),
        "Bernoulli" | "RandomNormalLike" | "RandomUniformLike" => {
            let dtype =
                if node.has_attribute("dtype") { node.dtype_attribute("dtype") } else { node.dtype(0) };
            one(dtype, node.owned_shape(0))
        }
        "EyeLike" => {
            let dtype =
                if node.has_attribute("dtype") { node.dtype_attribute("dtype") } else { node.dtype(0) };
            one(dtype, node.owned_shape(0))
        }
        "Cast" => one(node.dtype_attribute("to"), node.owned_shape(0)),
        "CastLike" => one(node.dtype(1), node.owned_shape(0)),
        "QuantizeLinear" => {
            let dtype = match (node.has(2), node.dtype_attribute("output_dtype")) {
                (true, _) => node.dtype(2),
                (false, Some(dtype)) => Some(dtype),
                (false, None) => Some(DType::UINT8),
            };
            one(dtype, node.owned_shape(0))
        }
        "DequantizeLinear" => {
            let dtype = node.dtype_attribute("output_dtype").or_else(|| node.dtype(1));
            one(dtype, node.owned_shape(0))
        }
        "DynamicQuantizeLinear" => Some(vec![
            Fact::new(Some(DType::UINT8), node.owned_shape(0)),
            Fact::new(Some(DType::FLOAT32), Some(Vec::new())),
            Fact::new(Some(DType::UINT8), Some(Vec::new())),
        ]),
        "Add" | "Sub" | "Mul" | "Div" | "Mod" | "BitShift" | "BitwiseAnd" | "BitwiseOr" | "BitwiseXor"
        | "Pow" => one(node.dtype(0), binary(node)),
        "And" | "Or" | "Xor" | "Equal" | "Less" | "LessOrEqual" | "Greater" | "GreaterOrEqual" => {
            one(Some(DType::BOOL), binary(node))
        }
        "Sum" | "Mean" | "Max" | "Min" => {
            let shapes =
                (0..node.layer.inputs.len()).map(|slot| node.shape(slot)).collect::<Option<Vec<_>>>();
            one(node.dtype(0), shapes.and_then(|shapes| broadcast(&shapes)))
        }
        "QLinearAdd" | "QLinearMul" => {
            let shapes = [node.shape(0), node.shape(3)].into_iter().collect::<Option<Vec<_>>>();
            one(node.dtype(0), shapes.and_then(|shapes| broadcast(&shapes)))
        }
        "Where" => {
            let shapes = [0, 1, 2].into_iter().map(|slot| node.shape(slot)).collect::<Option<Vec<_>>>();
            one(node.dtype(1), shapes.and_then(|shapes| broadcast(&shapes)))
        }
        _ => None,
    }
}

fn same(node: &Node<'_>) -> Option<Vec<Fact>> {
    one(node.dtype(0), node.owned_shape(0))
}

/// Before version 7 the second input was fitted to the first.
fn binary(node: &Node<'_>) -> Option<Vec<Dimension>> {
    if node.opset < 7 && node.layer.domain.is_empty() {
        return node.owned_shape(0);
    }
    broadcast(&[node.shape(0)?, node.shape(1)?])
}

/// The shape to which all are broadcast, dimensions matched from the last.
pub(super) fn broadcast(shapes: &[&[Dimension]]) -> Option<Vec<Dimension>> {
    let rank = shapes.iter().map(|shape| shape.len()).max()?;
    Some(
        (0..rank)
            .map(|index| {
                let at_index = shapes.iter().filter_map(|shape| {
                    let from_end = rank - index;
                    shape.len().checked_sub(from_end).map(|place| &shape[place])
                });
                at_index.fold(Dimension::fixed(1), |common, dimension| common_dimension(&common, dimension))
            })
            .collect(),
    )
}

/// The broadcast of two dimensions. Next to a size above 1, a free dimension must be that size or 1.
fn common_dimension(left: &Dimension, right: &Dimension) -> Dimension {
    match (size(left), size(right)) {
        (Some(1), _) => right.clone(),
        (_, Some(1)) => left.clone(),
        (Some(left), Some(right)) if left != right => Dimension::unknown(),
        (Some(_), _) => left.clone(),
        (_, Some(_)) => right.clone(),
        _ if left == right && !left.symbol.is_empty() => left.clone(),
        _ => Dimension::unknown(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// NumPy's rule; with names as in ONNX's documentation of multidirectional broadcasting.
    #[test]
    fn shapes_are_broadcast_from_the_last_dimension() {
        let shape = |sizes: &[i64]| sizes.iter().map(|&size| Dimension::fixed(size)).collect::<Vec<_>>();
        let (left, right) = (shape(&[2, 3, 4, 5]), shape(&[3, 1, 1]));
        assert_eq!(broadcast(&[&left, &right]), Some(left.clone()));
        let named = vec![Dimension::symbolic("N"), Dimension::fixed(5)];
        assert_eq!(broadcast(&[&named, &shape(&[1, 5])]), Some(named.clone()));
        assert_eq!(broadcast(&[&named, &shape(&[7, 5])]), Some(shape(&[7, 5])));
        let other = vec![Dimension::symbolic("M"), Dimension::fixed(5)];
        assert_eq!(broadcast(&[&named, &other]).unwrap()[0], Dimension::unknown());
    }
}
