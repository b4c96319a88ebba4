//! Whatever a file says, its description fulfils the contract: a damaged file is not mistaken for a broken plugin.

use super::Names;
use crate::error::BackendError;
use crate::model::{ModelInfo, ValueInfo};
use crate::quant::QuantizationParameters;
use crate::tensor::MOST_DIMENSIONS;
use abi_stable::std_types::{RSome, RString};
use std::collections::{HashMap, HashSet};

/// The name, or the type, of a layer for which the file gives none.
const UNNAMED_LAYER: &str = "layer";
/// The name of a stored tensor without one.
const UNNAMED_TENSOR: &str = "tensor";

/// Makes the description of a file consistent: gives each layer a unique name and all the tensors that name it as
/// their owner, and drops references to nothing. For descriptions read from a file, which may be damaged.
///
/// # Errors
/// `CorruptFile` for inputs and outputs with equal or empty names, for quantization parameters that do not fit their
/// tensor, for impossible shapes, and for more of anything than a description may list.
pub fn settle(info: &mut ModelInfo) -> Result<(), BackendError> {
    if let Some(what) = info.excess() {
        return Err(BackendError::corrupt_file(format!("the file holds {what}")));
    }
    layers(info);
    tensors(info);
    let stored: HashSet<RString> = info.tensors.iter().map(|tensor| tensor.name.clone()).collect();
    let known: HashSet<RString> = info.layers.iter().map(|layer| layer.path.clone()).collect();
    let mut owned: HashMap<RString, Vec<RString>> = HashMap::new();
    let mut before: HashSet<RString> = HashSet::new();
    for tensor in &mut info.tensors {
        if !known.contains(&tensor.layer) {
            tensor.layer = RString::new();
        }
        if !before.contains(&tensor.alias_of) {
            tensor.alias_of = RString::new();
        }
        before.insert(tensor.name.clone());
        if !tensor.layer.is_empty() {
            owned.entry(tensor.layer.clone()).or_default().push(tensor.name.clone());
        }
        if let Some(what) = tensor.contradiction() {
            return Err(BackendError::corrupt_file(format!("`{}` {what}", tensor.name.escape_debug())));
        }
        if let RSome(parameters) = &tensor.quantization {
            check(&tensor.name, Some(&tensor.shape), parameters)?;
        }
    }
    for layer in &mut info.layers {
        layer.tensors.retain(|name| stored.contains(name));
        let listed: HashSet<RString> = layer.tensors.iter().cloned().collect();
        layer.weights.retain(|weight| stored.contains(&weight.tensor));
        layer.roles.truncate(layer.inputs.len());
        layer.input_codes.retain(|rounded| (rounded.input as usize) < layer.inputs.len());
        let missing = owned.remove(&layer.path).unwrap_or_default();
        layer.tensors.extend(missing.into_iter().filter(|name| !listed.contains(name)));
    }
    if let RSome(obstacle) = &mut info.run_obstacle {
        *obstacle = obstacle.clone().one_line();
    }
    told_apart("inputs", &info.inputs)?;
    told_apart("outputs", &info.outputs)?;
    info.values.retain(|value| !value.name.is_empty());
    let values = info.inputs.iter().chain(&info.outputs).chain(&info.values);
    for value in values {
        let dimensions = value.shape.as_ref().map_or(0, |shape| shape.len());
        if dimensions > MOST_DIMENSIONS {
            return Err(BackendError::corrupt_file(format!(
                "`{}` has {dimensions} dimensions",
                value.name.escape_debug()
            )));
        }
        if let RSome(parameters) = &value.quantization {
            let shape = value.shape.as_ref().map(|shape| vec![-1; shape.len()]).into_option();
            check(&value.name, shape.as_deref(), parameters)?;
        }
    }
    Ok(())
}

fn layers(info: &mut ModelInfo) {
    let mut names = Names::default();
    for layer in &mut info.layers {
        if layer.op_type.is_empty() {
            layer.op_type = UNNAMED_LAYER.into();
        }
        let stem = if layer.path.is_empty() { &layer.op_type } else { &layer.path };
        layer.path = names.claim(stem, '_', 1).into();
    }
}

/// A tensor keeps its position in the list, by which a backend may know it.
fn tensors(info: &mut ModelInfo) {
    let mut names = Names::default();
    for tensor in &mut info.tensors {
        let stem = if tensor.name.is_empty() { UNNAMED_TENSOR.into() } else { tensor.name.clone() };
        tensor.name = names.claim(&stem, '_', 1).into();
    }
}

fn told_apart(what: &str, values: &[ValueInfo]) -> Result<(), BackendError> {
    let mut names = HashSet::new();
    match values.iter().find(|value| value.name.is_empty() || !names.insert(value.name.as_str())) {
        Some(value) => Err(BackendError::corrupt_file(format!(
            "two {what} are named `{}`, or one has no name",
            value.name.as_str().escape_debug()
        ))),
        None => Ok(()),
    }
}

