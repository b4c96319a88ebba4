//! Layers and their attributes.

use super::kind::{Bounds, InputRole, LayerKind, WeightUse};
use super::{ModelInfo, QuantizationParameters};
use crate::error::{Error, ErrorKind, Result};
use crate::spelling::nearest;

/// A layer: a node of the graph (ONNX) or a module (PyTorch).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayerInfo {
    /// The full path, unique in the model: `layer1.conv1`, `/block1/conv1/Conv`.
    pub path: String,
    /// The operator or the class, without its domain or module: `Conv`, `Conv2d`.
    pub op_type: String,
    /// The operator's domain or the class's module; `None` for the default one.
    pub domain: Option<String>,
    /// What encloses it: a subgraph, a function, a parent module; `None` at the top.
    pub scope: Option<String>,
    /// Names of the values and stored tensors it reads, in order; an omitted one is empty.
    pub inputs: Vec<String>,
    /// Names of the values it computes, in order; an omitted one is empty.
    pub outputs: Vec<String>,
    /// Names of the stored tensors that belong to it, its quantization parameters included.
    pub tensors: Vec<String>,
    /// The attributes, in the order of the file.
    pub attributes: Vec<Attribute>,
    /// How it is quantized: `qdq`, `qoperator`, `dynamic`, `weight-only`, `static`, …
    pub quantization: Option<String>,
    /// What it does.
    pub kind: LayerKind,
    /// What each of `inputs` means to it; inputs beyond the end of this list are data.
    pub roles: Vec<InputRole>,
    /// Its weights and biases, the weight first; also those that it reads through layers that only move, dequantize
    /// or round them.
    pub weights: Vec<WeightUse>,
    /// Whether it is inside a graph that another layer holds: its values cannot be captured.
    pub is_inner: bool,
    /// The bounds within which it keeps its elements.
    pub bounds: Option<Bounds>,
    /// The codes to which it rounds its inputs by itself, by input position.
    pub input_codes: Vec<(usize, QuantizationParameters)>,
}

impl LayerInfo {
    /// What the input at this index means to the layer.
    pub fn role(&self, index: usize) -> InputRole {
        self.roles.get(index).copied().unwrap_or_default()
    }

    /// The label of rows about one of its values: the layer's path, or for outputs after the first the value's name.
    pub fn label_of<'a>(&'a self, value: &'a str) -> &'a str {
        let place =
            self.outputs.iter().filter(|output| !output.is_empty()).position(|output| output == value);
        if place.is_some_and(|place| place > 0) { value } else { &self.path }
    }

    /// The codes to which it rounds the input at this index by itself.
    pub fn codes_of_input(&self, index: usize) -> Option<&QuantizationParameters> {
        self.input_codes.iter().find(|(input, _)| *input == index).map(|(_, codes)| codes)
    }

    /// Its inputs that are data, with their positions.
    pub fn data(&self) -> impl Iterator<Item = (usize, &str)> {
        let data = self
            .inputs
            .iter()
            .enumerate()
            .filter(|(place, name)| self.role(*place) == InputRole::Data && !name.is_empty());
        data.map(|(place, name)| (place, name.as_str()))
    }

    /// Whether two layers do the same kind of thing; layers of unknown kind do if their op types are equal.
    pub fn is_like(&self, other: &Self) -> bool {
        match (self.kind, other.kind) {
            (LayerKind::Other, LayerKind::Other) => self.op_type.eq_ignore_ascii_case(&other.op_type),
            (left, right) => left == right,
        }
    }

    /// The attribute with this name.
    pub fn attribute(&self, name: &str) -> Option<&AttributeValue> {
        self.attributes.iter().find(|attribute| attribute.name == name).map(|attribute| &attribute.value)
    }
}

/// The layer with this path, or the only one whose path ends so.
///
/// # Errors
/// `NotFound` with the most similar path; `Ambiguous` when several end so.
pub fn find_layer<'a>(text: &str, info: &'a ModelInfo) -> Result<&'a LayerInfo> {
    if let Some(layer) = info.layer(text) {
        return Ok(layer);
    }
    let ends_so = |layer: &&LayerInfo| {
        layer.path.strip_suffix(text).is_some_and(|before| before.ends_with(['.', '/', ':']))
    };
    let fitting: Vec<&LayerInfo> = info.layers.iter().filter(ends_so).collect();
    match fitting[..] {
        [one] => Ok(one),
        [] => {
            let error = Error::not_found(format!("no layer `{text}`"));
            let paths = info.layers.iter().map(|layer| layer.path.as_str());
            Err(match nearest(text, paths) {
                Some(near) => error.with_hint(format!("Did you mean `{near}`? `layers` lists all.")),
                None => error.with_hint("`layers` lists them."),
            })
        }
        [..] => {
            let paths: Vec<_> = fitting.iter().take(8).map(|layer| format!("`{}`", layer.path)).collect();
            Err(Error::new(ErrorKind::Ambiguous, format!("`{text}` matches {} layers", fitting.len()))
                .with_hint(format!("Choose one of {}.", paths.join(", "))))
        }
    }
}

/// One attribute of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribute {
    /// The name.
    pub name: String,
    /// The value.
    pub value: AttributeValue,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum AttributeValue {
    /// A whole number; a boolean is 0 or 1.
    Int(i64),
    /// A real number.
    Float(f64),
    /// A text.
    Text(String),
    /// Whole numbers.
    Ints(Vec<i64>),
    /// Real numbers.
    Floats(Vec<f64>),
    /// Texts.
    Texts(Vec<String>),
    /// A stored tensor.
    Tensor {
        /// Its name.
        tensor: String,
    },
    /// Subgraphs.
    Graphs {
        /// The scope of their layers.
        graphs: Vec<String>,
    },
    /// Anything else.
    Other {
        /// What it is, in words.
        other: String,
    },
}
