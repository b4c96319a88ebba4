//! MNIST's files: a big-endian header and bytes, as <http://yann.lecun.com/exdb/mnist/> describes them.

use super::{Found, Source, bounds, classes, missing};
use crate::cache::Stamp;
use crate::error::{Error, ErrorKind, Result};
use crate::input::read::MAX_BYTES;
use crate::input::{Content, Stored, ending};
use crate::model::{DType, Tensor};
use crate::regular_file;
use flate2::read::MultiGzDecoder;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// Unsigned bytes in three dimensions, or in one.
const IMAGES: u32 = 0x0803;
const LABELS: u32 = 0x0801;

/// Whether a file of that lower-case name holds images: `train-images-idx3-ubyte`, `t10k-images.idx3-ubyte.gz`.
pub(super) fn is_images(name: &str) -> bool {
    let name = name.strip_suffix(".gz").unwrap_or(name);
    name.ends_with("idx3-ubyte") && name.contains("images")
}

/// The images of a file, and the labels of the file that belongs to it.
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
    let shape = vec![count, height, width, 1];
    let bytes = count.saturating_mul(height).saturating_mul(width);
    let name = "images".to_owned();
    if ending(path) != "gz" {
        let expected = bytes.saturating_add(16);
        if stamp.bytes() != expected {
            return Err(corrupt(path, format!("it has {} of {expected} bytes", stamp.bytes())));
        }
        return Ok(Content::Stored(Stored {
            path: path.to_owned(),
            stamp,
            name,
            dtype: DType::UINT8,
            is_big_endian: false,
            shape,
            offset: 16,
        }));
    }
    // What is compressed can be read from its beginning only.
    let bytes = body(path, reader, bytes)?;
    Ok(Content::Array(Tensor { name, dtype: DType::UINT8, shape, bytes, quantization: None }))
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
    // Grows as bytes arrive: a false header costs nothing.
    let mut bytes = Vec::new();
    reader.take(expected + 1).read_to_end(&mut bytes).map_err(|error| corrupt(path, error.to_string()))?;
    if bytes.len() as u64 != expected {
        let cause = match bytes.len() as u64 {
            more if more > expected => format!("more than {expected} bytes follow its header"),
            fewer => format!("it ends after {fewer} of {expected} bytes"),
        };
        return Err(corrupt(path, cause));
    }
    Ok(bytes)
}

fn corrupt(path: &Path, cause: String) -> Error {
    Error::new(ErrorKind::CorruptFile, format!("`{}` is not a file of MNIST's format", path.display()))
        .with_cause(cause)
        .with_hint("Download it again; images are `*-images-idx3-ubyte`, labels `*-labels-idx1-ubyte`.")
}
