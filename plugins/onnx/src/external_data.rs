//! Tensors whose elements are in files next to the model.
//!
//! A model may only refer to files inside its own folder. An absolute path, one that climbs out with `..`, and a link
//! that leads out are rejected: a stranger's model must not read a user's other files.

use crate::convert;
use crate::held::Held;
use crate::proto::TensorProto;
use crate::source::Source;
use bytes::Bytes;
use qp_abi::sdk::{BackendError, MappedFile, Result};
use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Where the elements of one tensor are, according to the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The file, relative to the model's folder.
    pub file: String,
    /// The first byte in it.
    pub offset: u64,
    /// The number of bytes, if the model gives it; otherwise what the shape requires.
    pub length: Option<u64>,
}

impl Location {
    /// The content of a tensor's `external_data` entries.
    ///
    /// # Errors
    /// `CorruptFile` if the file is not named or a number is invalid.
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
            BackendError::corrupt_file(format!("tensor `{name}`: its external data does not name a file"))
        })?;
        Ok(Self { file, offset: number("offset")?.unwrap_or(0), length: number("length")? })
    }
}

/// The files next to one model, opened when first read, and what edits have stored outside of the model.
#[derive(Debug)]
pub struct ExternalFiles {
    folder: PathBuf,
    held: Held,
    open: Mutex<HashMap<PathBuf, Arc<Source>>>,
}

impl ExternalFiles {
    /// What the model in `source` may refer to.
    pub fn of(source: &Source) -> Self {
        let folder = match source.path().parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        Self { folder, held: source.held().clone(), open: Mutex::default() }
    }

    /// Checks, without opening the file, that the elements of `tensor` can be read. Returns where; `None` for elements in
    /// memory.
    ///
    /// # Errors
    /// `UnsafeFile` for a location outside the folder, `NotFound` for a missing file, `CorruptFile` for one that is
    /// too short.
    pub fn check(&self, tensor: &TensorProto) -> Result<Option<Location>> {
        let location = Location::of(tensor)?;
        if let Some(elements) = self.held.get(&location.file) {
            range(tensor, &location, elements.bytes().len() as u64)?;
            return Ok(None);
        }
        let path = self.resolve(&location, tensor)?;
        let metadata = std::fs::metadata(&path).map_err(|error| BackendError::io(&path, &error))?;
        range(tensor, &location, metadata.len())?;
        Ok(Some(location))
    }

    /// The elements of `tensor`, sharing the bytes of the file that is returned with them, or of the memory they are in.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn read(&self, tensor: &TensorProto) -> Result<(Bytes, Option<Arc<Source>>)> {
        let location = Location::of(tensor)?;
        if let Some(elements) = self.held.get(&location.file) {
            let bytes = elements.bytes();
            let range = range(tensor, &location, bytes.len() as u64)?;
            return Ok((bytes.slice(range), None));
        }
        let source = self.file(&location, tensor)?;
        source.check()?;
        let range = range(tensor, &location, source.bytes().len() as u64)?;
        Ok((source.bytes().slice(range), Some(source)))
    }

    /// The mapped file beside the model that holds `tensor`, opened if necessary; `None` if there is none, or it cannot be
    /// opened.
    pub fn file_of(&self, tensor: &TensorProto) -> Option<Arc<MappedFile>> {
        let location = Location::of(tensor).ok()?;
        let is_held = self.held.contains_key(&location.file);
        if is_held { None } else { self.file(&location, tensor).ok()?.file().cloned() }
    }

    fn file(&self, location: &Location, tensor: &TensorProto) -> Result<Arc<Source>> {
        let path = self.resolve(location, tensor)?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(source) = open.get(&path) {
            return Ok(Arc::clone(source));
        }
        let source = Arc::new(Source::open(&path)?);
        open.insert(path, Arc::clone(&source));
        Ok(source)
    }

    /// The mapped files that were opened so far.
    pub fn files(&self) -> Vec<Arc<MappedFile>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.values().filter_map(|source| source.file().cloned()).collect()
    }

    /// The file at the location, which must be inside the folder after following all links.
    fn resolve(&self, location: &Location, tensor: &TensorProto) -> Result<PathBuf> {
        let name = tensor.name.as_deref().unwrap_or_default();
        let outside = |reason: &str| {
            BackendError::unsafe_file(format!("tensor `{name}` reads `{}`, which is {reason}", location.file))
                .with_help(
                    "Put the data file into the model's folder and save the model with a relative location.",
                )
        };
        // Windows writes `\`; elsewhere it may be part of a name, but never of one that was meant.
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
                .with_help("Put it next to the model file.")
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
    // Some tools write a length of 0 to mean what the shape requires, and ONNX Runtime reads it so.
    if let Some(length) = location.length.filter(|length| *length > 0)
        && length != wanted
    {
        return Err(BackendError::corrupt_file(format!(
            "tensor `{name}`: its shape {:?} takes {wanted} bytes, but its external length is {length}",
            tensor.dims
        )));
    }
    let end = location.offset.checked_add(wanted).filter(|&end| end <= available);
    match (usize::try_from(location.offset), end.map(usize::try_from)) {
        (Ok(start), Some(Ok(end))) => Ok(start..end),
        _ => Err(BackendError::corrupt_file(format!(
            "tensor `{name}`: `{}` has {available} bytes, too few for {wanted} from byte {} on",
            location.file, location.offset
        ))),
    }
}
