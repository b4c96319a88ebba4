//! How well models do, as a `qp.toml` beside them tells.
//!
//! ```toml
//! [accuracy]
//! "resnet8_int8.onnx" = { top1 = 0.9944, samples = 540, data = "digits.npz" }
//! ```

use crate::error::{Error, ErrorKind, Result};
use crate::regular_file;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// The file's name.
pub const FILE_NAME: &str = "qp.toml";
/// A file of more bytes is not read.
const MOST_BYTES: u64 = 1 << 20;

/// The accuracy of one variant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// The share of samples whose most likely class is the labelled one, 0 to 1.
    pub top1: f64,
    /// How many samples it was taken over.
    pub samples: Option<u64>,
    /// The data it was taken over.
    pub data: Option<String>,
}

/// Accuracies by the models' paths below the folder.
pub type Accuracies = BTreeMap<String, Accuracy>;

#[derive(Default, Deserialize)]
struct File {
    #[serde(default)]
    accuracy: Accuracies,
}

/// What the folder's `qp.toml` tells; nothing when there is none.
///
/// # Errors
/// `InvalidInput` when it cannot be understood, or claims a share that is none.
pub fn read(folder: &Path) -> Result<Accuracies> {
    let path = folder.join(FILE_NAME);
    let text = match regular_file::read_text(&path, MOST_BYTES) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Accuracies::new()),
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
            Err(unusable(format!("top1 of `{name}` is {}, not a share of 0 to 1", accuracy.top1)))
        }
        None => Ok(file.accuracy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_beyond_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap(), Accuracies::new());
        std::fs::write(folder.path().join(FILE_NAME), "[accuracy]\n\"m.onnx\" = { top1 = 99.4 }\n").unwrap();
        let error = read(folder.path()).unwrap_err();
        assert!(error.one_line().ends_with("top1 of `m.onnx` is 99.4, not a share of 0 to 1"), "{error:?}");
    }
}
