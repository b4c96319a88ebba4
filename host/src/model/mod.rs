//! The content of a model file, in the host's types.
//!
//! The same as a plugin's description of a model, but checked: layer paths and tensor names are unique and not empty,
//! shapes and byte counts agree with the element types.

mod dtype;
mod index;
mod kernels;
mod kind;
mod layer;
mod listing;
mod quantizable;
mod quantization;
mod tensor;
mod text;

pub use dtype::DType;
pub use index::Index;
pub use kernels::{Arithmetic, FloatReason, Kernel, Kernels, QuantizedLayer};
pub use kind::{Bounds, InputRole, LayerKind, ValueOrigin, WeightUse};
pub use layer::{Attribute, AttributeValue, LayerInfo, find_layer};
pub use listing::{ListedMethod, ListedStep, Listing};
pub use quantizable::{
    Activations, FoldedClamp, Quantizable, QuantizableBias, QuantizableLayer, QuantizableOf,
    QuantizableTensor, QuantizableValue,
};
pub use quantization::QuantizationParameters;
pub use tensor::{Dimension, Tensor, TensorChunk, TensorInfo, TensorRole, ValueInfo, element_count};
pub use text::{shape_text, type_text};

use crate::error::Error;
use std::collections::{BTreeMap, HashMap};
use std::path::{Component, Path, PathBuf};

/// A name and a text, where the set of names is open: versions, metadata, settings.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Property {
    /// The name.
    pub name: String,
    /// The text.
    pub value: String,
}

/// Something that the reader of a file noticed and that a careful user should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How serious it is.
    pub severity: Severity,
    /// A short name for its kind: `pickle.dangerous-global`, `onnx.unknown-domain`.
    pub code: String,
    /// One line for the user.
    pub message: String,
    /// What it is about: globals, layers, tensors.
    pub subjects: Vec<String>,
}

/// How serious a [`Finding`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Probably a mistake; also any severity that qp does not know.
    Warning,
    /// Opening this file with its usual tool would execute code that the file contains.
    Danger,
}

/// Everything that inspection finds in a model file.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelInfo {
    /// The name of the format: `onnx`, `torchscript`.
    pub format: String,
    /// The numeric precision of the weights and activations as read from the content: `float32`, `int8`,
    /// `mixed`, `dynamic-int8`, `weight-only-int4`, …
    pub precision: String,
    /// The form of quantization: `QDQ`, `QOperator`, `dynamic`, `weight-only`, `FX`, …; `None` for a float
    /// model.
    pub scheme: Option<String>,
    /// What wrote the file, with its version when known.
    pub producer: Option<String>,
    /// Versions: `ir_version`, `opset ai.onnx`, …
    pub versions: Vec<Property>,
    /// The graph's inputs, without the stored tensors.
    pub inputs: Vec<ValueInfo>,
    /// The graph's outputs.
    pub outputs: Vec<ValueInfo>,
    /// The activations between layers about which anything is known.
    pub values: Vec<ValueInfo>,
    /// The layers, in the order of computation, or of the module tree.
    pub layers: Vec<LayerInfo>,
    /// The stored tensors.
    pub tensors: Vec<TensorInfo>,
    /// The file's own metadata.
    pub metadata: Vec<Property>,
    /// What the reader noticed.
    pub findings: Vec<Finding>,
    /// Why its backend cannot run it on any machine; `None` when it can, given a runtime.
    pub run_obstacle: Option<Error>,
    /// Anything else the backend has to say.
    pub extra: Vec<Property>,
    /// Where its parts are, by name.
    pub index: Index,
}

impl ModelInfo {
    /// The layer with this path.
    pub fn layer(&self, path: &str) -> Option<&LayerInfo> {
        self.index.layers.find(&self.layers, path, |layer| &layer.path)
    }

