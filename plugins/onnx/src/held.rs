//! Stored tensors outside of a model's bytes: in a file, or in memory, from the first run on as values of the runtime, which all
//! sessions of a model share and none copies.

use crate::proto::{StringStringEntryProto, TensorProto, code, dtype};
use bytemuck::{AnyBitPattern, NoUninit};
use bytes::Bytes;
use half::{bf16, f16};
use ort::value::{DynValue, PrimitiveTensorElementType, Tensor};
use qp_abi::sdk::DType;
use qp_abi::tensor::element_count;
use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Stored tensors of at least this size may be outside of the model's bytes; copying a smaller one is faster than mapping it.
pub const OUTSIDE_FROM_BYTES: usize = 64 << 10;

/// The elements of tensors that edits have stored, by the location that the edited model gives for them. They are not
/// part of its bytes: neither encoding the model nor a session of it copies them.
pub type Held = HashMap<String, Arc<HeldTensor>>;

/// A stored tensor outside of its model.
#[derive(Debug)]
pub struct HeldTensor {
    name: String,
    elements: Box<dyn Elements>,
}

impl HeldTensor {
    /// A copy of `elements` with the name, type and shape of `tensor`; `None` for types without a counterpart in Rust, and
    /// for elements that do not fit the shape.
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

    /// The elements as a value of the runtime, which must be loaded: from the first call on, that is where they are.
    ///
    /// # Errors
    /// Those of the runtime.
    pub fn value(&self) -> ort::Result<Arc<DynValue>> {
        self.elements.value()
    }

    /// The elements, little-endian.
    pub fn bytes(&self) -> Bytes {
        self.elements.bytes()
    }
}

fn held<T: Number>(tensor: &TensorProto, elements: &[u8]) -> Option<HeldTensor> {
    let due = element_count(&tensor.dims)?.checked_mul(size_of::<T>() as u64)?;
    if elements.len() as u64 != due {
        return None;
    }
    // Aligned, whatever the place of the bytes.
    let numbers = Arc::new(bytemuck::pod_collect_to_vec(elements));
    let place = Mutex::new(Place::<T>::Here(numbers));
    let elements = Box::new(Numbers { shape: tensor.dims.clone(), place });
    Some(HeldTensor { name: tensor.name.clone()?, elements })
}

/// The elements of one tensor, whatever their type.
trait Elements: Debug + Send + Sync {
    fn bytes(&self) -> Bytes;
    fn value(&self) -> ort::Result<Arc<DynValue>>;
}

trait Number: PrimitiveTensorElementType + NoUninit + AnyBitPattern + Debug + Send + Sync + 'static {}

impl<T: PrimitiveTensorElementType + NoUninit + AnyBitPattern + Debug + Send + Sync + 'static> Number for T {}

#[derive(Debug)]
struct Numbers<T> {
    shape: Vec<i64>,
    place: Mutex<Place<T>>,
}

/// Where elements are: here until the runtime needs them, so that a process that only reads a changed model loads no runtime.
#[derive(Debug)]
enum Place<T> {
    Here(Arc<Vec<T>>),
    Runtime(Arc<DynValue>),
}

impl<T: Number> Elements for Numbers<T> {
    fn bytes(&self) -> Bytes {
        match &*self.place() {
            Place::Here(numbers) => Bytes::from_owner(Here(Arc::clone(numbers))),
            Place::Runtime(value) => Bytes::from_owner(InRuntime::<T>(Arc::clone(value), PhantomData)),
        }
    }

    fn value(&self) -> ort::Result<Arc<DynValue>> {
        let mut place = self.place();
        let numbers = match &mut *place {
            Place::Runtime(value) => return Ok(Arc::clone(value)),
            // Only somebody who reads them at this moment makes a copy necessary.
            Place::Here(numbers) => std::mem::take(numbers),
        };
        let numbers = Arc::try_unwrap(numbers).unwrap_or_else(|numbers| numbers.to_vec());
        let value = Arc::new(Tensor::from_array((self.shape.as_slice(), numbers))?.into_dyn());
        *place = Place::Runtime(Arc::clone(&value));
        Ok(value)
    }
}

impl<T> Numbers<T> {
    fn place(&self) -> MutexGuard<'_, Place<T>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Here<T>(Arc<Vec<T>>);

impl<T: Number> AsRef<[u8]> for Here<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

struct InRuntime<T>(Arc<DynValue>, PhantomData<T>);

impl<T: Number> AsRef<[u8]> for InRuntime<T> {
    fn as_ref(&self) -> &[u8] {
        self.0.try_extract_tensor::<T>().map_or(&[], |(_, elements)| bytemuck::cast_slice(elements))
    }
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
/// of the model.
pub fn give(tensor: &mut TensorProto, elements: &[u8], held: &mut Held) {
    let is_large = elements.len() >= OUTSIDE_FROM_BYTES;
    match is_large.then(|| HeldTensor::of(tensor, elements)).flatten() {
        Some(kept) => {
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
