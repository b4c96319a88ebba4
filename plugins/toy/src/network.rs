//! A network in memory: the checked content of the file.

use crate::misbehaviour::Misbehaviour;
use qp_abi::sdk::*;

/// A network whose every name is declared before it is used.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Network {
    pub(crate) inputs: Vec<Input>,
    pub(crate) tensors: Vec<Stored>,
    pub(crate) layers: Vec<Layer>,
    pub(crate) outputs: Vec<String>,
    pub(crate) misbehaviour: Option<Misbehaviour>,
}

/// An input with this shape, in which `None` stands for a free size with this name: float32, or a switch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Input {
    pub(crate) name: String,
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<Dimension>,
}

/// A stored tensor with its elements.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stored {
    pub(crate) name: String,
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<i64>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) quantization: Option<Affine>,
    pub(crate) book: Option<Book>,
}

/// real = number(code) · scale(block): a table of numbers, and a scale for each block of neighbours.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Book {
    pub(crate) numbers: Vec<f32>,
    pub(crate) scales: Vec<f32>,
    pub(crate) block: usize,
}

impl Book {
    /// The type's name in the file and in `layers`.
    pub(crate) const NAME: &'static str = "book";

    /// The real numbers of codes; the reader has checked that they fit.
    pub(crate) fn reals(&self, codes: &[u8]) -> Vec<f32> {
        let blocks = codes.chunks(self.block).zip(&self.scales);
        let real = |code: &u8, scale: f32| self.numbers.get(usize::from(*code)).map(|number| number * scale);
        blocks.flat_map(|(codes, scale)| codes.iter().filter_map(|code| real(code, *scale))).collect()
    }
}

/// real = (q - zero_point) · scale, for the whole tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Affine {
    pub(crate) scale: f64,
    pub(crate) zero_point: f64,
}

/// A layer with one output.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Layer {
    pub(crate) path: String,
    pub(crate) operator: Operator,
    pub(crate) inputs: Vec<String>,
    pub(crate) output: String,
}

/// What a layer computes, element by element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Operator {
    /// The sum of two.
    Add,
    /// The product of two.
    Mul,
    /// The larger of one and zero.
    Relu,
    /// One, rounded to `int8` codes.
    Quantize(Affine),
    /// The second where the first, a switch, is on, otherwise the third. Only edited networks have it, no file does.
    Select,
}

impl Operator {
    /// The name in the file.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Add => "Add",
            Self::Mul => "Mul",
            Self::Relu => "Relu",
            Self::Quantize(_) => "Quantize",
            Self::Select => "Select",
        }
    }

    /// What it does, in the contract's words.
    pub(crate) fn kind(self) -> LayerKind {
        match self {
            Self::Add => LayerKind::ADDITION,
            Self::Mul => LayerKind::MULTIPLICATION,
            Self::Relu => LayerKind::CLAMP,
            Self::Quantize(_) => LayerKind::QUANTIZE,
            Self::Select => LayerKind::OTHER,
        }
    }

    /// The bounds within which it keeps its elements.
    pub(crate) fn bounds(self) -> ROption<Bounds> {
        match self {
            Self::Relu => RSome(Bounds { low: 0.0, high: f64::INFINITY }),
            Self::Add | Self::Mul | Self::Quantize(_) | Self::Select => RNone,
        }
    }

    /// What a stored tensor means to it.
    fn role_of_stored(self) -> InputRole {
        if self == Self::Add { InputRole::BIAS } else { InputRole::WEIGHT }
    }

    /// How many values it reads.
    pub(crate) fn arity(self) -> usize {
        match self {
            Self::Add | Self::Mul => 2,
            Self::Relu | Self::Quantize(_) => 1,
            Self::Select => 3,
        }
    }
}

impl Affine {
    /// As the contract describes it, for `int8` codes.
    pub(crate) fn parameters(self) -> QuantizationParameters {
        QuantizationParameters::per_tensor(DType::INT8, self.scale, self.zero_point)
    }

    /// The code of a real number: half to even, clamped to `int8`.
    pub(crate) fn quantize(self, real: f64) -> i8 {
        ((real / self.scale).round_ties_even() + self.zero_point).clamp(-128.0, 127.0) as i8
    }

    /// The real number of a code.
    pub(crate) fn dequantize(self, code: i8) -> f64 {
        (f64::from(code) - self.zero_point) * self.scale
    }
}

impl Stored {
    /// The elements as real numbers.
    pub(crate) fn reals(&self) -> Vec<f64> {
        if let Some(book) = &self.book {
            return book.reals(&self.bytes).into_iter().map(f64::from).collect();
        }
        match self.quantization {
            Some(affine) => {
                self.bytes.iter().map(|byte| affine.dequantize(i8::from_le_bytes([*byte]))).collect()
            }
            None => {
                let (numbers, _) = self.bytes.as_chunks::<4>();
                numbers.iter().map(|number| f64::from(f32::from_le_bytes(*number))).collect()
            }
        }
    }
}