    /// The stored tensor with this name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.index.tensors.find(&self.tensors, name, |tensor| &tensor.name)
    }

    /// The value with this name: an input, an output or an activation.
    pub fn value(&self, name: &str) -> Option<&ValueInfo> {
        let index = &self.index;
        let lists =
            [(&index.inputs, &self.inputs), (&index.outputs, &self.outputs), (&index.values, &self.values)];
        lists.into_iter().find_map(|(places, list)| places.find(list, name, |value| &value.name))
    }

    /// The values by name, as [`value`](Self::value) finds them: for looking up many.
    pub fn values_by_name(&self) -> HashMap<&str, &ValueInfo> {
        // Of two with the same name the last one stays.
        let values = self.values.iter().chain(&self.outputs).chain(&self.inputs);
        values.map(|value| (value.name.as_str(), value)).collect()
    }

    /// The position of each layer, by its path.
    pub fn places(&self) -> HashMap<&str, usize> {
        self.layers.iter().enumerate().map(|(place, layer)| (layer.path.as_str(), place)).collect()
    }

    /// The parameters, each stored tensor once: role parameter, and not an alias of another tensor.
    pub fn parameters(&self) -> impl Iterator<Item = &TensorInfo> {
        self.tensors.iter().filter(|tensor| tensor.role == TensorRole::Parameter && tensor.alias_of.is_none())
    }

    /// The number of parameters: elements of tensors with that role, shared ones counted once. Scales and zero
    /// points, buffers and constants do not count.
    pub fn parameter_count(&self) -> u64 {
        self.parameters().map(TensorInfo::element_count).fold(0, u64::saturating_add)
    }

    /// Bytes of all stored tensors of any role, shared ones counted once.
    pub fn stored_bytes(&self) -> u64 {
        self.tensors
            .iter()
            .filter(|tensor| tensor.alias_of.is_none())
            .fold(0, |total, tensor| total.saturating_add(tensor.bytes))
    }

    /// The share of the parameters, by number of elements, that is stored quantized
    /// ([`TensorInfo::is_quantized`]), from 0 to 1; `None` for a model without parameters.
    pub fn quantized_share(&self) -> Option<f64> {
        let all = self.parameter_count();
        let quantized = self
            .parameters()
            .filter(|tensor| tensor.is_quantized())
            .map(TensorInfo::element_count)
            .fold(0, u64::saturating_add);
        (all > 0).then(|| quantized as f64 / all as f64)
    }

    /// The files next to the model's own that hold some of its tensors, each once.
    pub fn external_files(&self) -> impl Iterator<Item = &str> {
        let names: std::collections::BTreeSet<&str> =
            self.tensors.iter().filter_map(|tensor| tensor.external_file.as_deref()).collect();
        names.into_iter()
    }

    /// Those of [`Self::external_files`] in the model's own folder or below it, as paths: no others are ever opened.
    pub fn local_files(&self, model: &Path) -> Vec<PathBuf> {
        let folder = model.parent().unwrap_or(Path::new(""));
        let is_inside = |file: &&str| {
            Path::new(file).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
        };
        self.external_files().filter(is_inside).map(|file| folder.join(file)).collect()
    }

    /// The number of layers.
    pub fn layer_count(&self) -> usize {
        self.layers.len()
    }

    /// The number of layers per op type, the most frequent first, ties by name.
    pub fn op_type_counts(&self) -> Vec<(&str, usize)> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for layer in &self.layers {
            *counts.entry(&layer.op_type).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, role: TensorRole, dtype: DType, elements: u64) -> TensorInfo {
        TensorInfo {
            name: name.into(),
            role,
            dtype,
            shape: vec![elements],
            bytes: dtype.packed_bytes(elements).unwrap(),
            layer: None,
            quantization: None,
            external_file: None,
            alias_of: None,
            type_name: None,
        }
    }

    fn layer(path: &str, op_type: &str) -> LayerInfo {
        LayerInfo {
            path: path.into(),
            op_type: op_type.into(),
            domain: None,
            scope: None,
            inputs: Vec::new(),
            outputs: Vec::new(),
            tensors: Vec::new(),
            attributes: Vec::new(),
            ..LayerInfo::default()
        }
    }

    fn model() -> ModelInfo {
        let shared = TensorInfo {
            alias_of: Some("w".into()),
            ..tensor("tied", TensorRole::Parameter, DType::INT8, 30)
        };
        ModelInfo {
            format: "toy".into(),
            precision: "mixed".into(),
            scheme: None,
            producer: None,
            versions: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            values: Vec::new(),
            layers: vec![layer("a", "Linear"), layer("b", "Add"), layer("c", "Linear"), layer("d", "Abs")],
            tensors: vec![
                tensor("w", TensorRole::Parameter, DType::INT8, 30),
                tensor("b", TensorRole::Parameter, DType::FLOAT32, 10),
                tensor("s", TensorRole::Quantization, DType::FLOAT32, 10),
                tensor("running_mean", TensorRole::Buffer, DType::FLOAT32, 10),
                shared,
            ],
            metadata: Vec::new(),
            findings: Vec::new(),
            run_obstacle: Some(Error::not_found("no `forward`").with_hint("Export it.")),
            extra: Vec::new(),
            index: Index::default(),
        }
    }

    #[test]
    fn shared_tensors_scales_and_buffers_are_no_parameters() {
        assert_eq!(model().parameter_count(), 40);
    }

    #[test]
    fn stored_bytes_count_every_role_and_shared_bytes_once() {
        assert_eq!(model().stored_bytes(), 30 + 40 + 40 + 40);
    }

    #[test]
    fn the_quantized_share_goes_by_elements() {
        assert_eq!(model().quantized_share(), Some(0.75));
        let empty = ModelInfo { tensors: Vec::new(), ..model() };
        assert_eq!(empty.quantized_share(), None);
    }

    #[test]
    fn op_types_come_most_frequent_first_then_by_name() {
        assert_eq!(model().op_type_counts(), [("Linear", 2), ("Abs", 1), ("Add", 1)]);
    }

    #[test]
    fn an_obstacle_serializes_with_its_kind_and_hints() {
        let json = serde_json::to_value(model().run_obstacle).unwrap();
        assert_eq!(json["kind"], "NotFound");
        assert_eq!(json["hints"][0], "Export it.");
    }
}
