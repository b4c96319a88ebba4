//! Arrays in NumPy's formats, or the requested part of one.

use super::{Content, Stored};
use crate::cache::Stamp;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{DType, Tensor, element_count};
use crate::regular_file;
use std::io::{BufReader, Read};
use std::ops::Range;
use std::path::Path;

/// A larger array, or part of one, is rejected.
pub(super) const MAX_BYTES: u64 = 2 << 30;
/// A larger array stays in its file, if the file stores it unchanged.
pub(super) const LARGE_BYTES: u64 = 16 << 20;
/// NumPy's headers are a few hundred bytes.
const MAX_HEADER_BYTES: u64 = 1 << 20;

/// Which array of a file, and which of its samples.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The array of an `.npz`; optional if there is only one.
    pub key: Option<String>,
    /// The samples along the first dimension.
    pub samples: Option<Samples>,
}

/// Samples along the first dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Samples {
    /// One; the dimension is removed.
    One(u64),
    /// Several; the dimension stays.
    Range(Range<u64>),
}

impl Selection {
    /// Splits `FILE`, `FILE:KEY`, `FILE[3]`, `FILE:KEY[0:8]` into the file and the selection.
    ///
    /// # Errors
    /// `Usage` if the brackets do not hold an index.
    pub fn parse(text: &str) -> Result<(&str, Self)> {
        let (text, samples) = match text.strip_suffix(']').and_then(|inner| inner.rsplit_once('[')) {
            Some((before, inside)) => (before, Some(parse_samples(inside)?)),
            None => (text, None),
        };
        // A colon followed by a path separator belongs to the path.
        let (file, key) = match text.rsplit_once(':') {
            Some((file, key)) if file.to_ascii_lowercase().ends_with(".npz") => (file, Some(key.to_owned())),
            _ => (text, None),
        };
        Ok((file, Self { key, samples }))
    }
}

fn parse_samples(text: &str) -> Result<Samples> {
    let unusable = || {
        Error::usage(format!("invalid index `[{text}]`"))
            .with_hint("Select one sample as `[0]`, several as `[0:8]`.")
    };
    let number = |text: &str| text.trim().parse::<u64>().map_err(|_| unusable());
    match text.split_once(':') {
        None => Ok(Samples::One(number(text)?)),
        Some((start, end)) => {
            let start = if start.is_empty() { 0 } else { number(start)? };
            let end = if end.is_empty() { u64::MAX } else { number(end)? };
            if start < end { Ok(Samples::Range(start..end)) } else { Err(unusable()) }
        }
    }
}

/// Where an `.npy` lies in a file.
struct Place<'a> {
    path: &'a Path,
    stamp: &'a Stamp,
    /// `None` if it is compressed.
    start: Option<u64>,
    bytes: u64,
}

/// The array of an `.npy` file.
pub(super) fn npy(path: &Path, selection: &Selection) -> Result<Content> {
    let stamp = Stamp::read(path)?;
    let place = Place { path, stamp: &stamp, start: Some(0), bytes: stamp.bytes() };
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    array(BufReader::new(regular_file::open(path)?), &place, &name, selection)
}

/// The bytes of big-endian numbers in this machine's byte order.
pub(super) fn turn_round(bytes: &mut [u8], dtype: DType) {
    bytes.chunks_exact_mut((dtype.bits() / 8).max(1) as usize).for_each(<[u8]>::reverse);
}

pub(super) fn too_large(path: &Path, name: &str) -> Error {
    Error::invalid_input(format!("`{name}` in `{}` is too large to read at once", path.display()))
        .with_hint("Select a part of it, as in `[0:32]`.")
}

/// The names of the arrays in an `.npz` file; none if it cannot be read.
pub fn arrays_in(path: &Path) -> Vec<String> {
    npz_keys(path).unwrap_or_default()
}

/// The names of the arrays in an `.npz` file.
pub(super) fn npz_keys(path: &Path) -> Result<Vec<String>> {
    let file = regular_file::open(path)?;
    let archive =
        zip::ZipArchive::new(BufReader::new(file)).map_err(|error| corrupt(path, &error.to_string()))?;
    Ok(keys(&archive))
}

fn keys<R>(archive: &zip::ZipArchive<R>) -> Vec<String>
where
    R: Read + std::io::Seek,
{
    archive.file_names().flatten().filter_map(|name| name.strip_suffix(".npy").map(str::to_owned)).collect()
}

