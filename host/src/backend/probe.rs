//! Which plugin reads a file: by its extension, its first bytes, and the plugins' own judgement.

use super::manifest::{Format, Manifest};
use crate::error::{Error, ErrorKind, Result};
use crate::regular_file;
use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

/// How many bytes at the start of a file are examined.
const HEAD_BYTES: u64 = 4096;

/// One plugin's format that a file may be of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) format: &'a Format,
}

/// The first bytes of a file.
pub(super) fn head(path: &Path) -> Result<Vec<u8>> {
    check_file(path)?;
    let mut head = Vec::new();
    let file = regular_file::open(path)?;
    file.take(HEAD_BYTES).read_to_end(&mut head).map_err(|error| Error::io("read", path, &error))?;
    Ok(head)
}

/// Refuses anything but a file with contents: a folder, a pipe that would never end, an empty file.
pub(super) fn check_file(path: &Path) -> Result<()> {
    let metadata = std::fs::metadata(path).map_err(|error| Error::io("read", path, &error))?;
    if metadata.is_dir() {
        let text = format!("`{}` is a folder, not a model file", path.display());
        return Err(Error::new(ErrorKind::InvalidInput, text).with_hint("Name a model file in it."));
    }
    regular_file::require_regular(path, &metadata)
        .map_err(|error| error.with_hint("Copy the model to a file first."))?;
    if metadata.len() == 0 {
        let text = format!("`{}` is empty", path.display());
        return Err(Error::new(ErrorKind::CorruptFile, text).with_hint("Copy or download the file again."));
    }
    Ok(())
}

/// The formats whose extension the file's name ends in; if several extensions match, those of the longest (`onnx.data`
/// before `data`).
pub(super) fn by_extension<'a>(
    manifests: impl Iterator<Item = &'a Manifest>,
    file_name: &str,
) -> Vec<Candidate<'a>> {
    let file_name = file_name.to_lowercase();
    let fits = |extension: &str| {
        file_name.strip_suffix(extension).is_some_and(|stem| stem.len() > 1 && stem.ends_with('.'))
    };
    let mut longest = 0;
    let mut candidates = Vec::new();
    for candidate in all(manifests) {
        let fitting = candidate.format.extensions.iter().filter(|extension| fits(extension));
        let Some(length) = fitting.map(String::len).max() else { continue };
        if length > longest {
            candidates.clear();
            longest = length;
        }
        if length == longest {
            candidates.push(candidate);
        }
    }
    candidates
}

/// The file's name without the longest extension that a format has, or without its last one: that of
/// `model.safetensors.index.json` may be `model`.
pub(super) fn stem<'a, 'b>(manifests: impl Iterator<Item = &'a Manifest>, file_name: &'b str) -> &'b str {
    let lower = file_name.to_ascii_lowercase();
    let extensions = all(manifests).flat_map(|candidate| &candidate.format.extensions);
    let fitting =
        extensions.filter_map(|extension| lower.strip_suffix(extension.as_str())?.strip_suffix('.'));
    match fitting.map(str::len).filter(|length| *length > 0).min() {
        Some(length) => file_name.get(..length).unwrap_or(file_name),
        None => match file_name.rsplit_once('.') {
            Some((stem, _)) if !stem.is_empty() => stem,
            _ => file_name,
        },
    }
}

/// The formats with a magic that the file starts with.
pub(super) fn by_magic<'a>(
    candidates: impl Iterator<Item = Candidate<'a>>,
    head: &[u8],
) -> Vec<Candidate<'a>> {
    candidates
        .filter(|candidate| candidate.format.magic.iter().any(|magic| head.starts_with(magic)))
        .collect()
}

/// Every format of every plugin.
pub(super) fn all<'a>(manifests: impl Iterator<Item = &'a Manifest>) -> impl Iterator<Item = Candidate<'a>> {
    manifests.flat_map(|manifest| manifest.formats.iter().map(move |format| Candidate { manifest, format }))
}

/// The ids of the plugins, each once, in order.
pub(super) fn plugins<'a>(candidates: &[Candidate<'a>]) -> Vec<&'a str> {
    let mut ids: Vec<&str> = Vec::new();
    for candidate in candidates {
        if !ids.contains(&candidate.manifest.id.as_str()) {
            ids.push(&candidate.manifest.id);
        }
    }
    ids
}

