//! What the operator documents say: what each operator does, and what its inputs mean to it.

use crate::graph::Layer;
use qp_abi::sdk::{InputRole, LayerKind};

/// What an operator does, if its name determines it.
#[rustfmt::skip]
pub fn of_operator(op: &str) -> LayerKind {
    match op {
        "Conv" | "ConvTranspose" | "DeformConv" | "FusedConv" | "NhwcFusedConv" | "QLinearConv"
        | "ConvTransposeWithDynamicPads" | "ConvInteger" | "ConvIntegerToFloat" => LayerKind::CONVOLUTION,
        "MatMul" | "Gemm" | "Einsum" | "FusedMatMul" | "FusedGemm" | "TransposeMatMul" | "QLinearMatMul" | "QGemm"
        | "MatMulInteger" | "MatMulNBits" | "MatMulBnb4" | "MatMulFpQ4" | "MatMulIntegerToFloat" | "DynamicQuantizeMatMul"
        | "GemmFloat8" => LayerKind::LINEAR,
        "BatchNormalization" => LayerKind::BATCH_NORMALIZATION,
        "LayerNormalization" | "GroupNormalization" | "GroupNorm" | "InstanceNormalization" | "RMSNormalization"
        | "SimplifiedLayerNormalization" | "SkipLayerNormalization" | "SkipSimplifiedLayerNormalization"
        | "SkipGroupNorm" | "LpNormalization" | "LRN" | "MeanVarianceNormalization"
        | "EmbedLayerNormalization" => LayerKind::NORMALIZATION,
        "Relu" | "Clip" => LayerKind::CLAMP,
        "Sigmoid" | "HardSigmoid" | "HardSwish" | "Tanh" | "Elu" | "Selu" | "Celu" | "LeakyRelu" | "PRelu"
        | "Softplus" | "Softsign" | "Mish" | "Gelu" | "BiasGelu" | "FastGelu" | "QuickGelu" | "Swish" | "ThresholdedRelu"
        | "Shrink" | "QLinearSigmoid" | "QLinearLeakyRelu" => LayerKind::ACTIVATION,
        "MaxPool" | "AveragePool" | "GlobalAveragePool" | "GlobalMaxPool" | "LpPool" | "GlobalLpPool"
        | "QLinearAveragePool" | "QLinearGlobalAveragePool" | "MaxRoiPool" | "RoiAlign" => LayerKind::POOLING,
        "Add" | "Sum" | "QLinearAdd" | "BiasAdd" | "BiasSplitGelu" => LayerKind::ADDITION,
        "Mul" | "QLinearMul" => LayerKind::MULTIPLICATION,
        "Concat" | "QLinearConcat" => LayerKind::CONCATENATION,
        "Reshape" | "Transpose" | "Flatten" | "Squeeze" | "Unsqueeze" | "Slice" | "Split" | "Gather" | "GatherElements"
        | "GatherND" | "Expand" | "Tile" | "DepthToSpace" | "SpaceToDepth" | "Pad" | "ReverseSequence" | "ScatterND"
        | "ScatterElements" | "CenterCropPad" | "Trilu" | "NhwcMaxPool" | "ReorderInput" | "ReorderOutput"
            => LayerKind::MOVEMENT,
        "Resize" | "Upsample" | "GridSample" | "AffineGrid" => LayerKind::RESIZE,
        "LSTM" | "GRU" | "RNN" | "DynamicQuantizeLSTM" => LayerKind::RECURRENT,
        "GatherBlockQuantized" => LayerKind::EMBEDDING,
        "Attention" | "MultiHeadAttention" | "GroupQueryAttention" | "QAttention" | "PackedAttention"
        | "PackedMultiHeadAttention" | "DecoderMaskedMultiHeadAttention" => LayerKind::ATTENTION,
        "Softmax" | "LogSoftmax" | "QLinearSoftmax" | "Hardmax" => LayerKind::SOFTMAX,
        "QuantizeLinear" | "DynamicQuantizeLinear" => LayerKind::QUANTIZE,
        "DequantizeLinear" => LayerKind::DEQUANTIZE,
        "Quant" | "BipolarQuant" | "IntQuant" | "FloatQuant" => LayerKind::QUANTIZE_DEQUANTIZE,
        "Constant" | "ConstantOfShape" | "EyeLike" => LayerKind::CONSTANT,
        "Identity" | "Dropout" | "Cast" | "CastLike" => LayerKind::IDENTITY,
        "Shape" | "Size" => LayerKind::SHAPE,
        "If" | "Loop" | "Scan" | "SequenceMap" => LayerKind::CONTROL_FLOW,
        "ReduceSum" | "ReduceMean" | "ReduceMax" | "ReduceMin" | "ReduceProd" | "ReduceL1" | "ReduceL2" | "ReduceLogSum"
        | "ReduceLogSumExp" | "ReduceSumSquare" | "QLinearReduceMean" | "CumSum" => LayerKind::REDUCTION,
        "Sub" | "Div" | "Pow" | "Max" | "Min" | "Mean" | "Where" | "QLinearWhere" | "Mod" | "Sqrt" | "Exp" | "Log" | "Neg"
        | "Abs" | "Erf" | "Reciprocal" | "Floor" | "Ceil" | "Round" | "Sin" | "Cos" | "Sign" => LayerKind::ELEMENTWISE,
        _ => LayerKind::OTHER,
    }
}

/// Whether any of an operator's operands may be its weight.
pub(super) fn is_product(op: &str) -> bool {
    matches!(
        op,
        "MatMul" | "Gemm" | "Einsum" | "FusedMatMul" | "TransposeMatMul" | "MatMulInteger" | "QLinearMatMul"
    )
}

