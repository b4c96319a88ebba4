//! Element types by the names and numbers that PyTorch's files use.

use qp_abi::sdk::DType;

/// An element type, and whether its values are codes of a quantized tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ElementType {
    /// The type of the stored elements.
    pub dtype: DType,
    /// Whether PyTorch's type is one of `qint8`, `quint8`, `qint32`, `quint4x2`, `quint2x4`.
    pub is_quantized: bool,
}

const fn plain(dtype: DType) -> Option<ElementType> {
    Some(ElementType { dtype, is_quantized: false })
}

const fn quantized(dtype: DType) -> Option<ElementType> {
    Some(ElementType { dtype, is_quantized: true })
}

/// The type of `torch.<name>`: `float32`, `qint8`; also by its older names such as `half`.
pub fn from_torch_name(name: &str) -> Option<ElementType> {
    match name {
        "float" => plain(DType::FLOAT32),
        "double" => plain(DType::FLOAT64),
        "half" => plain(DType::FLOAT16),
        "short" => plain(DType::INT16),
        "int" => plain(DType::INT32),
        "long" => plain(DType::INT64),
        "cfloat" => plain(DType::COMPLEX64),
        "cdouble" => plain(DType::COMPLEX128),
        "chalf" => plain(DType::COMPLEX32),
        "qint8" => quantized(DType::INT8),
        "quint8" => quantized(DType::UINT8),
        "qint32" => quantized(DType::INT32),
        "quint4x2" => quantized(DType::UINT4),
        "quint2x4" => quantized(DType::UINT2),
        "float4_e2m1fn_x2" => plain(DType::FLOAT4_E2M1),
        "undefined" | "string" => None,
        other => plain(DType::from_name(other)?),
    }
}

/// The type of the elements of `torch.<name>`: `FloatStorage`, `QInt8Storage`. An untyped storage has bytes.
pub fn from_storage_name(name: &str) -> Option<ElementType> {
    match name.strip_suffix("Storage")? {
        "Float" => plain(DType::FLOAT32),
        "Double" => plain(DType::FLOAT64),
        "Half" => plain(DType::FLOAT16),
        "BFloat16" => plain(DType::BFLOAT16),
        "Byte" | "Untyped" => plain(DType::UINT8),
        "Char" => plain(DType::INT8),
        "Short" => plain(DType::INT16),
        "Int" => plain(DType::INT32),
        "Long" => plain(DType::INT64),
        "Bool" => plain(DType::BOOL),
        "ComplexFloat" => plain(DType::COMPLEX64),
        "ComplexDouble" => plain(DType::COMPLEX128),
        "QInt8" => quantized(DType::INT8),
        "QUInt8" => quantized(DType::UINT8),
        "QInt32" => quantized(DType::INT32),
        "QUInt4x2" => quantized(DType::UINT4),
        "QUInt2x4" => quantized(DType::UINT2),
        _ => None,
    }
}

/// Numbers of `c10::ScalarType` are below this one.
const MAX_SCALAR_TYPE: i64 = 64;

/// The type that TorchScript code writes as this number (`c10::ScalarType`).
pub fn from_scalar_type(number: i64) -> Option<ElementType> {
    const NAMES: [&str; 29] = [
        "uint8",
        "int8",
        "int16",
        "int32",
        "int64",
        "float16",
        "float32",
        "float64",
        "complex32",
        "complex64",
        "complex128",
        "bool",
        "qint8",
        "quint8",
        "qint32",
        "bfloat16",
        "quint4x2",
        "quint2x4",
        "bits1x8",
        "bits2x4",
        "bits4x2",
        "bits8",
        "bits16",
        "float8_e5m2",
        "float8_e4m3fn",
        "float8_e5m2fnuz",
        "float8_e4m3fnuz",
        "uint16",
        "uint32",
    ];
    match number {
        29 => plain(DType::UINT64),
        44 => plain(DType::FLOAT8_E8M0),
        _ => from_torch_name(NAMES.get(usize::try_from(number).ok()?)?),
    }
}

/// The number of a type in `c10::ScalarType`.
pub fn scalar_type(dtype: DType) -> Option<i64> {
    (0..MAX_SCALAR_TYPE).find(|&number| {
        from_scalar_type(number).is_some_and(|found| found.dtype == dtype && !found.is_quantized)
    })
}

/// The number of a quantized type in `c10::ScalarType`.
pub fn quantized_scalar_type(dtype: DType) -> Option<i64> {
    (0..MAX_SCALAR_TYPE).find(|&number| {
        from_scalar_type(number).is_some_and(|found| found.dtype == dtype && found.is_quantized)
    })
}

/// The number of a type in a `.pt2` file.
pub fn export_type(dtype: DType) -> Option<i64> {
    (1..MAX_SCALAR_TYPE).find(|&number| from_export_type(number).is_some_and(|found| found.dtype == dtype))
}

/// The type that a `.pt2` file writes as this number (`ScalarType` of the export schema).
pub fn from_export_type(number: i64) -> Option<ElementType> {
    match number {
        1 => plain(DType::UINT8),
        2 => plain(DType::INT8),
        3 => plain(DType::INT16),
        4 => plain(DType::INT32),
        5 => plain(DType::INT64),
        6 => plain(DType::FLOAT16),
        7 => plain(DType::FLOAT32),
        8 => plain(DType::FLOAT64),
        9 => plain(DType::COMPLEX32),
        10 => plain(DType::COMPLEX64),
        11 => plain(DType::COMPLEX128),
        12 => plain(DType::BOOL),
        13 => plain(DType::BFLOAT16),
        28 => plain(DType::UINT16),
        29 => plain(DType::FLOAT8_E4M3FN),
        30 => plain(DType::FLOAT8_E5M2),
        31 => plain(DType::FLOAT8_E4M3FNUZ),
        32 => plain(DType::FLOAT8_E5M2FNUZ),
        33 => plain(DType::FLOAT8_E8M0),
        34 => plain(DType::UINT32),
        35 => plain(DType::UINT64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalar_types_have_the_numbers_of_c10() {
        // c10/core/ScalarType.h of PyTorch 2.13.
        assert_eq!(from_scalar_type(6), plain(DType::FLOAT32));
        assert_eq!(from_scalar_type(12), quantized(DType::INT8));
        assert_eq!(from_scalar_type(13), quantized(DType::UINT8));
        assert_eq!(from_scalar_type(15), plain(DType::BFLOAT16));
        assert_eq!(from_scalar_type(-1), None);
        assert_eq!(from_scalar_type(18), None);
    }

    #[test]
    fn storages_have_the_types_of_their_names() {
        assert_eq!(from_storage_name("QUInt4x2Storage"), quantized(DType::UINT4));
        assert_eq!(from_storage_name("CharStorage"), plain(DType::INT8));
        assert_eq!(from_storage_name("Storage"), None);
        assert_eq!(from_storage_name("float32"), None);
    }
}