/// The error for a file that several plugins read.
pub(super) fn ambiguous(path: &Path, candidates: &[Candidate<'_>]) -> Error {
    let ids: Vec<String> = plugins(candidates).iter().map(|id| format!("`{id}`")).collect();
    let format = candidates.first().map(|candidate| candidate.format.name.as_str()).unwrap_or_default();
    let first = candidates.first().map(|candidate| candidate.manifest.id.as_str()).unwrap_or_default();
    Error::new(
        ErrorKind::Ambiguous,
        format!("`{}` can be read by the plugins {}", path.display(), ids.join(" and ")),
    )
    .with_hint(format!("Choose one in config.toml, for example: [formats] {format} = \"{first}\""))
}

/// The first file extension of each format, as a sentence. `None` without a format.
pub(super) fn endings_hint<'a>(manifests: impl Iterator<Item = &'a Manifest>) -> Option<String> {
    let (mut usual, mut others) = (BTreeSet::new(), BTreeSet::new());
    for candidate in all(manifests) {
        let mut endings = candidate.format.extensions.iter();
        usual.extend(endings.next());
        others.extend(endings);
    }
    let listed: Vec<String> = usual.iter().map(|ending| format!(".{ending}")).collect();
    let rest = if others.is_subset(&usual) { "" } else { " and some others; `backends info NAME` lists all" };
    (!listed.is_empty()).then(|| format!("Models are files that end in {}{rest}.", listed.join(", ")))
}

/// The error for a file that no plugin reads.
pub(super) fn unsupported<'a>(path: &Path, manifests: impl Iterator<Item = &'a Manifest>) -> Error {
    let error = Error::new(
        ErrorKind::UnsupportedFormat,
        format!("no plugin reads the format of `{}`", path.display()),
    );
    match endings_hint(manifests) {
        None => {
            error.with_hint("Install a plugin: `backends` lists the plugins, and why one cannot be used.")
        }
        Some(endings) => error.with_hint(endings),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(id: &str, formats: &[(&str, &[&str], &[u8])]) -> Manifest {
        Manifest {
            id: id.into(),
            name: id.into(),
            version: "1.0.0".into(),
            description: String::new(),
            formats: formats
                .iter()
                .map(|(name, extensions, magic)| Format {
                    name: (*name).into(),
                    extensions: extensions.iter().map(|text| (*text).to_owned()).collect(),
                    magic: if magic.is_empty() { Vec::new() } else { vec![magic.to_vec()] },
                    description: String::new(),
                })
                .collect(),
            features: Vec::new(),
            options: Vec::new(),
        }
    }

    fn names(candidates: &[Candidate<'_>]) -> Vec<String> {
        candidates
            .iter()
            .map(|candidate| format!("{}/{}", candidate.manifest.id, candidate.format.name))
            .collect()
    }

    #[test]
    fn extensions_are_found_in_any_case_and_the_longest_wins() {
        let manifests = [
            manifest("onnx", &[("onnx", &["onnx"], b"")]),
            manifest("packs", &[("pack", &["pack.onnx"], b""), ("onnx-like", &["nnx"], b"")]),
        ];
        let found = |name: &str| names(&by_extension(manifests.iter(), name));
        assert_eq!(found("Model.ONNX"), ["onnx/onnx"]);
        assert_eq!(found("model.pack.onnx"), ["packs/pack"]);
        assert!(found("onnx").is_empty());
        assert!(found(".onnx").is_empty());
    }

    #[test]
    fn a_stem_has_no_extension_of_any_length() {
        let manifests =
            [manifest("p", &[("one", &["onnx", "json"], b""), ("many", &["safetensors.index.json"], b"")])];
        for (name, expected) in [
            ("resnet8.v2.ONNX", "resnet8.v2"),
            ("Model.safetensors.index.json", "Model"),
            ("safetensors.index.json", "safetensors.index"),
            ("other.txt", "other"),
            (".onnx", ".onnx"),
            ("plain", "plain"),
        ] {
            assert_eq!(stem(manifests.iter(), name), expected, "{name}");
        }
    }

    #[test]
    fn the_first_bytes_choose_among_formats_of_one_extension() {
        let manifests =
            [manifest("pytorch", &[("torchscript", &["pt"], b"PK"), ("pickle", &["pt"], b"\x80\x02")])];
        let candidates = by_extension(manifests.iter(), "x.pt");
        assert_eq!(names(&by_magic(candidates.iter().copied(), b"\x80\x02c")), ["pytorch/pickle"]);
    }

    #[test]
    fn an_unknown_file_is_told_what_is_readable() {
        let manifests = [manifest("onnx", &[("onnx", &["onnx"], b"")])];
        let error = unsupported(Path::new("x.gguf"), manifests.iter());
        assert_eq!(error.message(), "no plugin reads the format of `x.gguf`");
        assert_eq!(error.hints(), ["Models are files that end in .onnx."]);
    }
}
