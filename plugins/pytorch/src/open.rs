//! Opens a file of any of the formats.

use crate::archive::{self, Archive};
use crate::document::{Collector, Document};
use crate::pickle::{decode, verdict};
use crate::precision::precision;
use crate::rebuild::{Rebuild, Storages};
use crate::source::Source;
use crate::tensor::Data;
use crate::{eager, export, legacy, safetensors, sharded, torchscript};
use qp_abi::manifest::pair;
use qp_abi::sdk::{BackendError, Finding, ModelInfo, RSome, RString, Result};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

/// The mark of a tar archive, and where it is.
pub const TAR_MAGIC: (usize, &[u8]) = (257, b"ustar");

/// Reads the file at `path`.
///
/// # Errors
/// `NotFound`, `Io`, `UnsupportedFormat`, `CorruptFile`, and `UnsafeFile` for archives that try to leave
/// their folder or to fill the memory.
pub fn open(path: &Path) -> Result<Document> {
    read(Arc::new(Source::open(path)?))
}

/// Reads a file that is open.
///
/// # Errors
/// As [`open`].
pub fn read(source: Arc<Source>) -> Result<Document> {
    let bytes = source.bytes()?;
    let mut document = if bytes.starts_with(archive::MAGIC) {
        of_archive(Arc::new(Archive::read(source)?))?
    } else if bytes.starts_with(legacy::MAGIC) {
        legacy::read(source)?
    } else if safetensors::looks_like(bytes.get(..9).unwrap_or_default()) {
        safetensors::read(source)?
    } else if sharded::is_index(bytes) {
        sharded::read(source)?
    } else if bytes.get(TAR_MAGIC.0..).is_some_and(|rest| rest.starts_with(TAR_MAGIC.1)) {
        return Err(BackendError::unsupported_format("the file is a tar archive of PyTorch before 0.1.10")
            .with_help("Load it with that PyTorch and save it again with `torch.save`."));
    } else {
        bare_pickle(source)?
    };
    complete(&mut document.info);
    if document.info.precision == "unknown" {
        let weights = precision(&document.info.tensors);
        let is_dynamic = document.info.scheme == "dynamic" && weights != "unknown";
        document.info.precision = if is_dynamic { format!("dynamic-{weights}") } else { weights }.into();
    }
    if document.info.producer.is_empty() {
        document.info.producer = "PyTorch".into();
    }
    Ok(document)
}

/// Sees to it that each layer lists all tensors that name it as their owner.
fn complete(info: &mut ModelInfo) {
    let mut owned: HashMap<RString, Vec<RString>> = HashMap::new();
    for tensor in info.tensors.iter().filter(|tensor| !tensor.layer.is_empty()) {
        owned.entry(tensor.layer.clone()).or_default().push(tensor.name.clone());
    }
    for layer in &mut info.layers {
        let listed: HashSet<RString> = layer.tensors.iter().cloned().collect();
        let missing = owned.remove(&layer.path).unwrap_or_default();
        layer.tensors.extend(missing.into_iter().filter(|name| !listed.contains(name)));
    }
}

fn of_archive(archive: Arc<Archive>) -> Result<Document> {
    let mut document = if export::is_export(&archive) {
        export::read(&archive)?
    } else if archive.contains("constants.pkl") && archive.contains("data.pkl") {
        torchscript::read(&archive)?
    } else if archive.contains("data.pkl") {
        saved(&archive)?
    } else {
        return Err(BackendError::unsupported_format(
            "the zip archive is none of PyTorch's: it has no `data.pkl`",
        ));
    };
    let info = &mut document.info;
    let versions = [
        ("version", "archive version"),
        (".format_version", "format version"),
        (".data/version", "archive version"),
        ("archive_version", "export archive version"),
    ];
    for (entry, name) in versions {
        if let Some(text) = archive.text(entry)? {
            info.versions.push(pair(name, text));
        }
    }
    for (entry, name) in [("byteorder", "byteorder"), (".data/serialization_id", "serialization_id")] {
        if let Some(text) = archive.text(entry)? {
            info.metadata.push(pair(name, text));
        }
    }
    Ok(document)
}

/// What `torch.save` wrote.
fn saved(archive: &Arc<Archive>) -> Result<Document> {
    let pickle = decode(&archive.content("data.pkl")?)?;
    let storages = Storages::Folder("data/".to_owned());
    let mut collector = Collector::new("pickle", Data::of_archive(Arc::clone(archive)));
    let rebuild = Rebuild { pickle: &pickle, storages: &storages, is_big_endian: archive.is_big_endian()? };
    eager(rebuild, &mut collector)?;
    Ok(collector.document)
}

/// A pickle that is the whole file: no format of PyTorch's, but files of that kind go around as models.
fn bare_pickle(source: Arc<Source>) -> Result<Document> {
    let pickle = decode(source.bytes()?).map_err(|error| {
        let cause = error.message.to_string();
        BackendError::unsupported_format("the file is neither a zip archive nor a pickle").with_cause(cause)
    })?;
    let mut collector = Collector::new("pickle", Data::of_file(source));
    let storages = Storages::Table(HashMap::new());
    eager(Rebuild { pickle: &pickle, storages: &storages, is_big_endian: false }, &mut collector)?;
    Ok(collector.document)
}

/// Adds what a pickle holds, and the verdict on it.
///
/// # Errors
/// `CorruptFile` when a tensor's description makes no sense.
pub fn eager(rebuild: Rebuild<'_>, collector: &mut Collector) -> Result<()> {
    let findings = verdict::findings(rebuild.pickle);
    collector.document.info.versions.push(pair("pickle protocol", rebuild.pickle.protocol().to_string()));
    match eager::read(rebuild, collector) {
        Ok(()) => {}
        // What is dangerous must be reported even when nothing else in the file makes sense.
        Err(error) if verdict::is_dangerous(&findings) => {
            collector.document.info.metadata.push(pair("unreadable", error.message.to_string()));
        }
        Err(error) => return Err(error),
    }
    judge(findings, collector);
    Ok(())
}

/// Adds findings; a dangerous file is never run.
pub fn judge(findings: Vec<Finding>, collector: &mut Collector) {
    let info = &mut collector.document.info;
    if verdict::is_dangerous(&findings) {
        let subjects = findings.iter().flat_map(|finding| &finding.subjects);
        let named: Vec<String> = subjects.take(3).map(|subject| format!("`{subject}`")).collect();
        let message = match named.is_empty() {
            true => "loading this file would run code that it brings along".to_owned(),
            false => format!("loading this file would run {}", named.join(", ")),
        };
        info.run_obstacle = RSome(BackendError::unsafe_file(message).with_help(
            "Do not load it with PyTorch; ask its author for the weights as safetensors or a TorchScript file.",
        ));
    }
    info.findings.extend(findings);
}
