//! The content of a model file as plain data: everything that the inspection commands print.

use crate::dtype::DType;
use crate::error::BackendError;
use crate::layer::{Bounds, InputCodes, InputRole, LayerKind, ValueOrigin, WeightUse};
use crate::manifest::Pair;
use crate::quant::QuantizationParameters;
use crate::tensor::{MOST_DIMENSIONS, element_count};
use abi_stable::StableAbi;
use abi_stable::std_types::{ROption, RString, RVec};

/// The most layers, stored tensors, values, findings or pairs that the host accepts in one description. The largest
/// published networks have some ten thousand layers.
pub const MOST_ITEMS: usize = 1 << 20;

/// One dimension of a shape: a size, a name for a free size, or neither.
#[repr(C)]
#[derive(StableAbi, Clone, Debug, PartialEq, Eq)]
pub struct Dimension {
    /// The size; -1 if it is not fixed.
    pub size: i64,
    /// The name of a size that is not fixed, for example `batch`; empty if it has none.
    pub symbol: RString,
}

impl Dimension {
    /// A dimension with this size.
    pub fn fixed(size: i64) -> Self {
        Self { size, symbol: RString::new() }
    }

    /// A free dimension with a name.
    pub fn symbolic(symbol: impl Into<String>) -> Self {
        Self { size: -1, symbol: RString::from(symbol.into()) }
    }

    /// An unknown dimension.
    pub fn unknown() -> Self {
        Self { size: -1, symbol: RString::new() }
    }
}

/// A value of the graph: an input, an output, or an activation between two layers.
#[repr(C)]
#[derive(StableAbi, Clone, Debug, Default, PartialEq)]
pub struct ValueInfo {
    /// The name, unique among the model's values.
    pub name: RString,
    /// `UNDEFINED` if the file does not declare it.
    pub dtype: DType,
    /// `RNone` when not even the number of dimensions is known; an empty shape is a scalar.
    pub shape: ROption<RVec<Dimension>>,
    /// How this value's integer codes, or the codes it was rounded to, turn into real values.
    pub quantization: ROption<QuantizationParameters>,
    /// The type of a value that is not a tensor: `sequence(tensor(float32))`, `optional(…)`, `map(…)`; empty for a
    /// tensor.
    pub type_name: RString,
    /// Whether it is computed from the inputs' elements, from their shapes, or from stored tensors only.
    pub origin: ValueOrigin,
    /// For an input: whether it is optional, because the model has a default for it.
    pub is_optional: bool,
}

impl ValueInfo {
    /// A value about which only name and type are known.
    pub fn new(name: impl Into<String>, dtype: DType) -> Self {
        Self { name: RString::from(name.into()), dtype, ..Self::default() }
    }
}

/// One attribute of a layer.
#[repr(C)]
#[derive(StableAbi, Clone, Debug, PartialEq)]
pub struct Attribute {
    /// The name.
    pub name: RString,
    /// The value.
    pub value: AttributeValue,
}

/// The value of an attribute. `Other`, described in words, if no other variant fits.
#[repr(u8)]
#[derive(StableAbi, Clone, Debug, PartialEq)]
pub enum AttributeValue {
    /// A whole number; a boolean is 0 or 1.
    Int(i64),
    /// A real number.
    Float(f64),
    /// A text; bytes that are not UTF-8 are replaced.
    Text(RString),
    /// Whole numbers.
    Ints(RVec<i64>),
    /// Real numbers.
    Floats(RVec<f64>),
    /// Texts.
    Texts(RVec<RString>),
    /// A tensor, by the name under which `ModelInfo::tensors` lists it.
    Tensor(RString),
    /// Subgraphs, by the `scope` of their layers.
    Graphs(RVec<RString>),
    /// Anything else, in words.
    Other(RString),
}

