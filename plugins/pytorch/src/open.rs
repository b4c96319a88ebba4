//! Opens a file of any of the formats.

use crate::archive::{self, Archive};
use crate::document::{Collector, Document};
use crate::pickle::verdict::Verdict;
use crate::pickle::{Pickle, decode};
use crate::precision::precision;
use crate::rebuild::{Rebuild, Storages};
use crate::source::Source;
use crate::stack::deep;
use crate::tensor::Data;
use crate::{eager, export, judge, legacy, operator_judgement, safetensors, sharded, tar, torchscript};
use qp_abi::manifest::pair;
use qp_abi::sdk::{BackendError, ModelInfo, RSome, Result, Severity, settle};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// The mark of a mobile model in FlatBuffers form, and where it is.
pub const MOBILE_MAGIC: (usize, &[u8]) = (4, b"PTMF");

/// Reads the file at `path`.
///
/// # Errors
/// `NotFound`, `Io`, `UnsupportedFormat`, `CorruptFile`, and `UnsafeFile` for archives that try to leave
/// their folder or to fill the memory.
pub fn open(path: &Path) -> Result<Document> {
    read(Arc::new(Source::open(path)?))
}

/// The description of a file that is in memory under that name: what inspection makes of any bytes.
///
/// # Errors
/// `UnsupportedFormat`, `CorruptFile`, and `UnsafeFile` for archives that try to leave their folder or to fill the memory.
pub fn describe(bytes: Vec<u8>, name: &str) -> Result<ModelInfo> {
    Ok(read(Arc::new(Source::from_bytes(Path::new(name), bytes)))?.info)
}

/// Reads a file that is open.
///
/// # Errors
/// As [`open`].
pub fn read(source: Arc<Source>) -> Result<Document> {
    deep(|| judged(source)).map_err(BackendError::one_line)
}

/// Whether a file is a mobile model in FlatBuffers form. It begins with a small offset, as no pickle does.
fn is_mobile(bytes: &[u8]) -> bool {
    let has_magic = bytes.get(MOBILE_MAGIC.0..).is_some_and(|rest| rest.starts_with(MOBILE_MAGIC.1));
    has_magic && bytes.get(1..4) == Some(&[0; 3])
}

/// Reads a file, with the verdict on it.
fn judged(source: Arc<Source>) -> Result<Document> {
    let bytes = source.bytes()?;
    let (document, verdict) = if bytes.starts_with(archive::MAGIC) {
        let archive = Arc::new(Archive::read(Arc::clone(&source))?);
        let verdict = judge::of_archive(&archive);
        (of_archive(archive, verdict.is_dangerous()), verdict)
    } else if tar::is_tar(bytes) {
        tar::read(Arc::clone(&source))?
    } else if is_mobile(bytes) {
        return Err(BackendError::unsupported_format(
            "the file is a mobile model in FlatBuffers form, which holds bytecode and no TorchScript",
        )
        .with_help(
            "Save the module with `torch.jit.save`, or with `_save_for_lite_interpreter` without `_use_flatbuffer`.",
        ));
    } else if safetensors::looks_like(bytes.get(..9).unwrap_or_default()) {
        (safetensors::read(Arc::clone(&source)), Verdict::default())
    } else if sharded::is_index(bytes) {
        let (document, verdict) = sharded::read(Arc::clone(&source))?;
        (Ok(document), verdict)
    } else {
        let verdict = judge::of_pickles(bytes);
        (of_pickles(Arc::clone(&source), verdict.is_dangerous()), verdict)
    };
    let document = document.and_then(|mut document| {
        crate::kind::assign(&mut document.info);
        settle(&mut document.info)?;
        Ok(document)
    });
    // What is dangerous must be reported even when nothing else in the file makes sense.
    let mut document = match document {
        Err(error) if verdict.is_dangerous() => {
            let mut unread = Document::new("pickle", Data::of_file(source));
            unread.info.metadata.push(pair("unreadable", error.message.to_string()));
            unread
        }
        document => document?,
    };
    conclude(&verdict, &mut document.info);
    if document.info.precision == "unknown" {
        let weights = precision(&document.info.tensors);
        let is_dynamic = document.info.scheme == "dynamic" && weights != "unknown";
        document.info.precision = match weights.as_str() {
            // The weights are stored whole and rounded when they are packed.
            "float32" if is_dynamic => "dynamic-float16".into(),
            _ if is_dynamic => format!("dynamic-{weights}").into(),
            _ => weights.into(),
        };
    }
    if document.info.producer.is_empty() {
        document.info.producer = "PyTorch".into();
    }
    Ok(document)
}

