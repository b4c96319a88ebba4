//! Where the parts of an exported program are in its archive, which has changed twice.
//!
//! | written by | graph | weights |
//! |---|---|---|
//! | PyTorch 2.9 and newer | `models/NAME.json` | `data/weights/NAME_weights_config.json` and raw entries |
//! | PyTorch 2.8 | `models/NAME.json` | `data/weights/NAME.pt`, a file of `torch.save` |
//! | PyTorch 2.5 to 2.7 | `serialized_exported_program.json` | `serialized_state_dict.pt`, likewise |
//!
//! Constants lie beside the weights in the same way.

use crate::container::Archive;

/// The graph before PyTorch 2.8.
const OLD_GRAPH: &str = "serialized_exported_program.json";

/// Where one program's parts are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// A package that may hold several programs; the name of this one.
    Package(String),
    /// The archive is one program.
    Single,
}

/// The two kinds of stored tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What modules own: parameters and buffers.
    Weights,
    /// What none does.
    Constants,
}

impl Layout {
    /// That of the program in an archive, the first one if it has several; `None` when there is none.
    pub fn of(archive: &Archive) -> Option<Self> {
        let names = programs(archive);
        match names.iter().find(|name| **name == "model").or(names.first()) {
            Some(name) => Some(Self::Package((*name).to_owned())),
            None => archive.contains(OLD_GRAPH).then_some(Self::Single),
        }
    }

    /// The entry with the graph.
    pub fn graph(&self) -> String {
        match self {
            Self::Package(name) => format!("models/{name}.json"),
            Self::Single => OLD_GRAPH.to_owned(),
        }
    }

    /// The entry with the table of raw tensors.
    pub fn table(&self, kind: Kind) -> Option<String> {
        match self {
            Self::Package(name) => Some(format!("{}{name}_{}_config.json", kind.folder(), kind.name())),
            Self::Single => None,
        }
    }

    /// The entry that is a file of `torch.save` with the tensors.
    pub fn saved(&self, kind: Kind) -> String {
        match (self, kind) {
            (Self::Package(name), kind) => format!("{}{name}.pt", kind.folder()),
            (Self::Single, Kind::Weights) => "serialized_state_dict.pt".to_owned(),
            (Self::Single, Kind::Constants) => "serialized_constants.pt".to_owned(),
        }
    }
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Weights, Self::Constants];

    /// What they are called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::Constants => "constants",
        }
    }

    /// The folder of their entries in a package.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Weights => "data/weights/",
            Self::Constants => "data/constants/",
        }
    }
}

/// The names of the programs in a package.
pub fn programs(archive: &Archive) -> Vec<&str> {
    archive.names().filter_map(|name| name.strip_prefix("models/")?.strip_suffix(".json")).collect()
}
