//! A program: operators of libtorch in the order in which they are called, each with its arguments.
//!
//! This is what exported programs and eager modules become, so that one engine runs both. The plugin writes it,
//! from what it has read; the engine, which compiles this file too, turns it into a graph of TorchScript's. Nothing
//! in it can execute anything but an operator that libtorch has registered.

use serde::{Deserialize, Serialize};

/// A value of the program: an input, a stored tensor, or a result of a call. Each has a number of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Register(pub u32);

/// Calls, and what they start from and lead to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Program {
    /// The names of the inputs.
    pub inputs: Vec<Input>,
    /// The stored tensors that the calls read.
    pub stored: Vec<Stored>,
    /// Calls whose results depend on stored tensors alone, made once: they pack weights.
    pub setup: Vec<Call>,
    /// The calls of a run.
    pub calls: Vec<Call>,
    /// The outputs, by name.
    pub outputs: Vec<(String, Argument)>,
}

/// An input of a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// The value.
    pub register: Register,
    /// Its name.
    pub name: String,
    /// Whether the program takes it as a whole number and not as a tensor.
    pub is_int: bool,
}

/// A stored tensor that a program reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// The value.
    pub register: Register,
    /// Its name in the file.
    pub name: String,
    /// Whether it is one of PyTorch's quantized tensors; codes that operators of the program turn into real values
    /// are plain integers.
    pub is_quantized: bool,
}

/// One call of an operator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// The operator with its namespace, `aten::conv2d`; one in [`PYTHON`] is what Python does with any value.
    pub operator: String,
    /// The overload, where the file says which; without it, the arguments decide.
    pub overload: Option<String>,
    /// The arguments by position.
    pub arguments: Vec<Argument>,
    /// The arguments by name.
    pub keywords: Vec<(String, Argument)>,
    /// Of a call of [`CONDITION`], what is computed when its argument is true, and what when it is not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<Branch>,
    /// The values that it computes.
    pub results: Results,
    /// Where the call stands in the model, for messages: a node or the path of a module.
    pub place: String,
}

/// Calls of which a condition decides whether they are made. Values that they compute are none outside.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Branch {
    /// The calls.
    pub calls: Vec<Call>,
    /// The results, one for each of the condition's.
    pub results: Vec<Argument>,
}

/// How the results of a call become values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Results {
    /// Whatever there is as one value, which may be a tuple or a list.
    One(CallResult),
    /// One value for each result, or for each element of a list.
    Each(Vec<CallResult>),
}

impl Results {
    /// The values, in order.
    pub fn all(&self) -> &[CallResult] {
        match self {
            Self::One(result) => std::slice::from_ref(result),
            Self::Each(results) => results,
        }
    }
}

/// A value that a call computes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallResult {
    /// The value.
    pub register: Register,
    /// The name under which it can be captured; `None` for one that is no layer's.
    pub name: Option<String>,
}

/// The code of `Fetch` with which the plugin gives the engine the stored tensors of a program.
pub const STORE: u8 = 128;

/// The namespace of what Python does with a value of any type: `getitem`, `getattr`.
pub const PYTHON: &str = "python";

/// The operator that makes the calls of one of its two branches.
pub const CONDITION: &str = "python::cond";

/// An argument of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Argument {
    /// `None`.
    None,
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A real number.
    Float(#[serde(with = "bits")] f64),
    /// A complex number: real part, imaginary part.
    Complex(#[serde(with = "bits")] f64, #[serde(with = "bits")] f64),
    /// A text.
    Text(String),
    /// An element type, a layout or a memory format, by its number in `c10`.
    Code(i64),
    /// A device; always the CPU here.
    Device,
    /// A value that is computed, stored or given.
    Value(Register),
    /// A list.
    List(Vec<Argument>),
    /// A tuple.
    Tuple(Vec<Argument>),
}

/// Real numbers as their bits: JSON has no infinity.
mod bits {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(number.to_bits())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        u64::deserialize(deserializer).map(f64::from_bits)
    }
}