fn of_archive(archive: Arc<Archive>, is_dangerous: bool) -> Result<Document> {
    let mut document = if export::is_export(&archive) {
        export::read(&archive)?
    } else if archive.contains("constants.pkl") && archive.contains("data.pkl") {
        torchscript::read(&archive, is_dangerous)?
    } else if archive.contains("data.pkl") {
        saved(&archive, is_dangerous)?
    } else if archive.names().any(|name| name.ends_with("/data.pkl")) {
        return Err(BackendError::corrupt_file(
            "entries of the zip archive lie outside of the folder of its `data.pkl`",
        )
        .with_help("Readers of such a file see different models: get it from its source again."));
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
fn saved(archive: &Arc<Archive>, is_dangerous: bool) -> Result<Document> {
    let pickle = decode(&archive.content("data.pkl")?)?;
    let storages = Storages::Folder("data/".to_owned());
    let mut collector = Collector::new("pickle", Data::of_archive(Arc::clone(archive)));
    let rebuild = Rebuild { pickle: &pickle, storages: &storages, is_big_endian: archive.is_big_endian()? };
    eager(rebuild, &mut collector, is_dangerous)?;
    Ok(collector.document)
}

/// A file that begins with a pickle: that of PyTorch before 1.6, or a pickle that is the whole file, which is
/// no format of PyTorch's, but files of that kind go around as models.
fn of_pickles(source: Arc<Source>, is_dangerous: bool) -> Result<Document> {
    let bytes = source.bytes()?;
    let pickle = decode(bytes).map_err(|error| {
        if matches!(bytes, [0x80, 0..=5, ..]) {
            return error;
        }
        let cause = error.message.to_string();
        BackendError::unsupported_format("the file is neither a zip archive nor a pickle").with_cause(cause)
    })?;
    if legacy::is_magic(&pickle) {
        return legacy::read(Arc::clone(&source), is_dangerous);
    }
    let mut collector = Collector::new("pickle", Data::of_file(Arc::clone(&source)));
    let storages = Storages::Table(HashMap::new());
    eager(
        Rebuild { pickle: &pickle, storages: &storages, is_big_endian: false },
        &mut collector,
        is_dangerous,
    )?;
    Ok(collector.document)
}

/// Adds what a pickle holds; of a dangerous one as much as can be read.
///
/// # Errors
/// `CorruptFile` when a tensor's description makes no sense.
pub fn eager(rebuild: Rebuild<'_>, collector: &mut Collector, is_dangerous: bool) -> Result<()> {
    collector.document.info.versions.push(pair("pickle protocol", rebuild.pickle.protocol().to_string()));
    let read = eager::read(rebuild, collector).and_then(|()| whole(rebuild.pickle));
    match read {
        Err(error) if is_dangerous => {
            collector.document.info.metadata.push(pair("unreadable", error.message.to_string()));
            Ok(())
        }
        read => read,
    }
}

/// Whether all of a pickle could be looked at.
///
/// # Errors
/// `CorruptFile`.
pub fn whole(pickle: &Pickle) -> Result<()> {
    if pickle.is_exhausted() {
        return Err(BackendError::corrupt_file("the pickle repeats its parts beyond any use"));
    }
    Ok(())
}

/// Adds the verdict; a dangerous file is never run.
fn conclude(verdict: &Verdict, info: &mut ModelInfo) {
    let Some(word) = verdict.word() else { return };
    // Code beside the pickles may be what is dangerous.
    let has_danger = info.findings.iter().any(|finding| finding.severity == Severity::DANGER);
    let has_doubt = info.findings.iter().any(|finding| finding.code == operator_judgement::UNKNOWN);
    let word = match word {
        _ if has_danger => "dangerous",
        "safe" if has_doubt => "unknown",
        word => word,
    };
    info.extra.push(pair("verdict", word));
    if verdict.is_dangerous() {
        let named: Vec<String> = verdict.names().take(3).map(|subject| format!("`{subject}`")).collect();
        let ambiguity = verdict.ambiguities().next();
        let message = match (named.is_empty(), ambiguity) {
            (true, Some(what)) => format!("readers of this file see different things: {what}"),
            (true, None) => "loading this file would run code that it brings along".to_owned(),
            (false, _) => format!("loading this file would run {}", named.join(", ")),
        };
        info.run_obstacle = RSome(BackendError::unsafe_file(message).with_help(
            "Do not load it with PyTorch; ask its author for the weights as safetensors or a TorchScript file.",
        ));
    }
    info.findings.extend(verdict.findings());
}
