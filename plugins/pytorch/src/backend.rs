//! The backend: which files are PyTorch's, and what they hold.

use crate::archive;
use crate::legacy;
use crate::model::Model;
use crate::open::{self, MOBILE_MAGIC};
use crate::runtime::Runtime;
use crate::safetensors;
use crate::sharded;
use crate::tar;
use qp_abi::sdk::{
    self, Format, Manifest, ModelInfo, OptionInfo, Pair, Progress, RString, RVec, Result, RuntimeStatus,
    Setup,
};
use std::path::Path;
use std::sync::Arc;

/// PyTorch's file formats.
pub struct Backend {
    runtime: Arc<Runtime>,
}

/// Name, extensions, magic bytes and description of each format.
type FormatRow = (&'static str, &'static [&'static str], &'static [u8], &'static str);

/// How Hugging Face's libraries end the names of an index, their variants included.
const INDICES: &[&str] = &[
    "safetensors.index.json",
    "safetensors.index.fp16.json",
    "safetensors.index.bf16.json",
    "safetensors.index.fp32.json",
    "safetensors.index.fp8.json",
    "safetensors.index.int8.json",
    "safetensors.index.non_ema.json",
    "bin.index.json",
    "bin.index.fp16.json",
    "bin.index.bf16.json",
    "bin.index.fp32.json",
    "pt.index.json",
    "pth.index.json",
];

/// How files of `torch.save` are called.
const PICKLED: &[&str] = &["pt", "pth", "ckpt", "bin", "pkl", "th", "tar"];

const FORMATS: [FormatRow; 7] = [
    (
        "torchscript",
        &["pt", "pth", "ptl", "ff", "ts", "torchscript", "jit"],
        archive::MAGIC,
        "TorchScript: `torch.jit.save`",
    ),
    ("pickle", PICKLED, archive::MAGIC, "modules and state dicts: `torch.save`"),
    ("pickle-legacy", PICKLED, legacy::MAGIC, "`torch.save` before PyTorch 1.6"),
    ("pickle-tar", PICKLED, b"", "`torch.save` before PyTorch 0.1.10"),
    ("pt2", &["pt2"], archive::MAGIC, "exported programs: `torch.export.save`"),
    ("safetensors", &["safetensors"], b"", "weights of the safetensors library"),
    ("sharded", INDICES, b"", "the index of a checkpoint in several files"),
];

impl sdk::Backend for Backend {
    type Model = Model;

    fn manifest() -> Manifest {
        let texts = |texts: &[&str]| texts.iter().map(|&text| RString::from(text)).collect::<RVec<RString>>();
        Manifest {
            id: "pytorch".into(),
            name: "PyTorch".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            description: "reads every file format of PyTorch without executing it; runs those that say what they compute".into(),
            formats: FORMATS
                .iter()
                .map(|&(name, extensions, magic, description)| Format {
                    name: name.into(),
                    extensions: texts(extensions),
                    // Some formats begin with nothing fixed.
                    magic: Some(magic)
                        .filter(|magic| !magic.is_empty())
                        .map(|magic| magic.to_vec().into())
                        .into_iter()
                        .collect(),
                    description: description.into(),
                })
                .collect(),
            url_schemes: RVec::new(),
            features: texts(&["inspect", "run", "capture", "threads", "budget", "substitute", "code", "read-real", "runtime-folder"]),
            options: vec![
                OptionInfo {
                    name: "qengine".into(),
                    values: texts(&["x86", "fbgemm", "onednn", "qnnpack"]),
                    help: "the engine of quantized operators".into(),
                },
                OptionInfo {
                    name: "precision".into(),
                    values: texts(&["float32", "float64", "bfloat16", "float16"]),
                    help: "the precision that floats are computed in".into(),
                },
            ]
            .into(),
            extra: RVec::new(),
        }
    }

    fn create(setup: Setup) -> Result<Self> {
        Ok(Self { runtime: Arc::new(Runtime::new(setup)) })
    }

    fn probe(&self, head: &[u8], file_name: &str) -> Option<String> {
        probe(head, file_name).map(str::to_owned)
    }

    fn inspect(&self, location: &str, _options: &[Pair], progress: &Progress<'_>) -> Result<ModelInfo> {
        progress.update("reading", 0, 0)?;
        Ok(open::open(Path::new(location))?.info)
    }

    fn runtime(&self) -> RuntimeStatus {
        self.runtime.status()
    }

    fn add_runtime_folder(&self, folder: &str) -> Result<()> {
        self.runtime.add_folder(folder);
        Ok(())
    }

    fn open(&self, location: &str, options: &[Pair], progress: &Progress<'_>) -> Result<Model> {
        progress.update("reading", 0, 0)?;
        let path = Path::new(location);
        Ok(Model::new(open::open(path)?, path.to_owned(), options, Arc::clone(&self.runtime)))
    }
}

/// The format of a file by its first bytes and its name. The table of contents of an archive is at its end,
/// so that the formats of one container are told apart by the entries that the head shows.
fn probe(head: &[u8], file_name: &str) -> Option<&'static str> {
    let extension = file_name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    let extension = extension.as_deref().unwrap_or_default();
    let is_ours = FORMATS.iter().any(|(_, extensions, ..)| extensions.contains(&extension));
    let is_certain = is_ours && !matches!(extension, "bin" | "ckpt" | "pkl" | "ts" | "ff" | "tar");
    // Recognized in order to say what it is.
    if is_ours && head.get(MOBILE_MAGIC.0..).is_some_and(|rest| rest.starts_with(MOBILE_MAGIC.1)) {
        return Some("torchscript");
    }
    if head.starts_with(legacy::MAGIC) {
        return Some("pickle-legacy");
    }
    if head.starts_with(archive::MAGIC) {
        return match format_of_entries(head) {
            Some(format) => Some(format),
            None if extension == "pt2" => Some("pt2"),
            None if is_certain => Some("torchscript"),
            None => None,
        };
    }
    if extension == "safetensors" {
        return safetensors::looks_like(head).then_some("safetensors");
    }
    if sharded::looks_like(head, file_name) {
        return Some("sharded");
    }
    if is_ours && tar::is_tar(head) {
        return (extension != "tar" || tar::is_model(head)).then_some("pickle-tar");
    }
    match head {
        [0x80, 2..=5, next, ..] if is_ours && is_first_opcode(*next) => Some("pickle"),
        _ => None,
    }
}

/// Opcodes that a pickle of a model may start with after its protocol.
fn is_first_opcode(opcode: u8) -> bool {
    matches!(opcode, 0x95 | b'}' | b']' | b')' | b'(' | b'c' | b'X' | 0x8c | 0x8a | b'K' | b'N' | b'U')
}

/// The format that the names of the entries in `head` tell.
fn format_of_entries(head: &[u8]) -> Option<&'static str> {
    const NAME: usize = 30;
    let mut hint = None;
    let starts =
        head.windows(4).enumerate().filter(|(_, window)| *window == archive::MAGIC).map(|(start, _)| start);
    for start in starts {
        let field = |at: usize| {
            head.get(start + at..start + at + 2).map(|b| usize::from(u16::from_le_bytes([b[0], b[1]])))
        };
        let Some(length) = field(26) else { break };
        let Some(name) = head.get(start + NAME..start + NAME + length) else { break };
        let name = String::from_utf8_lossy(name);
        let inner = name.split_once('/').map_or(&*name, |(_, inner)| inner);
        match inner {
            "archive_format" | "archive_version" | "serialized_exported_program.json" => return Some("pt2"),
            _ if inner.starts_with("data/weights/") || inner.starts_with("models/") => return Some("pt2"),
            "constants.pkl" => return Some("torchscript"),
            _ if inner.starts_with("code/") => return Some("torchscript"),
            ".format_version" | ".storage_alignment" => return Some("pickle"),
            "data.pkl" => hint = hint.or(Some("pickle")),
            _ if inner.starts_with("data/") && name.contains('/') => hint = hint.or(Some("torchscript")),
            _ => {}
        }
    }
    hint
}
