//! Tensors between the ABI and ONNX Runtime. Inputs are borrowed if their alignment allows it; outputs are always
//! borrowed.

use bytemuck::{AnyBitPattern, NoUninit};
use half::{bf16, f16};
use ort::session::SessionInputValue;
use ort::value::{DynTensorValueType, DynValue, Tensor, TensorRef, ValueType};
use ort::value::{PrimitiveTensorElementType, TensorElementType};
use qp_abi::sdk::{BackendError, DType, Result, Sink, TensorView};
use std::fmt::Debug;
use std::mem::size_of_val;

/// An input for the runtime.
///
/// # Errors
/// `UnsupportedOp` for an element type that cannot be passed, `InvalidInput` for invalid bytes.
pub fn to_input<'a>(view: &TensorView<'a>) -> Result<SessionInputValue<'a>> {
    match view.dtype {
        DType::FLOAT32 => numbers::<f32>(view),
        DType::FLOAT64 => numbers::<f64>(view),
        DType::FLOAT16 => numbers::<f16>(view),
        DType::BFLOAT16 => numbers::<bf16>(view),
        DType::INT8 => numbers::<i8>(view),
        DType::INT16 => numbers::<i16>(view),
        DType::INT32 => numbers::<i32>(view),
        DType::INT64 => numbers::<i64>(view),
        DType::UINT8 => numbers::<u8>(view),
        DType::UINT16 => numbers::<u16>(view),
        DType::UINT32 => numbers::<u32>(view),
        DType::UINT64 => numbers::<u64>(view),
        DType::BOOL => booleans(view),
        DType::STRING => strings(view),
        dtype => Err(BackendError::unsupported_op(format!(
            "the input `{}` is of type {dtype}, which cannot be passed to ONNX Runtime",
            view.name
        ))),
    }
}

fn refused(view: &TensorView<'_>, error: &ort::Error) -> BackendError {
    BackendError::invalid_input(format!("ONNX Runtime refuses the input `{}`", view.name))
        .with_cause(error.to_string())
}

fn numbers<'a, T>(view: &TensorView<'a>) -> Result<SessionInputValue<'a>>
where
    T: PrimitiveTensorElementType + NoUninit + AnyBitPattern + Debug + 'static,
{
    let bytes: &'a [u8] = view.bytes.as_slice();
    let shape = view.shape.as_slice();
    match bytemuck::try_cast_slice::<u8, T>(bytes) {
        Ok(elements) => TensorRef::from_array_view((shape, elements)).map(SessionInputValue::from),
        Err(_) => {
            // The host's buffer may start anywhere; the runtime needs aligned elements.
            let elements: Vec<T> = bytemuck::pod_collect_to_vec(bytes);
            Tensor::from_array((shape, elements)).map(SessionInputValue::from)
        }
    }
    .map_err(|error| refused(view, &error))
}

fn booleans<'a>(view: &TensorView<'a>) -> Result<SessionInputValue<'a>> {
    let bytes: &'a [u8] = view.bytes.as_slice();
    let elements: &'a [bool] = bytemuck::checked::try_cast_slice(bytes).map_err(|_| {
        BackendError::invalid_input(format!("the input `{}` holds booleans that are not 0 or 1", view.name))
    })?;
    let tensor = TensorRef::from_array_view((view.shape.as_slice(), elements));
    tensor.map(SessionInputValue::from).map_err(|error| refused(view, &error))
}

fn strings<'a>(view: &TensorView<'a>) -> Result<SessionInputValue<'a>> {
    let texts = unpack_strings(view.bytes.as_slice()).ok_or_else(|| {
        BackendError::invalid_input(format!("the input `{}` holds no well-formed strings", view.name))
    })?;
    let texts: Vec<String> = texts.into_iter().map(str::to_owned).collect();
    let tensor = Tensor::from_string_array((view.shape.to_vec(), texts.as_slice()));
    tensor.map(SessionInputValue::from).map_err(|error| refused(view, &error))
}

