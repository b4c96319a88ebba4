//! A layer while the list of layers grows, and the names of what it computes.

use qp_abi::sdk::{LayerInfo, RString};

/// A layer before it has its name.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its path is still that of its module, or what an operator's would be if it were the only one.
    pub(super) layer: LayerInfo,
    /// Whether it is a module; else an operator.
    pub(super) is_module: bool,
    /// Its number, if it computes something: its outputs are `%7`, `%7:1`, …
    pub(super) id: Option<usize>,
    /// Whether its value may be a list, whose tensors are further outputs as far as the code reads them.
    pub(super) is_list: bool,
    /// Whether another entry stands for it.
    pub(super) is_dropped: bool,
}

/// The number of a layer and of one of its outputs in the name of a value that is not final yet.
pub(super) fn place_of(name: &str) -> Option<(usize, usize)> {
    let name = name.strip_prefix('%')?;
    match name.split_once(':') {
        Some((id, part)) => Some((id.parse().ok()?, part.parse().ok()?)),
        None => Some((name.parse().ok()?, 0)),
    }
}

/// The name of an output of a layer whose name is `layer`.
pub(super) fn part_name(layer: &str, part: usize) -> RString {
    if part == 0 { layer.into() } else { format!("{layer}:{part}").into() }
}
