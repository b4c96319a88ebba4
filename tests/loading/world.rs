//! A folder with plugins and models, and what is asked of it.

use crate::support::plugin::install;
use qp::backend::{BackendConfig, Backends, PluginState};
use qp::error::{Error, ErrorKind};
use qp::model::{DType, Tensor};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A good model.
pub const TOY: &str = "\
toy 1
input x float32 N,3
tensor w int8 3 scale=0.5 zero_point=1 = 3 1 -1
layer fc.mul Mul x w -> h
layer fc.relu Relu h -> a
layer fc.round Quantize a -> y scale=0.25 zero_point=-128
output y
";

/// A folder with plugins and one with models.
pub struct World {
    pub folder: TempDir,
    pub config: BackendConfig,
}

impl World {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config =
            BackendConfig { plugin_folders: vec![folder.path().join("plugins")], ..BackendConfig::default() };
        Self { folder, config }
    }

    pub fn with_plugin(package: &str, name: &str) -> Self {
        let world = Self::new();
        world.install(package, name);
        world
    }

    pub fn with_toy() -> Self {
        Self::with_plugin("qp-plugin-toy", "toy")
    }

    pub fn plugins(&self) -> &Path {
        &self.config.plugin_folders[0]
    }

    pub fn install(&self, package: &str, name: &str) -> PathBuf {
        install(package, self.plugins(), name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    pub fn toy(&self, misbehaviour: &str) -> PathBuf {
        self.write("model.toy", format!("{TOY}misbehave {misbehaviour}\n"))
    }

    pub fn discover(&self) -> Backends {
        Backends::discover(self.config.clone())
    }

    /// A text with this world's own folders taken out.
    pub fn plain(&self, text: &str) -> String {
        text.replace(&self.folder.path().display().to_string(), "~")
    }

    /// Why the only plugin is broken.
    pub fn refusal(&self) -> Error {
        let backends = self.discover();
        match backends.plugins() {
            [entry] => match entry.state() {
                PluginState::Broken(error) => error,
                state => panic!("{} is {state:?}", entry.id()),
            },
            entries => panic!("{} plugins", entries.len()),
        }
    }

    pub fn assert_refusal(&self, line: &str, hint: &str) -> Error {
        let error = self.refusal();
        assert_eq!(error.kind(), ErrorKind::Plugin);
        assert_eq!(self.plain(&error.one_line()), line);
        assert_eq!(error.hints(), [hint]);
        error
    }
}

/// Three numbers for the input `x`.
pub fn input(numbers: [f32; 3]) -> Tensor {
    Tensor {
        name: "x".into(),
        dtype: DType::FLOAT32,
        shape: vec![1, 3],
        bytes: numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
        quantization: None,
    }
}
