//! What a plugin says about itself, and what the host passes to it at the start.

use abi_stable::StableAbi;
use abi_stable::std_types::{RString, RVec, Tuple2};

/// A name and a text, where the set of names is open: versions, settings, options, metadata.
pub type Pair = Tuple2<RString, RString>;

/// A [`Pair`] of two texts.
pub fn pair(name: impl Into<String>, text: impl Into<String>) -> Pair {
    Tuple2(RString::from(name.into()), RString::from(text.into()))
}

/// The text under `name`, if there is one.
pub fn lookup<'a>(pairs: &'a [Pair], name: &str) -> Option<&'a str> {
    pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1.as_str())
}

/// What a plugin is and can do. It must be cheap and the same at every call: the host keeps it in its cache and asks
/// again only when the library file changes.
#[repr(C)]
#[derive(StableAbi, Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// A short lower-case name, unique among plugins: `onnx`. Letters, digits and `-` only.
    pub id: RString,
    /// The name for people: `ONNX Runtime`.
    pub name: RString,
    /// The plugin's own version.
    pub version: RString,
    /// One line on what it is.
    pub description: RString,
    /// The file formats it reads, the preferred ones first.
    pub formats: RVec<Format>,
    /// URL schemes of models that are not files; none of today's backends has one.
    pub url_schemes: RVec<RString>,
    /// What it can do: `inspect`, `run`, `capture`, `edit`, `emulate`, `substitute`, `export`, `code`, `read-real`,
    /// `threads`, `optimization`, `budget`, `replay`. The host ignores unknown features.
    pub features: RVec<RString>,
    /// The run settings that it accepts, besides those that come with a feature.
    pub options: RVec<OptionInfo>,
    /// Any further information; the host ignores unknown names.
    pub extra: RVec<Pair>,
}

/// A run setting: the host offers it as `--NAME VALUE` with every command that runs a model.
#[repr(C)]
#[derive(StableAbi, Clone, Debug, PartialEq, Eq)]
pub struct OptionInfo {
    /// A short lower-case name: `qengine`.
    pub name: RString,
    /// The allowed values; empty if any text is allowed.
    pub values: RVec<RString>,
    /// One line on what it does.
    pub help: RString,
}

/// One file format.
#[repr(C)]
#[derive(StableAbi, Clone, Debug, PartialEq, Eq)]
pub struct Format {
    /// A short lower-case name: `onnx`, `torchscript`, `pickle`.
    pub name: RString,
    /// File extensions without the leading dot, lower-case: `pt2`, `onnx.data`.
    pub extensions: RVec<RString>,
    /// Byte sequences that such a file may start with; empty if the format has no magic number.
    pub magic: RVec<RVec<u8>>,
    /// One line on what it is.
    pub description: RString,
}

/// What the host passes to a plugin when it is opened.
#[repr(C)]
#[derive(StableAbi, Clone, Debug, PartialEq, Eq, Default)]
pub struct Setup {
    /// The plugin's own library file; helper libraries may lie next to it.
    pub library_path: RString,
    /// Folders that hold native runtimes, in search order.
    pub runtime_folders: RVec<RString>,
    /// The host's settings for this plugin; ignore unknown names. The host sends `host.version`, and `runtime.path`
    /// if the user names one library or folder instead of a search.
    pub settings: RVec<Pair>,
}
