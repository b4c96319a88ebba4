//! A whole model as one flat index: layers, values and stored tensors of the main graph, of all subgraphs and of all
//! functions, with what reads what.
//!
//! Names in an ONNX file are unique only within their graph. The index gives each layer, value and tensor a name that
//! is unique in the model:
//!
//! - **A layer's path** is the node's name if it has one and no other node of the model has the same; otherwise the
//!   operator's type and the node's index among the nodes of that type in its graph, from 0: `Conv_3` is the fourth
//!   Conv. Inside a subgraph or a function the scope comes first: `If_0/then_branch/Conv_0`.
//! - **A scope** is the path of the enclosing node and the attribute that holds the subgraph,
//!   `If_0/then_branch`, or the function's name; empty for the main graph.
//! - **A value or a tensor** keeps its name unless an earlier graph of the model has used it: then the scope and a
//!   slash come first. The tensor of a Constant node has the name of the node's output; a tensor in another attribute
//!   is `<layer>:<attribute>`.

mod builder;
mod circle;
mod constant;

use crate::proto::{SparseTensorProto, TensorProto};
use crate::value_type::ValueType;
pub use builder::index;
pub use constant::is_constant;
use qp_abi::sdk::{Attribute, AttributeValue};
use std::collections::{HashMap, HashSet};

/// The index of a value in [`Graph::values`].
pub type ValueId = usize;

/// Everything in a model that has a name.
#[derive(Debug, Default)]
pub struct Graph {
    /// The nodes in the order of the file; those of a subgraph follow the node that holds it, those of
    /// functions come last.
    pub layers: Vec<Layer>,
    /// The values that layers read and compute.
    pub values: Vec<Value>,
    /// The tensors stored in the file.
    pub tensors: Vec<Stored>,
    /// The main graph's inputs that must be fed: those that are not initializers.
    pub inputs: Vec<ValueId>,
    /// The main graph's outputs.
    pub outputs: Vec<ValueId>,
    /// The outputs of the graphs inside nodes, by scope.
    pub subgraphs: HashMap<String, Vec<ValueId>>,
    /// Domain and name of the model's own functions.
    pub functions: HashSet<(String, String)>,
}

/// A node.
#[derive(Debug)]
pub struct Layer {
    /// The unique path.
    pub path: String,
    /// The graph it is in; empty for the main one.
    pub scope: String,
    /// The operator.
    pub op_type: String,
    /// The operator's domain; empty for ONNX's own.
    pub domain: String,
    /// What it reads; `None` for an omitted input.
    pub inputs: Vec<Option<ValueId>>,
    /// What it computes; `None` for an omitted output.
    pub outputs: Vec<Option<ValueId>>,
    /// The attributes in the order of the file.
    pub attributes: Vec<Attribute>,
    /// Tensors in attributes, except those of Constant nodes, whose tensor is their output.
    pub tensors: Vec<usize>,
}

impl Layer {
    fn attribute(&self, name: &str) -> Option<&AttributeValue> {
        Some(&self.attributes.iter().find(|attribute| attribute.name == name)?.value)
    }

    /// The integer attribute with this name.
    pub fn int(&self, name: &str) -> Option<i64> {
        match self.attribute(name)? {
            AttributeValue::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// The float attribute with this name.
    pub fn float(&self, name: &str) -> Option<f64> {
        match self.attribute(name)? {
            AttributeValue::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// The integer-list attribute with this name.
    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        match self.attribute(name)? {
            AttributeValue::Ints(numbers) => Some(numbers.as_slice()),
            _ => None,
        }
    }

    /// The float-list attribute with this name.
    pub fn floats(&self, name: &str) -> Option<&[f64]> {
        match self.attribute(name)? {
            AttributeValue::Floats(numbers) => Some(numbers.as_slice()),
            _ => None,
        }
    }

    /// The text attribute with this name.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.attribute(name)? {
            AttributeValue::Text(text) => Some(text.as_str()),
            _ => None,
        }
    }

    /// The value at an input, if any.
    pub fn input(&self, slot: usize) -> Option<ValueId> {
        self.inputs.get(slot).copied().flatten()
    }

    /// The value at an output, if any.
    pub fn output(&self, slot: usize) -> Option<ValueId> {
        self.outputs.get(slot).copied().flatten()
    }
}

/// A value: something that flows along an edge of the graph.
#[derive(Debug, Default)]
pub struct Value {
    /// The unique name.
    pub name: String,
    /// What the file says about its type.
    pub ty: Option<ValueType>,
    /// The tensor that it stands for, if it is stored.
    pub stored: Option<usize>,
    /// The layer that computes it, and at which output.
    pub producer: Option<(usize, usize)>,
    /// The layers that read it, and at which input.
    pub readers: Vec<(usize, usize)>,
    /// Whether it is an output of its graph.
    pub is_output: bool,
}

/// A stored tensor.
#[derive(Debug)]
pub struct Stored {
    /// The unique name.
    pub name: String,
    /// Its elements.
    pub data: TensorData,
    /// The value that stands for it; `None` for one in an attribute.
    pub value: Option<ValueId>,
}

/// The content of a stored tensor.
#[derive(Debug)]
pub enum TensorData {
    /// All elements.
    Dense(Box<TensorProto>),
    /// The nonzero elements.
    Sparse(Box<SparseTensorProto>),
}

/// ONNX's own domain has two names.
pub fn domain(domain: Option<&str>) -> String {
    match domain {
        None | Some("ai.onnx") => String::new(),
        Some(domain) => domain.to_owned(),
    }
}
