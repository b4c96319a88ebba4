//! What plugins say about themselves, cached in a file so that a start opens no library.

use super::error::Breach;
use crate::{regular_file, temporary};
use qp_abi::ABI_VERSION;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// What a plugin is and can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The short name, unique among plugins: `onnx`.
    pub id: String,
    /// The name for people: `ONNX Runtime`.
    pub name: String,
    /// The plugin's own version.
    pub version: String,
    /// A one-line description.
    pub description: String,
    /// The file formats it reads, the preferred ones first.
    pub formats: Vec<Format>,
    /// What it can do: `inspect`, `run`, `capture`, `edit`, `export`.
    pub features: Vec<String>,
    /// The settings that a run takes.
    pub options: Vec<OptionInfo>,
}

/// A setting of a run that a plugin declares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OptionInfo {
    /// The name, as in `--qengine`.
    pub name: String,
    /// The values it may have; none if any text is allowed.
    pub values: Vec<String>,
    /// A one-line description of what it does.
    pub help: String,
}

impl Manifest {
    /// Whether the plugin says that it can do `feature`.
    pub fn has_feature(&self, feature: &str) -> bool {
        self.features.iter().any(|known| known == feature)
    }

    /// The setting of runs with that name, if the plugin declares it.
    pub fn option(&self, name: &str) -> Option<&OptionInfo> {
        self.options.iter().find(|option| option.name == name)
    }
}

/// One file format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format {
    /// A short name: `onnx`, `torchscript`.
    pub name: String,
    /// File name endings without the leading dot, lower-case.
    pub extensions: Vec<String>,
    /// Byte sequences that such a file may start with.
    pub magic: Vec<Vec<u8>>,
    /// A one-line description.
    pub description: String,
}

/// A plugin's manifest in the host's types, if it is valid.
pub(super) fn checked(manifest: qp_abi::Manifest) -> Result<Manifest, Breach> {
    let manifest = Manifest {
        id: manifest.id.into_string(),
        name: manifest.name.into_string(),
        version: manifest.version.into_string(),
        description: manifest.description.into_string(),
        formats: manifest.formats.into_iter().map(format).collect(),
        features: manifest.features.into_iter().map(String::from).collect(),
        options: manifest.options.into_iter().map(option).collect(),
    };
    if let Some(option) = manifest.options.iter().find(|option| !is_short_name(&option.name)) {
        return Err(format!(
            "its option `{}` is not made of lower-case letters, digits and `-`",
            option.name
        ));
    }
    if !is_short_name(&manifest.id) {
        return Err(format!("its id `{}` is not made of lower-case letters, digits and `-`", manifest.id));
    }
    for format in &manifest.formats {
        if !is_short_name(&format.name) {
            return Err(format!(
                "its format name `{}` is not made of lower-case letters, digits and `-`",
                format.name
            ));
        }
        let is_fit = |extension: &&String| {
            !extension.is_empty() && !extension.starts_with('.') && **extension == extension.to_lowercase()
        };
        if let Some(extension) = format.extensions.iter().find(|extension| !is_fit(extension)) {
            return Err(format!(
                "the extension `{extension}` of its format `{}` is empty, has a leading dot or upper case",
                format.name
            ));
        }
        if format.magic.iter().any(Vec::is_empty) {
            return Err(format!("an empty magic of its format `{}` would match every file", format.name));
        }
    }
    Ok(manifest)
}

fn option(option: qp_abi::OptionInfo) -> OptionInfo {
    OptionInfo {
        name: option.name.into_string(),
        values: option.values.into_iter().map(String::from).collect(),
        help: option.help.into_string(),
    }
}

fn format(format: qp_abi::Format) -> Format {
    Format {
        name: format.name.into_string(),
        extensions: format.extensions.into_iter().map(String::from).collect(),
        magic: format.magic.into_iter().map(Vec::from).collect(),
        description: format.description.into_string(),
    }
}

fn is_short_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// The version of the cache file; files of other versions are ignored.
const CACHE_VERSION: u32 = 2;

/// The most entries that are kept; those of libraries that no longer exist are dropped first.
const MOST_ENTRIES: usize = 256;

/// A cache file larger than this is not ours.
const MOST_CACHE_BYTES: u64 = 16 << 20;

/// Manifests by library file. An entry is valid as long as the file has the same size and modification time, and this
/// qp the same plugin ABI.
#[derive(Debug, Default)]
pub(super) struct ManifestCache {
    file: Option<PathBuf>,
    entries: Vec<Entry>,
    is_changed: bool,
}

#[derive(Serialize, Deserialize)]
struct CacheFile {
    version: u32,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    key: Key,
    manifest: Manifest,
}

/// Identifies the library whose manifest is cached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Key {
    path: PathBuf,
    size_bytes: u64,
    modified_ns: u64,
    abi_version: String,
}

