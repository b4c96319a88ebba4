//! What the fuzz targets do with their bytes. A target fails by panicking, hanging or taking too much memory.
//!
//! The ordinary tests run the same functions over seeds and some thousands of mutations of them.

mod files;

pub use files::*;

use qp_abi::sdk::{ErrorKind, ModelInfo, conformance};
use qp_plugin_pytorch::{Backend, describe};

/// The pickle machine, the verdict with its calls, and the reading of modules and tensors: a pickle by itself,
/// the same as what `torch.save` writes, and as a TorchScript module.
pub fn pickle(bytes: &[u8]) {
    examine(bytes.to_vec(), "model.pkl");
    examine(archive_of(&[("m/data.pkl", bytes), ("m/data/0", &[0; 64]), ("m/version", b"3\n")]), "model.pt");
    let code = b"class Net(Module):\n  def forward(self: __torch__.Net,\n    x: Tensor) -> Tensor:\n    return (self.a).forward(x, )\n";
    let script: [(&str, &[u8]); 5] = [
        ("m/data.pkl", bytes),
        ("m/constants.pkl", bytes),
        ("m/code/__torch__.py", code),
        ("m/data/0", &[0; 64]),
        ("m/version", b"3\n"),
    ];
    examine(archive_of(&script), "model.pt");
}

/// The code of a TorchScript module, in an archive that is otherwise sound.
pub fn torchscript(bytes: &[u8]) {
    // `Net` with a submodule, a number, and a list.
    let pickle = b"\x80\x02c__torch__\nNet\n)\x81}(X\x01\x00\x00\x00ac__torch__\nInner\n)\x81}X\x01\x00\x00\x00wK\x02sbX\x01\x00\x00\x00nK\x01X\x01\x00\x00\x00l]K\x03aub.";
    let script: [(&str, &[u8]); 5] = [
        ("m/data.pkl", pickle),
        ("m/constants.pkl", b"\x80\x02)."),
        ("m/code/__torch__.py", bytes),
        ("m/data/0", &[0; 64]),
        ("m/version", b"3\n"),
    ];
    examine(archive_of(&script), "model.pt");
}

/// Any file of PyTorch's formats, read as a whole: the zip reader, the legacy format, and what is in them.
pub fn archive(bytes: &[u8]) {
    examine(bytes.to_vec(), "model.pt");
}

/// The graph of an exported program, in an archive that is otherwise sound.
pub fn program(bytes: &[u8]) {
    examine(program_file(bytes), "model.pt2");
}

/// A file of the safetensors library.
pub fn safetensors(bytes: &[u8]) {
    examine(bytes.to_vec(), "model.safetensors");
    // The size of the header is what a fuzzer guesses last.
    if let Some(end) = bytes.iter().rposition(|&byte| byte == b'}') {
        let sized = [&(end as u64 + 1).to_le_bytes(), bytes].concat();
        examine(sized, "model.safetensors");
    }
}

/// Describes a file, and checks what every answer promises.
fn examine(bytes: Vec<u8>, name: &str) {
    match describe(bytes, name) {
        Ok(info) => check(&info),
        Err(error) => {
            assert!(error.kind != ErrorKind::INTERNAL, "{error:?}");
            assert!(!error.message.is_empty() && !error.message.contains('\n'), "{error:?}");
        }
    }
}

fn check(info: &ModelInfo) {
    // What the host would take for a broken plugin.
    let verdict = conformance::description(&<Backend as qp_abi::sdk::Backend>::manifest(), info);
    assert_eq!(verdict, conformance::Verdict::Passed);
    for finding in &info.findings {
        assert!(finding.subjects.len() <= 65 || !finding.code.starts_with("pickle."), "{finding:?}");
        assert!(finding.subjects.iter().all(|subject| subject.len() <= 4096), "{finding:?}");
    }
    let is_dangerous = info.extra.iter().any(|pair| pair.0 == "verdict" && pair.1 == "dangerous");
    let is_refused =
        info.run_obstacle.as_ref().into_option().is_some_and(|error| error.kind == ErrorKind::UNSAFE_FILE);
    assert_eq!(is_dangerous, is_refused);
}
