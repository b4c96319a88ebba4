//! Why ONNX Runtime computes a quantized layer in float.
//!
//! In a QDQ model the runtime replaces a layer between `DequantizeLinear` and `QuantizeLinear` by an integer kernel if its
//! selectors accept the layer and everything around it (`core/optimizer/qdq_transformer/selectors_actions` in its
//! sources). What they require of each operator is in [`needs`]; it was found by giving the runtime one graph for each
//! case, and the tests do so again.

use super::is_integer_operator;
use super::wiring::{Wiring, named};
use crate::runtime::plan::{Optimization, Settings};
use qp_abi::sdk::{
    AttributeValue, DType, FloatReason, InputRole, LayerInfo, LayerKind, QuantizationParameters,
};

/// What an operator's integer kernel needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    /// The runtime has none.
    Nothing,
    /// Codes at all inputs and at the output.
    Rounding,
    /// Codes at all inputs.
    CodesOnly,
}

fn needs(layer: &LayerInfo) -> Needs {
    match layer.op_type.as_str() {
        "Resize" if interpolates(layer) => Needs::Nothing,
        "MatMul" | "Gemm" => Needs::CodesOnly,
        "Conv" | "Add" | "Mul" | "Concat" | "Where" | "AveragePool" | "GlobalAveragePool" | "MaxPool"
        | "LeakyRelu" | "Sigmoid" | "Softmax" | "Resize" | "Flatten" | "Transpose" | "DepthToSpace"
        | "Slice" | "Reshape" | "Gather" | "Squeeze" | "Unsqueeze" | "Expand" | "Split" => Needs::Rounding,
        _ => Needs::Nothing,
    }
}

/// Whether a resize computes values between others.
fn interpolates(layer: &LayerInfo) -> bool {
    let mode = layer.attributes.iter().find(|attribute| attribute.name == "mode");
    mode.is_some_and(|mode| !matches!(&mode.value, AttributeValue::Text(mode) if mode == "nearest"))
}

/// Whether an operator's kernel for codes is the one for numbers: it only moves or chooses them.
fn moves_codes(operator: &str) -> bool {
    matches!(
        operator,
        "MaxPool"
            | "Resize"
            | "Flatten"
            | "Transpose"
            | "DepthToSpace"
            | "Slice"
            | "Reshape"
            | "Gather"
            | "Squeeze"
            | "Unsqueeze"
            | "Expand"
            | "Split"
    )
}

/// The quantized layers of a model, and what is in the way of each.
pub(super) struct Reasons<'a> {
    /// The model.
    pub(super) wiring: &'a Wiring<'a>,
    /// How it is prepared.
    pub(super) settings: Settings,
}

impl<'a> Reasons<'a> {
    /// The layers that the file has quantized: those that compute with codes, or with numbers that were codes.
    pub(super) fn quantized(&self) -> impl Iterator<Item = usize> {
        (0..self.wiring.layers.len()).filter(|&index| {
            let layer = &self.wiring.layers[index];
            let is_other = matches!(
                layer.kind,
                LayerKind::QUANTIZE
                    | LayerKind::DEQUANTIZE
                    | LayerKind::QUANTIZE_DEQUANTIZE
                    | LayerKind::IDENTITY
                    | LayerKind::CONSTANT
                    | LayerKind::SHAPE
            ) || layer.op_type == "Cast"
                || named(&layer.outputs).all(|value| self.wiring.is_fixed(value));
            let reads_codes = || operands(layer).any(|(_, value)| self.dequantize(value).is_some());
            !is_other && (is_integer_operator(&layer.op_type) || reads_codes())
        })
    }

