//! Which operators are quantized, and what each one does with its inputs and outputs.

use crate::edit::int;
use crate::proto::NodeProto;

/// What a layer of an operator does when it is quantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// All float inputs and outputs get codes.
    All,
    /// A convolution: input and output, the weight with its channels on this axis, the bias as integers.
    Convolution(i64),
    /// A matrix product with a bias.
    Gemm,
    /// A matrix product.
    MatMul,
    /// A scale and a shift for each channel.
    Normalization,
    /// A clamp: part of the codes, where nothing else reads what it clamps.
    Clamp,
    /// Moves values: the output has the codes of the input, if that has any. From this opset on.
    Move(i64),
    /// Picks values, perhaps of a stored tensor.
    Gather,
    /// Cuts into parts, all with the codes of the whole.
    Split,
    /// Adds a border.
    Pad,
    /// Picks from two inputs that both have codes.
    Where,
}

/// `None` for operators that are left as they are.
pub(super) fn rule(op_type: &str) -> Option<Rule> {
    Some(match op_type {
        "Conv" => Rule::Convolution(0),
        "ConvTranspose" => Rule::Convolution(1),
        "Gemm" => Rule::Gemm,
        "MatMul" => Rule::MatMul,
        "InstanceNormalization" | "LayerNormalization" | "BatchNormalization" => Rule::Normalization,
        "Clip" | "Relu" => Rule::Clamp,
        "Reshape" | "Transpose" | "Squeeze" | "Unsqueeze" | "Flatten" | "AveragePool" | "Slice" | "TopK" => {
            Rule::Move(0)
        }
        "Resize" => Rule::Move(11),
        "MaxPool" => Rule::Move(12),
        "Gather" | "GatherElements" => Rule::Gather,
        "Split" => Rule::Split,
        "Pad" => Rule::Pad,
        "Where" => Rule::Where,
        "ArgMax"
        | "Add"
        | "Mul"
        | "LeakyRelu"
        | "Sigmoid"
        | "GlobalAveragePool"
        | "Concat"
        | "Softmax"
        | "EmbedLayerNormalization"
        | "CumSum" => Rule::All,
        _ => return None,
    })
}

/// The axis of a matrix product's second operand, a matrix, along which products are summed; `None` for other nodes.
pub(super) fn input_axis(node: &NodeProto) -> Option<u32> {
    match op(node) {
        "MatMul" => Some(0),
        "Gemm" => Some(u32::from(int(node, "transB").unwrap_or(0) != 0)),
        _ => None,
    }
}

/// The operator of a node.
pub(super) fn op(node: &NodeProto) -> &str {
    node.op_type.as_deref().unwrap_or_default()
}
