//! The format of a file, by its name and its first bytes.

use crate::container::kind::{Kind, LEGACY, ZIP, is_tar_of_model};

/// Name, extensions, magic bytes and description of each format.
pub(super) type FormatRow = (&'static str, &'static [&'static str], &'static [u8], &'static str);

/// How Hugging Face's libraries end the name of an index, variants included.
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

/// The extensions of files that `torch.save` writes.
const PICKLED: &[&str] = &["pt", "pth", "ckpt", "bin", "pkl", "th", "tar"];

pub(super) const FORMATS: [FormatRow; 7] = [
    (
        "torchscript",
        &["pt", "pth", "ptl", "ff", "ts", "torchscript", "jit"],
        ZIP,
        "TorchScript: `torch.jit.save`",
    ),
    ("pickle", PICKLED, ZIP, "modules and state dicts: `torch.save`"),
    ("pickle-legacy", PICKLED, LEGACY, "`torch.save` before PyTorch 1.6"),
    ("pickle-tar", PICKLED, b"", "`torch.save` before PyTorch 0.1.10"),
    ("pt2", &["pt2"], ZIP, "exported programs: `torch.export.save`"),
    ("safetensors", &["safetensors"], b"", "weights of the safetensors library"),
    ("sharded", INDICES, b"", "the index of a checkpoint in several files"),
];

/// The format of a file by its first bytes and its name. The table of contents of an archive is at its end,
/// so that the formats of one container are told apart by the entries that the head shows.
pub(super) fn probe(head: &[u8], file_name: &str) -> Option<&'static str> {
    let extension = file_name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    let extension = extension.as_deref().unwrap_or_default();
    let is_ours = FORMATS.iter().any(|(_, extensions, ..)| extensions.contains(&extension));
    let is_certain = is_ours && !matches!(extension, "bin" | "ckpt" | "pkl" | "ts" | "ff" | "tar");
    match Kind::of(head) {
        // Recognized in order to say what it is.
        Kind::Mobile if is_ours => return Some("torchscript"),
        Kind::Legacy => return Some("pickle-legacy"),
        Kind::Zip => {
            return match format_of_entries(head) {
                Some(format) => Some(format),
                None if extension == "pt2" => Some("pt2"),
                None if is_certain => Some("torchscript"),
                None => None,
            };
        }
        kind if extension == "safetensors" => return (kind == Kind::Safetensors).then_some("safetensors"),
        Kind::Index if is_index(file_name) => return Some("sharded"),
        Kind::Tar if is_ours => {
            return (extension != "tar" || is_tar_of_model(head)).then_some("pickle-tar");
        }
        _ => {}
    }
    match head {
        [0x80, 2..=5, next, ..] if is_ours && is_first_opcode(*next) => Some("pickle"),
        _ => None,
    }
}

/// Whether a file has the name of a checkpoint's index.
fn is_index(file_name: &str) -> bool {
    let name = file_name.to_ascii_lowercase();
    name.ends_with(".json") && name.contains(".index")
}

/// Opcodes that a pickle of a model may start with after its protocol.
fn is_first_opcode(opcode: u8) -> bool {
    matches!(opcode, 0x95 | b'}' | b']' | b')' | b'(' | b'c' | b'X' | 0x8c | 0x8a | b'K' | b'N' | b'U')
}

/// The format that the names of the entries in `head` tell.
fn format_of_entries(head: &[u8]) -> Option<&'static str> {
    const NAME: usize = 30;
    let mut hint = None;
    let starts = head.windows(4).enumerate().filter(|(_, window)| *window == ZIP).map(|(start, _)| start);
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
