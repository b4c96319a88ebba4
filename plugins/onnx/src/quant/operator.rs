//! What ONNX's and ONNX Runtime's quantized operators read and write, and which inputs of other operators are
//! weights.
//!
//! Sources: the operator documents of ONNX (opsets 10 to 25) and of ONNX Runtime's `com.microsoft` domain.

use crate::graph::Layer;
use qp_abi::sdk::{DType, TensorRole};

/// An input or an output of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The input at this index.
    Input(usize),
    /// The output at this index.
    Output(usize),
}

/// The axis of an operand with several scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// This one; negative counts from the last.
    At(i64),
    /// For a Gemm's second matrix: the columns, or the rows if it is transposed.
    Gemm,
}

/// Integer codes that an operator reads or writes, and the inputs that say what they mean.
#[derive(Clone, Copy, Debug)]
pub struct Operand {
    /// Where the codes are.
    pub place: Place,
    /// The input that holds the scale.
    pub scale: usize,
    /// The input that holds the zero point.
    pub zero_point: Option<usize>,
    /// The axis if there are several scales.
    pub axis: Axis,
}

/// How an operator takes part in quantization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `QuantizeLinear` and `DequantizeLinear`.
    Plumbing,
    /// Computes with codes whose scales are all known.
    QOperator,
    /// Computes with codes whose scales depend on the input.
    Dynamic,
    /// Computes with real numbers and a weight of codes.
    WeightOnly,
}

/// How the operator takes part in quantization; `None` for one that does not.
pub fn form(op_type: &str) -> Option<Form> {
    Some(match op_type {
        "QuantizeLinear" | "DequantizeLinear" | "Quant" | "BipolarQuant" => Form::Plumbing,
        "ConvInteger"
        | "MatMulInteger"
        | "DynamicQuantizeLinear"
        | "DynamicQuantizeMatMul"
        | "MatMulIntegerToFloat"
        | "DynamicQuantizeLSTM"
        | "ConvIntegerToFloat" => Form::Dynamic,
        "MatMulNBits" | "MatMulBnb4" | "MatMulFpQ4" | "GatherBlockQuantized" | "QMoE" => Form::WeightOnly,
        "QGemm" | "QAttention" | "QEmbedLayerNormalization" => Form::QOperator,
        name if name.starts_with("QLinear") || name.starts_with("QOrdered") => Form::QOperator,
        _ => return None,
    })
}

const fn input(place: usize, scale: usize, zero_point: usize) -> Operand {
    Operand { place: Place::Input(place), scale, zero_point: Some(zero_point), axis: Axis::At(-1) }
}

const fn output(scale: usize, zero_point: usize) -> Operand {
    Operand { place: Place::Output(0), scale, zero_point: Some(zero_point), axis: Axis::At(-1) }
}

/// The codes of an operator with `inputs` inputs, as far as its type determines them.
pub fn operands(op_type: &str, inputs: usize) -> Vec<Operand> {
    let channels = |operand| Operand { axis: Axis::At(0), ..operand };
    match op_type {
        "QLinearConv" => vec![input(0, 1, 2), channels(input(3, 4, 5)), output(6, 7)],
        "QLinearMatMul" => {
            vec![Operand { axis: Axis::At(-2), ..input(0, 1, 2) }, input(3, 4, 5), output(6, 7)]
        }
        "QGemm" => vec![input(0, 1, 2), Operand { axis: Axis::Gemm, ..input(3, 4, 5) }, output(7, 8)],
        "QLinearAdd" | "QLinearMul" => vec![input(0, 1, 2), input(3, 4, 5), output(6, 7)],
        "QLinearWhere" => vec![input(1, 2, 3), input(4, 5, 6), output(7, 8)],
        "QLinearConcat" => {
            let pieces = (2..inputs.saturating_sub(2)).step_by(3).map(|at| input(at, at + 1, at + 2));
            std::iter::once(output(0, 1)).chain(pieces).collect()
        }
        "QLinearGlobalAveragePool"
        | "QLinearAveragePool"
        | "QLinearSigmoid"
        | "QLinearLeakyRelu"
        | "QLinearSoftmax"
        | "QLinearReduceMean" => vec![input(0, 1, 2), output(3, 4)],
        "QAttention" => vec![input(0, 3, 6), input(1, 4, 7)],
        "MatMulIntegerToFloat" => vec![input(0, 2, 4), input(1, 3, 5)],
        "DynamicQuantizeMatMul" => vec![input(1, 2, 3)],
        _ => Vec::new(),
    }
}

/// The int32 bias of an operator: its input, and the inputs whose scales multiply to its own.
pub fn bias(op_type: &str) -> Option<(usize, usize, usize)> {
    match op_type {
        "QLinearConv" => Some((8, 1, 4)),
        "QGemm" => Some((6, 1, 4)),
        "QAttention" => Some((2, 3, 4)),
        _ => None,
    }
}

/// The factor that an operator applies to the product of its operands before it adds the bias.
pub fn alpha(layer: &Layer) -> f32 {
    #[expect(clippy::cast_possible_truncation, reason = "a float32 in the file")]
    layer.float("alpha").map_or(1.0, |alpha| alpha as f32)
}

/// The zero point inputs of the two operands of an integer product without scales.
pub fn integer_product(op_type: &str) -> Option<Axis> {
    match op_type {
        "ConvInteger" => Some(Axis::At(0)),
        "MatMulInteger" => Some(Axis::At(-1)),
        _ => None,
    }
}

