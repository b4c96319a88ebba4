//! The backend: what it is, which files it reads, and how it opens them.

use crate::document::Document;
use crate::info::FORMAT;
use crate::model::OnnxModel;
use crate::runtime::Runtime;
use crate::{info, proto, quant};
use qp_abi::sdk::{
    Backend, BackendError, Format, Manifest, ModelInfo, Pair, Progress, Result, RuntimeStatus, Setup,
};
use std::path::Path;
use std::sync::Arc;

/// Reads ONNX models, and runs them with ONNX Runtime.
#[derive(Debug)]
pub struct OnnxBackend {
    runtime: Arc<Runtime>,
}

impl Backend for OnnxBackend {
    type Model = OnnxModel;

    fn manifest() -> Manifest {
        Manifest {
            id: "onnx".into(),
            name: "ONNX Runtime".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            description: "reads ONNX models, runs them with ONNX Runtime".into(),
            formats: vec![Format {
                name: FORMAT.into(),
                extensions: vec!["onnx".into()].into(),
                // A protobuf has no magic number: `probe` looks at the first fields.
                magic: vec![].into(),
                description: "ONNX model, IR version 3 and later".into(),
            }]
            .into(),
            url_schemes: vec![].into(),
            features: vec![
                "inspect".into(),
                "run".into(),
                "capture".into(),
                "optimization".into(),
                "threads".into(),
                "budget".into(),
                "replay".into(),
                "steps".into(),
                "edit".into(),
                "emulate".into(),
                "export".into(),
                "kernels".into(),
                "quantize".into(),
                "runtime-folder".into(),
                "idle".into(),
            ]
            .into(),
            options: vec![].into(),
            extra: vec![].into(),
        }
    }

    fn create(setup: Setup) -> Result<Self> {
        Ok(Self { runtime: Arc::new(Runtime::new(&setup)) })
    }

    /// A file named `.onnx` is claimed whatever it holds, so that a damaged one is explained instead of skipped; so
    /// is one in ONNX Runtime's own format.
    fn probe(&self, head: &[u8], file_name: &str) -> Option<String> {
        let extension = Path::new(file_name).extension().and_then(|extension| extension.to_str());
        let is_named = extension
            .is_some_and(|name| name.eq_ignore_ascii_case("onnx") || name.eq_ignore_ascii_case("ort"));
        (is_named || proto::is_ort_format(head) || proto::looks_like_model(head)).then(|| FORMAT.to_owned())
    }

    fn inspect(&self, location: &str, options: &[Pair], progress: &Progress<'_>) -> Result<ModelInfo> {
        refuse_options(options)?;
        Document::open(Path::new(location), progress, |document| {
            progress.update("reading the quantization", 0, 0)?;
            info::describe(&document, &quant::analyze(&document))
        })
    }

    fn runtime(&self) -> RuntimeStatus {
        self.runtime.status()
    }

    fn add_runtime_folder(&self, folder: &str) -> Result<()> {
        self.runtime.add_folder(folder.into());
        Ok(())
    }

    fn idle(&self) -> Result<()> {
        self.runtime.idle()
    }

    fn open(&self, location: &str, options: &[Pair], progress: &Progress<'_>) -> Result<OnnxModel> {
        refuse_options(options)?;
        OnnxModel::open(Path::new(location), Arc::clone(&self.runtime), progress)
    }
}

/// Opening and inspecting have no options.
fn refuse_options(options: &[Pair]) -> Result<()> {
    match options.first() {
        None => Ok(()),
        Some(option) => Err(BackendError::invalid_input(format!(
            "unknown option `{}` for opening an ONNX model",
            option.0
        ))),
    }
}
