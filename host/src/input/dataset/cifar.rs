//! The binary batches of CIFAR-10: records of a label and 32×32 pixels in three planes, as
//! <https://www.cs.toronto.edu/~kriz/cifar.html> describes them.

use super::{Found, Source, bounds, classes, missing};
use crate::cache::Stamp;
use crate::error::{Error, ErrorKind, Result};
use crate::input::Content;
use crate::input::read::{MAX_BYTES, too_large};
use crate::model::{DType, Tensor};
use crate::regular_file;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

const SIDE: u64 = 32;
const PLANE: usize = (SIDE * SIDE) as usize;
const CHANNELS: usize = 3;
const RECORD: usize = 1 + CHANNELS * PLANE;
const CLASSES: u8 = 10;
/// The names of the classes, in the files' folder.
const NAMES: &str = "batches.meta.txt";

/// Pictures of CIFAR-10, which stay in their files.
#[derive(Clone, Debug, PartialEq)]
pub struct CifarBatches {
    files: Vec<Batch>,
    first: u64,
    count: u64,
}

#[derive(Clone, Debug, PartialEq)]
struct Batch {
    path: PathBuf,
    /// The stamp of the file when it was chosen.
    stamp: Stamp,
    records: u64,
}

impl CifarBatches {
    /// The sizes of the pictures, channels last.
    pub(in crate::input) fn shape(&self) -> Vec<u64> {
        vec![self.count, SIDE, SIDE, CHANNELS as u64]
    }

    /// The samples from `first` up to `end`, exclusive.
    pub(in crate::input) fn samples(&self, first: u64, end: u64) -> Self {
        let (first, end) = (first.min(self.count), end.min(self.count));
        Self { files: self.files.clone(), first: self.first + first, count: end.saturating_sub(first) }
    }

    /// Reads all of its samples, planes to channels last.
    ///
    /// # Errors
    /// `InvalidInput` if they are too large to read at once, `Io` when a file has changed.
    pub(in crate::input) fn read(&self) -> Result<Tensor> {
        if self.count.saturating_mul((RECORD - 1) as u64) > MAX_BYTES {
            return Err(too_large(self.files.first().map_or(Path::new(""), |file| &file.path), "images"));
        }
        let mut bytes = Vec::with_capacity(self.count as usize * (RECORD - 1));
        let (mut start, end) = (0, self.first + self.count);
        for file in &self.files {
            let (from, to) = (self.first.max(start), end.min(start + file.records));
            if from < to {
                file.read(from - start, to - from, |record| {
                    let planes = record.get(1..).unwrap_or_default();
                    bytes.extend(
                        (0..PLANE).flat_map(|pixel| planes.iter().skip(pixel).step_by(PLANE).copied()),
                    );
                })?;
            }
            start += file.records;
        }
        Ok(Tensor {
            name: "images".to_owned(),
            dtype: DType::UINT8,
            shape: self.shape(),
            bytes,
            quantization: None,
        })
    }
}

impl Batch {
    fn new(path: &Path) -> Result<Self> {
        let stamp = Stamp::read(path)?;
        let bytes = stamp.bytes();
        if bytes == 0 || !bytes.is_multiple_of(RECORD as u64) {
            return Err(corrupt(path, format!("it has {bytes} bytes, which is not a multiple of {RECORD}")));
        }
        Ok(Self { path: path.to_owned(), stamp, records: bytes / RECORD as u64 })
    }

    /// Calls `each` with `count` records, from `first` on.
    fn read(&self, first: u64, count: u64, mut each: impl FnMut(&[u8])) -> Result<()> {
        if Stamp::read(&self.path)? != self.stamp {
            return Err(Error::new(
                ErrorKind::Io,
                format!("`{}` has changed since it was chosen", self.path.display()),
            )
            .with_hint("Choose it again with `input` or `data`."));
        }
        let io = |error: std::io::Error| Error::io("read", &self.path, &error);
        let mut reader = BufReader::new(regular_file::open(&self.path)?);
        reader.seek(SeekFrom::Start(first * RECORD as u64)).map_err(io)?;
        let mut record = [0; RECORD];
        for _ in 0..count {
            reader.read_exact(&mut record).map_err(io)?;
            each(&record);
        }
        Ok(())
    }
}

/// The pictures and labels of these files, one after the other.
pub(super) fn open(files: &[PathBuf], source: Source<'_>) -> Result<Found> {
    let files = files.iter().map(|file| Batch::new(file)).collect::<Result<Vec<_>>>()?;
    let mut labels = Vec::new();
    for file in &files {
        let first = labels.len();
        file.read(0, file.records, |record| labels.extend(record.first().copied().map(i64::from)))?;
        let own = labels.get(first..).unwrap_or_default();
        if let Some(record) = own.iter().position(|label| *label >= i64::from(CLASSES)) {
            return Err(corrupt(
                &file.path,
                format!("record {record} has label {}, but there are only {CLASSES} classes", own[record]),
            ));
        }
    }
    let mut batches = CifarBatches { files, first: 0, count: labels.len() as u64 };
    if let Some(samples) = &source.selection.samples {
        let (first, end) = bounds(samples, batches.count)
            .ok_or_else(|| missing(samples, &source.path.display().to_string(), batches.count))?;
        batches = batches.samples(first, end);
        labels = labels.into_iter().skip(first as usize).take((end - first) as usize).collect();
    }
    let folder = if source.path.is_dir() { Some(source.path) } else { source.path.parent() };
    let named = folder.map(|folder| folder.join(NAMES)).filter(|path| path.is_file());
    let own = named.map(|path| classes::read_names(&path)).transpose()?;
    let classes = classes::of_numbers(Some(&labels), source.classes.or(own.as_deref()))?;
    let content = Content::Pixels(Box::new(Content::Cifar(batches)), source.options.clone());
    Ok(Found { form: "CIFAR-10", content, labels: Some(labels), classes })
}

fn corrupt(path: &Path, cause: String) -> Error {
    Error::new(ErrorKind::CorruptFile, format!("`{}` is not a batch of CIFAR-10", path.display()))
        .with_cause(cause)
        .with_hint("A record is a label and three planes of 32×32 pixels; choose raw elements with `input FILE.bin`.")
}
