//! The backend: which files are PyTorch's, and what they hold.

use crate::open;
use crate::runtime::Runtime;
use model::Model;
use probe::probe;
use qp_abi::sdk::{
    self, Format, Manifest, ModelInfo, OptionInfo, Pair, Progress, RString, RVec, Result, RuntimeStatus,
    Setup,
};
use std::path::Path;
use std::sync::Arc;

mod model;
mod probe;
mod written;

/// PyTorch's file formats.
pub struct Backend {
    runtime: Arc<Runtime>,
}

impl sdk::Backend for Backend {
    type Model = Model;

    fn manifest() -> Manifest {
        let texts = |texts: &[&str]| texts.iter().map(|&text| RString::from(text)).collect::<RVec<RString>>();
        Manifest {
            id: "pytorch".into(),
            name: "PyTorch".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            description: "reads every file format of PyTorch without executing it; runs those that describe their computation".into(),
            formats: probe::FORMATS
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
            features: texts(&["inspect", "run", "capture", "threads", "budget", "edit", "export", "substitute", "code", "read-real", "runtime-folder", "kernels", "quantize", "steps"]),
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
