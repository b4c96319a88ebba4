//! Tensors whose elements are in files beside the model.
//!
//! A model may only name files inside its own folder. An absolute path, one that climbs out with `..`, and a
//! link that leads out are refused: a model from a stranger must not read a user's other files.

use crate::convert;
use crate::proto::TensorProto;
use crate::source::Source;
use bytes::Bytes;
use qp_abi::sdk::{BackendError, Result};
use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Where the elements of one tensor are, as the model says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The file, relative to the model's folder.
    pub file: String,
    /// The first byte in it.
    pub offset: u64,
    /// The bytes, when the model says how many; else all that the shape wants.
    pub length: Option<u64>,
}

impl Location {
    /// What the `external_data` entries of a tensor say.
    ///
    /// # Errors
    /// `CorruptFile` when the file is not named or a number is none.
    pub fn of(tensor: &TensorProto) -> Result<Self> {
        let name = tensor.name.as_deref().unwrap_or_default();
        let entry = |key: &str| {
            let entry = tensor.external_data.iter().find(|entry| entry.key.as_deref() == Some(key))?;
            Some(String::from_utf8_lossy(entry.value.as_deref().unwrap_or_default()).into_owned())
        };
        let number = |key: &str| match entry(key) {
            None => Ok(None),
            Some(text) => text.trim().parse::<u64>().map(Some).map_err(|_| {
                BackendError::corrupt_file(format!("tensor `{name}`: its external {key} is `{text}`"))
            }),
        };
        let file = entry("location").filter(|file| !file.is_empty()).ok_or_else(|| {
            BackendError::corrupt_file(format!("tensor `{name}`: its external data names no file"))
        })?;
        Ok(Self { file, offset: number("offset")?.unwrap_or(0), length: number("length")? })
    }
}

/// The files beside one model, opened when they are first read.
#[derive(Debug)]
pub struct ExternalFiles {
    folder: PathBuf,
    open: Mutex<HashMap<PathBuf, Arc<Source>>>,
}

impl ExternalFiles {
    /// The files that a model at `path` may name.
    pub fn beside(path: &Path) -> Self {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        Self { folder, open: Mutex::default() }
    }

    /// Checks, without opening the file, that the elements of `tensor` can be read.
    ///
    /// # Errors
    /// `UnsafeFile` for a place outside the folder, `NotFound` for a missing file, `CorruptFile` for one that
    /// is too short.
    pub fn check(&self, tensor: &TensorProto) -> Result<Location> {
        let location = Location::of(tensor)?;
        let path = self.resolve(&location, tensor)?;
        let metadata = std::fs::metadata(&path).map_err(|error| BackendError::io(&path, &error))?;
        range(tensor, &location, metadata.len())?;
        Ok(location)
    }

    /// The elements of `tensor`, shared with the file's bytes.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn read(&self, tensor: &TensorProto) -> Result<(Bytes, Arc<Source>)> {
        let location = Location::of(tensor)?;
        let path = self.resolve(&location, tensor)?;
        let source = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            match open.get(&path) {
                Some(source) => Arc::clone(source),
                None => {
                    let source = Arc::new(Source::open(&path)?);
                    open.insert(path, Arc::clone(&source));
                    source
                }
            }
        };
        source.check()?;
        let range = range(tensor, &location, source.bytes().len() as u64)?;
        Ok((source.bytes().slice(range), source))
    }

    /// The file that the location names, which is inside the folder with all links followed.
    fn resolve(&self, location: &Location, tensor: &TensorProto) -> Result<PathBuf> {
        let name = tensor.name.as_deref().unwrap_or_default();
        let outside = |reason: &str| {
            BackendError::unsafe_file(format!("tensor `{name}` reads `{}`, which is {reason}", location.file))
                .with_help(
                    "Put the data file into the model's folder and save the model with a relative location.",
                )
        };
        // Windows writes `\`; on other systems it may be part of a name, but never of one that was meant.
        let relative = location.file.replace('\\', "/");
        let relative = Path::new(&relative);
        for component in relative.components() {
            match component {
                Component::Normal(_) | Component::CurDir => {}
                Component::ParentDir => return Err(outside("outside the model's folder")),
                Component::RootDir | Component::Prefix(_) => return Err(outside("an absolute path")),
            }
        }
        let path = self.folder.join(relative);
        let missing = |error: &std::io::Error| {
            if error.kind() == std::io::ErrorKind::NotFound {
                BackendError::not_found(format!(
                    "the external data file `{}` of tensor `{name}` does not exist",
                    location.file
                ))
                .with_help("Put it beside the model file.")
            } else {
                BackendError::io(&path, error)
            }
        };
        let real = path.canonicalize().map_err(|error| missing(&error))?;
        let folder = self.folder.canonicalize().map_err(|error| BackendError::io(&self.folder, &error))?;
        if real.starts_with(&folder) { Ok(real) } else { Err(outside("a link out of the model's folder")) }
    }
}

/// The bytes of the tensor in a file of `available` bytes.
fn range(tensor: &TensorProto, location: &Location, available: u64) -> Result<std::ops::Range<usize>> {
    let name = tensor.name.as_deref().unwrap_or_default();
    let wanted = convert::dense_bytes(tensor)?;
    // A length of 0 is written by some tools where the shape is to say it, and taken so by ONNX Runtime.
    if let Some(length) = location.length.filter(|length| *length > 0)
        && length != wanted
    {
        return Err(BackendError::corrupt_file(format!(
            "tensor `{name}`: its shape {:?} takes {wanted} bytes, its external length is {length}",
            tensor.dims
        )));
    }
    let end = location.offset.checked_add(wanted).filter(|&end| end <= available);
    match (usize::try_from(location.offset), end.map(usize::try_from)) {
        (Ok(start), Some(Ok(end))) => Ok(start..end),
        _ => Err(BackendError::corrupt_file(format!(
            "tensor `{name}`: `{}` has {available} bytes, {wanted} from byte {} on are wanted",
            location.file, location.offset
        ))),
    }
}
