//! The layers that a computation has, in its order.

use qp_abi::sdk::{LayerInfo, RString, RVec};
use std::collections::{HashMap, HashSet};

/// A layer that was met while code was followed.
#[derive(Debug, Clone)]
pub(super) struct Computed {
    /// The path, unique.
    pub(super) path: String,
    /// The path of the module that it is a call of; empty for a function.
    pub(super) module: String,
    /// The class or the operator.
    pub(super) op_type: String,
    /// The Python module of the class, or the namespace of the operator.
    pub(super) domain: String,
    /// The path of the container.
    pub(super) scope: String,
    /// The values that it reads.
    pub(super) inputs: Vec<RString>,
    /// The values that it computes.
    pub(super) outputs: Vec<RString>,
    /// The stored tensors that it reads.
    pub(super) tensors: Vec<RString>,
    /// How it is quantized.
    pub(super) quantization: &'static str,
}

/// The layers of the module tree, put in the order of computation: a container before what it holds, functions where
/// they are called, and at the end what is never called.
pub(super) fn merged(tree: Vec<LayerInfo>, computed: Vec<Computed>) -> Vec<LayerInfo> {
    let by_path: HashMap<&str, &LayerInfo> = tree.iter().map(|layer| (layer.path.as_str(), layer)).collect();
    let mut merged: Vec<LayerInfo> = Vec::with_capacity(tree.len() + computed.len());
    let mut listed: HashSet<String> = HashSet::new();
    for layer in computed {
        for (dot, _) in layer.path.match_indices('.') {
            let container = layer.path.get(..dot).unwrap_or_default();
            if let Some(container) = by_path.get(container)
                && listed.insert(container.path.to_string())
            {
                merged.push((*container).clone());
            }
        }
        let module = by_path.get(layer.module.as_str()).filter(|_| !layer.module.is_empty());
        let mut described = module.map_or_else(|| layer.described(), |module| (*module).clone());
        listed.insert(layer.path.clone());
        described.path = layer.path.as_str().into();
        described.inputs = layer.inputs.into();
        described.outputs = layer.outputs.into();
        let missing: Vec<RString> =
            layer.tensors.into_iter().filter(|name| !described.tensors.contains(name)).collect();
        described.tensors.extend(missing);
        merged.push(described);
    }
    let rest = tree.iter().filter(|layer| !listed.contains(layer.path.as_str())).cloned();
    merged.extend(rest.map(|mut layer| {
        // What is never called computes nothing.
        layer.outputs = RVec::new();
        layer
    }));
    merged
}

impl Computed {
    /// The description of a function: it has nothing but its name and its place.
    fn described(&self) -> LayerInfo {
        LayerInfo {
            path: RString::new(),
            op_type: self.op_type.as_str().into(),
            domain: self.domain.as_str().into(),
            scope: self.scope.as_str().into(),
            quantization: self.quantization.into(),
            ..LayerInfo::default()
        }
    }
}