impl Network {
    /// The layer whose output is `name`.
    fn maker(&self, name: &str) -> Option<&Layer> {
        self.layers.iter().find(|layer| layer.output == name)
    }

    /// How the value `name` is quantized, if a `Quantize` layer made it.
    pub(crate) fn affine(&self, name: &str) -> Option<Affine> {
        match self.maker(name)?.operator {
            Operator::Quantize(affine) => Some(affine),
            _ => None,
        }
    }

    /// The full result of inspection.
    pub(crate) fn info(&self) -> ModelInfo {
        let is_quantized = self.tensors.iter().any(|tensor| tensor.quantization.is_some());
        let input = |input: &Input| ValueInfo {
            shape: RSome(input.shape.clone().into()),
            ..value(&input.name, input.dtype)
        };
        let computed = |name: &String| match self.affine(name) {
            Some(affine) => {
                ValueInfo { quantization: RSome(affine.parameters()), ..value(name, DType::INT8) }
            }
            None => value(name, DType::FLOAT32),
        };
        let values = self.layers.iter().map(|layer| &layer.output);
        ModelInfo {
            precision: if is_quantized { "int8" } else { "float32" }.into(),
            versions: vec![pair("toy", "1")].into(),
            inputs: self.inputs.iter().map(input).collect(),
            outputs: self.outputs.iter().map(computed).collect(),
            values: values.filter(|name| !self.outputs.contains(name)).map(computed).collect(),
            layers: self.layers.iter().map(|layer| self.layer_info(layer)).collect(),
            tensors: self.tensors.iter().map(|tensor| self.tensor_info(tensor)).collect(),
            ..ModelInfo::new("toy")
        }
    }

    fn layer_info(&self, layer: &Layer) -> LayerInfo {
        let own = |name: &&String| self.tensors.iter().any(|tensor| tensor.name == **name);
        let number = |name: &str, value| Attribute { name: name.into(), value: AttributeValue::Float(value) };
        let attributes = match layer.operator {
            Operator::Quantize(affine) => {
                vec![number("scale", affine.scale), number("zero_point", affine.zero_point)]
            }
            _ => Vec::new(),
        };
        LayerInfo {
            path: layer.path.as_str().into(),
            op_type: layer.operator.name().into(),
            scope: layer.path.rsplit_once('.').map_or("", |(scope, _)| scope).into(),
            inputs: layer.inputs.iter().map(|name| name.as_str().into()).collect(),
            outputs: vec![layer.output.as_str().into()].into(),
            tensors: layer.inputs.iter().filter(own).map(|name| name.as_str().into()).collect(),
            attributes: attributes.into(),
            quantization: if self.affine(&layer.output).is_some() { "static" } else { "" }.into(),
            kind: layer.operator.kind(),
            roles: self.roles(layer),
            weights: layer.inputs.iter().filter(own).map(|name| self.weight(layer, name)).collect(),
            bounds: layer.operator.bounds(),
            ..LayerInfo::default()
        }
    }

    /// What each input of a layer means to it.
    fn roles(&self, layer: &Layer) -> RVec<InputRole> {
        let is_stored = |name: &String| self.tensors.iter().any(|tensor| tensor.name == *name);
        let role = |name| if is_stored(name) { layer.operator.role_of_stored() } else { InputRole::DATA };
        layer.inputs.iter().map(role).collect()
    }

    /// A stored tensor that a layer computes with; the channels are the last axis.
    fn weight(&self, layer: &Layer, name: &str) -> WeightUse {
        let rank =
            self.tensors.iter().find(|tensor| tensor.name == name).map_or(0, |tensor| tensor.shape.len());
        WeightUse {
            tensor: name.into(),
            role: layer.operator.role_of_stored(),
            channel_axis: if rank > 0 { RSome(rank as i64 - 1) } else { RNone },
            is_transposed: false,
        }
    }

    fn tensor_info(&self, tensor: &Stored) -> TensorInfo {
        let owners: Vec<&Layer> =
            self.layers.iter().filter(|layer| layer.inputs.contains(&tensor.name)).collect();
        TensorInfo {
            name: tensor.name.as_str().into(),
            role: TensorRole::PARAMETER,
            dtype: tensor.dtype,
            shape: tensor.shape.clone().into(),
            bytes: tensor.bytes.len() as u64,
            layer: if let [owner] = owners.as_slice() { owner.path.as_str() } else { "" }.into(),
            quantization: tensor.quantization.map(Affine::parameters).into(),
            external_file: RString::new(),
            alias_of: RString::new(),
            type_name: tensor.book.as_ref().map_or("", |_| Book::NAME).into(),
        }
    }
}

/// A value about which only the name and the type are known.
fn value(name: &str, dtype: DType) -> ValueInfo {
    ValueInfo::new(name, dtype)
}