    /// Why a quantized layer is not computed in integers.
    pub(super) fn reason(&self, layer: usize) -> FloatReason {
        let layer = &self.wiring.layers[layer];
        let activations = || operands(layer).filter(|(_, value)| !self.wiring.is_fixed(value));
        if matches!(self.settings.optimization, Optimization::Disable | Optimization::Basic) {
            return FloatReason::new(
                "optimization-level",
                format!(
                    "the optimization level `{}` makes no integer kernels",
                    self.settings.optimization.name()
                ),
                "Use the level `extended` or `all`.",
            );
        }
        if activations().all(|(_, value)| self.dequantize(value).is_none()) {
            return FloatReason::new(
                "weight-only",
                "only its weight is quantized, and is turned into real numbers first",
                "Quantize what it reads as well, or the weight in blocks of 4 bits (`MatMulNBits`).",
            );
        }
        let needs = needs(layer);
        if needs == Needs::Nothing {
            return FloatReason::new(
                "no-kernel",
                format!(
                    "ONNX Runtime has no integer kernel for `{}`{}",
                    layer.op_type,
                    if interpolates(layer) { " that interpolates" } else { "" }
                ),
                "Leave its output unrounded, unless another runtime needs the codes: the rounding only costs accuracy here.",
            );
        }
        if let Some((value, dtype)) = operands(layer).find_map(|(_, value)| self.other_codes(value)) {
            return FloatReason::new(
                "code-type",
                format!(
                    "`{value}` is {}; integer kernels take int8 and uint8",
                    dtype.known_name().unwrap_or("of another type")
                ),
                "Quantize it to 8 bits if the layer should be fast.",
            );
        }
        let is_data = |role: InputRole| role == InputRole::DATA || role == InputRole::WEIGHT;
        if let Some((_, value)) =
            operands(layer).find(|(role, value)| is_data(*role) && self.dequantize(value).is_none())
        {
            return FloatReason::new(
                "float-input",
                format!("its input `{value}` is not quantized"),
                "Quantize that value, too.",
            );
        }
        let factor = |name: &str| {
            layer.attributes.iter().find(|attribute| attribute.name == name).and_then(|attribute| {
                match attribute.value {
                    AttributeValue::Float(number) => Some(number),
                    _ => None,
                }
            })
        };
        if let Some(alpha) = factor("alpha").filter(|alpha| layer.op_type == "Gemm" && *alpha != 1.0) {
            return FloatReason::new(
                "factor",
                format!("its factor alpha is {alpha}; the integer kernel takes 1"),
                "Multiply the weight by the factor before quantizing.",
            );
        }
        let reason = self
            .of_output(layer, needs)
            .or_else(|| self.of_scales(layer))
            .or_else(|| self.of_signed_codes(layer))
            .or_else(|| self.of_signed_operand(layer));
        reason.unwrap_or_else(|| FloatReason::new(
            "unexplained",
            "nothing in the graph says why",
            "Look at the layer and its neighbors with `layer`; another version of ONNX Runtime may differ."))
    }

    /// A layer that moves codes cannot change what they stand for.
    fn of_scales(&self, layer: &LayerInfo) -> Option<FloatReason> {
        if !moves_codes(&layer.op_type) {
            return None;
        }
        let parameters = |codes: &str| self.wiring.value(codes)?.quantization.as_ref().into_option();
        let read = self.dequantize(operands(layer).next()?.1)?;
        let before = parameters(named(&read.inputs).next()?)?;
        let after = self.rounding(named(&layer.outputs).next()?)?;
        let same = before.scales == after.scales && before.zero_points == after.zero_points;
        (!same).then(|| {
            FloatReason::new(
                "scale-changed",
                format!(
                    "it moves codes, and they mean {} before it and {} after it",
                    codes_text(before),
                    codes_text(after)
                ),
                "Give both values the same scale and zero point.",
            )
        })
    }

    /// As with activations of several readers: a stored operand stays int8.
    fn of_signed_operand(&self, layer: &LayerInfo) -> Option<FloatReason> {
        if !matches!(layer.op_type.as_str(), "Add" | "Mul" | "Concat" | "Where") {
            return None;
        }
        let is_stored_int8 =
            |codes: &&str| self.wiring.tensor(codes).is_some_and(|tensor| tensor.dtype == DType::INT8);
        let read = operands(layer).filter_map(|(_, value)| named(&self.dequantize(value)?.inputs).next());
        let codes = { read }.find(is_stored_int8)?;
        Some(FloatReason::new(
            "int8-stored-operand",
            format!(
                "its operand `{codes}` is stored as int8; on x86 the kernel takes uint8, and ONNX Runtime converts only activations"
            ),
            "Quantize to uint8 (`activation_type=QuantType.QUInt8`).",
        ))
    }

    /// On x86 the kernels compute with uint8. The runtime turns int8 activations into uint8, but not those that several
    /// layers read, and a layer needs one type at its inputs and its output.
    fn of_signed_codes(&self, layer: &LayerInfo) -> Option<FloatReason> {
        let read = operands(layer).filter_map(|(_, value)| named(&self.dequantize(value)?.inputs).next());
        let rounded = named(&layer.outputs).filter_map(|value| self.rounded(value));
        let is_shared_int8 = |codes: &&str| {
            let dtype = self.wiring.value(codes).map(|value| value.dtype);
            dtype == Some(DType::INT8) && self.uses_of_codes(codes) > 1
        };
        let codes = rounded.chain(read).find(is_shared_int8)?;
        Some(FloatReason::new(
            "int8-read-twice",
            format!(
                "`{codes}` is int8 and read by several layers; on x86 the kernels take uint8, and ONNX Runtime converts only what one layer reads"
            ),
            "Quantize activations as uint8 (`activation_type=QuantType.QUInt8`); weights can stay int8.",
        ))
    }

