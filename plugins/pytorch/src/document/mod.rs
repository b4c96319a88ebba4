//! What was read from one file: the description for the host, and the tensors that belong to it.

mod collector;
pub mod kind;
pub mod listing;
pub mod obstacle;
mod precision;

pub use collector::{Collector, value};
pub use precision::precision;

use crate::tensor::{Data, StoredTensor};
use listing::GraphCode;
use qp_abi::sdk::{BackendError, ModelInfo, QuantizationParameters, RString, Result, TensorInfo};
use qp_pytorch_contract::program::Program;
use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

/// Tensors, modules and steps of a computation that a file of any size may have, and beyond them one for so many bytes of
/// it: each takes some kilobytes in a description, and a deflated file names a thousand of them in each.
const FREE_PARTS: usize = 1 << 15;
const PART_BYTES: u64 = 64;
/// Scales that are listed in any case. Beyond them, as many as the file could store: one tensor of scales may
/// be that of a hundred thousand tensors.
const FREE_SCALES: usize = 1 << 16;

/// A file that was read.
#[derive(Debug)]
pub struct Document {
    /// The description.
    pub info: ModelInfo,
    /// The tensors by name.
    pub tensors: HashMap<String, StoredTensor>,
    /// Those that a program reads in another form than they are shown in: as they are stored.
    pub raw: HashMap<String, StoredTensor>,
    /// Their bytes.
    pub data: Data,
    /// What the engine is to call, for formats that libtorch does not load by itself.
    pub program: Option<Program>,
    /// The Python sources of fx graphs in a pickle.
    pub code: Vec<GraphCode>,
    /// Scales that its description lists.
    listed_scales: usize,
    /// The places of the tensors in the description, noted when one is first looked up.
    places: OnceLock<HashMap<String, usize>>,
}

impl Document {
    /// An empty document of that format.
    pub fn new(format: &str, data: Data) -> Self {
        Self {
            info: ModelInfo::new(format),
            tensors: HashMap::new(),
            raw: HashMap::new(),
            data,
            program: None,
            code: Vec::new(),
            listed_scales: 0,
            places: OnceLock::new(),
        }
    }

    /// How many tensors, modules or steps the file may have.
    pub fn parts(&self) -> usize {
        let more = usize::try_from(self.data.file_bytes() / PART_BYTES).unwrap_or(usize::MAX);
        more.saturating_add(FREE_PARTS)
    }

    /// Scales that may still be listed.
    pub fn scales(&self) -> usize {
        let stored = usize::try_from(self.data.file_bytes() / 4).unwrap_or(usize::MAX);
        stored.saturating_add(FREE_SCALES).saturating_sub(self.listed_scales)
    }

    /// Takes note of scales that are listed.
    pub fn count_scales(&mut self, parameters: &QuantizationParameters) {
        self.listed_scales = self.listed_scales.saturating_add(parameters.scales.len());
    }

    /// The names of the values that layers compute.
    pub fn computed(&self) -> HashSet<&str> {
        self.info.layers.iter().flat_map(|layer| &layer.outputs).map(RString::as_str).collect()
    }

    /// The descriptions of the tensors by name, for those who ask for many.
    pub fn described(&self) -> HashMap<&str, &TensorInfo> {
        self.info.tensors.iter().map(|info| (info.name.as_str(), info)).collect()
    }

    /// The stored tensor with that name.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn tensor(&self, name: &str) -> Result<(&StoredTensor, &TensorInfo)> {
        let tensor = self.tensors.get(name);
        let places = self.places.get_or_init(|| {
            let names = self.info.tensors.iter().enumerate();
            names.map(|(place, info)| (info.name.to_string(), place)).collect()
        });
        let info = places.get(name).and_then(|place| self.info.tensors.get(*place));
        // Whoever reads a tensor while the file is being read finds it in another place later.
        let info = info
            .filter(|info| info.name == name)
            .or_else(|| self.info.tensors.iter().find(|info| info.name == name));
        tensor.zip(info).ok_or_else(|| {
            BackendError::not_found(format!("the file has no tensor `{name}`"))
                .with_help("List its tensors with `stats`.")
        })
    }
}
