//! Attributes that hold tensors, above all those of Constant nodes.

use super::{TensorData, domain};
use crate::proto::{AttributeProto, NodeProto, TensorProto, code};
use qp_abi::sdk::DType;

/// Whether a node is a Constant.
pub fn is_constant(node: &NodeProto) -> bool {
    node.op_type.as_deref() == Some("Constant") && domain(node.domain.as_deref()).is_empty()
}

/// The attribute field that holds the value; files before IR version 2 do not say.
pub fn attribute_type(attribute: &AttributeProto) -> i32 {
    match attribute.r#type {
        Some(kind) if kind != 0 => kind,
        _ if attribute.t.is_some() => code::TENSOR,
        _ if attribute.g.is_some() => code::GRAPH,
        _ if attribute.s.is_some() => code::STRING,
        _ if attribute.f.is_some() => code::FLOAT,
        _ if attribute.i.is_some() => code::INT,
        _ if !attribute.floats.is_empty() => code::FLOATS,
        _ if !attribute.ints.is_empty() => code::INTS,
        _ if !attribute.strings.is_empty() => code::STRINGS,
        _ if !attribute.tensors.is_empty() => code::TENSORS,
        _ if !attribute.graphs.is_empty() => code::GRAPHS,
        _ => 0,
    }
}

/// The tensor of a Constant node, whichever attribute holds it.
pub fn constant_tensor(node: &mut NodeProto) -> Option<TensorData> {
    let name = node.output.first().cloned();
    let attribute = node.attribute.iter_mut().find(|attribute| {
        attribute.ref_attr_name.as_deref().unwrap_or_default().is_empty()
            && attribute
                .name
                .as_deref()
                .is_some_and(|name| name == "value" || name == "sparse_value" || name.starts_with("value_"))
    })?;
    let of = |dtype: DType, dims: Vec<i64>| TensorProto {
        name: name.clone(),
        data_type: Some(i32::from(dtype.0)),
        dims,
        ..TensorProto::default()
    };
    let count = |length: usize| vec![i64::try_from(length).unwrap_or(i64::MAX)];
    let tensor = match attribute.name.as_deref()? {
        "value" => TensorProto { name, ..attribute.t.take()? },
        "sparse_value" => {
            return attribute.sparse_tensor.take().map(|tensor| TensorData::Sparse(Box::new(tensor)));
        }
        "value_float" => TensorProto { float_data: vec![attribute.f?], ..of(DType::FLOAT32, vec![]) },
        "value_floats" => TensorProto {
            float_data: attribute.floats.clone(),
            ..of(DType::FLOAT32, count(attribute.floats.len()))
        },
        "value_int" => TensorProto { int64_data: vec![attribute.i?], ..of(DType::INT64, vec![]) },
        "value_ints" => TensorProto {
            int64_data: attribute.ints.clone(),
            ..of(DType::INT64, count(attribute.ints.len()))
        },
        "value_string" => {
            TensorProto { string_data: vec![attribute.s.clone()?], ..of(DType::STRING, vec![]) }
        }
        "value_strings" => TensorProto {
            string_data: attribute.strings.clone(),
            ..of(DType::STRING, count(attribute.strings.len()))
        },
        _ => return None,
    };
    Some(TensorData::Dense(Box::new(tensor)))
}
