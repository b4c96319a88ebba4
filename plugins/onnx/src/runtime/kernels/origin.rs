//! Which layers of the model a kernel computes.
//!
//! The runtime keeps the names of values and nodes as far as it can: a kernel computes a value of the model, has the name
//! of a layer, or has a name that begins with one (`/conv/Conv_output_0_nchwc`, `…/duplicated`). These layers are
//! certain. A layer that no kernel names is part of the kernel that comes next on the way of its values, or of the one
//! before it: a rounding, and what convolutions take in, such as the addition of a residual and the ReLU after it.

use super::Made;
use super::wiring::{Wiring, named};
use qp_abi::sdk::{LayerInfo, LayerKind};
use std::collections::{HashMap, HashSet};

/// A layer further away is not part of a kernel.
const MOST_STEPS: usize = 16;

/// The layers of each kernel.
pub(super) struct Origins {
    by_kernel: Vec<Vec<usize>>,
    by_layer: Vec<Vec<usize>>,
}

impl Origins {
    pub(super) fn of(wiring: &Wiring<'_>, made: &Made<'_>) -> Self {
        let layers = wiring.layers;
        let paths = layers.iter().enumerate().map(|(index, layer)| (layer.path.as_str(), index)).collect();
        let model = Model { wiring, paths };
        let mut found = Found {
            by_layer: vec![Vec::new(); layers.len()],
            named: Vec::new(),
            takes_in: made.layers.iter().map(|kernel| takes_in(&kernel.op_type)).collect(),
        };
        for kernel in 0..made.layers.len() {
            found.named.push(Vec::new());
            let operator = made.layers[kernel].op_type.as_str();
            if operator.starts_with("Reorder") {
                continue;
            }
            let values = made.layers[kernel].outputs.iter().flatten().map(|&value| &made.values[value]);
            let outputs: Vec<&str> = values.map(|value| value.name.as_str()).collect();
            let computed = outputs.iter().filter_map(|name| wiring.producer(name));
            // What transposes for another layout may have the name of the value that it transposes.
            let is_own = |layer: &usize| operator != "Transpose" || layers[*layer].op_type == operator;
            for layer in computed.filter(is_own) {
                found.add(layer, kernel);
            }
            for name in [made.names[kernel], made.layers[kernel].path.as_str()] {
                found.add_if_new(model.path(name), kernel);
            }
            // ONNX Runtime 1.19 names what a kernel computes after the layer.
            let of_outputs = outputs.iter().filter_map(|name| model.path(name));
            for layer in of_outputs.filter(is_own) {
                found.add_if_new(Some(layer), kernel);
            }
            if found.named[kernel].is_empty() {
                let names = [made.names[kernel]].into_iter().chain(outputs);
                found.add_if_new(names.filter_map(|name| model.beginning(name)).next(), kernel);
            }
        }
        for layer in 0..layers.len() {
            if found.by_layer[layer].is_empty()
                && !model.is_folded(layer)
                && let Some(kernel) = model.part_of(layer, &found)
            {
                found.named[kernel].push(layer);
            }
        }
        let mut by_layer = vec![Vec::new(); layers.len()];
        for (kernel, named) in found.named.iter_mut().enumerate() {
            named.sort_by_key(|&layer| (rank(&layers[layer]), layer));
            named.dedup();
            for &layer in &*named {
                by_layer[layer].push(kernel);
            }
        }
        Self { by_kernel: found.named, by_layer }
    }

    /// The layers that a kernel computes, the most important one first.
    pub(super) fn of_kernel(&self, kernel: usize) -> impl Iterator<Item = usize> {
        self.by_kernel[kernel].iter().copied()
    }

    /// The kernels that compute a layer.
    pub(super) fn of_layer(&self, layer: usize) -> impl Iterator<Item = usize> {
        self.by_layer[layer].iter().copied()
    }
}