/// The strings, each packed in the ABI as a length and UTF-8 bytes.
pub fn unpack_strings(mut bytes: &[u8]) -> Option<Vec<&str>> {
    let mut texts = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let (text, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        texts.push(std::str::from_utf8(text).ok()?);
        bytes = rest;
    }
    bytes.is_empty().then_some(texts)
}

/// Delivers an output: a tensor, or each tensor of a sequence as `name[0]`, `name[1]`, ….
///
/// # Errors
/// `UnsupportedOp` for anything else; the sink's own.
pub fn deliver(name: &str, value: &DynValue, sink: &mut Sink<'_>) -> Result<()> {
    match value.dtype() {
        ValueType::Tensor { ty, .. } => deliver_tensor(name, *ty, value, sink),
        ValueType::Sequence(inner) if inner.is_tensor() => {
            let sequence =
                value.view().downcast::<ort::value::DynSequenceValueType>().map_err(|e| lost(name, &e))?;
            let items =
                sequence.try_extract_sequence::<DynTensorValueType>().map_err(|error| lost(name, &error))?;
            for (index, item) in items.into_iter().enumerate() {
                deliver(&format!("{name}[{index}]"), &item.into_dyn(), sink)?;
            }
            Ok(())
        }
        other => Err(BackendError::unsupported_op(format!(
            "the output `{name}` is of type `{other}`, which is not a tensor"
        ))),
    }
}

fn lost(name: &str, error: &ort::Error) -> BackendError {
    BackendError::runtime_failed(format!("cannot read the output `{name}`")).with_cause(error.to_string())
}

fn deliver_tensor(name: &str, ty: TensorElementType, value: &DynValue, sink: &mut Sink<'_>) -> Result<()> {
    macro_rules! deliver_as {
        ($rust:ty, $dtype:ident) => {{
            let (shape, elements) =
                value.try_extract_tensor::<$rust>().map_err(|error| lost(name, &error))?;
            sink.tensor(TensorView::whole(name, DType::$dtype, shape, bytemuck::cast_slice(elements)))
        }};
    }
    match ty {
        TensorElementType::Float32 => deliver_as!(f32, FLOAT32),
        TensorElementType::Float64 => deliver_as!(f64, FLOAT64),
        TensorElementType::Float16 => deliver_as!(f16, FLOAT16),
        TensorElementType::Bfloat16 => deliver_as!(bf16, BFLOAT16),
        TensorElementType::Int8 => deliver_as!(i8, INT8),
        TensorElementType::Int16 => deliver_as!(i16, INT16),
        TensorElementType::Int32 => deliver_as!(i32, INT32),
        TensorElementType::Int64 => deliver_as!(i64, INT64),
        TensorElementType::Uint8 => deliver_as!(u8, UINT8),
        TensorElementType::Uint16 => deliver_as!(u16, UINT16),
        TensorElementType::Uint32 => deliver_as!(u32, UINT32),
        TensorElementType::Uint64 => deliver_as!(u64, UINT64),
        TensorElementType::Bool => deliver_as!(bool, BOOL),
        TensorElementType::String => {
            let (shape, texts) = value.try_extract_strings().map_err(|error| lost(name, &error))?;
            let mut packed = Vec::with_capacity(texts.iter().map(|text| 4 + text.len()).sum::<usize>());
            for text in &texts {
                let length = u32::try_from(text.len()).map_err(|_| {
                    BackendError::runtime_failed(format!("`{name}` holds a string over 4 GiB"))
                })?;
                packed.extend_from_slice(&length.to_le_bytes());
                packed.extend_from_slice(text.as_bytes());
            }
            sink.tensor(TensorView::whole(name, DType::STRING, shape, &packed))
        }
        other => deliver_bytes(name, other, value, sink),
    }
}

