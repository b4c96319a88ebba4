//! The changes of a model in the words of other tools.

use super::line::{Action, Change};
use super::subject::Subject;
use crate::error::Result;
use crate::inspect::pairing::{layers, tensors};
use crate::inspect::suspicion::Wiring;
use crate::model::{ModelInfo, QuantizationParameters};
use crate::playground;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// A file that another tool reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// Lines that `source` and `changes --replay` run again
    Script,
    /// ONNX Runtime's extra option `TensorQuantOverrides`, as JSON
    TensorQuantOverrides,
    /// ONNX Runtime's option `nodes_to_exclude`, as JSON
    NodesToExclude,
    /// Encodings of AIMET, version 0.6.1
    Aimet,
}

/// The changes as a text in this form. `model` has them; tensors get the names of `float`, if it is known.
///
/// # Errors
/// Those of finding what a line is about.
pub fn text(
    form: Form,
    model: &ModelInfo,
    id: &str,
    float: Option<&ModelInfo>,
    changes: &[Arc<playground::Change>],
) -> Result<String> {
    let pretty = |value: &Value| format!("{value:#}\n");
    Ok(match form {
        Form::Script => {
            let lines: Vec<&str> = changes.iter().map(|change| change.line.as_str()).collect();
            format!("# Changes of {id}, written by `changes`.\n{}\n", lines.join("\n"))
        }
        Form::NodesToExclude => pretty(&excluded(changes)?),
        Form::TensorQuantOverrides => {
            let mut overrides = Map::new();
            for quantum in settings(model, float, changes)? {
                overrides.insert(quantum.name.clone(), overriding(&quantum));
            }
            pretty(&Value::Object(overrides))
        }
        Form::Aimet => {
            let mut encodings = [Map::new(), Map::new()];
            for quantum in settings(model, float, changes)? {
                encodings[usize::from(quantum.is_stored)].insert(quantum.name.clone(), encoding(&quantum));
            }
            let [activations, stored] = encodings;
            pretty(&json!({
                "version": "0.6.1",
                "activation_encodings": activations,
                "param_encodings": stored,
            }))
        }
    })
}

/// The layers that the changes turn off.
fn excluded(changes: &[Arc<playground::Change>]) -> Result<Value> {
    let mut layers = Vec::new();
    for change in changes {
        let change = Change::parse(&change.line)?;
        if change.action == Action::Quantized(false) {
            layers.push(Value::String(change.target));
        }
    }
    Ok(Value::Array(layers))
}

/// Parameters that were set, under the name of the tensor in the float model.
struct Quantum {
    name: String,
    parameters: QuantizationParameters,
    is_stored: bool,
}

fn settings(
    model: &ModelInfo,
    float: Option<&ModelInfo>,
    changes: &[Arc<playground::Change>],
) -> Result<Vec<Quantum>> {
    let wiring = Wiring::of(model);
    let pairs = float.map(|float| tensors(model, float).pairs).unwrap_or_default();
    let mut found: Vec<Quantum> = Vec::new();
    for change in changes {
        let change = Change::parse(&change.line)?;
        let subjects = match change.action {
            Action::Quantized(_) => continue,
            Action::Set(_) => vec![Subject::find(&change.target, model)?],
            // What a layer reads, as far as it has scales of its own.
            Action::Bits(_) => ["weight", "input", "input2"]
                .iter()
                .filter_map(|part| Subject::find(&format!("{}.{part}", change.target), model).ok())
                .collect(),
        };
        for subject in subjects {
            let pair = pairs.iter().find(|pair| pair.reference.tensor.name == subject.codes);
            let name = match (pair, subject.tensor) {
                (Some(pair), _) => pair.candidate.tensor.name.clone(),
                // As ONNX Runtime names the codes of a tensor.
                (None, Some(tensor)) => {
                    tensor.name.strip_suffix("_quantized").unwrap_or(&tensor.name).to_owned()
                }
                (None, None) => wiring.origin(subject.codes).to_owned(),
            };
            found.retain(|quantum| quantum.name != name);
            let is_stored = subject.tensor.is_some();
            found.push(Quantum { name, parameters: subject.parameters.clone(), is_stored });
        }
    }
    Ok(found)
}

/// One object for a tensor, or one for each channel, the first with the axis.
fn overriding(quantum: &Quantum) -> Value {
    let parameters = &quantum.parameters;
    let dtype = parameters.dtype.to_string();
    let quant_type = match dtype.strip_prefix("uint") {
        Some(bits) => format!("QUInt{bits}"),
        None => format!("QInt{}", dtype.trim_start_matches("int")),
    };
    let one = |index: usize| {
        let mut object = Map::new();
        object.insert("quant_type".to_owned(), json!(quant_type));
        if let Some(axis) = parameters.axis.filter(|_| index == 0 && parameters.scales.len() > 1) {
            object.insert("axis".to_owned(), json!(axis));
        }
        object.insert("scale".to_owned(), json!(parameters.scales[index]));
        object.insert("zero_point".to_owned(), json!(parameters.zero_point(index) as i64));
        Value::Object(object)
    };
    Value::Array((0..parameters.scales.len()).map(one).collect())
}

/// AIMET counts the offset from the smallest code, and writes flags as texts.
fn encoding(quantum: &Quantum) -> Value {
    let parameters = &quantum.parameters;
    let (low, high) = parameters.codes().unwrap_or_default();
    let is_symmetric = if parameters.is_symmetric() == Some(true) { "True" } else { "False" };
    let one = |(index, scale): (usize, &f64)| {
        let zero_point = parameters.zero_point(index);
        json!({
            "bitwidth": parameters.dtype.bits(),
            "dtype": "int",
            "is_symmetric": is_symmetric,
            "min": (low as f64 - zero_point) * scale,
            "max": (high as f64 - zero_point) * scale,
            "offset": low - zero_point as i64,
            "scale": scale,
        })
    };
    Value::Array(parameters.scales.iter().enumerate().map(one).collect())
}

/// A line for `from`, as it reads for `to`: layers and tensors are found by pairing the two. `None` if `to` has no such layer
/// or tensor.
///
/// # Errors
/// `Usage` for a line that is no change; those of finding what it is about.
pub fn translated(line: &str, from: &ModelInfo, to: &ModelInfo) -> Result<Option<Change>> {
    let mut change = Change::parse(line)?;
    let layer_of = |path: &str| {
        let pairs = layers(from, to).pairs;
        pairs.iter().find(|pair| pair.reference.path == path).map(|pair| pair.candidate.path.clone())
    };
    let target = match change.action {
        Action::Quantized(_) | Action::Bits(_) => {
            layer_of(&crate::model::find_layer(&change.target, from)?.path)
        }
        Action::Set(_) => {
            let subject = Subject::find(&change.target, from)?;
            match subject.layer.filter(|layer| subject.name.starts_with(&layer.path)) {
                Some(layer) => layer_of(&layer.path).map(|path| {
                    format!("{path}{}", subject.name.get(layer.path.len()..).unwrap_or_default())
                }),
                None => {
                    let pairs = tensors(from, to).pairs;
                    let pair = pairs.iter().find(|pair| pair.reference.tensor.name == subject.codes);
                    pair.map(|pair| pair.candidate.tensor.name.clone())
                        .or_else(|| to.value(subject.codes).map(|value| value.name.clone()))
                }
            }
        }
    };
    Ok(target.map(|target| {
        change.target = target;
        change
    }))
}
