//! What a target does with a model of PyTorch besides reading it: all that changes it, and writes it.

use qp_abi::ModelBox;
use qp_abi::abi_stable::RRef;
use qp_abi::abi_stable::sabi_trait::TD_Opaque;
use qp_abi::abi_stable::std_types::{RSlice, RVec};
use qp_abi::manifest::pair;
use qp_abi::sdk::{BackendError, DType, Edit, ErrorKind, Setup, boundary};
use qp_abi::sink::{FnProgress, Progress_TO};
use std::io::Write as _;

/// An edit without data.
pub fn edit(action: &str, target: &str, arguments: &[(&str, &str)]) -> Edit {
    Edit {
        action: action.into(),
        target: target.into(),
        arguments: arguments.iter().map(|(name, text)| pair(*name, *text)).collect(),
        dtype: DType::UNDEFINED,
        shape: RVec::new(),
        bytes: RVec::new(),
    }
}

/// Opens a file, asks what of it can be quantized, changes it in each of these ways, and writes it.
pub fn change(content: &[u8], suffix: &str, lists: &[&[Edit]]) {
    let folder =
        if std::path::Path::new("/dev/shm").is_dir() { "/dev/shm".into() } else { std::env::temp_dir() };
    let temporary = || tempfile::Builder::new().suffix(suffix).tempfile_in(&folder).expect("there is room");
    let mut file = temporary();
    file.write_all(content).expect("there is room");
    let backend = boundary::create::<qp_plugin_pytorch::Backend>(Setup::default()).into_result();
    let backend = backend.expect("a backend needs nothing");
    let quiet = FnProgress(|_: &str, _, _| false);
    let progress = || Progress_TO::from_ptr(RRef::new(&quiet), TD_Opaque);
    let location = file.path().to_string_lossy().into_owned();
    let Some(model) = said(backend.open(location.as_str().into(), RSlice::EMPTY, progress()).into_result())
    else {
        return;
    };
    let write = |model: &ModelBox| {
        let out = temporary();
        let path = out.path().to_string_lossy().into_owned();
        said(model.export(path.as_str().into(), RSlice::EMPTY, progress()).into_result());
    };
    let mut refusing = qp_abi::sink::FnSink(|_: qp_abi::TensorView<'_>| Ok(()));
    let sink = qp_abi::sink::TensorSink_TO::from_ptr(qp_abi::abi_stable::RMut::new(&mut refusing), TD_Opaque);
    said(model.request("quantizable/1".into(), "{}".into(), sink, progress()).into_result());
    write(&model);
    for list in lists {
        if let Some(changed) = said(model.edit(RSlice::from_slice(list), progress()).into_result()) {
            drop(said(changed.info().into_result()));
            write(&changed);
        }
    }
}

/// What was answered, or nothing for a refusal, which must be one in words.
fn said<T>(answer: Result<T, BackendError>) -> Option<T> {
    answer
        .inspect_err(|error| {
            assert!(error.kind != ErrorKind::INTERNAL, "{error:?}");
            assert!(
                !error.message.is_empty() && !error.message.contains(|c: char| c.is_control()),
                "{error:?}"
            );
        })
        .ok()
}