/// One array of an `.npz` file.
pub(super) fn npz(path: &Path, selection: &Selection) -> Result<Content> {
    let stamp = Stamp::read(path)?;
    let file = regular_file::open(path)?;
    let mut archive =
        zip::ZipArchive::new(BufReader::new(file)).map_err(|error| corrupt(path, &error.to_string()))?;
    let keys = keys(&archive);
    let key = match (&selection.key, &keys[..]) {
        (Some(key), _) if keys.contains(key) => key,
        (None, [only]) => only,
        (wanted, _) => {
            return Err(match (wanted, keys.is_empty()) {
                (_, true) => corrupt(path, "it holds no arrays"),
                (Some(key), false) => Error::not_found(format!("no array `{key}` in `{}`", path.display()))
                    .with_hint(choice(path, &keys, false)),
                (None, false) => ambiguous(path, &keys, false),
            });
        }
    };
    let entry = archive.by_name(&format!("{key}.npy")).map_err(|error| corrupt(path, &error.to_string()))?;
    let start = entry.data_start().filter(|_| entry.compression() == zip::CompressionMethod::Stored);
    let place = Place { path, stamp: &stamp, start, bytes: entry.size() };
    array(entry, &place, key, selection)
}

/// The error if no array is named like one of a model's inputs.
pub(super) fn ambiguous(path: &Path, keys: &[String], takes_several: bool) -> Error {
    Error::new(ErrorKind::Ambiguous, format!("`{}` holds {} arrays", path.display(), keys.len()))
        .with_hint(choice(path, keys, takes_several))
}

fn choice(path: &Path, keys: &[String], takes_several: bool) -> String {
    let all: Vec<_> = keys.iter().map(|key| format!("`{key}`")).collect();
    format!(
        "Choose one of {}, as in `{}{}:{}`.",
        all.join(", "),
        if takes_several { "NAME=" } else { "" },
        path.display(),
        keys.first().map_or("", String::as_str)
    )
}

/// The array that `reader` delivers. A large one whose samples can be read one by one stays in its file.
fn array(mut reader: impl Read, place: &Place<'_>, name: &str, selection: &Selection) -> Result<Content> {
    let path = place.path;
    let header = Header::read(&mut reader).map_err(|cause| corrupt(path, &cause))?;
    let (dtype, is_big_endian) = dtype(&header.description).ok_or_else(|| {
        Error::invalid_input(format!(
            "`{name}` in `{}` has the type {}, which qp does not read",
            path.display(),
            header.description
        ))
        .with_hint("Save it as numbers, as in `np.save(path, array.astype(np.float32))`.")
    })?;
    if header.is_fortran_order && header.shape.len() > 1 {
        return Err(Error::invalid_input(format!("`{name}` in `{}` is in Fortran order", path.display()))
            .with_hint("Save it in C order: `np.save(path, np.ascontiguousarray(array))`."));
    }
    let (skipped, shape) = select(&header.shape, selection.samples.as_ref(), name)?;
    let bytes_of = |shape: &[u64]| dtype.packed_bytes(element_count(shape)?);
    let (wanted, skipped) = (bytes_of(&shape), dtype.packed_bytes(skipped));
    let has_samples = shape.len() > 1 && shape.len() == header.shape.len();
    let is_large = wanted.is_some_and(|wanted| wanted > LARGE_BYTES);
    // Reading reports a truncated one.
    let whole = bytes_of(&header.shape).and_then(|bytes| bytes.checked_add(header.bytes));
    let is_there = |start: &u64| {
        whole == Some(place.bytes)
            && start.checked_add(place.bytes).is_some_and(|end| end <= place.stamp.bytes())
    };
    if let (Some(start), Some(skipped)) = (place.start.filter(is_there), skipped)
        && has_samples
        && is_large
    {
        return Ok(Content::Stored(Stored {
            path: path.to_owned(),
            stamp: place.stamp.clone(),
            name: name.to_owned(),
            dtype,
            is_big_endian,
            shape,
            offset: start + header.bytes + skipped,
            unpacked: None,
        }));
    }
    let (Some(wanted), Some(skipped)) = (wanted.filter(|&bytes| bytes <= MAX_BYTES), skipped) else {
        return Err(too_large(path, name));
    };
    let io = |error: std::io::Error| corrupt(path, &error.to_string());
    std::io::copy(&mut reader.by_ref().take(skipped), &mut std::io::sink()).map_err(io)?;
    // Grows as bytes arrive: a false header allocates nothing.
    let mut bytes = Vec::new();
    reader.take(wanted).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 != wanted {
        return Err(corrupt(path, &format!("`{name}` ends after {} of {wanted} bytes", bytes.len())));
    }
    if is_big_endian {
        turn_round(&mut bytes, dtype);
    }
    Ok(Content::Array(Tensor { name: name.to_owned(), dtype, shape, bytes, quantization: None }))
}