/// A layer: a node of the graph (ONNX) or a module (PyTorch).
#[repr(C)]
#[derive(StableAbi, Clone, Debug, Default, PartialEq)]
pub struct LayerInfo {
    /// The full path, unique in the model and never empty: `layer1.conv1`, `/block1/conv1/Conv`.
    pub path: RString,
    /// The operator or the class, without its domain or module: `Conv`, `Conv2d`.
    pub op_type: RString,
    /// The operator's domain or the class's module; empty for the default one.
    pub domain: RString,
    /// What encloses it: a subgraph, a function, a parent module; empty at the top.
    pub scope: RString,
    /// Names of the values and stored tensors it reads, in order; an omitted one is empty.
    pub inputs: RVec<RString>,
    /// Names of the values it computes, in order; an omitted one is empty.
    pub outputs: RVec<RString>,
    /// Names of the stored tensors that belong to it, its quantization parameters included.
    pub tensors: RVec<RString>,
    /// The attributes, in the order of the file.
    pub attributes: RVec<Attribute>,
    /// How it is quantized: `qdq`, `qoperator`, `dynamic`, `weight-only`, `static`, …; empty if it is not.
    pub quantization: RString,
    /// What it does.
    pub kind: LayerKind,
    /// What each of `inputs` means to it; inputs beyond the end of this list are data.
    pub roles: RVec<InputRole>,
    /// Which stored tensors are its weights and biases, the weight first; also those it reads through layers that
    /// only move, dequantize or round them.
    pub weights: RVec<WeightUse>,
    /// Whether it is inside a graph that another layer holds, such as a branch, the body of a loop or a function: its
    /// values cannot be captured.
    pub is_inner: bool,
    /// The bounds within which a clamp keeps its elements; also for a layer that clamps what it computes, such as a
    /// convolution with a built-in ReLU.
    pub bounds: ROption<Bounds>,
    /// The codes to which it rounds its inputs by itself. Empty if other layers round them.
    pub input_codes: RVec<InputCodes>,
}

impl LayerInfo {
    /// A layer about which only path and type are known.
    pub fn new(path: impl Into<String>, op_type: impl Into<String>) -> Self {
        Self { path: RString::from(path.into()), op_type: RString::from(op_type.into()), ..Self::default() }
    }

    /// What the input at this index means to the layer.
    pub fn role(&self, index: usize) -> InputRole {
        self.roles.get(index).copied().unwrap_or_default()
    }
}

/// What a stored tensor is for. An open set.
#[repr(transparent)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TensorRole(pub u8);

impl TensorRole {
    /// A weight or a bias: set by training. ONNX initializers that feed a layer are parameters.
    pub const PARAMETER: Self = Self(1);
    /// State that is not a trained parameter, such as running means.
    pub const BUFFER: Self = Self(2);
    /// A constant of the graph: shapes, axes, Constant nodes that are not used like a weight.
    pub const CONSTANT: Self = Self(3);
    /// A scale or a zero point.
    pub const QUANTIZATION: Self = Self(4);

    /// The name as the host prints it.
    pub fn name(self) -> &'static str {
        match self {
            Self::PARAMETER => "parameter",
            Self::BUFFER => "buffer",
            Self::QUANTIZATION => "quantization",
            _ => "constant",
        }
    }
}

/// A stored tensor.
#[repr(C)]
#[derive(StableAbi, Clone, Debug, PartialEq)]
pub struct TensorInfo {
    /// The name, unique among the stored tensors of the model.
    pub name: RString,
    /// What it is for.
    pub role: TensorRole,
    /// The element type as stored.
    pub dtype: DType,
    /// The shape; empty for a scalar.
    pub shape: RVec<i64>,
    /// Bytes of the elements as stored.
    pub bytes: u64,
    /// The path of the layer that owns it; empty if there is none, or several.
    pub layer: RString,
    /// How its codes turn into real values; for a float tensor, the codes to which the graph rounds it before
    /// anything computes with it. `RNone` for a float tensor that is used as it is.
    pub quantization: ROption<QuantizationParameters>,
    /// The file that holds it, if not the model file; relative to the model's folder.
    pub external_file: RString,
    /// The name of an earlier tensor that shares its storage; empty when it has its own. Shared bytes are
    /// counted once.
    pub alias_of: RString,
    /// How its elements are stored if `dtype` has no name for it and codes, scales and zero points cannot express it:
    /// `q6_k`; empty otherwise. Its real values come through the request `read-real/1`.
    pub type_name: RString,
}