    /// What is in the way at the output.
    fn of_output(&self, layer: &LayerInfo, needs: Needs) -> Option<FloatReason> {
        let value = named(&layer.outputs).next()?;
        let others: Vec<&LayerInfo> =
            self.wiring.reading(value).filter(|reader| reader.kind != LayerKind::QUANTIZE).collect();
        let is_rounded = others.len() < self.wiring.readers(value).len();
        let is_output = self.wiring.is_output(value);
        match others[..] {
            [clamp] if !is_rounded && !is_output && clamp.kind == LayerKind::CLAMP => {
                let clamped = named(&clamp.outputs).next()?;
                match self.rounding(clamped) {
                    Some(codes) => Some(FloatReason::new(
                        "activation-kept",
                        format!(
                            "its `{}` is not part of the codes after it: {}, which reach beyond it",
                            clamp.op_type,
                            codes_text(codes)
                        ),
                        "Quantize the activation's output with codes that reach exactly as far as it: as uint8, or as int8 with zero point -128 (`ActivationSymmetric=False`).")),
                    None => Some(float_output(clamped)),
                }
                .filter(|_| needs == Needs::Rounding || clamp.op_type == "Relu")
            }
            _ if needs == Needs::CodesOnly => None,
            [] if is_rounded && !is_output => None,
            [function] if !is_rounded && !is_output => {
                let is_rounded = named(&function.outputs).any(|value| self.rounding(value).is_some());
                if is_rounded {
                    Some(FloatReason::new(
                        "function-between",
                        format!("`{}` comes before its rounding", function.path),
                        "Quantize the value between the two as well.",
                    ))
                } else {
                    Some(float_output(value))
                }
            }
            _ if !is_rounded => Some(float_output(value)),
            [] => Some(FloatReason::new(
                "output-shared",
                format!("its output `{value}` is an output of the model, too, in float"),
                "Let the model put out the dequantized value instead.",
            )),
            [first, ..] => Some(FloatReason::new(
                "output-shared",
                format!("its output is also read in float, by `{}`", first.path),
                "Let all layers that read the value read the dequantized one.",
            )),
        }
    }

    /// The layer that turns codes into this value.
    fn dequantize(&self, value: &str) -> Option<&'a LayerInfo> {
        let layer = &self.wiring.layers[self.wiring.producer(value)?];
        (layer.kind == LayerKind::DEQUANTIZE).then_some(layer)
    }

    /// The layers that round a value.
    fn roundings(&self, value: &str) -> impl Iterator<Item = &'a LayerInfo> {
        self.wiring.reading(value).filter(|reader| reader.kind == LayerKind::QUANTIZE)
    }

    /// How often numbers that these codes stand for are used. A value may be rounded by several layers, of which the
    /// runtime makes one.
    fn uses_of_codes(&self, codes: &str) -> usize {
        let rounding = self.wiring.producer(codes).map(|layer| &self.wiring.layers[layer]);
        let value = rounding.and_then(|rounding| named(&rounding.inputs).next()).unwrap_or_default();
        let numbers = self
            .roundings(value)
            .flat_map(|rounding| named(&rounding.outputs))
            .flat_map(|codes| self.wiring.reading(codes))
            .flat_map(|dequantize| named(&dequantize.outputs));
        numbers
            .map(|value| self.wiring.readers(value).len() + usize::from(self.wiring.is_output(value)))
            .sum()
    }

    /// The codes that a value is rounded to, by their name.
    fn rounded(&self, value: &str) -> Option<&'a str> {
        named(&self.roundings(value).next()?.outputs).next()
    }

    /// The parameters of these codes.
    fn rounding(&self, value: &str) -> Option<&'a QuantizationParameters> {
        self.wiring.value(self.rounded(value)?)?.quantization.as_ref().into_option()
    }

    /// A value that was codes of a type that no integer kernel takes.
    fn other_codes(&self, value: &'a str) -> Option<(&'a str, DType)> {
        let codes = named(&self.dequantize(value)?.inputs).next()?;
        let of_tensor = || self.wiring.tensor(codes).map(|tensor| tensor.dtype);
        let dtype = self.wiring.value(codes).map(|value| value.dtype).or_else(of_tensor)?;
        let is_8_bits = matches!(dtype, DType::INT8 | DType::UINT8 | DType::INT32 | DType::UNDEFINED);
        (!is_8_bits).then_some((value, dtype))
    }
}

fn float_output(value: &str) -> FloatReason {
    FloatReason::new(
        "float-output",
        format!("its output `{value}` is not rounded to codes"),
        "Quantize that value, too.",
    )
}

/// The inputs that a layer computes with.
fn operands(layer: &LayerInfo) -> impl Iterator<Item = (InputRole, &str)> {
    let roles = layer.roles.iter().copied().chain(std::iter::repeat(InputRole::DATA));
    let inputs = layer.inputs.iter().map(|name| name.as_str()).zip(roles);
    inputs
        .filter(|(name, role)| {
            !name.is_empty() && matches!(*role, InputRole::DATA | InputRole::WEIGHT | InputRole::BIAS)
        })
        .map(|(name, role)| (role, name))
}

/// `uint8 with zero point 128`.
fn codes_text(codes: &QuantizationParameters) -> String {
    let dtype = codes.dtype.known_name().unwrap_or("codes");
    match (codes.scales.as_slice(), codes.zero_points.as_slice()) {
        ([scale], [zero_point]) => format!("{dtype} with zero point {zero_point} and scale {scale:.4}"),
        _ => dtype.to_owned(),
    }
}
