//! What a variable stands for while code is followed.

use crate::pickle::Ref;
use crate::python::Function;
use qp_abi::sdk::RString;
use qp_pytorch_contract::program::Register;
use std::sync::Arc;

/// Arguments by name.
pub type Keywords = Vec<(String, Value)>;

/// A value: known before the run, or computed by it.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `None`.
    None,
    /// `...`.
    Ellipsis,
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A real number.
    Float(f64),
    /// A text.
    Text(String),
    /// An element type, by its number in `c10::ScalarType`.
    Dtype(i64),
    /// A memory format or a layout, by its number in `c10`.
    Code(i64),
    /// A device.
    Device,
    /// A list.
    List(Vec<Value>),
    /// A tuple.
    Tuple(Vec<Value>),
    /// A dictionary.
    Dictionary(Vec<(Value, Value)>),
    /// `start:stop:step`.
    Slice(Box<[Value; 3]>),
    /// A value that the run computes, or is given.
    Computed(Register),
    /// A stored tensor, by its name in the file.
    Stored(RString),
    /// A module of the pickle.
    Module(Ref),
    /// A function, class or module of Python by its path: `torch.nn.functional.relu`.
    Path(String),
    /// A method of a value.
    Method(Box<Value>, String),
    /// A function of our library with the module it is called on.
    Bound(Arc<Function>, Ref),
    /// Something of the pickle that no computation can use.
    Opaque(String),
}

impl Value {
    /// The elements of a list or tuple.
    pub fn elements(&self) -> Option<&[Self]> {
        match self {
            Self::List(elements) | Self::Tuple(elements) => Some(elements),
            _ => None,
        }
    }

    /// The number, if it is a known one; a boolean is one in Python.
    pub fn real(&self) -> Option<f64> {
        match self {
            Self::Int(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            Self::Bool(flag) => Some(f64::from(u8::from(*flag))),
            _ => None,
        }
    }

    /// The whole number, if it is a known one.
    pub fn int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Bool(flag) => Some(i64::from(*flag)),
            _ => None,
        }
    }

    /// Whether Python counts it as true; `None` for what only the run can tell.
    pub fn is_true(&self) -> Option<bool> {
        Some(match self {
            Self::None => false,
            Self::Bool(flag) => *flag,
            Self::Int(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(elements) | Self::Tuple(elements) => !elements.is_empty(),
            Self::Dictionary(entries) => !entries.is_empty(),
            Self::Computed(_) | Self::Stored(_) => return None,
            _ => true,
        })
    }

    /// Whether the run has to compute something to know it.
    pub fn is_computed(&self) -> bool {
        match self {
            Self::Computed(_) | Self::Stored(_) => true,
            Self::List(elements) | Self::Tuple(elements) => elements.iter().any(Self::is_computed),
            Self::Slice(parts) => parts.iter().any(Self::is_computed),
            Self::Dictionary(entries) => entries.iter().any(|(_, value)| value.is_computed()),
            _ => false,
        }
    }

    /// How many values it is made of, a text counting by its length, and how deep they are nested.
    pub fn extent(&self) -> (usize, usize) {
        /// Bytes of a text that count as one value.
        const TEXT: usize = 64;
        let within = |extents: &mut dyn Iterator<Item = (usize, usize)>| {
            extents.fold((1, 1), |(size, depth), (more, inner)| (size + more, depth.max(inner + 1)))
        };
        match self {
            Self::List(elements) | Self::Tuple(elements) => within(&mut elements.iter().map(Self::extent)),
            Self::Dictionary(entries) => {
                within(&mut entries.iter().flat_map(|(key, value)| [key.extent(), value.extent()]))
            }
            Self::Slice(parts) => within(&mut parts.iter().map(Self::extent)),
            Self::Method(value, name) => {
                let (size, depth) = within(&mut std::iter::once(value.extent()));
                (size + name.len() / TEXT, depth)
            }
            Self::Text(text) | Self::Path(text) | Self::Opaque(text) => (1 + text.len() / TEXT, 1),
            Self::Stored(name) => (1 + name.len() / TEXT, 1),
            _ => (1, 1),
        }
    }

    /// What kind of value it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::None => "`None`",
            Self::Ellipsis => "an ellipsis",
            Self::Bool(_) => "a boolean",
            Self::Int(_) | Self::Float(_) => "a number",
            Self::Text(_) => "a text",
            Self::Dtype(_) => "a dtype",
            Self::Code(_) => "a memory format",
            Self::Device => "a device",
            Self::List(_) => "a list",
            Self::Tuple(_) => "a tuple",
            Self::Dictionary(_) => "a dictionary",
            Self::Slice(_) => "a slice",
            Self::Computed(_) => "a computed value",
            Self::Stored(_) => "a stored tensor",
            Self::Module(_) => "a module",
            Self::Path(_) | Self::Method(..) | Self::Bound(..) => "a function",
            Self::Opaque(_) => "an object",
        }
    }
}
