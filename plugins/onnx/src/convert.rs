//! Converts a tensor message to dense little-endian elements, as the ABI wants them.

use crate::proto::{TensorProto, code, dtype};
use bytes::Bytes;
use qp_abi::sdk::{BackendError, DType, Result, element_count};

/// The `*_data` field that holds a type's elements when `raw_data` does not, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    /// `float_data`: this many numbers per element.
    Float(u64),
    /// `double_data`: this many numbers per element.
    Double(u64),
    /// `int32_data`: one number per this many bytes of the packed elements (1, 2 or 4).
    Int32(usize),
    Int64,
    /// `uint64_data`: the low bytes, this many, of each number (4 or 8).
    Uint64(usize),
}

fn typed_field(dtype: DType) -> Option<Field> {
    Some(match dtype {
        DType::FLOAT32 => Field::Float(1),
        DType::COMPLEX64 => Field::Float(2),
        DType::FLOAT64 => Field::Double(1),
        DType::COMPLEX128 => Field::Double(2),
        DType::INT64 => Field::Int64,
        DType::UINT32 => Field::Uint64(4),
        DType::UINT64 => Field::Uint64(8),
        _ => match dtype.bits() {
            1..=8 => Field::Int32(1),
            16 => Field::Int32(2),
            32 => Field::Int32(4),
            _ => return None,
        },
    })
}

/// The name of a tensor in messages.
fn label(tensor: &TensorProto) -> &str {
    tensor.name.as_deref().unwrap_or_default()
}

fn corrupt(tensor: &TensorProto, reason: &str) -> BackendError {
    BackendError::corrupt_file(format!("tensor `{}`: {reason}", label(tensor)))
}

/// Whether the elements are in another file.
pub fn is_external(tensor: &TensorProto) -> bool {
    tensor.data_location == Some(code::EXTERNAL)
}

/// The size in bytes of the dense elements, checked against the declared shape, without touching any element.
///
/// # Errors
/// `CorruptFile` when shape and content contradict each other.
pub fn dense_bytes(tensor: &TensorProto) -> Result<u64> {
    let elements = element_count(&tensor.dims)
        .ok_or_else(|| corrupt(tensor, &format!("the shape {:?} is impossible", tensor.dims)))?;
    if tensor.segment.is_some() {
        return Err(BackendError::unsupported_op(format!(
            "tensor `{}` is stored in segments, which is not supported",
            label(tensor)
        )));
    }
    let dtype = dtype(tensor.data_type);
    if dtype == DType::STRING {
        return string_bytes(tensor, elements);
    }
    let raw = raw_data(tensor);
    if dtype.bits() == 0 {
        if is_external(tensor) {
            return Ok(0);
        }
        // A type from the future: listed, but never decoded.
        return Ok(raw.map_or(0, |raw| raw.len() as u64));
    }
    let expected = dtype.packed_bytes(elements).ok_or_else(|| {
        corrupt(tensor, &format!("the shape {:?} of {dtype} is too large for memory", tensor.dims))
    })?;
    if is_external(tensor) {
        return Ok(expected);
    }
    let mismatch = |found: u64, unit: &str, wanted: u64| {
        corrupt(
            tensor,
            &format!("{dtype} of shape {:?} takes {wanted} {unit}, the file holds {found}", tensor.dims),
        )
    };
    if let Some(raw) = raw {
        let found = raw.len() as u64;
        return if found == expected { Ok(expected) } else { Err(mismatch(found, "bytes", expected)) };
    }
    let (found, wanted) = match typed_field(dtype) {
        Some(Field::Float(numbers)) => (tensor.float_data.len(), elements.checked_mul(numbers)),
        Some(Field::Double(numbers)) => (tensor.double_data.len(), elements.checked_mul(numbers)),
        Some(Field::Int32(bytes)) => (tensor.int32_data.len(), Some(expected / bytes as u64)),
        Some(Field::Int64) => (tensor.int64_data.len(), Some(elements)),
        Some(Field::Uint64(_)) => (tensor.uint64_data.len(), Some(elements)),
        None => (0, Some(elements)),
    };
    if wanted == Some(found as u64) {
        Ok(expected)
    } else {
        Err(mismatch(found as u64, "numbers", wanted.unwrap_or(u64::MAX)))
    }
}

fn string_bytes(tensor: &TensorProto, elements: u64) -> Result<u64> {
    if is_external(tensor) || tensor.raw_data.is_some() {
        return Err(corrupt(tensor, "strings must be in `string_data`"));
    }
    let found = tensor.string_data.len() as u64;
    if found != elements {
        return Err(corrupt(tensor, &format!("{elements} strings are declared, the file holds {found}")));
    }
    Ok(tensor.string_data.iter().map(|text| 4 + text.len() as u64).sum())
}

/// `raw_data`, unless it is empty and a typed field is not: both ways of writing "nothing" exist.
fn raw_data(tensor: &TensorProto) -> Option<&Bytes> {
    let has_typed = !(tensor.float_data.is_empty()
        && tensor.int32_data.is_empty()
        && tensor.int64_data.is_empty()
        && tensor.double_data.is_empty()
        && tensor.uint64_data.is_empty());
    tensor.raw_data.as_ref().filter(|raw| !(raw.is_empty() && has_typed))
}