impl TensorInfo {
    /// What is contradictory about its shape and size, to be read after the tensor's name; `None` if nothing is.
    pub fn contradiction(&self) -> Option<String> {
        if self.shape.len() > MOST_DIMENSIONS {
            return Some(format!("has {} dimensions", self.shape.len()));
        }
        let Some(elements) = element_count(&self.shape) else {
            return Some(format!("has the shape {:?}", self.shape));
        };
        let is_as_large = self.dtype.bits() == 0 || self.dtype.packed_bytes(elements) == Some(self.bytes);
        (!is_as_large).then(|| format!("is {} {:?} and has {} bytes", self.dtype, self.shape, self.bytes))
    }
}

/// Something that the reader noticed and that a careful user wants to know.
#[repr(C)]
#[derive(StableAbi, Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How serious it is.
    pub severity: Severity,
    /// A short name for its kind: `pickle.dangerous-global`, `onnx.unknown-domain`.
    pub code: RString,
    /// One line for the user.
    pub message: RString,
    /// What it is about: globals, layers, tensors.
    pub subjects: RVec<RString>,
}

/// How serious a [`Finding`] is. An open set: the host treats unknown values as a warning.
#[repr(transparent)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Severity(pub u8);

impl Severity {
    /// Worth knowing.
    pub const NOTE: Self = Self(1);
    /// Probably a mistake.
    pub const WARNING: Self = Self(2);
    /// Opening this file with its usual tool would execute code that the file contains.
    pub const DANGER: Self = Self(3);
}

/// Everything that inspection finds in a model file.
#[repr(C)]
#[derive(StableAbi, Clone, Debug, PartialEq)]
pub struct ModelInfo {
    /// The name of the format, one of the manifest's.
    pub format: RString,
    /// The numeric precision of the weights and activations: `float32`, `float16`, `bfloat16`, `int8`,
    /// `uint8`, `int16`, `int4`, `uint4`, `mixed`, `dynamic-int8`, `weight-only-int4`, … as read from the
    /// content, never from the file's name.
    pub precision: RString,
    /// The form of quantization: `QDQ`, `QOperator`, `dynamic`, `weight-only`, `FX`, `PT2E`, `eager`, …;
    /// empty for a float model. Several are joined with ` + `.
    pub scheme: RString,
    /// What wrote the file, with its version when known.
    pub producer: RString,
    /// Versions: `ir_version`, `opset ai.onnx`, `archive version`, …
    pub versions: RVec<Pair>,
    /// The graph's inputs, without the stored tensors.
    pub inputs: RVec<ValueInfo>,
    /// The graph's outputs.
    pub outputs: RVec<ValueInfo>,
    /// The activations between layers about which anything is known.
    pub values: RVec<ValueInfo>,
    /// The layers, in the order of computation, or of the module tree.
    pub layers: RVec<LayerInfo>,
    /// The stored tensors.
    pub tensors: RVec<TensorInfo>,
    /// The file's own metadata.
    pub metadata: RVec<Pair>,
    /// What the reader noticed.
    pub findings: RVec<Finding>,
    /// Why this backend cannot run it on any machine; `RNone` if it can, given a runtime.
    pub run_obstacle: ROption<BackendError>,
    /// Any further information; the host ignores unknown names.
    pub extra: RVec<Pair>,
}

impl ModelInfo {
    /// What it lists more than [`MOST_ITEMS`] of, with the number; `None` if nothing.
    pub fn excess(&self) -> Option<String> {
        let counts = [
            ("layers", self.layers.len()),
            ("tensors", self.tensors.len()),
            ("values", self.values.len()),
            ("inputs", self.inputs.len()),
            ("outputs", self.outputs.len()),
            ("findings", self.findings.len()),
            ("pairs of metadata", self.metadata.len()),
        ];
        let (what, count) = counts.into_iter().find(|(_, count)| *count > MOST_ITEMS)?;
        Some(format!("{count} {what}, more than the limit of {MOST_ITEMS}"))
    }

    /// The description of a model in this format, otherwise empty.
    pub fn new(format: impl Into<String>) -> Self {
        Self {
            format: RString::from(format.into()),
            precision: RString::from("unknown"),
            scheme: RString::new(),
            producer: RString::new(),
            versions: RVec::new(),
            inputs: RVec::new(),
            outputs: RVec::new(),
            values: RVec::new(),
            layers: RVec::new(),
            tensors: RVec::new(),
            metadata: RVec::new(),
            findings: RVec::new(),
            run_obstacle: ROption::RNone,
            extra: RVec::new(),
        }
    }
}
