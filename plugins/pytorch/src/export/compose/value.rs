//! What is known of the values of a program while it is written.

use super::size::Size;
use qp_abi::sdk::DType;
use qp_pytorch_contract::program::Register;
use std::collections::HashMap;

/// All values so far.
pub type Values = HashMap<Register, Known>;

/// What is known of a value.
#[derive(Clone, Debug)]
pub enum Known {
    Tensor(Tensor),
    /// A list of tensors.
    Tensors(Vec<Tensor>),
    Number(Number),
    /// A list of numbers, such as a shape.
    Numbers(Vec<Number>),
    /// Whether something is true of numbers.
    Truth,
}

/// A tensor.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// The name in the graph.
    pub name: String,
    pub shape: Shape,
    pub dtype: Type,
}

/// The shape of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    Sizes(Vec<Size>),
    /// That of an input whose number of dimensions is not known yet.
    OfInput(usize),
}

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Is(DType),
    /// That of an input, which is not known yet.
    OfInput(usize),
}

/// A whole number.
#[derive(Clone, Debug)]
pub struct Number {
    pub size: Size,
    pub source: Source,
}

/// Where a number comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// It is known.
    Known,
    /// The size of a tensor along an axis.
    Size(String, i64),
    /// A node computes it.
    Node(String),
}

impl Number {
    /// A known one.
    pub fn known(number: i64) -> Self {
        Self { size: Size::Fixed(number), source: Source::Known }
    }
}
