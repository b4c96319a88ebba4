//! Raw files: elements without a header.

use crate::error::{Error, Result};
use crate::model::{DType, Dimension, Tensor, ValueInfo, element_count, shape_text};
use crate::regular_file;
use std::io::Read;
use std::path::Path;

/// A larger file is rejected.
const MAX_BYTES: u64 = 2 << 30;

/// The elements in a file, little-endian and in row-major order. Type and shape are those given, or the model's; one
/// of the model's dimensions may be free, and its size follows from the file's.
///
/// # Errors
/// `InvalidInput` when type or shape are unknown, or the file has another size; those of reading.
pub fn raw(
    path: &Path,
    dtype: Option<DType>,
    shape: Option<&[u64]>,
    value: Option<&ValueInfo>,
) -> Result<Tensor> {
    let unknown = |what: &str| {
        Error::invalid_input(format!("`{}` does not declare its {what}", path.display())).with_hint(
            "Give `--dtype float32 --shape 1,3,32,32`, or choose a model that declares it with `use`.",
        )
    };
    let declared = || value.map(|value| value.dtype).filter(|dtype| *dtype != DType::UNDEFINED);
    let dtype = dtype.or_else(declared).filter(|dtype| dtype.bits() >= 8).ok_or_else(|| unknown("type"))?;
    let dimensions: Vec<Dimension> = match (shape, value.and_then(|value| value.shape.as_ref())) {
        (Some(shape), _) => shape.iter().map(|size| Dimension::Fixed(*size)).collect(),
        (None, Some(declared)) => declared.clone(),
        (None, None) => return Err(unknown("shape")),
    };
    let mut bytes = Vec::new();
    let io = |error: std::io::Error| Error::io("read", path, &error);
    regular_file::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Error::invalid_input(format!("`{}` is too large to read at once", path.display())));
    }
    let shape = resolve(&dimensions, bytes.len() as u64, u64::from(dtype.bits() / 8)).ok_or_else(|| {
        Error::invalid_input(format!(
            "`{}` has {} bytes, which is not {dtype} {}",
            path.display(),
            bytes.len(),
            shape_text(&dimensions)
        ))
        .with_hint("Describe its contents with `--dtype` and `--shape`.")
    })?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Tensor { name, dtype, shape, bytes, quantization: None })
}

/// The sizes of all dimensions, chosen so that the elements take this many bytes.
fn resolve(dimensions: &[Dimension], bytes: u64, element: u64) -> Option<Vec<u64>> {
    let fixed: Vec<u64> = dimensions.iter().filter_map(Dimension::size).collect();
    let known = element_count(&fixed)?.checked_mul(element)?;
    let free = match dimensions.len() - fixed.len() {
        0 => (known == bytes).then_some(1)?,
        1 if known > 0 && bytes.is_multiple_of(known) => bytes / known,
        _ => return None,
    };
    Some(dimensions.iter().map(|dimension| dimension.size().unwrap_or(free)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        bytes: &[u8],
        dtype: Option<DType>,
        shape: Option<&[u64]>,
        value: Option<&ValueInfo>,
    ) -> Result<Tensor> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        std::fs::write(&path, bytes).unwrap();
        raw(&path, dtype, shape, value)
    }

    #[test]
    fn the_model_says_what_the_file_does_not() {
        let shape = Some(vec![Dimension::Symbolic("N".into()), Dimension::Fixed(3)]);
        let value = ValueInfo::new("x", DType::INT16, shape);
        assert_eq!(read(&[0; 12], None, None, Some(&value)).unwrap().shape, [2, 3]);
        assert!(read(&[0; 10], None, None, Some(&value)).unwrap_err().message().ends_with("not int16 N×3"));
        assert!(read(&[0; 10], None, None, None).is_err());
        let given = read(&[1, 2], Some(DType::UINT8), Some(&[2, 1]), None).unwrap();
        assert_eq!((given.dtype, given.shape, given.bytes), (DType::UINT8, vec![2, 1], vec![1, 2]));
    }
}