/// Quantizers of foreign domains in ONNX's words: those of TensorRT and ModelOpt have the same inputs; those of
/// QONNX, Brevitas and FINN round real numbers to codes and back at once. Empty for anything else.
pub fn foreign(domain: &str, op_type: &str) -> &'static str {
    match (domain, op_type) {
        ("trt", "TRT_INT4QuantizeLinear" | "TRT_FP8QuantizeLinear" | "TRT_MXFP8QuantizeLinear") => {
            "QuantizeLinear"
        }
        ("trt", "TRT_INT4DequantizeLinear" | "TRT_FP8DequantizeLinear" | "TRT_MXFP8DequantizeLinear") => {
            "DequantizeLinear"
        }
        (domain, "Quant" | "IntQuant") if is_qonnx(domain) => "Quant",
        (domain, "BipolarQuant") if is_qonnx(domain) => "BipolarQuant",
        _ => "",
    }
}

fn is_qonnx(domain: &str) -> bool {
    domain.starts_with("qonnx.custom_op")
        || domain.starts_with("onnx.brevitas")
        || domain.starts_with("finn.")
}

/// Whether an operator only passes its first input on, in another form: a weight is seen through it.
pub fn passes_on(op_type: &str) -> bool {
    matches!(
        op_type,
        "QuantizeLinear"
            | "DequantizeLinear"
            | "Quant"
            | "BipolarQuant"
            | "Identity"
            | "Cast"
            | "CastLike"
            | "Transpose"
            | "Reshape"
            | "Squeeze"
            | "Unsqueeze"
            | "Flatten"
    )
}

/// Whether an operator only moves, repeats or selects its first input's elements: codes keep their scale and zero
/// point.
pub fn moves_codes(op_type: &str) -> bool {
    matches!(
        op_type,
        "Reshape"
            | "Transpose"
            | "Squeeze"
            | "Unsqueeze"
            | "Flatten"
            | "Identity"
            | "Slice"
            | "Split"
            | "Gather"
            | "GatherElements"
            | "GatherND"
            | "Expand"
            | "Tile"
            | "DepthToSpace"
            | "SpaceToDepth"
            | "MaxPool"
            | "Relu"
            | "Clip"
            | "Max"
            | "Min"
            | "Pad"
            | "Resize"
            | "Upsample"
            | "Dropout"
            | "ReverseSequence"
    )
}

/// What a stored tensor at this input is for; `None` if the operator does not decide it.
pub fn role(op_type: &str, slot: usize) -> Option<TensorRole> {
    const WEIGHT: Option<TensorRole> = Some(TensorRole::PARAMETER);
    const CONSTANT: Option<TensorRole> = Some(TensorRole::CONSTANT);
    match (op_type, slot) {
        ("BatchNormalization", 3 | 4) => Some(TensorRole::BUFFER),
        (
            "Conv"
            | "ConvTranspose"
            | "ConvInteger"
            | "DeformConv"
            | "FusedConv"
            | "NhwcFusedConv"
            | "Gemm"
            | "FusedGemm"
            | "BatchNormalization"
            | "InstanceNormalization"
            | "LayerNormalization"
            | "GroupNormalization"
            | "RMSNormalization"
            | "SimplifiedLayerNormalization"
            | "SkipLayerNormalization"
            | "SkipSimplifiedLayerNormalization"
            | "PRelu"
            | "LSTM"
            | "GRU"
            | "RNN"
            | "DynamicQuantizeLSTM"
            | "DynamicQuantizeMatMul"
            | "MatMulNBits"
            | "MatMulBnb4"
            | "MatMulFpQ4"
            | "Attention"
            | "QAttention"
            | "MultiHeadAttention"
            | "BiasGelu"
            | "FastGelu",
            1..,
        )
        | ("MatMul" | "FusedMatMul" | "MatMulInteger" | "MatMulIntegerToFloat" | "Einsum", _)
        | ("Gather" | "GatherBlockQuantized" | "EmbedLayerNormalization", 0)
        | ("QLinearConv", 3 | 8)
        | ("QLinearMatMul", 0 | 3)
        | ("QGemm", 0 | 3 | 6)
        | ("QMoE", 2..) => WEIGHT,
        (
            "Reshape"
            | "Expand"
            | "Tile"
            | "Slice"
            | "Pad"
            | "Resize"
            | "Upsample"
            | "TopK"
            | "Squeeze"
            | "Unsqueeze"
            | "Clip"
            | "Split"
            | "Gather"
            | "GatherElements"
            | "GatherND"
            | "GatherBlockQuantized"
            | "CumSum"
            | "Trilu"
            | "Dropout"
            | "Pow"
            | "OneHot"
            | "NonMaxSuppression"
            | "ReduceSum"
            | "ReduceMean"
            | "ReduceMax"
            | "ReduceMin"
            | "ReduceProd"
            | "ReduceL1"
            | "ReduceL2"
            | "ReduceLogSum"
            | "ReduceLogSumExp"
            | "ReduceSumSquare"
            | "ScatterElements"
            | "ScatterND"
            | "DFT"
            | "CenterCropPad",
            1..,
        )
        | (
            "ConstantOfShape" | "Range" | "Equal" | "Less" | "LessOrEqual" | "Greater" | "GreaterOrEqual",
            _,
        )
        | ("Where" | "If" | "Loop", 0 | 1)
        | ("Loop", 2..) => CONSTANT,
        _ => None,
    }
}

/// The type of unsigned codes that are `bits` wide, if there is one.
pub fn unsigned(bits: i64) -> Option<DType> {
    match bits {
        2 => Some(DType::UINT2),
        4 => Some(DType::UINT4),
        8 => Some(DType::UINT8),
        _ => None,
    }
}