/// What the input at `slot` of `inputs` means, in the usual case of computed data and stored weights.
pub fn of_input(op: &str, slot: usize, inputs: usize) -> InputRole {
    const DATA: InputRole = InputRole::DATA;
    const WEIGHT: InputRole = InputRole::WEIGHT;
    const BIAS: InputRole = InputRole::BIAS;
    const OTHER: InputRole = InputRole::PARAMETER;
    let of = |roles: &[InputRole]| roles.get(slot).copied().unwrap_or(OTHER);
    match op {
        "Conv" | "ConvTranspose" | "FusedConv" | "NhwcFusedConv" => of(&[DATA, WEIGHT, BIAS, DATA]),
        "DeformConv" => of(&[DATA, WEIGHT, DATA, BIAS, DATA]),
        "Gemm" | "FusedGemm" => of(&[DATA, WEIGHT, BIAS]),
        "MatMul" | "FusedMatMul" | "TransposeMatMul" | "Einsum" => DATA,
        "ConvInteger" | "MatMulInteger" => of(&[DATA, WEIGHT]),
        "QLinearConv" => of(&[DATA, OTHER, OTHER, WEIGHT, OTHER, OTHER, OTHER, OTHER, BIAS]),
        "QGemm" => of(&[DATA, OTHER, OTHER, WEIGHT, OTHER, OTHER, BIAS]),
        "QLinearMatMul" => of(&[DATA, OTHER, OTHER, DATA]),
        "QLinearAdd" | "QLinearMul" => of(&[DATA, OTHER, OTHER, DATA]),
        "QLinearWhere" => of(&[OTHER, DATA, OTHER, OTHER, DATA]),
        // The output's scale and zero point, then three inputs per part.
        "QLinearConcat" if slot >= 2 && (slot - 2).is_multiple_of(3) => DATA,
        "QLinearConcat" => OTHER,
        "MatMulNBits" => match slot {
            0 => DATA,
            1 => WEIGHT,
            5 => BIAS,
            _ => OTHER,
        },
        "MatMulBnb4" | "MatMulFpQ4" | "DynamicQuantizeMatMul" | "ConvIntegerToFloat" => of(&[DATA, WEIGHT]),
        "MatMulIntegerToFloat" => match slot {
            0 => DATA,
            1 => WEIGHT,
            6 => BIAS,
            _ => OTHER,
        },
        "LSTM" | "GRU" | "RNN" | "DynamicQuantizeLSTM" => of(&[DATA, WEIGHT, WEIGHT, BIAS]),
        "BatchNormalization" => of(&[DATA, WEIGHT, BIAS]),
        "LayerNormalization"
        | "InstanceNormalization"
        | "GroupNormalization"
        | "GroupNorm"
        | "RMSNormalization"
        | "SimplifiedLayerNormalization" => of(&[DATA, WEIGHT, BIAS]),
        "SkipLayerNormalization" | "SkipSimplifiedLayerNormalization" => {
            of(&[DATA, DATA, WEIGHT, BIAS, BIAS])
        }
        "PRelu" => of(&[DATA, WEIGHT]),
        "BiasGelu" | "FastGelu" => of(&[DATA, BIAS]),
        "Attention" if inputs > 2 => of(&[DATA, WEIGHT, BIAS]),
        "QAttention" => of(&[DATA, WEIGHT, BIAS]),
        "GatherBlockQuantized" => of(&[WEIGHT, DATA]),
        "Gather" => of(&[WEIGHT, OTHER]),
        "Clip" => match slot {
            0 => DATA,
            _ => InputRole::BOUND,
        },
        "Concat" | "Add" | "Mul" | "Sum" | "Sub" | "Div" | "Pow" | "Max" | "Min" | "Mean" | "Mod" => DATA,
        "Where" => of(&[OTHER, DATA, DATA]),
        // Foreign operators, the model's own functions, and nodes that hold other graphs: anything may be data.
        "" | "If" | "Loop" | "Scan" | "SequenceMap" | "MultiHeadAttention" | "GroupQueryAttention" => DATA,
        "GatherElements" | "GatherND" => of(&[DATA]),
        "ScatterND" | "ScatterElements" => of(&[DATA, OTHER, DATA]),
        _ if of_operator(op) == LayerKind::OTHER => DATA,
        _ => of(&[DATA]),
    }
}

/// Whether the operator reads the matrix at this input as (in, out).
pub(super) fn is_stored_transposed(op: &str, layer: &Layer, slot: usize) -> bool {
    let is_set = |name: &str| layer.int(name).unwrap_or(0) != 0;
    match op {
        "MatMul"
        | "FusedMatMul"
        | "TransposeMatMul"
        | "MatMulInteger"
        | "QLinearMatMul"
        | "QGemm"
        | "Gemm"
        | "FusedGemm"
        | "Attention"
        | "QAttention"
        | "MatMulIntegerToFloat"
        | "DynamicQuantizeMatMul" => match slot {
            0 => is_set("transA"),
            _ => !is_set("transB"),
        },
        "DynamicQuantizeLSTM" => true,
        _ => false,
    }
}

/// Whether the operator takes real numbers and computes with codes: it rounds its first input as
/// `DynamicQuantizeLinear` does. An LSTM also rounds its state in each step, which is not one of its inputs.
pub(super) fn rounds_input(op: &str) -> bool {
    matches!(op, "DynamicQuantizeMatMul" | "DynamicQuantizeLSTM")
}
