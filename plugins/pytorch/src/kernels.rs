//! The answer to `kernels/1`: with libtorch, every layer is its own kernel.
//!
//! A layer computes in integers if it puts out codes, as PyTorch's quantized modules and functions do, or is one of those
//! that round what they read (`quantized.dynamic`). What a program computes between `dequantize` and `quantize` is in
//! float: libtorch runs it as it is written.

use crate::document::Document;
use qp_abi::sdk::{
    Arithmetic, DType, FloatReason, Kernel, Kernels, LayerInfo, LayerKind, QuantizedLayer, RString,
    ValueInfo, ValueOrigin,
};
use std::collections::HashMap;

/// The runs with one folder in the option `profile`.
#[derive(Debug, Default)]
pub struct Profile {
    /// The option.
    pub folder: String,
    /// The values that libtorch computes.
    pub values: Vec<RString>,
    /// How long each run took, and each of the values in it.
    pub runs: Vec<(u64, Vec<u64>)>,
}

/// The answer about a document; `profile` has no runs if no times are wanted.
pub fn answer(document: &Document, profile: &Profile) -> Kernels {
    let graph = Graph::of(document);
    let places: HashMap<&str, usize> =
        profile.values.iter().enumerate().map(|(place, name)| (name.as_str(), place)).collect();
    let layers = || document.info.layers.iter().filter(|layer| graph.computes(layer));
    let kernels = layers().map(|layer| {
        let place = layer.outputs.first().and_then(|value| places.get(value.as_str()));
        let time = |times: &[u64]| place.and_then(|&place| times.get(place)).copied().unwrap_or(0);
        Kernel {
            name: layer.path.to_string(),
            operator: layer.op_type.to_string(),
            arithmetic: graph.arithmetic(layer),
            element_type: graph.element_type(layer).to_owned(),
            layers: vec![layer.path.to_string()],
            is_inner: false,
            times_ns: profile.runs.iter().map(|(_, times)| time(times)).collect(),
        }
    });
    Kernels {
        kernels: kernels.collect(),
        quantized: layers().filter_map(|layer| graph.quantized(layer)).collect(),
        runs_ns: profile.runs.iter().map(|(elapsed, _)| *elapsed).collect(),
    }
}

struct Graph<'a> {
    producers: HashMap<&'a str, &'a LayerInfo>,
    values: HashMap<&'a str, &'a ValueInfo>,
    /// The stored tensors that are codes.
    codes: HashMap<&'a str, DType>,
}

impl<'a> Graph<'a> {
    fn of(document: &'a Document) -> Self {
        let info = &document.info;
        let producers =
            info.layers.iter().flat_map(|layer| layer.outputs.iter().map(move |name| (name.as_str(), layer)));
        let values = info.values.iter().chain(&info.inputs).chain(&info.outputs);
        let codes = info.tensors.iter().filter(|tensor| tensor.quantization.is_some());
        Self {
            producers: producers.collect(),
            values: values.map(|value| (value.name.as_str(), value)).collect(),
            codes: codes.map(|tensor| (tensor.name.as_str(), tensor.dtype)).collect(),
        }
    }

    /// Whether libtorch computes something for it in each run: it is no module that only holds others, and no constant.
    fn computes(&self, layer: &LayerInfo) -> bool {
        let is_constant = |name: &RString| {
            self.values.get(name.as_str()).is_some_and(|value| value.origin == ValueOrigin::CONSTANT)
        };
        !layer.outputs.is_empty() && !layer.outputs.iter().all(is_constant)
    }

    /// The type of the codes that a layer puts out.
    fn codes_of(&self, layer: &LayerInfo) -> Option<DType> {
        let output = self.values.get(layer.outputs.first()?.as_str())?;
        let is_code = matches!(output.dtype, DType::INT8 | DType::UINT8 | DType::INT32);
        (is_code && output.quantization.is_some()).then_some(output.dtype)
    }

    fn arithmetic(&self, layer: &LayerInfo) -> Arithmetic {
        match layer.kind {
            LayerKind::QUANTIZE | LayerKind::DEQUANTIZE | LayerKind::QUANTIZE_DEQUANTIZE => {
                Arithmetic::Conversion
            }
            LayerKind::SHAPE => Arithmetic::Other,
            _ if self.codes_of(layer).is_some() || is_dynamic(layer) => Arithmetic::Integer,
            _ => Arithmetic::Float,
        }
    }

    fn element_type(&self, layer: &LayerInfo) -> &'static str {
        let of_value = |name: &RString| self.values.get(name.as_str()).map(|value| value.dtype);
        let dtype = match self.codes_of(layer) {
            Some(dtype) => Some(dtype),
            None => layer.outputs.iter().find_map(of_value).filter(|dtype| *dtype != DType::UNDEFINED),
        };
        dtype.and_then(DType::known_name).unwrap_or_default()
    }

    /// A quantized layer, and why it is not computed in integers.
    fn quantized(&self, layer: &'a LayerInfo) -> Option<QuantizedLayer> {
        let is_other = matches!(
            layer.kind,
            LayerKind::QUANTIZE
                | LayerKind::DEQUANTIZE
                | LayerKind::QUANTIZE_DEQUANTIZE
                | LayerKind::IDENTITY
                | LayerKind::SHAPE
        );
        let decoded = |kinds: &[LayerKind], is_constant: bool| {
            layer.inputs.iter().any(|name| {
                let origin = self.values.get(name.as_str()).map(|value| value.origin);
                let producer = self.producers.get(name.as_str());
                (origin == Some(ValueOrigin::CONSTANT)) == is_constant
                    && producer.is_some_and(|producer| kinds.contains(&producer.kind))
            })
        };
        const DECODERS: [LayerKind; 2] = [LayerKind::DEQUANTIZE, LayerKind::QUANTIZE_DEQUANTIZE];
        let reason = if is_other {
            return None;
        } else if self.arithmetic(layer) == Arithmetic::Integer {
            None
        } else if decoded(&DECODERS, false) {
            Some(FloatReason::new(
                "dequantized",
                "it reads real numbers that codes were turned into, and libtorch computes with them",
                "An exported program gets integer kernels when it is lowered, as by `torch.compile` with the quantizer for x86; or export to ONNX and quantize there.",
            ))
        } else if decoded(&DECODERS, true)
            || layer.tensors.iter().any(|name| self.codes.contains_key(name.as_str()))
        {
            Some(FloatReason::new(
                "weight-only",
                "only its weight is quantized, and is turned into real numbers first",
                "Quantize what it reads as well.",
            ))
        } else {
            return None;
        };
        Some(QuantizedLayer { layer: layer.path.to_string(), reason })
    }
}

/// Whether a layer rounds what it reads in each run, and computes with the codes.
fn is_dynamic(layer: &LayerInfo) -> bool {
    layer.domain.contains("quantized.dynamic") || !layer.input_codes.is_empty()
}
