//! MNIST's files: a big-endian header and bytes, as <http://yann.lecun.com/exdb/mnist/> describes them.

use super::{Found, Source, bounds, classes, missing};
use crate::cache::Stamp;
use crate::error::{Error, ErrorKind, Result};
use crate::input::read::{LARGE_BYTES, MAX_BYTES};
use crate::input::stored::Unpacked;
use crate::input::{Content, Stored, ending};
use crate::model::{DType, Tensor};
use crate::regular_file;
use crate::temporary;
use flate2::read::MultiGzDecoder;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::NamedTempFile;

/// Unsigned bytes in three dimensions, or in one.
const IMAGES: u32 = 0x0803;
const LABELS: u32 = 0x0801;

/// Whether a file with this lower-case name holds images: `train-images-idx3-ubyte`, `t10k-images.idx3-ubyte.gz`.
pub(super) fn is_images(name: &str) -> bool {
    let name = name.strip_suffix(".gz").unwrap_or(name);
    name.ends_with("idx3-ubyte") && name.contains("images")
}

/// The images of a file, and the labels of its companion file.
pub(super) fn open(source: Source<'_>) -> Result<Found> {
    let path = source.path;
    let mut images = images(path)?;
    let count = images.own_count().unwrap_or(0);
    let mut labels = labels_of(path).map(|path| labels(&path)).transpose()?;
    if let Some(found) = labels.as_ref().filter(|labels| labels.len() as u64 != count) {
        return Err(super::count_differs(&path.display().to_string(), found.len(), count));
    }
    if let Some(samples) = &source.selection.samples {
        let (first, end) =
            bounds(samples, count).ok_or_else(|| missing(samples, &path.display().to_string(), count))?;
        images = images.samples(first, end);
        let part =
            |all: Vec<i64>| all.into_iter().skip(first as usize).take((end - first) as usize).collect();
        labels = labels.map(part);
    }
    let classes = classes::of_numbers(labels.as_deref(), source.classes)?;
    let content = Content::Pixels(Box::new(images), source.options.clone());
    Ok(Found { form: "MNIST", content, labels, classes })
}

/// The file of labels beside a file of images, compressed or not.
fn labels_of(images: &Path) -> Option<PathBuf> {
    let name = images.file_name()?.to_str()?;
    let name = name.strip_suffix(".gz").unwrap_or(name).replace("images", "labels").replace("idx3", "idx1");
    let beside = |name: &str| Some(images.with_file_name(name)).filter(|path| path.is_file());
    beside(&name).or_else(|| beside(&format!("{name}.gz")))
}

fn images(path: &Path) -> Result<Content> {
    let stamp = Stamp::read(path)?;
    let mut reader = reader(path)?;
    let [count, height, width] = header(path, &mut reader, IMAGES)?;
    let bytes = count.saturating_mul(height).saturating_mul(width);
    let stored = |path: &Path, stamp, offset, unpacked| {
        let (name, shape) = ("images".to_owned(), vec![count, height, width, 1]);
        let (path, dtype) = (path.to_owned(), DType::UINT8);
        Content::Stored(Stored { path, stamp, name, dtype, is_big_endian: false, shape, offset, unpacked })
    };
    if ending(path) != "gz" {
        let expected = bytes.saturating_add(16);
        if stamp.bytes() != expected {
            return Err(corrupt(path, format!("it has {} of {expected} bytes", stamp.bytes())));
        }
        return Ok(stored(path, stamp, 16, None));
    }
    // A compressed file can only be read from its beginning.
    if bytes > LARGE_BYTES {
        let file = Arc::new(unpack(path, reader, bytes)?);
        let stamp = Stamp::read(file.path())?;
        return Ok(stored(file.path(), stamp, 0, Some(Unpacked(Arc::clone(&file)))));
    }
    let bytes = body(path, reader, bytes)?;
    let (name, shape) = ("images".to_owned(), vec![count, height, width, 1]);
    Ok(Content::Array(Tensor { name, dtype: DType::UINT8, shape, bytes, quantization: None }))
}

/// A temporary file with what follows the header, which must be `expected` bytes.
fn unpack(path: &Path, reader: impl Read, expected: u64) -> Result<NamedTempFile> {
    if expected > MAX_BYTES {
        return Err(corrupt(path, format!("its header claims {expected} bytes")));
    }
    let folder = std::env::temp_dir();
    let io = |error: std::io::Error| Error::io("write", &folder, &error);
    let mut file = temporary::file_in(&folder).map_err(io)?;
    let mut reader = reader.take(expected.saturating_add(1));
    let mut piece = vec![0; 1 << 16];
    let mut written = 0;
    loop {
        let count = reader.read(&mut piece).map_err(|error| corrupt(path, error.to_string()))?;
        if count == 0 {
            break;
        }
        file.write_all(piece.get(..count).unwrap_or_default()).map_err(io)?;
        written += count as u64;
    }
    file.flush().map_err(io)?;
    check_length(path, written, expected)?;
    Ok(file)
}

fn labels(path: &Path) -> Result<Vec<i64>> {
    let mut reader = reader(path)?;
    let [count] = header(path, &mut reader, LABELS)?;
    Ok(body(path, reader, count)?.into_iter().map(i64::from).collect())
}

fn reader(path: &Path) -> Result<Box<dyn Read>> {
    let file = BufReader::new(regular_file::open(path)?);
    Ok(if ending(path) == "gz" { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) })
}

/// The sizes of the dimensions.
fn header<const DIMENSIONS: usize>(
    path: &Path,
    reader: &mut impl Read,
    expected: u32,
) -> Result<[u64; DIMENSIONS]> {
    let mut number = || {
        let mut four = [0; 4];
        reader.read_exact(&mut four).map_err(|error| corrupt(path, error.to_string()))?;
        Ok(u32::from_be_bytes(four))
    };
    let magic = number()?;
    if magic != expected {
        return Err(corrupt(path, format!("it begins with {magic:#010x}, not {expected:#010x}")));
    }
    let mut sizes = [0; DIMENSIONS];
    for size in &mut sizes {
        *size = u64::from(number()?);
    }
    if sizes.contains(&0) {
        return Err(corrupt(path, "it is empty".to_owned()));
    }
    Ok(sizes)
}

/// What follows the header, which must be `expected` bytes.
fn body(path: &Path, reader: impl Read, expected: u64) -> Result<Vec<u8>> {
    if expected > MAX_BYTES {
        return Err(corrupt(path, format!("its header claims {expected} bytes")));
    }
    // Grows as bytes arrive: a false header allocates nothing.
    let mut bytes = Vec::new();
    reader.take(expected + 1).read_to_end(&mut bytes).map_err(|error| corrupt(path, error.to_string()))?;
    check_length(path, bytes.len() as u64, expected)?;
    Ok(bytes)
}

fn check_length(path: &Path, found: u64, expected: u64) -> Result<()> {
    match found {
        found if found == expected => Ok(()),
        more if more > expected => {
            Err(corrupt(path, format!("more than {expected} bytes follow its header")))
        }
        fewer => Err(corrupt(path, format!("it ends after {fewer} of {expected} bytes"))),
    }
}

fn corrupt(path: &Path, cause: String) -> Error {
    Error::new(ErrorKind::CorruptFile, format!("`{}` is not a file of MNIST's format", path.display()))
        .with_cause(cause)
        .with_hint("Download it again; images are `*-images-idx3-ubyte`, labels `*-labels-idx1-ubyte`.")
}
