//! Files that are nested as deep as one likes, or repeat what they say: what they hold, by their depth.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// The depths that every kind of file is tried with.
pub const DEPTHS: [usize; 7] = [10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000];

/// Does `work` on a thread whose stack is half of what a thread of Rust's has.
pub fn on_a_small_stack(work: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(1 << 20).spawn_scoped(scope, work).unwrap();
        thread.join().unwrap();
    });
}

/// Writes a file, and gives back its path.
pub fn written(folder: &Path, name: &str, content: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path
}

/// An archive of those entries, not compressed.
pub fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    zipped(entries, CompressionMethod::Stored)
}

/// The same, compressed.
pub fn deflated(entries: &[(&str, &[u8])]) -> Vec<u8> {
    zipped(entries, CompressionMethod::Deflated)
}

fn zipped(entries: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let mut writer = ZipWriter::new(&mut bytes);
    for (name, content) in entries {
        writer.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap();
    bytes.into_inner()
}

/// The module `M` without attributes, as TorchScript pickles it.
const MODULE: &[u8] = b"\x80\x02c__torch__\nM\nq\x00)\x81}X\x08\x00\x00\x00trainingq\x01\x89sb.";

/// TorchScript with that code, and that `data.pkl`.
pub fn torchscript(code: &str, data: Option<&[u8]>) -> Vec<u8> {
    archive(&[
        ("m/data.pkl", data.unwrap_or(MODULE)),
        ("m/code/__torch__.py", code.as_bytes()),
        ("m/constants.pkl", b"\x80\x02)."),
        ("m/version", b"3\n"),
    ])
}

/// The same with the body of `forward` of the one class.
pub fn method(body: &str) -> String {
    let body: String = body.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "class M(Module):\n  training : bool\n  def forward(s: __torch__.M,\n    x: Tensor) -> Tensor:\n{body}"
    )
}

/// A file of `torch.save` with that pickle.
pub fn saved(pickle: &[u8]) -> Vec<u8> {
    archive(&[("m/data.pkl", pickle), ("m/data/0", &[0; 64]), ("m/version", b"3\n")])
}

/// A text as a pickle has it.
pub fn text(text: &str) -> Vec<u8> {
    [b"X", u32::try_from(text.len()).unwrap().to_le_bytes().as_slice(), text.as_bytes()].concat()
}

/// A graph of fx with that body of `forward`, and what else its dictionary holds.
pub fn traced(body: &str, more: &[u8]) -> Vec<u8> {
    let body: String = body.lines().map(|line| format!("    {line}\n")).collect();
    let parts: [&[u8]; 10] = [
        b"\x80\x02ctorch.fx.graph_module\nreduce_graph_module\n(}(",
        &text("_code"),
        &text(&format!("def forward(self, x):\n{body}")),
        more,
        &text("_modules"),
        b"}",
        &text("_parameters"),
        b"}u",
        &text("import torch\n"),
        b"tR.",
    ];
    saved(&parts.concat())
}

/// An exported program in that JSON.
pub fn exported(program: &str) -> Vec<u8> {
    archive(&[
        ("m/archive_format", b"pt2"),
        ("m/models/model.json", program.as_bytes()),
        ("m/version", b"0\n"),
    ])
}

/// A file of safetensors with that header.
pub fn safetensors(header: &str) -> Vec<u8> {
    [(header.len() as u64).to_le_bytes().as_slice(), header.as_bytes(), &[0; 8]].concat()
}

/// `open` so often, then `middle`, then `close` as often.
pub fn around(open: &str, middle: &str, close: &str, depth: usize) -> String {
    format!("{}{middle}{}", open.repeat(depth), close.repeat(depth))
}
