//! The type of a value: element type and shape, or what it is if not a tensor.

use crate::proto::{TensorShapeProto, TypeProto, dtype, tensor_shape_proto, type_proto};
use qp_abi::sdk::{DType, Dimension};
use std::fmt;

/// What a file says about a value's type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// A tensor; `None` when not even the number of dimensions is known.
    Tensor(DType, Option<Vec<Dimension>>),
    /// A sparse tensor.
    SparseTensor(DType, Option<Vec<Dimension>>),
    /// A sequence of values of one type.
    Sequence(Box<ValueType>),
    /// A map from a type to another.
    Map(DType, Box<ValueType>),
    /// A value or none.
    Optional(Box<ValueType>),
    /// A type of another domain, by its name.
    Opaque(String),
}

impl ValueType {
    /// The element type of a dense tensor.
    pub fn tensor_dtype(&self) -> Option<DType> {
        match self {
            Self::Tensor(dtype, _) => Some(*dtype),
            _ => None,
        }
    }

    /// The shape of a dense tensor, if known.
    pub fn tensor_shape(&self) -> Option<&[Dimension]> {
        match self {
            Self::Tensor(_, shape) => shape.as_deref(),
            _ => None,
        }
    }
}

/// The ABI's name for types other than tensors: `sequence(tensor(float32))`.
impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tensor(dtype, _) => write!(f, "tensor({dtype})"),
            Self::SparseTensor(dtype, _) => write!(f, "sparse_tensor({dtype})"),
            Self::Sequence(inner) => write!(f, "sequence({inner})"),
            Self::Map(key, value) => write!(f, "map({key}, {value})"),
            Self::Optional(inner) => write!(f, "optional({inner})"),
            Self::Opaque(name) => write!(f, "opaque({name})"),
        }
    }
}

/// The type that a message describes; `None` if it describes none. The decoder limits its depth.
pub fn of(ty: Option<&TypeProto>) -> Option<ValueType> {
    use type_proto::Value;
    let inner =
        |ty: Option<&TypeProto>| Box::new(of(ty).unwrap_or(ValueType::Tensor(DType::UNDEFINED, None)));
    Some(match ty?.value.as_ref()? {
        Value::TensorType(ty) => ValueType::Tensor(dtype(ty.elem_type), ty.shape.as_ref().map(shape)),
        Value::SparseTensorType(ty) => {
            ValueType::SparseTensor(dtype(ty.elem_type), ty.shape.as_ref().map(shape))
        }
        Value::SequenceType(ty) => ValueType::Sequence(inner(ty.elem_type.as_deref())),
        Value::OptionalType(ty) => ValueType::Optional(inner(ty.elem_type.as_deref())),
        Value::MapType(ty) => ValueType::Map(dtype(ty.key_type), inner(ty.value_type.as_deref())),
        Value::OpaqueType(ty) => {
            let name = ty.name.as_deref().unwrap_or_default();
            ValueType::Opaque(match ty.domain.as_deref() {
                None | Some("") => name.to_owned(),
                Some(domain) => format!("{domain}.{name}"),
            })
        }
    })
}

fn shape(shape: &TensorShapeProto) -> Vec<Dimension> {
    use tensor_shape_proto::dimension::Value;
    shape
        .dim
        .iter()
        .map(|dimension| match &dimension.value {
            // Some exporters write a free size as a negative number.
            Some(Value::DimValue(size)) if *size >= 0 => Dimension::fixed(*size),
            Some(Value::DimParam(symbol)) if !symbol.is_empty() => Dimension::symbolic(symbol.clone()),
            _ => Dimension::unknown(),
        })
        .collect()
}