impl Key {
    /// The key of the library at `path`; `None` if it cannot be examined, or if its path is not text, which the cache file
    /// could not hold.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        let path = std::path::absolute(path).ok()?;
        path.to_str()?;
        Some(Self {
            path,
            size_bytes: metadata.len(),
            modified_ns: u64::try_from(modified.as_nanos()).ok()?,
            abi_version: ABI_VERSION.to_owned(),
        })
    }
}

impl ManifestCache {
    /// Reads the cache file. One that is missing, damaged or of another version counts as empty and is
    /// rewritten.
    pub(super) fn read(file: Option<PathBuf>) -> Self {
        let entries = file.as_deref().and_then(read_entries).unwrap_or_default();
        Self { file, entries, is_changed: false }
    }

    /// The manifest of the library, if it is cached and the library is still the same.
    pub(super) fn get(&self, key: &Key) -> Option<&Manifest> {
        self.entries.iter().find(|entry| entry.key == *key).map(|entry| &entry.manifest)
    }

    /// Stores a manifest, replacing an older one of the same file.
    pub(super) fn put(&mut self, key: Key, manifest: Manifest) {
        self.entries.retain(|entry| entry.key.path != key.path);
        self.entries.push(Entry { key, manifest });
        self.is_changed = true;
    }

    /// Writes the file if anything is new. Failures are harmless: the next start reads the manifests again.
    pub(super) fn write(mut self) {
        let Some(file) = self.file.take().filter(|_| self.is_changed) else { return };
        self.entries.retain(|entry| entry.key.path.exists());
        let surplus = self.entries.len().saturating_sub(MOST_ENTRIES);
        self.entries.drain(..surplus);
        let _ = write_entries(&file, self.entries);
    }
}

fn read_entries(file: &Path) -> Option<Vec<Entry>> {
    let content: CacheFile =
        serde_json::from_slice(&regular_file::read(file, MOST_CACHE_BYTES).ok()?).ok()?;
    (content.version == CACHE_VERSION).then_some(content.entries)
}

/// Writes a temporary file beside it and renames that: readers and other writers never see half a file.
fn write_entries(file: &Path, entries: Vec<Entry>) -> std::io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut temporary = temporary::file_in(folder)?;
    serde_json::to_writer_pretty(&mut temporary, &CacheFile { version: CACHE_VERSION, entries })?;
    temporary.flush()?;
    temporary.persist(file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(id: &str) -> qp_abi::Manifest {
        qp_abi::Manifest {
            id: id.into(),
            name: "Toy".into(),
            version: "1.0.0".into(),
            description: "toys".into(),
            formats: vec![qp_abi::Format {
                name: "toy".into(),
                extensions: vec!["toy".into()].into(),
                magic: Vec::new().into(),
                description: "a toy".into(),
            }]
            .into(),
            url_schemes: Vec::new().into(),
            features: vec!["inspect".into()].into(),
            options: vec![].into(),
            extra: Vec::new().into(),
        }
    }

    #[test]
    fn a_manifest_needs_a_short_lower_case_id_and_bare_extensions() {
        assert!(checked(manifest("toy-2")).is_ok());
        assert!(checked(manifest("")).is_err());
        assert!(checked(manifest("Toy")).is_err());
        let mut dotted = manifest("toy");
        dotted.formats[0].extensions[0] = ".toy".into();
        assert_eq!(
            checked(dotted).unwrap_err(),
            "the extension `.toy` of its format `toy` is empty, has a leading dot or upper case"
        );
    }

    #[test]
    fn an_entry_counts_only_while_the_library_is_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("lib.so");
        fs::write(&library, "one").unwrap();
        let file = folder.path().join("cache/plugins.json");
        let mut cache = ManifestCache::read(Some(file.clone()));
        cache.put(Key::of(&library).unwrap(), checked(manifest("toy")).unwrap());
        cache.write();

        let cache = ManifestCache::read(Some(file));
        assert_eq!(cache.get(&Key::of(&library).unwrap()).unwrap().id, "toy");
        fs::write(&library, "changed").unwrap();
        assert_eq!(cache.get(&Key::of(&library).unwrap()), None);
        let other_abi = Key { abi_version: "9.0.0".into(), ..Key::of(&library).unwrap() };
        assert_eq!(cache.get(&other_abi), None);
    }

    #[test]
    fn a_damaged_or_foreign_file_counts_as_empty_and_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("plugins.json");
        let library = folder.path().join("lib.so");
        fs::write(&library, "one").unwrap();
        for content in ["", "{", "[1, 2]", r#"{"version": 2, "entries": []}"#, "\u{0}\u{1}"] {
            fs::write(&file, content).unwrap();
            let mut cache = ManifestCache::read(Some(file.clone()));
            assert!(cache.entries.is_empty(), "{content:?}");
            cache.put(Key::of(&library).unwrap(), checked(manifest("toy")).unwrap());
            cache.write();
            assert_eq!(ManifestCache::read(Some(file.clone())).entries.len(), 1, "{content:?}");
        }
    }
}
