//! The model's graph by the names of its values.

use qp_abi::sdk::{LayerInfo, ModelInfo, RString, TensorInfo, ValueInfo, ValueOrigin};
use std::collections::{HashMap, HashSet};

/// Which layer computes a value, which ones read it, and what is known about it.
pub(super) struct Wiring<'a> {
    /// The layers, by the indices that the methods give.
    pub(super) layers: &'a [LayerInfo],
    producers: HashMap<&'a str, usize>,
    readers: HashMap<&'a str, Vec<usize>>,
    values: HashMap<&'a str, &'a ValueInfo>,
    tensors: HashMap<&'a str, &'a TensorInfo>,
    outputs: HashSet<&'a str>,
}

impl<'a> Wiring<'a> {
    pub(super) fn of(info: &'a ModelInfo) -> Self {
        let mut producers = HashMap::new();
        let mut readers: HashMap<&str, Vec<usize>> = HashMap::new();
        for (index, layer) in info.layers.iter().enumerate() {
            producers.extend(named(&layer.outputs).map(|value| (value, index)));
            for value in named(&layer.inputs) {
                readers.entry(value).or_default().push(index);
            }
        }
        let values = info.values.iter().chain(&info.inputs).chain(&info.outputs);
        Self {
            layers: &info.layers,
            producers,
            readers,
            values: values.map(|value| (value.name.as_str(), value)).collect(),
            tensors: info.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect(),
            outputs: info.outputs.iter().map(|value| value.name.as_str()).collect(),
        }
    }

    /// The layer that computes a value.
    pub(super) fn producer(&self, value: &str) -> Option<usize> {
        self.producers.get(value).copied()
    }

    /// The layers that read a value, once for each input that does.
    pub(super) fn readers(&self, value: &str) -> &[usize] {
        self.readers.get(value).map_or(&[], Vec::as_slice)
    }

    /// The same, as layers.
    pub(super) fn reading(&self, value: &str) -> impl Iterator<Item = &'a LayerInfo> {
        self.readers(value).iter().map(|&reader| &self.layers[reader])
    }

    /// What is known about a value.
    pub(super) fn value(&self, name: &str) -> Option<&'a ValueInfo> {
        self.values.get(name).copied()
    }

    /// A stored tensor.
    pub(super) fn tensor(&self, name: &str) -> Option<&'a TensorInfo> {
        self.tensors.get(name).copied()
    }

    /// Whether a value is an output of the model.
    pub(super) fn is_output(&self, value: &str) -> bool {
        self.outputs.contains(value)
    }

    /// Whether a value is stored, or computed from stored tensors alone.
    pub(super) fn is_constant(&self, value: &str) -> bool {
        self.tensors.contains_key(value)
            || self.value(value).is_some_and(|value| value.origin == ValueOrigin::CONSTANT)
    }

    /// Whether a value is neither computed from the inputs of the model nor one of them: constant, or made of shapes.
    pub(super) fn is_fixed(&self, value: &str) -> bool {
        self.tensors.contains_key(value)
            || self.value(value).is_some_and(|value| value.origin != ValueOrigin::ACTIVATION)
    }
}

/// The names of the inputs or outputs that are not left out.
pub(super) fn named(values: &[RString]) -> impl Iterator<Item = &str> {
    values.iter().map(|name| name.as_str()).filter(|name| !name.is_empty())
}
