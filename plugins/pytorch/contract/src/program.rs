//! A program: libtorch operators in the order of their calls, each with its arguments.
//!
//! Exported programs and eager modules become programs, so that one engine runs both. The plugin writes a program
//! from what it has read; the engine turns it into a TorchScript graph. Nothing in it can execute anything but an
//! operator registered in libtorch.

use abi_stable::StableAbi;
use abi_stable::std_types::{ROption, RString, RVec, Tuple2};

/// A value of the program: an input, a stored tensor, or a result of a call. Each has a unique number.
#[repr(transparent)]
#[derive(StableAbi, Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Register(pub u32);

/// Calls, with their inputs and outputs.
#[repr(C)]
#[derive(StableAbi, Debug, Clone, Default, PartialEq)]
pub struct Program {
    /// The names of the inputs.
    pub inputs: RVec<Input>,
    /// The stored tensors that the calls read.
    pub stored: RVec<Stored>,
    /// Calls whose results depend only on stored tensors, made once: they pack weights.
    pub setup: RVec<Call>,
    /// The calls of a run.
    pub calls: RVec<Call>,
    /// The outputs, by name.
    pub outputs: RVec<Tuple2<RString, Argument>>,
}

/// An input of a program.
#[repr(C)]
#[derive(StableAbi, Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// The value.
    pub register: Register,
    /// Its name.
    pub name: RString,
    /// Whether the program takes it as a whole number instead of a tensor.
    pub is_int: bool,
}

/// A stored tensor that a program reads.
#[repr(C)]
#[derive(StableAbi, Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The value.
    pub register: Register,
    /// Its name in the file.
    pub name: RString,
    /// Whether it is one of PyTorch's quantized tensors; codes that operators of the program dequantize are plain
    /// integers.
    pub is_quantized: bool,
}

/// One call of an operator.
#[repr(C)]
#[derive(StableAbi, Debug, Clone, PartialEq)]
pub struct Call {
    /// The operator with its namespace, `aten::conv2d`; one in [`PYTHON`] is what Python does with any value.
    pub operator: RString,
    /// The overload, if the file gives it; otherwise the arguments decide.
    pub overload: ROption<RString>,
    /// The arguments by position.
    pub arguments: RVec<Argument>,
    /// The arguments by name.
    pub keywords: RVec<Tuple2<RString, Argument>>,
    /// For a call of [`CONDITION`], what is computed if its argument is true, and what if it is not.
    pub branches: RVec<Branch>,
    /// The values that it computes.
    pub results: Results,
    /// Where the call is in the model, for messages: a node or the path of a module.
    pub place: RString,
}

/// Calls that a condition decides about. The values that they compute do not exist outside.
#[repr(C)]
#[derive(StableAbi, Debug, Clone, Default, PartialEq)]
pub struct Branch {
    /// The calls.
    pub calls: RVec<Call>,
    /// The results, one for each of the condition's.
    pub results: RVec<Argument>,
}

/// How the results of a call become values.
#[repr(u8)]
#[derive(StableAbi, Debug, Clone, PartialEq, Eq)]
pub enum Results {
    /// Everything as one value, which may be a tuple or a list.
    One(CallResult),
    /// One value per result, or per element of a list.
    Each(RVec<CallResult>),
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
#[repr(C)]
#[derive(StableAbi, Debug, Clone, PartialEq, Eq)]
pub struct CallResult {
    /// The value.
    pub register: Register,
    /// The name under which it can be captured; `None` if it belongs to no layer.
    pub name: ROption<RString>,
}

/// The namespace of Python's operations on values of any type: `getitem`, `getattr`.
pub const PYTHON: &str = "python";

/// The operator that makes the calls of one of its two branches.
pub const CONDITION: &str = "python::cond";

/// An argument of a call.
#[repr(u8)]
#[derive(StableAbi, Debug, Clone, PartialEq)]
pub enum Argument {
    /// `None`.
    None,
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A real number.
    Float(f64),
    /// A complex number: real part, imaginary part.
    Complex(f64, f64),
    /// A text.
    Text(RString),
    /// An element type, a layout or a memory format, by its number in `c10`.
    Code(i64),
    /// A device; always the CPU here.
    Device,
    /// A value that is computed, stored or an input.
    Value(Register),
    /// A list.
    List(RVec<Argument>),
    /// A tuple.
    Tuple(RVec<Argument>),
}