/// Checks parameters against a shape, in which -1 is an unknown size.
fn check(name: &str, shape: Option<&[i64]>, parameters: &QuantizationParameters) -> Result<(), BackendError> {
    match parameters.contradiction(shape) {
        Some(what) => Err(BackendError::corrupt_file(format!("`{}` {what}", name.escape_debug()))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;
    use crate::manifest::{Format, Manifest, pair};
    use crate::model::{LayerInfo, MOST_ITEMS, TensorInfo, TensorRole};
    use crate::sdk::conformance::{Verdict, description};
    use abi_stable::std_types::{RNone, RVec};

    fn layer(path: &str, op_type: &str, tensors: &[&str]) -> LayerInfo {
        LayerInfo {
            tensors: tensors.iter().map(|name| RString::from(*name)).collect(),
            ..LayerInfo::new(path, op_type)
        }
    }

    fn tensor(name: &str, layer: &str, alias_of: &str) -> TensorInfo {
        TensorInfo {
            name: name.into(),
            role: TensorRole::PARAMETER,
            dtype: DType::FLOAT32,
            shape: vec![2].into(),
            bytes: 8,
            layer: layer.into(),
            quantization: RNone,
            external_file: RString::new(),
            alias_of: alias_of.into(),
            type_name: RString::new(),
        }
    }

    fn value(name: &str) -> ValueInfo {
        ValueInfo::new(name, DType::FLOAT32)
    }

    fn verdict(info: &ModelInfo) -> Verdict {
        let format = Format {
            name: "f".into(),
            extensions: RVec::new(),
            magic: RVec::new(),
            description: RString::new(),
        };
        let manifest = Manifest {
            id: "m".into(),
            name: "m".into(),
            version: "0".into(),
            description: "m".into(),
            formats: vec![format].into(),
            url_schemes: RVec::new(),
            features: RVec::new(),
            options: RVec::new(),
            extra: RVec::new(),
        };
        description(&manifest, info)
    }

    #[test]
    fn what_refers_to_nothing_is_taken_back_and_every_name_is_one_of_its_own() {
        let mut info = ModelInfo::new("f");
        info.precision = "float32".into();
        info.layers =
            vec![layer("", "Relu", &[]), layer("a", "", &["w", "gone"]), layer("a", "Add", &[])].into();
        info.tensors = vec![
            tensor("w", "a", "later"),
            tensor("later", "nowhere", ""),
            tensor("", "a", "w"),
            tensor("w", "", ""),
        ]
        .into();
        info.values = vec![value("")].into();
        info.run_obstacle = RSome(BackendError::unsupported_op("two\nlines"));
        assert!(matches!(verdict(&info), Verdict::Failed(_)));
        settle(&mut info).unwrap();
        assert_eq!(verdict(&info), Verdict::Passed);
        let paths: Vec<&str> = info.layers.iter().map(|layer| layer.path.as_str()).collect();
        assert_eq!(paths, ["Relu", "a", "a_1"]);
        let names: Vec<&str> = info.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        assert_eq!(names, ["w", "later", "tensor", "w_1"]);
        assert_eq!(info.layers[1].tensors.as_slice(), ["w", "tensor"]);
        assert_eq!((info.tensors[0].alias_of.as_str(), info.tensors[2].alias_of.as_str()), ("", "w"));
    }

    #[test]
    fn inputs_that_cannot_be_told_apart_are_corrupt() {
        let mut info = ModelInfo::new("f");
        info.inputs = vec![value("x"), value("x")].into();
        let error = settle(&mut info).unwrap_err();
        assert_eq!(error.message, "two inputs are named `x`, or one has no name");
    }

    /// The host accepts none of these; it would blame the plugin, not the file.
    #[test]
    fn shapes_that_no_tensor_has_are_corrupt() {
        let settled = |change: &dyn Fn(&mut ModelInfo)| {
            let mut info = ModelInfo::new("f");
            info.precision = "float32".into();
            info.tensors = vec![tensor("w", "", "")].into();
            info.inputs = vec![value("x")].into();
            change(&mut info);
            let is_kept = verdict(&info) == Verdict::Passed;
            let settled = settle(&mut info);
            assert_eq!(settled.is_ok(), is_kept, "{settled:?}");
            settled.err().map(|error| error.message.into_string())
        };
        assert_eq!(settled(&|_| {}), None);
        let shape = |shape: &[i64], bytes: u64| {
            let shape: Vec<i64> = shape.to_vec();
            settled(&move |info| {
                info.tensors[0].shape = shape.clone().into();
                info.tensors[0].bytes = bytes;
            })
        };
        assert_eq!(shape(&[1; 64], 4), None);
        assert_eq!(shape(&[1; 5000], 4).unwrap(), "`w` has 5000 dimensions");
        assert_eq!(shape(&[2, -1], 4).unwrap(), "`w` has the shape [2, -1]");
        assert_eq!(shape(&[i64::MAX, 3], 4).unwrap(), format!("`w` has the shape [{}, 3]", i64::MAX));
        assert_eq!(shape(&[2, 3], 23).unwrap(), "`w` is float32 [2, 3] and has 23 bytes");
        let dimensions = |count: usize| {
            settled(&move |info| {
                info.inputs[0].shape = RSome(vec![crate::model::Dimension::unknown(); count].into());
            })
        };
        assert_eq!(dimensions(64), None);
        assert_eq!(dimensions(3000).unwrap(), "`x` has 3000 dimensions");
        let pairs = settled(&|info| info.metadata = vec![pair("", ""); MOST_ITEMS + 1].into());
        assert_eq!(
            pairs.unwrap(),
            "the file holds 1048577 pairs of metadata, more than the limit of 1048576"
        );
    }

    #[test]
    fn parameters_of_no_axis_and_of_too_few_channels_are_corrupt() {
        for (axis, scales) in [(1, 2), (0, 3)] {
            let mut info = ModelInfo::new("f");
            info.precision = "float32".into();
            let mut found = tensor("w", "", "");
            let parameters =
                QuantizationParameters::per_channel(DType::INT8, vec![1.0; scales], vec![], axis);
            found.quantization = RSome(parameters);
            info.tensors = vec![found].into();
            assert!(settle(&mut info).is_err(), "{axis} {scales}");
            assert!(matches!(verdict(&info), Verdict::Failed(_)), "{axis} {scales}");
        }
    }
}