/// The header of an `.npy` file, as specified in NumPy's `numpy.lib.format`: a magic string, a version, and a Python
/// dictionary of three entries as text.
struct Header {
    description: String,
    is_fortran_order: bool,
    shape: Vec<u64>,
    /// Its own size.
    bytes: u64,
}

impl Header {
    fn read(reader: &mut impl Read) -> Result<Self, String> {
        let mut start = [0; 8];
        reader.read_exact(&mut start).map_err(|_| "it is shorter than a header".to_owned())?;
        if &start[..6] != b"\x93NUMPY" {
            return Err("it does not begin like a NumPy file".to_owned());
        }
        let length_bytes = if start[6] == 1 { 2 } else { 4 };
        let mut length = [0; 4];
        reader
            .read_exact(&mut length[..length_bytes])
            .map_err(|_| "it is shorter than a header".to_owned())?;
        let length = u64::from(u32::from_le_bytes(length));
        if length > MAX_HEADER_BYTES {
            return Err(format!("its header claims {length} bytes"));
        }
        let mut text = String::new();
        let read = reader.by_ref().take(length).read_to_string(&mut text);
        if read.map_err(|error| error.to_string())? as u64 != length {
            return Err("it ends within its header".to_owned());
        }
        let header = Self::parse(&text).ok_or_else(|| format!("its header is `{}`", text.trim()))?;
        Ok(Self { bytes: 8 + length_bytes as u64 + length, ..header })
    }

    fn parse(text: &str) -> Option<Self> {
        let after = |key: &str| {
            let start = text.find(&format!("'{key}'"))? + key.len() + 2;
            text[start..].trim_start().strip_prefix(':').map(str::trim_start)
        };
        let description = after("descr")?;
        // A list describes records; it is kept as text for the message.
        let description = match description.strip_prefix('\'') {
            Some(quoted) => quoted.split('\'').next()?,
            None => description.split(']').next()?,
        };
        let sizes = after("shape")?.strip_prefix('(')?.split(')').next()?;
        let shape = sizes
            .split(',')
            .map(str::trim)
            .filter(|size| !size.is_empty())
            .map(|size| size.trim_end_matches('L').parse().ok())
            .collect::<Option<Vec<u64>>>()?;
        let is_fortran_order = after("fortran_order")?.starts_with("True");
        Some(Self { description: description.to_owned(), is_fortran_order, shape, bytes: 0 })
    }
}

/// How many elements to skip, and the shape of what follows.
fn select(shape: &[u64], samples: Option<&Samples>, name: &str) -> Result<(u64, Vec<u64>)> {
    let Some(samples) = samples else { return Ok((0, shape.to_vec())) };
    let Some((&count, rest)) = shape.split_first() else {
        return Err(Error::invalid_input(format!("`{name}` is a scalar without samples")));
    };
    let (start, selected) = match samples {
        Samples::One(index) => (*index, rest.to_vec()),
        Samples::Range(range) => {
            let end = range.end.min(count);
            (
                range.start,
                std::iter::once(end.saturating_sub(range.start)).chain(rest.iter().copied()).collect(),
            )
        }
    };
    if start >= count {
        return Err(Error::invalid_input(format!(
            "sample {start} of `{name}` does not exist: it has {count}"
        ))
        .with_hint(format!("Choose an index from 0 to {}.", count.saturating_sub(1))));
    }
    let size = element_count(rest).and_then(|size| size.checked_mul(start));
    size.map(|skipped| (skipped, selected))
        .ok_or_else(|| Error::invalid_input(format!("the shape of `{name}` overflows")))
}

