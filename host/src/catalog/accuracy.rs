//! The accuracy of models, from the `qp.toml` next to them.
//!
//! ```toml
//! [accuracy]
//! "resnet8_int8.onnx" = { top1 = 0.9944, samples = 540, data = "digits.npz", blake3 = "…" }
//! ```
//!
//! An accuracy is stale if its model has changed since. A model whose files are not newer than the `qp.toml` has not
//! changed; for a newer one the hash decides (`blake3`, shown by `info`), and without a hash it counts as changed.

use crate::cache::Key;
use crate::error::{Error, ErrorKind, Result};
use crate::regular_file;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// The file's name.
pub const FILE_NAME: &str = "qp.toml";
/// A larger file is not read.
const MOST_BYTES: u64 = 1 << 20;

/// The accuracy of one variant.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Accuracy {
    /// The share of samples whose most likely class is the labelled one, 0 to 1.
    pub top1: f64,
    /// How many samples it was taken over.
    pub samples: Option<u64>,
    /// The data it was taken over.
    pub data: Option<String>,
    /// The hash of the model that was measured, as `info` shows it.
    #[serde(default)]
    pub blake3: Option<String>,
}

impl Accuracy {
    /// Whether the model in these files is not the one that was measured; `told` is when the `qp.toml` was written.
    /// Files that cannot be read count as unchanged.
    pub fn is_stale(&self, files: &[impl AsRef<Path>], told: Option<SystemTime>) -> bool {
        let Some(told) = told else { return false };
        let has_hash = self.blake3.is_some();
        let is_newer = |file: &Path| newest(file, has_hash).is_some_and(|time| time > told);
        if !files.iter().any(|file| is_newer(file.as_ref())) {
            return false;
        }
        let found = self.blake3.as_ref().and_then(|_| Key::read(files).ok()?.hash_text());
        match (&self.blake3, found) {
            (Some(expected), Some(found)) => !expected.eq_ignore_ascii_case(&found),
            _ => true,
        }
    }
}

/// When a file was last changed. Copies preserve this time, so it only decides without a hash.
fn newest(file: &Path, has_hash: bool) -> Option<SystemTime> {
    let metadata = std::fs::metadata(file).ok()?;
    let modified = metadata.modified().ok();
    #[cfg(unix)]
    if has_hash {
        use std::os::unix::fs::MetadataExt;
        let changed =
            SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(metadata.ctime()).unwrap_or(0));
        return modified.max(Some(changed));
    }
    modified
}

/// What a folder's `qp.toml` says.
#[derive(Debug, Default, PartialEq)]
pub struct Accuracies {
    /// By the models' paths below the folder.
    pub by_model: BTreeMap<String, Accuracy>,
    /// When the file was written.
    pub told: Option<SystemTime>,
}

#[derive(Default, Deserialize)]
struct File {
    #[serde(default)]
    accuracy: BTreeMap<String, Accuracy>,
}

/// What the folder's `qp.toml` says; empty if there is none.
///
/// # Errors
/// `InvalidInput` when it cannot be parsed, or contains an invalid share.
pub fn read(folder: &Path) -> Result<Accuracies> {
    let path = folder.join(FILE_NAME);
    let text = match regular_file::read_text(&path, MOST_BYTES) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Accuracies::default()),
        Err(error) => return Err(error),
    };
    let unusable = |cause: String| {
        Error::invalid_input(format!("`{}` cannot be used", path.display()))
            .with_cause(cause)
            .with_hint("Correct the file, or move it away.")
    };
    let file: File = toml::from_str(&text).map_err(|error| unusable(error.message().to_owned()))?;
    match file.accuracy.iter().find(|(_, accuracy)| !(0.0..=1.0).contains(&accuracy.top1)) {
        Some((name, accuracy)) => {
            Err(unusable(format!("top1 of `{name}` is {}, not a share from 0 to 1", accuracy.top1)))
        }
        None => {
            let told = std::fs::metadata(&path).and_then(|metadata| metadata.modified()).ok();
            Ok(Accuracies { by_model: file.accuracy, told })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accuracy_is_stale_when_its_model_is_newer_and_of_another_hash() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("m");
        std::fs::write(&model, "").unwrap();
        let hour = Duration::from_secs(3600);
        let (before, after) = (SystemTime::now() - hour, SystemTime::now() + hour);
        let with = |blake3: Option<&str>| Accuracy {
            top1: 0.5,
            samples: None,
            data: None,
            blake3: blake3.map(str::to_owned),
        };
        // The hash of nothing, as the BLAKE3 paper's test vectors give it.
        let right = "AF1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        let is_stale = |hash, told| with(hash).is_stale(&[&model], Some(told));
        assert!(!is_stale(None, after) && is_stale(None, before));
        assert!(!is_stale(Some(right), after) && !is_stale(Some(right), before));
        assert!(is_stale(Some("00"), before));
        // A copy that keeps its time is noticed by the hash.
        std::fs::File::options().append(true).open(&model).unwrap().set_modified(before - hour).unwrap();
        assert!(!is_stale(None, before) && is_stale(Some("00"), before));
    }

    #[test]
    fn a_share_beyond_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap(), Accuracies::default());
        std::fs::write(folder.path().join(FILE_NAME), "[accuracy]\n\"m.onnx\" = { top1 = 99.4 }\n").unwrap();
        let error = read(folder.path()).unwrap_err();
        assert!(error.one_line().ends_with("top1 of `m.onnx` is 99.4, not a share from 0 to 1"), "{error:?}");
    }
}
