//! Tensor subclasses in safetensors: torchao writes each as plain tensors, `fc._weight_qdata` and its like, and
//! in the metadata under `fc.weight` a JSON text that says what they are.

use crate::document::Collector;
use crate::eager::StateDict;
use crate::quant::dtype::from_torch_name;
use crate::tensor::StoredTensor;
use crate::weight::torchao::Subclass;
use qp_abi::manifest::pair;
use qp_abi::sdk::{DType, Result};
use serde_json::Value;
use std::collections::HashMap;

/// The key of the list of what the metadata describes.
const NAMES: &str = "tensor_names";

/// Takes tensors into `state`, those that make up a subclass together, and the rest of the metadata into the
/// document.
///
/// # Errors
/// `CorruptFile` when the scales of a subclass cannot be read.
pub fn add(
    tensors: Vec<(String, StoredTensor)>,
    metadata: &[(String, String)],
    state: &mut StateDict,
    collector: &mut Collector,
) -> Result<()> {
    let is_described = metadata.iter().any(|(key, _)| key == NAMES);
    let mut owners: HashMap<String, usize> = HashMap::new();
    let mut subclasses: Vec<Option<Subclass>> = Vec::new();
    for (key, text) in metadata {
        let described = is_described.then(|| describe(key, text)).flatten();
        if let Some((subclass, names)) = described {
            let prefix = prefix(key);
            owners.extend(names.into_iter().map(|name| (format!("{prefix}{name}"), subclasses.len())));
            subclasses.push(Some(subclass));
        } else if !(is_described && (key == NAMES || text.contains("\"_type\""))) {
            collector.document.info.metadata.push(pair(key.as_str(), text.as_str()));
        }
    }
    let mut plain = Vec::with_capacity(tensors.len());
    // In the order of the file, a subclass where its first part is.
    for (name, tensor) in tensors {
        match owners.get(&name) {
            Some(&owner) => {
                if let Some(Some(subclass)) = subclasses.get_mut(owner) {
                    let part = name.strip_prefix(&prefix(&subclass.name)).unwrap_or(&name).to_owned();
                    if subclass.parts.is_empty() {
                        plain.push(Entry::Subclass(owner));
                    }
                    subclass.parts.push((part, tensor));
                }
            }
            None => plain.push(Entry::Tensor(name, tensor)),
        }
    }
    for entry in plain {
        match entry {
            Entry::Tensor(name, tensor) => state.add(name, tensor),
            Entry::Subclass(owner) => {
                if let Some(mut subclass) = subclasses.get_mut(owner).and_then(Option::take) {
                    complete(&mut subclass);
                    state.add_subclass(&subclass, collector)?;
                }
            }
        }
    }
    Ok(())
}

enum Entry {
    Tensor(String, StoredTensor),
    Subclass(usize),
}

/// What the parts of the weight `fc.weight` are called before their own names: `fc._weight_`.
fn prefix(name: &str) -> String {
    match name.rsplit_once('.') {
        Some((module, weight)) => format!("{module}._{weight}_"),
        None => format!("_{name}_"),
    }
}

/// The subclass without its parts, and their names.
fn describe(name: &str, text: &str) -> Option<(Subclass, Vec<String>)> {
    let value: Value = serde_json::from_str(text).ok()?;
    let names = value.get("_tensor_data_names")?.as_array()?;
    let names = names.iter().map(|name| Some(name.as_str()?.to_owned())).collect::<Option<Vec<_>>>()?;
    let field = |name: &str| value.get("_data")?.get(name).filter(|value| !value.is_null());
    let ints = |name: &str| field(name)?.as_array()?.iter().map(Value::as_i64).collect::<Option<Vec<i64>>>();
    let dtype = |name: &str| field(name)?.get("_data")?.as_str();
    let shown = dtype("dtype").or_else(|| dtype("orig_dtype")).and_then(from_torch_name);
    let subclass = Subclass {
        name: name.to_owned(),
        classes: vec![value.get("_type")?.as_str()?.to_owned()],
        dtype: shown.map_or(DType::UNDEFINED, |found| found.dtype),
        shape: ints("shape").unwrap_or_default(),
        parts: Vec::new(),
        block_size: ints("block_size"),
        target: dtype("target_dtype").map(str::to_owned),
        has_activation_settings: ["act_quant_kwargs", "activation_quantization"]
            .iter()
            .any(|name| field(name).is_some()),
        is_swizzled: field("is_swizzled_scales").and_then(Value::as_bool) == Some(true),
        has_float_zero_points: false,
    };
    Some((subclass, names))
}

/// What the description leaves to the parts: the shape is that of the codes, the type that of the scales.
fn complete(subclass: &mut Subclass) {
    let part = |name: &str| subclass.parts.iter().find(|(part, _)| part == name).map(|(_, tensor)| tensor);
    if subclass.shape.is_empty()
        && let Some(codes) = part("qdata")
    {
        let mut shape = codes.shape.clone();
        let is_half = codes.dtype == DType::UINT8;
        if let Some(last) = shape.last_mut().filter(|_| is_half) {
            *last = last.saturating_mul(2);
        }
        subclass.shape = shape;
    }
    let part = |name: &str| subclass.parts.iter().find(|(part, _)| part == name).map(|(_, tensor)| tensor);
    if subclass.dtype == DType::UNDEFINED
        && let Some(scales) = part("scale").or_else(|| part("scale_and_zero"))
    {
        subclass.dtype = scales.dtype;
    }
}
