//! Results of commands that take long, kept beyond the session by a hash of everything that they depend on.

use crate::{file, regular_file};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::DirEntry;
use std::path::PathBuf;
use std::time::SystemTime;

/// At most this many are kept, of this size together; those that were written first go first.
const MOST: usize = 1000;
const MOST_BYTES_IN_ALL: u64 = 256 << 20;
/// A larger file is neither written nor read.
const MOST_BYTES: u64 = 64 << 20;

/// A folder of results; nothing is kept if there is no place for one.
#[derive(Clone, Debug, Default)]
pub struct KeptResults(Option<PathBuf>);

impl KeptResults {
    /// Those in this folder, which need not exist.
    pub fn in_folder(folder: PathBuf) -> Self {
        Self(Some(folder))
    }

    /// The key of what depends on these values alone.
    pub fn key(on: &impl Serialize) -> Option<String> {
        Some(blake3::hash(&serde_json::to_vec(on).ok()?).to_hex().to_string())
    }

    /// The result with this key. One that cannot be read counts as missing.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let text = regular_file::read_text(&self.path(key)?, MOST_BYTES).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Keeps a result. What cannot be written is lost: the command that found it has said it.
    pub fn keep(&self, key: &str, result: &impl Serialize) {
        let (Some(path), Some(folder)) = (self.path(key), &self.0) else { return };
        let text = serde_json::to_string(result).ok();
        let Some(text) = text.filter(|text| text.len() as u64 <= MOST_BYTES) else { return };
        let _ = std::fs::create_dir_all(folder);
        let _ = file::write(&path, text.as_bytes(), true);
        self.prune();
    }

    fn path(&self, key: &str) -> Option<PathBuf> {
        Some(self.0.as_ref()?.join(format!("{key}.json")))
    }

    fn prune(&self) {
        let entries = self.0.as_ref().and_then(|folder| std::fs::read_dir(folder).ok());
        let written = |entry: DirEntry| -> Option<(SystemTime, PathBuf, u64)> {
            let path = entry.path();
            path.extension().filter(|extension| *extension == "json")?;
            let metadata = entry.metadata().ok()?;
            Some((metadata.modified().ok()?, path, metadata.len()))
        };
        let mut all: Vec<_> = entries.into_iter().flatten().flatten().filter_map(written).collect();
        all.sort();
        let (mut count, mut bytes) = (all.len(), all.iter().map(|(.., bytes)| bytes).sum::<u64>());
        for (_, path, own) in all {
            // The newest stays in any case.
            if count <= MOST && bytes <= MOST_BYTES_IN_ALL || count == 1 {
                break;
            }
            let _ = std::fs::remove_file(path);
            (count, bytes) = (count - 1, bytes - own);
        }
    }
}

/// Real numbers as JSON that keeps infinities and NaN; for `#[serde(with = "…")]`.
pub mod real {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// Writes a number, or its name if JSON has none for it.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) if !value.is_finite() => value.to_string().serialize(serializer),
            value => value.serialize(serializer),
        }
    }

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Finite(f64),
        Named(String),
    }

    /// Reads what [`serialize`] writes.
    ///
    /// # Errors
    /// The deserializer's.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
        let number = Option::<Number>::deserialize(deserializer)?;
        number
            .map(|number| match number {
                Number::Finite(value) => Ok(value),
                Number::Named(name) => name.parse().map_err(serde::de::Error::custom),
            })
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Kept {
        #[serde(with = "real")]
        value: Option<f64>,
    }

    #[test]
    fn a_result_comes_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let results = KeptResults::in_folder(folder.path().join("state/results"));
        let key = KeptResults::key(&("a", 1)).unwrap();
        assert_eq!(results.get::<Kept>(&key), None);
        for value in [None, Some(0.1), Some(f64::INFINITY), Some(f64::NEG_INFINITY)] {
            results.keep(&key, &Kept { value });
            assert_eq!(results.get::<Kept>(&key), Some(Kept { value }));
        }
        results.keep(&key, &Kept { value: Some(f64::NAN) });
        assert!(results.get::<Kept>(&key).unwrap().value.unwrap().is_nan());
        assert_ne!(KeptResults::key(&("a", 2)).unwrap(), key);
    }

    #[test]
    fn what_cannot_be_read_counts_as_missing() {
        let folder = tempfile::tempdir().unwrap();
        let results = KeptResults::in_folder(folder.path().to_owned());
        std::fs::write(folder.path().join("k.json"), "{").unwrap();
        assert_eq!(results.get::<Kept>("k"), None);
        KeptResults::default().keep("k", &Kept { value: None });
        assert_eq!(KeptResults::default().get::<Kept>("k"), None);
    }
}
