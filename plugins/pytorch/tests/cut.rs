//! Files that are cut, before they are read or while they are: an error each, and no zeros in place of what is gone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../../../tests/fuzz/src/files.rs"]
#[allow(dead_code, reason = "other tests write other files")]
mod files;
mod support;

use qp_abi::sdk::{BackendError, ErrorKind};
use std::path::Path;
use support::{backend, inspect, open, read_tensor};
use tempfile::TempDir;

/// Why a file with these bytes is not read.
fn refused(bytes: &[u8]) -> BackendError {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.pt");
    std::fs::write(&path, bytes).unwrap();
    let _ = open(&backend(), &path);
    inspect(&path).map(|info| info.format).unwrap_err()
}

#[test]
fn a_mapped_file_that_shrinks_while_it_is_open_is_an_error() {
    let storage = b"(X\x07\x00\x00\x00storagectorch\nByteStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuJ\x00\x00\x30\x00tQ";
    let head = b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n(".as_slice();
    let tail = b"K\x00J\x00\x00\x30\x00\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtRs.".as_slice();
    let pickle = [head, storage, tail].concat();
    let content: Vec<u8> = (0..3_u32 << 20).map(|index| (index % 251) as u8).collect();
    let bytes = files::archive_of(&[("m/data.pkl", &pickle), ("m/data/0", &content)]);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.pt");
    std::fs::write(&path, bytes).unwrap();
    let model = open(&backend(), &path).unwrap();
    assert_eq!(read_tensor(&model, "w").unwrap().bytes, content);
    std::fs::File::options().write(true).open(&path).unwrap().set_len(4096).unwrap();
    assert_eq!(read_tensor(&model, "w").unwrap_err().kind, ErrorKind::CORRUPT_FILE);
}

#[test]
fn a_file_cut_at_any_byte_is_an_error_and_no_panic() {
    let whole =
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tensors_legacy.pt")).unwrap();
    for length in 0..whole.len() {
        let error = refused(&whole[..length]);
        assert_ne!(error.kind, ErrorKind::INTERNAL, "cut at {length}: {error:?}");
    }
    let zip = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tensors.pt")).unwrap();
    for length in (0..zip.len()).step_by(7) {
        let error = refused(&zip[..length]);
        assert_ne!(error.kind, ErrorKind::INTERNAL, "cut at {length}: {error:?}");
    }
}

#[test]
fn no_zeros_of_a_file_that_is_cut_meanwhile_pass_as_weights() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("m.safetensors");
    let weights: Vec<u8> = (0..4_u32 << 20).map(|index| 1 + (index % 251).to_le_bytes()[0]).collect();
    let header = format!(
        r#"{{"w":{{"dtype":"U8","shape":[{}],"data_offsets":[0,{}]}}}}"#,
        weights.len(),
        weights.len()
    );
    let whole = [(header.len() as u64).to_le_bytes().as_slice(), header.as_bytes(), &weights].concat();
    std::fs::write(&path, &whole).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    for kept in [0, whole.len() / 3, whole.len() - 100] {
        let model = open(&backend(), &path).unwrap();
        let read = support::read_pieces(&model, "w", &mut |piece| {
            file.set_len(kept as u64).unwrap();
            let sum: usize = piece.iter().map(|byte| usize::from(*byte)).sum();
            assert!(sum < weights.iter().map(|byte| usize::from(*byte)).sum(), "zeros are read");
            std::os::unix::fs::FileExt::write_all_at(&file, &whole[kept..], kept as u64).unwrap();
        });
        let error = read.unwrap_err();
        assert!([ErrorKind::CORRUPT_FILE, ErrorKind::IO].contains(&error.kind), "{error:?}");
        assert_eq!(error.help, "`reload` reads it again.");
    }
    assert!(read_tensor(&open(&backend(), &path).unwrap(), "w").unwrap().bytes == weights);
}
