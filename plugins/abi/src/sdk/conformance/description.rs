//! Whether a manifest and a model's description are consistent.

use super::tools::{Outcome, breach};
use crate::manifest::Manifest;
use crate::model::{ModelInfo, TensorInfo};
use crate::quant::QuantizationParameters;
use crate::tensor::MOST_DIMENSIONS;
use abi_stable::std_types::{ROption, RSome};
use std::collections::HashSet;

pub(super) fn manifest(manifest: &Manifest) -> Outcome {
    let is_short = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    if !is_short(&manifest.id) {
        return breach(format!("the id `{}` is not made of lower-case letters, digits and `-`", manifest.id));
    }
    if manifest.name.is_empty() || manifest.version.is_empty() || manifest.description.is_empty() {
        return breach("the name, the version or the description is empty");
    }
    if manifest.formats.is_empty() && manifest.url_schemes.is_empty() {
        return breach("it reads neither formats nor URLs");
    }
    if !manifest.features.iter().any(|feature| feature == "inspect") {
        return breach("the feature `inspect` is missing, which every backend has");
    }
    for format in &manifest.formats {
        if !is_short(&format.name) {
            return breach(format!("the format's name `{}` is not a short lower-case name", format.name));
        }
        if format.magic.iter().any(|magic| magic.is_empty()) {
            return breach(format!("an empty magic of the format `{}` would match every file", format.name));
        }
        let is_bare =
            |text: &str| !text.is_empty() && !text.starts_with('.') && text == text.to_lowercase().as_str();
        if let Some(extension) = format.extensions.iter().find(|extension| !is_bare(extension)) {
            return breach(format!("the extension `{extension}` is empty, has a leading dot or upper case"));
        }
    }
    Ok(())
}

pub(super) fn model(manifest: &Manifest, info: &ModelInfo) -> Outcome {
    if !manifest.formats.iter().any(|format| format.name == info.format) {
        return breach(format!("the format `{}` is not in the manifest", info.format));
    }
    if info.precision.is_empty() {
        return breach("the precision is empty; use `unknown` instead");
    }
    if let Some(what) = info.excess() {
        return breach(format!("it lists {what}"));
    }
    unique("layer", info.layers.iter().map(|layer| layer.path.as_str()))?;
    unique("stored tensor", info.tensors.iter().map(|tensor| tensor.name.as_str()))?;
    unique("input", info.inputs.iter().map(|input| input.name.as_str()))?;
    unique("output", info.outputs.iter().map(|output| output.name.as_str()))?;
    let tensors: HashSet<&str> = info.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    let layers: HashSet<&str> = info.layers.iter().map(|layer| layer.path.as_str()).collect();
    let mut before: HashSet<&str> = HashSet::new();
    for tensor in &info.tensors {
        stored(tensor)?;
        if !tensor.layer.is_empty() && !layers.contains(tensor.layer.as_str()) {
            return breach(format!(
                "the tensor `{}` belongs to `{}`, which is not a layer",
                tensor.name, tensor.layer
            ));
        }
        if !tensor.alias_of.is_empty() && !before.contains(tensor.alias_of.as_str()) {
            return breach(format!(
                "the tensor `{}` is an alias of `{}`, which is not an earlier tensor",
                tensor.name, tensor.alias_of
            ));
        }
        before.insert(&tensor.name);
    }
    for layer in &info.layers {
        if layer.op_type.is_empty() {
            return breach(format!("the layer `{}` has no op type", layer.path));
        }
        if let Some(unknown) = layer.weights.iter().find(|weight| !tensors.contains(weight.tensor.as_str())) {
            return breach(format!(
                "the layer `{}` has a weight `{}` that is not a stored tensor",
                layer.path, unknown.tensor
            ));
        }
        if layer.roles.len() > layer.inputs.len()
            || layer.input_codes.iter().any(|rounded| rounded.input as usize >= layer.inputs.len())
        {
            return breach(format!("the layer `{}` describes more inputs than it has", layer.path));
        }
        for rounded in &layer.input_codes {
            quantization(&layer.path, None, &rounded.codes)?;
        }
        if let Some(unknown) = layer.tensors.iter().find(|name| !tensors.contains(name.as_str())) {
            return breach(format!("the layer `{}` owns `{unknown}`, which is not stored", layer.path));
        }
    }
    for value in info.inputs.iter().chain(&info.outputs).chain(&info.values) {
        if value.name.is_empty() {
            return breach("a value has no name");
        }
        if let RSome(shape) = &value.shape
            && shape.len() > MOST_DIMENSIONS
        {
            return breach(format!("the value `{}` has {} dimensions", value.name, shape.len()));
        }
        if let RSome(parameters) = &value.quantization {
            let shape = value.shape.as_ref().map(|shape| vec![-1; shape.len()]).into_option();
            quantization(&value.name, shape.as_deref(), parameters)?;
        }
    }
    if let RSome(obstacle) = &info.run_obstacle {
        super::tools::well_formed(obstacle)?;
    }
    Ok(())
}

fn stored(tensor: &TensorInfo) -> Outcome {
    let name = &tensor.name;
    if let Some(what) = tensor.contradiction() {
        return breach(format!("the tensor `{name}` {what}"));
    }
    match &tensor.quantization {
        RSome(parameters) => quantization(name, Some(&tensor.shape), parameters),
        ROption::RNone => Ok(()),
    }
}

/// Checks parameters against a shape, in which -1 is an unknown size.
fn quantization(name: &str, shape: Option<&[i64]>, parameters: &QuantizationParameters) -> Outcome {
    parameters.contradiction(shape).map_or(Ok(()), |what| breach(format!("`{name}` {what}")))
}

fn unique<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> Outcome {
    let mut seen = HashSet::new();
    for name in names {
        if name.is_empty() {
            return breach(format!("a {what} has no name"));
        }
        if !seen.insert(name) {
            return breach(format!("the {what} `{name}` is listed twice"));
        }
    }
    Ok(())
}
