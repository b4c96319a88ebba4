//! Stored tensors that are kept as values of the runtime: all sessions of a model share them, and none copies them.

use crate::proto::{TensorProto, dtype};
use bytemuck::{AnyBitPattern, NoUninit};
use half::{bf16, f16};
use ort::value::{DynValue, PrimitiveTensorElementType, Tensor};
use qp_abi::sdk::DType;
use std::fmt::Debug;
use std::sync::Arc;

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
    pub(super) fn value(&self) -> Arc<DynValue> {
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
