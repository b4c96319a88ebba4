//! How accurate models were found to be on this machine, by the hash of their content: kept beyond the session, so that a
//! list of models can say so, whatever their files are called.

use crate::file;
use crate::regular_file;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// At most this many are kept; the oldest go first.
const MOST: usize = 1000;
/// A larger file is not read.
const MOST_BYTES: u64 = 4 << 20;
/// The version of the file's form.
const VERSION: u32 = 1;

/// One measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The hash of the model's content, as `info` shows it.
    pub blake3: String,
    /// The share of samples whose most likely class is the labelled one, 0 to 1.
    pub top1: f64,
    /// How many samples it was taken over.
    pub samples: u64,
    /// The data it was taken over.
    pub data: String,
    /// When, in seconds since 1970.
    pub at: u64,
}

impl Measured {
    /// How long ago it was.
    pub fn age(&self) -> Duration {
        Duration::from_secs(seconds(SystemTime::now()).saturating_sub(self.at))
    }
}

/// The seconds since 1970.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).as_ref().map_or(0, Duration::as_secs)
}

/// What was measured, in a file; nothing if there is no place for one.
#[derive(Clone, Debug, Default)]
pub struct Measurements(Option<PathBuf>);

#[derive(Serialize, Deserialize)]
struct Kept {
    version: u32,
    accuracies: Vec<Measured>,
}

impl Measurements {
    /// Those in this file, which need not exist.
    pub fn in_file(path: PathBuf) -> Self {
        Self(Some(path))
    }

    /// All of them, the oldest first. A file that cannot be read, or that another version wrote, counts as empty.
    pub fn all(&self) -> Vec<Measured> {
        let text = self.0.as_ref().and_then(|path| regular_file::read_text(path, MOST_BYTES).ok());
        let kept = text.and_then(|text| serde_json::from_str::<Kept>(&text).ok());
        kept.filter(|kept| kept.version == VERSION).map(|kept| kept.accuracies).unwrap_or_default()
    }

    /// Keeps another: `at` is now. One of the same model on the same data is replaced. What cannot be written is lost:
    /// the command that measured has said it.
    pub fn keep(&self, measured: impl IntoIterator<Item = Measured>) {
        let Some(path) = &self.0 else { return };
        let mut accuracies = self.all();
        for one in measured {
            let is_same = |other: &Measured| {
                other.blake3 == one.blake3 && other.data == one.data && other.samples == one.samples
            };
            accuracies.retain(|other| !is_same(other));
            accuracies.push(Measured { at: seconds(SystemTime::now()), ..one });
        }
        let surplus = accuracies.len().saturating_sub(MOST);
        accuracies.drain(..surplus);
        let Ok(text) = serde_json::to_string_pretty(&Kept { version: VERSION, accuracies }) else { return };
        if let Some(folder) = path.parent() {
            let _ = std::fs::create_dir_all(folder);
        }
        let _ = file::write(path, text.as_bytes(), true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(blake3: &str, top1: f64) -> Measured {
        Measured { blake3: blake3.into(), top1, samples: 10, data: "d.npz".into(), at: 0 }
    }

    #[test]
    fn the_last_of_one_model_on_one_data_set_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Measurements::in_file(folder.path().join("state/accuracies.json"));
        assert!(kept.all().is_empty());
        kept.keep([measured("a", 0.5), measured("b", 0.6)]);
        kept.keep([measured("a", 0.7)]);
        let found: Vec<(String, f64)> = kept.all().into_iter().map(|one| (one.blake3, one.top1)).collect();
        assert_eq!(found, [("b".to_owned(), 0.6), ("a".to_owned(), 0.7)]);
        assert!(kept.all()[0].age() < Duration::from_secs(60));
    }

    #[test]
    fn a_file_that_is_none_counts_as_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accuracies.json");
        for text in ["", "{", r#"{"version": 99, "accuracies": []}"#] {
            std::fs::write(&path, text).unwrap();
            assert!(Measurements::in_file(path.clone()).all().is_empty());
        }
        Measurements::default().keep([measured("a", 0.5)]);
        assert!(Measurements::default().all().is_empty());
    }
}