/// The type by its ONNX code, which is also the ABI's.
pub fn dtype_of(ty: TensorElementType) -> Option<DType> {
    Some(match ty {
        TensorElementType::Float32 => DType::FLOAT32,
        TensorElementType::Float64 => DType::FLOAT64,
        TensorElementType::Float16 => DType::FLOAT16,
        TensorElementType::Bfloat16 => DType::BFLOAT16,
        TensorElementType::Int8 => DType::INT8,
        TensorElementType::Int16 => DType::INT16,
        TensorElementType::Int32 => DType::INT32,
        TensorElementType::Int64 => DType::INT64,
        TensorElementType::Uint8 => DType::UINT8,
        TensorElementType::Uint16 => DType::UINT16,
        TensorElementType::Uint32 => DType::UINT32,
        TensorElementType::Uint64 => DType::UINT64,
        TensorElementType::Bool => DType::BOOL,
        TensorElementType::String => DType::STRING,
        TensorElementType::Complex64 => DType::COMPLEX64,
        TensorElementType::Complex128 => DType::COMPLEX128,
        TensorElementType::Float8E4M3FN => DType::FLOAT8_E4M3FN,
        TensorElementType::Float8E4M3FNUZ => DType::FLOAT8_E4M3FNUZ,
        TensorElementType::Float8E5M2 => DType::FLOAT8_E5M2,
        TensorElementType::Float8E5M2FNUZ => DType::FLOAT8_E5M2FNUZ,
        TensorElementType::Float8E8M0 => DType::FLOAT8_E8M0,
        TensorElementType::Float4E2M1 => DType::FLOAT4_E2M1,
        TensorElementType::Uint4 => DType::UINT4,
        TensorElementType::Int4 => DType::INT4,
        TensorElementType::Uint2 => DType::UINT2,
        TensorElementType::Int2 => DType::INT2,
        _ => return None,
    })
}

/// A tensor of a type that Rust lacks.
fn deliver_bytes(name: &str, ty: TensorElementType, value: &DynValue, sink: &mut Sink<'_>) -> Result<()> {
    let unknown = || {
        BackendError::unsupported_op(format!(
            "the output `{name}` is of type `{ty}`, which cannot be delivered"
        ))
    };
    let dtype = dtype_of(ty).ok_or_else(unknown)?;
    let tensor = value.view().downcast::<DynTensorValueType>().map_err(|error| lost(name, &error))?;
    let shape = tensor.shape();
    let elements = qp_abi::sdk::element_count(shape).ok_or_else(unknown)?;
    let size =
        dtype.packed_bytes(elements).and_then(|size| usize::try_from(size).ok()).ok_or_else(unknown)?;
    let pointer = tensor.data_ptr().cast::<u8>();
    let bytes: &[u8] = if size == 0 || pointer.is_null() || !tensor.memory_info().is_cpu_accessible() {
        &[]
    } else {
        #[expect(unsafe_code, reason = "ort has no typed access to elements of these types")]
        // SAFETY: the pointer is to the tensor's elements in CPU memory, which ONNX Runtime stores dense and packed,
        // so there are `size` bytes; they live as long as `tensor`, which outlives the slice.
        unsafe {
            std::slice::from_raw_parts(pointer, size)
        }
    };
    debug_assert!(size_of_val(bytes) == size || bytes.is_empty());
    if bytes.len() != size {
        return Err(unknown());
    }
    sink.tensor(TensorView::whole(name, dtype, shape, bytes))
}

#[cfg(test)]
mod tests {
    use super::unpack_strings;

    #[test]
    fn strings_are_unpacked_or_refused() {
        assert_eq!(unpack_strings(b"\x02\0\0\0ab\0\0\0\0"), Some(vec!["ab", ""]));
        assert_eq!(unpack_strings(b""), Some(vec![]));
        assert_eq!(unpack_strings(b"\x03\0\0\0ab"), None);
        assert_eq!(unpack_strings(b"\x01\0\0\0\xff"), None);
        assert_eq!(unpack_strings(b"\x01\0"), None);
    }
}
