//! Which stored tensors belong to a layer, which of them is its weight, and along which axis its channels lie.

use crate::model::{LayerInfo, ModelInfo, TensorInfo, TensorRole};
use std::collections::{HashMap, HashSet};

/// The stored tensors that belong to the layer or that it reads, without scales and zero points: the largest first,
/// then by name.
pub fn tensors_of<'a>(layer: &LayerInfo, info: &'a ModelInfo) -> Vec<&'a TensorInfo> {
    let mut seen = HashSet::new();
    let names = layer.tensors.iter().chain(&layer.inputs).filter(|name| seen.insert(name.as_str()));
    let mut stored: Vec<&TensorInfo> = names
        .filter_map(|name| info.tensor(name))
        .filter(|tensor| tensor.role != TensorRole::Quantization)
        .collect();
    stored.sort_by_key(|tensor| std::cmp::Reverse(tensor.element_count()));
    stored
}

/// A stored tensor and the layer that it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// The layer that owns the tensor, or the first that reads it.
    pub layer: Option<&'a LayerInfo>,
    /// The tensor.
    pub tensor: &'a TensorInfo,
}

/// Every stored tensor except scales, zero points and aliases, in the order of the layers; those that belong to no
/// layer come last.
pub fn all_stored(info: &ModelInfo) -> Vec<Stored<'_>> {
    let by_path = info.places();
    let mut first_reader: HashMap<&str, usize> = HashMap::new();
    for (index, layer) in info.layers.iter().enumerate() {
        for name in layer.tensors.iter().chain(&layer.inputs) {
            first_reader.entry(name).or_insert(index);
        }
    }
    let is_shown =
        |tensor: &&TensorInfo| tensor.role != TensorRole::Quantization && tensor.alias_of.is_none();
    let mut placed: Vec<(usize, Stored<'_>)> = info
        .tensors
        .iter()
        .filter(is_shown)
        .map(|tensor| {
            let owner = tensor.layer.as_deref().and_then(|path| by_path.get(path));
            let index = owner.or_else(|| first_reader.get(tensor.name.as_str())).copied();
            let layer = index.and_then(|index| info.layers.get(index));
            (index.unwrap_or(usize::MAX), Stored { layer, tensor })
        })
        .collect();
    placed.sort_by_key(|(index, _)| *index);
    placed.into_iter().map(|(_, stored)| stored).collect()
}

/// The weight of each layer that has one, its largest parameter, in the order of the layers. A tensor that belongs to
/// no layer stands for itself.
pub fn weights(info: &ModelInfo) -> Vec<Stored<'_>> {
    let mut weights: Vec<Stored<'_>> = Vec::new();
    for stored in all_stored(info).into_iter().filter(|stored| stored.tensor.role == TensorRole::Parameter) {
        let same_layer = weights.last_mut().filter(|last| match (last.layer, stored.layer) {
            (Some(last), Some(layer)) => last.path == layer.path,
            _ => false,
        });
        match same_layer {
            Some(last) if last.tensor.element_count() >= stored.tensor.element_count() => {}
            Some(last) => *last = stored,
            None => weights.push(stored),
        }
    }
    weights
}

/// The axis of a tensor's channels: that of its scales if each channel has one, otherwise that of the layer's output
/// channels according to its plugin, otherwise the first. `None` for a scalar.
pub fn channel_axis(layer: Option<&LayerInfo>, tensor: &TensorInfo) -> Option<i64> {
    let rank = tensor.shape.len();
    if rank == 0 {
        return None;
    }
    let scales = tensor.quantization.as_ref().filter(|parameters| parameters.block_size.is_none());
    if let Some(axis) = scales.and_then(|parameters| parameters.axis) {
        return Some(axis);
    }
    let used = layer.into_iter().flat_map(|layer| &layer.weights).find(|used| used.tensor == tensor.name);
    let axis = used.and_then(|used| used.channel_axis).filter(|axis| (0..rank as i64).contains(axis));
    Some(axis.unwrap_or(0))
}
