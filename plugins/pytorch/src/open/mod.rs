//! Opens a file of any of the formats.

use crate::container::{Archive, Kind, Source, deep};
use crate::document::{Document, kind, precision};
use crate::pickle::verdict::Verdict;
use crate::tensor::Data;
use crate::{export, judge, safetensors, saved, sharded, torchscript};
use qp_abi::manifest::pair;
use qp_abi::sdk::{BackendError, ModelInfo, RSome, RString, Result, Severity, settle};
use std::path::Path;
use std::sync::Arc;

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
    let file = source.file().cloned();
    let document = deep(|| judged(source)).map_err(BackendError::one_line);
    let beside = document.iter().flat_map(|document| document.data.files());
    for file in file.into_iter().chain(beside) {
        file.check_unchanged()?;
    }
    document
}

/// Reads an archive whose entries edits have changed.
///
/// # Errors
/// As [`open`].
pub fn read_edited(archive: Archive) -> Result<Document> {
    deep(|| {
        let verdict = judge::of_archive(&archive);
        let source = Arc::clone(archive.source());
        concluded(of_archive(Arc::new(archive), verdict.is_dangerous()), &verdict, source)
    })
    .map_err(BackendError::one_line)
}

/// Bytes of a message or a subject of a finding.
const MAX_QUOTED: usize = 4096;

/// Reads a file, with the verdict on it.
fn judged(source: Arc<Source>) -> Result<Document> {
    let bytes = source.bytes()?;
    let (document, verdict) = match Kind::of(bytes) {
        Kind::Zip => {
            let archive = Arc::new(Archive::read(Arc::clone(&source))?);
            let verdict = judge::of_archive(&archive);
            (of_archive(archive, verdict.is_dangerous()), verdict)
        }
        Kind::Tar => saved::of_tar(Arc::clone(&source))?,
        Kind::Mobile => {
            return Err(BackendError::unsupported_format(
                "the file is a mobile model in FlatBuffers form, which holds bytecode and no TorchScript",
            )
            .with_help(
                "Save the module with `torch.jit.save`, or with `_save_for_lite_interpreter` without `_use_flatbuffer`.",
            ));
        }
        Kind::Safetensors => (safetensors::read(Arc::clone(&source)), Verdict::default()),
        Kind::Index => {
            let (document, verdict) = sharded::read(Arc::clone(&source))?;
            (Ok(document), verdict)
        }
        Kind::Legacy | Kind::Other => {
            let verdict = judge::of_pickles(bytes);
            (saved::of_pickles(Arc::clone(&source), verdict.is_dangerous()), verdict)
        }
    };
    concluded(document, &verdict, source)
}

/// Completes a description, and says what the verdict is.
fn concluded(document: Result<Document>, verdict: &Verdict, source: Arc<Source>) -> Result<Document> {
    let document = document.and_then(|mut document| {
        kind::assign(&mut document.info);
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
    conclude(verdict, &mut document.info);
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
    for finding in &mut document.info.findings {
        std::iter::once(&mut finding.message).chain(finding.subjects.iter_mut()).for_each(cut);
    }
    Ok(document)
}

/// Leaves out the end of a text that is longer than any that people write: findings quote names of the file.
fn cut(text: &mut RString) {
    if text.len() > MAX_QUOTED {
        let end = text.as_str().floor_char_boundary(MAX_QUOTED - "…".len());
        *text = format!("{}…", &text.as_str()[..end]).into();
    }
}

fn of_archive(archive: Arc<Archive>, is_dangerous: bool) -> Result<Document> {
    let mut document = if export::is_export(&archive) {
        export::read(&archive)?
    } else if archive.contains("constants.pkl") && archive.contains("data.pkl") {
        torchscript::read(&archive, is_dangerous)?
    } else if archive.contains("data.pkl") {
        saved::of_archive(&archive, is_dangerous)?
    } else if archive.names().any(|name| name.ends_with("/data.pkl")) {
        return Err(BackendError::corrupt_file(
            "entries of the zip archive lie outside of the folder of its `data.pkl`",
        )
        .with_help("Readers of such a file see different models: get it from its source again."));
    } else {
        return Err(BackendError::unsupported_format(
            "the zip archive is not from PyTorch: it has no `data.pkl`",
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

/// Adds the verdict; a dangerous file is never run.
fn conclude(verdict: &Verdict, info: &mut ModelInfo) {
    let Some(word) = verdict.word() else { return };
    // Code beside the pickles may be what is dangerous.
    let has_danger = info.findings.iter().any(|finding| finding.severity == Severity::DANGER);
    let has_doubt = info.findings.iter().any(|finding| finding.code == judge::UNKNOWN);
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
            (true, None) => "loading this file would run code that it contains".to_owned(),
            (false, _) => format!("loading this file would run {}", named.join(", ")),
        };
        info.run_obstacle = RSome(BackendError::unsafe_file(message).with_help(
            "Do not load it with PyTorch; ask its author for the weights as safetensors or a TorchScript file.",
        ));
    }
    info.findings.extend(verdict.findings());
}
