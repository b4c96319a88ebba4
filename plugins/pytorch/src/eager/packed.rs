//! Packed parameters: what PyTorch's quantized modules keep their weights and biases in.

use crate::pickle::Ref;
use crate::rebuild::{Found, Rebuild};
use qp_abi::sdk::Result;

/// Attributes that are packed parameters.
pub(super) const PACKED: [&str; 4] =
    ["_packed_params", "_packed_weight", "_packed_weight_ih", "_packed_weight_hh"];
/// Where quantized recurrent modules keep those of their cells.
pub(super) const CELLS: &str = "_all_weight_values.";

/// The path without the container of packed parameters at its end.
pub fn without_packer(path: &str) -> &str {
    if path == "_packed_params" { "" } else { path.strip_suffix("._packed_params").unwrap_or(path) }
}

/// The path of the module that packed parameters at `path` belong to: those of the layers of a recurrent module are
/// its own.
pub fn owner_of_packed(path: &str) -> &str {
    let path = without_packer(path);
    path.rsplit_once(CELLS).map_or(path, |(recurrent, _)| recurrent.trim_end_matches('.'))
}

/// Whether an entry with that name in a state dict is packed parameters.
pub fn is_packed(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    PACKED.contains(&last) || (last == "param" && name.contains(CELLS))
}

/// Whether a module at `path` only holds packed parameters.
pub fn is_packer(path: &str) -> bool {
    owner_of_packed(path) != path || path.ends_with(CELLS.trim_end_matches('.'))
}

/// The weights and biases in packed parameters, by the names that PyTorch gives them unpacked: `weight` and `bias`,
/// or, of a recurrent layer or in `_packed_weight_ih`, `weight_ih` and so on. They are a `ScriptObject`, or the tuple
/// it unpacks to.
///
/// # Errors
/// `CorruptFile` when a tensor's description makes no sense.
pub fn packed_parameters(rebuild: Rebuild<'_>, attribute: &str, at: Ref) -> Result<Vec<(String, Found)>> {
    let all = rebuild.all_within(at)?;
    let is_weight = |found: &Found| {
        found.quantizer.is_some() || (found.tensor.shape.len() >= 2 && found.tensor.dtype.is_float())
    };
    let is_bias = |found: &Found| {
        found.quantizer.is_none() && found.tensor.shape.len() == 1 && found.tensor.dtype.is_float()
    };
    let side = attribute.strip_prefix("_packed_weight_");
    let sides: &[&str] = match side {
        Some(side) => &[side],
        None if all.iter().filter(|found| is_weight(found)).count() >= 2 => &["ih", "hh"],
        None => &[""],
    };
    let named = |part: &'static str, is_it: &dyn Fn(&Found) -> bool| {
        let found: Vec<Found> = all.iter().filter(|found| is_it(found)).cloned().collect();
        let name = |side: &str| if side.is_empty() { part.to_owned() } else { format!("{part}_{side}") };
        sides.iter().map(|side| name(side)).zip(found).collect::<Vec<_>>()
    };
    // The biases of a recurrent layer come before the packed weights, which hold them once more.
    Ok(named("weight", &is_weight).into_iter().chain(named("bias", &is_bias)).collect())
}