/// How important a layer is to its kernel; the lowest counts most.
fn rank(layer: &LayerInfo) -> u8 {
    match layer.kind {
        LayerKind::CONVOLUTION | LayerKind::LINEAR | LayerKind::ATTENTION | LayerKind::RECURRENT => 0,
        LayerKind::QUANTIZE | LayerKind::DEQUANTIZE | LayerKind::IDENTITY => 3,
        LayerKind::MOVEMENT | LayerKind::CLAMP => 2,
        _ => 1,
    }
}

/// What names have told so far.
struct Found {
    /// The kernels that name each layer.
    by_layer: Vec<Vec<usize>>,
    named: Vec<Vec<usize>>,
    /// The kernels that take in additions and activations after them.
    takes_in: Vec<bool>,
}

/// Whether a kernel also computes additions and activations that follow it.
fn takes_in(operator: &str) -> bool {
    operator.contains("Conv") || operator == "FusedGemm" || operator == "QGemm"
}

impl Found {
    fn add(&mut self, layer: usize, kernel: usize) {
        self.by_layer[layer].push(kernel);
        self.named[kernel].push(layer);
    }

    fn add_if_new(&mut self, layer: Option<usize>, kernel: usize) {
        if let Some(layer) = layer.filter(|layer| !self.named[kernel].contains(layer)) {
            self.add(layer, kernel);
        }
    }
}

/// The model, with its layers by their names.
struct Model<'a> {
    wiring: &'a Wiring<'a>,
    paths: HashMap<&'a str, usize>,
}

impl Model<'_> {
    /// The layer with this name.
    fn path(&self, name: &str) -> Option<usize> {
        self.paths.get(name).copied()
    }

    /// Whether the runtime computes it once and for all.
    fn is_folded(&self, layer: usize) -> bool {
        named(&self.wiring.layers[layer].outputs).all(|value| self.wiring.is_constant(value))
    }

    /// The layer or value that a name begins with, up to a separator; of several, the longest.
    fn beginning(&self, name: &str) -> Option<usize> {
        let mut rest = name;
        while let Some(end) = rest.rfind(['_', '/']) {
            rest = &rest[..end];
            let found = self.path(rest).or_else(|| self.wiring.producer(rest));
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// The kernel that a layer without a kernel of its own is part of.
    fn part_of(&self, layer: usize, found: &Found) -> Option<usize> {
        let before = self.search(layer, found, Self::before);
        let is_first_before = match self.wiring.layers[layer].kind {
            LayerKind::QUANTIZE => true,
            LayerKind::ADDITION
            | LayerKind::CLAMP
            | LayerKind::ACTIVATION
            | LayerKind::MULTIPLICATION
            | LayerKind::BATCH_NORMALIZATION => before.is_some_and(|kernel| found.takes_in[kernel]),
            _ => false,
        };
        let after = || self.search(layer, found, Self::after);
        if is_first_before { before.or_else(after) } else { after().or(before) }
    }

    /// The kernel of the nearest layer that has one, in one direction, not beyond a change between codes and numbers.
    fn search(
        &self,
        layer: usize,
        found: &Found,
        next: impl Fn(&Self, usize) -> Vec<usize>,
    ) -> Option<usize> {
        let mut seen = HashSet::from([layer]);
        let mut current = vec![layer];
        for _ in 0..MOST_STEPS {
            let mut further = Vec::new();
            for at in current.iter().flat_map(|&layer| next(self, layer)).filter(|layer| seen.insert(*layer))
            {
                match found.by_layer[at].first() {
                    Some(&kernel) => return Some(kernel),
                    None if is_conversion(&self.wiring.layers[at]) => {}
                    None => further.push(at),
                }
            }
            current = further;
        }
        None
    }

    fn after(&self, layer: usize) -> Vec<usize> {
        let outputs = named(&self.wiring.layers[layer].outputs);
        outputs.flat_map(|value| self.wiring.readers(value)).copied().collect()
    }

    fn before(&self, layer: usize) -> Vec<usize> {
        named(&self.wiring.layers[layer].inputs).filter_map(|value| self.wiring.producer(value)).collect()
    }
}

fn is_conversion(layer: &LayerInfo) -> bool {
    matches!(layer.kind, LayerKind::QUANTIZE | LayerKind::DEQUANTIZE)
}
