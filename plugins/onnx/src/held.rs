//! Stored tensors outside of a model's bytes: in a file, or kept as values of the runtime, which all sessions of a model share
//! and none copies.

use crate::proto::{StringStringEntryProto, TensorProto, code, dtype};
use bytemuck::{AnyBitPattern, NoUninit};
use bytes::Bytes;
use half::{bf16, f16};
use ort::value::{DynValue, PrimitiveTensorElementType, Tensor};
use qp_abi::sdk::DType;
use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::sync::Arc;

/// Stored tensors of at least this size may be outside of the model's bytes; copying a smaller one is faster than mapping it.
pub const OUTSIDE_FROM_BYTES: usize = 64 << 10;

/// The elements of tensors that edits have stored, by the location that the edited model gives for them. They are not
/// part of its bytes: neither encoding the model nor a session of it copies them.
pub type Held = HashMap<String, Arc<HeldTensor>>;

/// A stored tensor outside of its model.
#[derive(Debug)]
pub struct HeldTensor {
    name: String,
    value: Arc<DynValue>,
    bytes: fn(&DynValue) -> &[u8],
}

impl HeldTensor {
    /// A copy of `elements` with the name, type and shape of `tensor`; `None` for types without a counterpart in Rust, and
    /// for elements that do not fit the shape. The runtime must be loaded.
    pub fn of(tensor: &TensorProto, elements: &[u8]) -> Option<Self> {
        match dtype(tensor.data_type) {
            DType::FLOAT32 => held::<f32>(tensor, elements),
            DType::FLOAT64 => held::<f64>(tensor, elements),
            DType::FLOAT16 => held::<f16>(tensor, elements),
            DType::BFLOAT16 => held::<bf16>(tensor, elements),
            DType::INT8 => held::<i8>(tensor, elements),
            DType::INT16 => held::<i16>(tensor, elements),
            DType::INT32 => held::<i32>(tensor, elements),
            DType::INT64 => held::<i64>(tensor, elements),
            DType::UINT8 => held::<u8>(tensor, elements),
            DType::UINT16 => held::<u16>(tensor, elements),
            DType::UINT32 => held::<u32>(tensor, elements),
            DType::UINT64 => held::<u64>(tensor, elements),
            _ => None,
        }
    }

    /// The tensor's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The runtime's value.
    pub fn value(&self) -> Arc<DynValue> {
        Arc::clone(&self.value)
    }

    /// The elements, little-endian.
    pub fn bytes(&self) -> &[u8] {
        (self.bytes)(&self.value)
    }
}

fn held<T>(tensor: &TensorProto, elements: &[u8]) -> Option<HeldTensor>
where
    T: PrimitiveTensorElementType + NoUninit + AnyBitPattern + Debug + 'static,
{
    // Aligned, whatever the place of the bytes.
    let numbers: Vec<T> =
        elements.len().is_multiple_of(size_of::<T>()).then(|| bytemuck::pod_collect_to_vec(elements))?;
    let value = Tensor::from_array((tensor.dims.as_slice(), numbers)).ok()?;
    Some(HeldTensor { name: tensor.name.clone()?, value: Arc::new(value.into_dyn()), bytes: bytes::<T> })
}

fn bytes<T: PrimitiveTensorElementType + NoUninit>(value: &DynValue) -> &[u8] {
    value.try_extract_tensor::<T>().map_or(&[], |(_, elements)| bytemuck::cast_slice(elements))
}

/// Lets a tensor say that its elements are elsewhere.
pub fn move_to(tensor: &mut TensorProto, location: &str, offset: usize, length: usize) {
    let entry = |key: &str, value: String| StringStringEntryProto {
        key: Some(key.to_owned()),
        value: Some(value.into()),
    };
    tensor.external_data = vec![
        entry("location", location.to_owned()),
        entry("offset", offset.to_string()),
        entry("length", length.to_string()),
    ];
    tensor.data_location = Some(code::EXTERNAL);
    tensor.raw_data = None;
}

/// Forgets what no tensor has any more: the runtime refuses elements of tensors that do not exist.
pub fn forget_unused(held: &mut Held, tensors: &[TensorProto]) {
    let entries = tensors.iter().flat_map(|tensor| &tensor.external_data);
    let used: HashSet<&[u8]> = entries
        .filter(|entry| entry.key.as_deref() == Some("location"))
        .filter_map(|entry| entry.value.as_deref())
        .collect();
    held.retain(|location, _| used.contains(location.as_bytes()));
}

/// Gives the tensor these elements: small ones, and those that the runtime cannot share, as part of it; large ones outside
/// of the model, if there is a place for them.
pub fn give(tensor: &mut TensorProto, elements: &[u8], held: Option<&mut Held>) {
    let held = held.filter(|_| elements.len() >= OUTSIDE_FROM_BYTES);
    match held.and_then(|held| Some((HeldTensor::of(tensor, elements)?, held))) {
        Some((kept, held)) => {
            let location = |number: usize| format!(".qp/{number}");
            let mut number = held.len();
            while held.contains_key(&location(number)) {
                number += 1;
            }
            let location = location(number);
            move_to(tensor, &location, 0, elements.len());
            held.insert(location, Arc::new(kept));
        }
        None => tensor.raw_data = Some(Bytes::copy_from_slice(elements)),
    }
}