/// The dtype for a NumPy description, and whether its bytes are big-endian.
fn dtype(description: &str) -> Option<(DType, bool)> {
    let mut letters = description.chars();
    let is_big_endian = match letters.next()? {
        '<' | '|' | '=' => false,
        '>' => true,
        _ => return None,
    };
    let dtype = match letters.as_str() {
        "b1" => DType::BOOL,
        "f2" => DType::FLOAT16,
        "f4" => DType::FLOAT32,
        "f8" => DType::FLOAT64,
        "i1" => DType::INT8,
        "i2" => DType::INT16,
        "i4" => DType::INT32,
        "i8" => DType::INT64,
        "u1" => DType::UINT8,
        "u2" => DType::UINT16,
        "u4" => DType::UINT32,
        "u8" => DType::UINT64,
        _ => return None,
    };
    Some((dtype, is_big_endian))
}

pub(super) fn corrupt(path: &Path, cause: &str) -> Error {
    Error::new(ErrorKind::CorruptFile, format!("`{}` cannot be read as NumPy data", path.display()))
        .with_cause(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An `.npy` file as NumPy's format description lays it out.
    fn npy_file(description: &str, data: &[u8]) -> Vec<u8> {
        let mut header = description.as_bytes().to_vec();
        while !(10 + header.len() + 1).is_multiple_of(64) {
            header.push(b' ');
        }
        header.push(b'\n');
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend_from_slice(&(header.len() as u16).to_le_bytes());
        file.extend_from_slice(&header);
        file.extend_from_slice(data);
        file
    }

    fn read(bytes: &[u8], selection: &str) -> Result<Tensor> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        std::fs::write(&path, bytes).unwrap();
        match npy(&path, &Selection::parse(&format!("a.npy{selection}"))?.1)? {
            Content::Array(array) => Ok(array),
            _ => unreachable!("small arrays are read"),
        }
    }

    const BYTES: &str = "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 2), }";

    #[test]
    fn one_sample_loses_the_dimension_and_several_keep_it() {
        let file = npy_file(BYTES, &[1, 2, 3, 4, 5, 6]);
        let one = read(&file, "[1]").unwrap();
        assert_eq!((one.shape, one.bytes), (vec![2], vec![3, 4]));
        let two = read(&file, "[1:9]").unwrap();
        assert_eq!((two.shape, two.bytes), (vec![2, 2], vec![3, 4, 5, 6]));
        assert_eq!(read(&file, "[3]").unwrap_err().message(), "sample 3 of `a` does not exist: it has 3");
    }

    #[test]
    fn big_endian_numbers_are_turned_round() {
        let file = npy_file("{'descr': '>i2', 'fortran_order': False, 'shape': (2,), }", &[0, 1, 1, 0]);
        assert_eq!(read(&file, "").unwrap().bytes, [1, 0, 0, 1]);
    }

    #[test]
    fn a_shape_that_lies_is_corrupt_and_allocates_nothing() {
        let file = npy_file("{'descr': '<f4', 'fortran_order': False, 'shape': (400000000,), }", &[0; 8]);
        let error = read(&file, "").unwrap_err();
        assert!(error.one_line().ends_with("`a` ends after 8 of 1600000000 bytes"), "{error:?}");
        let file =
            npy_file("{'descr': '<f8', 'fortran_order': False, 'shape': (18446744073709551615, 9), }", &[]);
        assert!(read(&file, "").is_err());
        assert_eq!(read(b"", "").unwrap_err().kind(), ErrorKind::CorruptFile);
    }

    #[test]
    fn what_is_no_number_is_named() {
        let file =
            npy_file("{'descr': [('a', '<f4'), ('b', '<i4')], 'fortran_order': False, 'shape': (2,), }", &[]);
        assert!(read(&file, "").unwrap_err().message().contains("[('a', '<f4'), ('b', '<i4')"));
        assert!(
            read(b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "")
                .unwrap_err()
                .one_line()
                .ends_with("claims 4294967295 bytes")
        );
    }

    #[test]
    fn the_parts_of_a_reference_are_told_apart() {
        let (file, selection) = Selection::parse("a:b/digits.npz:images[4:]").unwrap();
        assert_eq!(file, "a:b/digits.npz");
        assert_eq!(selection.key.as_deref(), Some("images"));
        assert_eq!(selection.samples, Some(Samples::Range(4..u64::MAX)));
        assert!(Selection::parse("a.npy[x]").is_err());
    }
}