/// The dense elements of a tensor whose data is in the model file: a slice of the file if it stores them in that
/// form, otherwise converted.
///
/// # Errors
/// As [`dense_bytes`].
pub fn dense(tensor: &TensorProto) -> Result<Bytes> {
    let size = dense_bytes(tensor)?;
    let dtype = dtype(tensor.data_type);
    if dtype == DType::STRING {
        let mut packed = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        for text in &tensor.string_data {
            // The ABI wants UTF-8; invalid bytes are replaced, as in attributes.
            let text = String::from_utf8_lossy(text);
            let length =
                u32::try_from(text.len()).map_err(|_| corrupt(tensor, "a string is longer than 4 GiB"))?;
            packed.extend_from_slice(&length.to_le_bytes());
            packed.extend_from_slice(text.as_bytes());
        }
        return Ok(packed.into());
    }
    if let Some(raw) = raw_data(tensor) {
        return Ok(raw.clone());
    }
    let packed: Vec<u8> = match typed_field(dtype) {
        Some(Field::Float(_)) => tensor.float_data.iter().flat_map(|number| number.to_le_bytes()).collect(),
        Some(Field::Double(_)) => tensor.double_data.iter().flat_map(|number| number.to_le_bytes()).collect(),
        Some(Field::Int64) => tensor.int64_data.iter().flat_map(|number| number.to_le_bytes()).collect(),
        Some(Field::Uint64(bytes)) => low_bytes(tensor.uint64_data.iter().map(|n| n.to_le_bytes()), bytes),
        Some(Field::Int32(bytes)) => low_bytes(tensor.int32_data.iter().map(|n| n.to_le_bytes()), bytes),
        None => Vec::new(),
    };
    Ok(packed.into())
}

fn low_bytes<const N: usize>(numbers: impl Iterator<Item = [u8; N]>, bytes: usize) -> Vec<u8> {
    numbers.flat_map(|number| number.into_iter().take(bytes)).collect()
}

/// The first `count` elements as numbers; `None` for types that are not plain numbers.
pub fn to_f64(dtype: DType, bytes: &[u8], count: usize) -> Option<Vec<f64>> {
    let mut numbers = Vec::new();
    dtype.element_type()?.decode_chunk(bytes, count, &mut numbers);
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(dtype: DType, dims: &[i64]) -> TensorProto {
        TensorProto {
            name: Some("w".to_owned()),
            data_type: Some(i32::from(dtype.0)),
            dims: dims.to_vec(),
            ..TensorProto::default()
        }
    }

    #[test]
    fn typed_fields_become_dense_little_endian_elements() {
        let float16 = TensorProto { int32_data: vec![0x3c00, 0xc000], ..tensor(DType::FLOAT16, &[2]) };
        assert_eq!(dense(&float16).unwrap().as_ref(), [0x00, 0x3c, 0x00, 0xc0]);
        let int8 = TensorProto { int32_data: vec![-1, 2], ..tensor(DType::INT8, &[2]) };
        assert_eq!(dense(&int8).unwrap().as_ref(), [0xff, 2]);
        let uint32 = TensorProto { uint64_data: vec![0xdead_beef], ..tensor(DType::UINT32, &[1]) };
        assert_eq!(dense(&uint32).unwrap().as_ref(), 0xdead_beef_u32.to_le_bytes());
        let int4 = TensorProto { int32_data: vec![0x21, 0x0f], ..tensor(DType::INT4, &[3]) };
        assert_eq!(dense(&int4).unwrap().as_ref(), [0x21, 0x0f]);
        let complex = TensorProto { float_data: vec![1.0, -2.0], ..tensor(DType::COMPLEX64, &[1]) };
        assert_eq!(dense(&complex).unwrap().len(), 8);
    }

    #[test]
    fn raw_data_is_shared_and_not_copied() {
        let raw = Bytes::from(vec![1_u8, 2, 3, 4]);
        let int8 = TensorProto { raw_data: Some(raw.clone()), ..tensor(DType::INT8, &[4]) };
        assert_eq!(dense(&int8).unwrap().as_ptr(), raw.as_ptr());
    }

    #[test]
    fn a_shape_that_contradicts_the_content_names_the_tensor() {
        let short =
            TensorProto { raw_data: Some(Bytes::from_static(&[0; 7])), ..tensor(DType::FLOAT32, &[2]) };
        let error = dense(&short).unwrap_err();
        assert_eq!(error.message, "tensor `w`: float32 of shape [2] takes 8 bytes, the file holds 7");
        assert!(dense(&tensor(DType::INT64, &[1])).is_err());
        assert!(dense(&tensor(DType::FLOAT32, &[-1])).is_err());
        assert!(dense(&tensor(DType::FLOAT32, &[i64::MAX, 8])).is_err());
        assert!(dense(&tensor(DType::FLOAT32, &[i64::MAX])).is_err());
        assert!(dense(&tensor(DType::FLOAT32, &[0, 5])).unwrap().is_empty());
    }

    #[test]
    fn sub_byte_codes_have_their_sign_and_order() {
        assert_eq!(to_f64(DType::INT4, &[0x8f, 0x07], 3), Some(vec![-1.0, -8.0, 7.0]));
        assert_eq!(to_f64(DType::UINT4, &[0x8f], 2), Some(vec![15.0, 8.0]));
        assert_eq!(to_f64(DType::INT2, &[0b11_10_01_00], 4), Some(vec![0.0, 1.0, -2.0, -1.0]));
        assert_eq!(to_f64(DType::FLOAT8_E8M0, &[127, 128, 126], 3), Some(vec![1.0, 2.0, 0.5]));
    }
}
