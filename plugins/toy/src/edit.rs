//! Changes to a network in memory: those that `compare`, `sensitivity` and `explain` build on. Each is described at
//! the top of `plugins/onnx/src/edit.rs`.

use crate::network::{Affine, Input, Layer, Network, Operator, Stored};
use qp_abi::sdk::*;
use std::collections::HashSet;

/// The network with the changes.
pub(crate) fn apply(network: &Network, edits: &[Edit]) -> Result<Network> {
    let mut changed = network.clone();
    for edit in edits {
        match edit.action.as_str() {
            "store" => store(&mut changed, edit)?,
            "dequantize" => dequantize(&mut changed, edit)?,
            "copy-layer" => copy_layer(&mut changed, edit)?,
            "quantize" => quantize(&mut changed, edit)?,
            "add" => {
                let operands = [edit.target.to_string(), needed(edit, "other")?.to_owned()];
                add_layer(&mut changed, Operator::Add, &operands, needed(edit, "as")?)?;
            }
            "select" => select(&mut changed, edit)?,
            other => return Err(BackendError::unsupported_op(format!("unknown change `{other}` to a toy"))),
        }
    }
    sort(&mut changed)?;
    Ok(changed)
}

fn needed<'e>(edit: &'e Edit, name: &str) -> Result<&'e str> {
    lookup(&edit.arguments, name)
        .ok_or_else(|| BackendError::invalid_input(format!("the change needs the argument `{name}`")))
}

/// The single number of an argument: a toy has one scale for a whole tensor.
fn number(edit: &Edit, name: &str) -> Result<f64> {
    let text = needed(edit, name)?;
    text.parse().map_err(|_| {
        BackendError::unsupported_op(format!("a toy takes one number for `{name}`, not `{text}`"))
    })
}

fn affine(edit: &Edit) -> Result<Affine> {
    if edit.dtype != DType::INT8 || lookup(&edit.arguments, "codes").is_some() {
        return Err(BackendError::unsupported_op("the codes of a toy are `int8`, over the whole range"));
    }
    Ok(Affine { scale: number(edit, "scales")?, zero_point: number(edit, "zero-points")? })
}

fn claim(network: &Network, name: &str) -> Result<String> {
    let is_taken = network.inputs.iter().any(|input| input.name == name)
        || network.tensors.iter().any(|tensor| tensor.name == name)
        || network.layers.iter().any(|layer| layer.output == name);
    if is_taken {
        return Err(BackendError::invalid_input(format!("the name `{name}` is taken")));
    }
    Ok(name.to_owned())
}

fn store(network: &mut Network, edit: &Edit) -> Result<()> {
    if edit.dtype != DType::FLOAT32 && edit.dtype != DType::INT8 {
        return Err(BackendError::unsupported_op(format!("a toy cannot store {}", edit.dtype)));
    }
    let name = claim(network, &edit.target)?;
    network.tensors.push(Stored {
        name,
        dtype: edit.dtype,
        shape: edit.shape.to_vec(),
        bytes: edit.bytes.to_vec(),
        quantization: None,
        book: None,
    });
    Ok(())
}

fn dequantize(network: &mut Network, edit: &Edit) -> Result<()> {
    let codes = network.tensors.iter().find(|tensor| tensor.name == edit.target);
    let codes = codes
        .ok_or_else(|| BackendError::not_found(format!("no stored tensor is named `{}`", edit.target)))?;
    let name = claim(network, needed(edit, "as")?)?;
    let meant = Stored { name, quantization: Some(affine(edit)?), ..codes.clone() };
    network.tensors.push(meant);
    Ok(())
}

fn add_layer(network: &mut Network, operator: Operator, inputs: &[String], output: &str) -> Result<()> {
    let output = claim(network, output)?;
    network.layers.push(Layer { path: output.clone(), operator, inputs: inputs.to_vec(), output });
    Ok(())
}

fn copy_layer(network: &mut Network, edit: &Edit) -> Result<()> {
    let original = network.layers.iter().find(|layer| layer.output == edit.target);
    let original =
        original.ok_or_else(|| BackendError::not_found(format!("no layer computes `{}`", edit.target)))?;
    let (operator, mut inputs) = (original.operator, original.inputs.clone());
    for argument in edit.arguments.iter() {
        if let Some(old) = argument.0.strip_prefix("input:") {
            inputs.iter_mut().filter(|input| *input == old).for_each(|input| *input = argument.1.to_string());
        }
    }
    add_layer(network, operator, &inputs, &format!("{}{}", edit.target, needed(edit, "suffix")?))
}

fn quantize(network: &mut Network, edit: &Edit) -> Result<()> {
    for other in ["dynamic", "read-scales"] {
        if lookup(&edit.arguments, other).is_some() {
            return Err(BackendError::unsupported_op(format!("a toy does not quantize with `{other}`")));
        }
    }
    let codes = affine(edit)?;
    add_layer(network, Operator::Quantize(codes), &[edit.target.to_string()], needed(edit, "as")?)
}

fn select(network: &mut Network, edit: &Edit) -> Result<()> {
    let target = edit.target.to_string();
    let (switch, then) = (needed(edit, "switch")?.to_owned(), needed(edit, "then")?.to_owned());
    let original = claim(network, &format!("{target}#original"))?;
    let layer = network.layers.iter_mut().find(|layer| layer.output == target);
    let layer = layer.ok_or_else(|| BackendError::not_found(format!("no layer computes `{target}`")))?;
    layer.output.clone_from(&original);
    if !network.inputs.iter().any(|input| input.name == switch) {
        network.inputs.push(Input { name: switch.clone(), dtype: DType::BOOL, shape: Vec::new() });
    }
    add_layer(network, Operator::Select, &[switch, then, original], &target)
}

/// Moves each layer after those that it reads from.
fn sort(network: &mut Network) -> Result<()> {
    let given = network.inputs.iter().map(|input| &input.name);
    let mut known: HashSet<String> =
        given.chain(network.tensors.iter().map(|tensor| &tensor.name)).cloned().collect();
    let mut left: Vec<Layer> = std::mem::take(&mut network.layers);
    while !left.is_empty() {
        let (ready, waiting): (Vec<Layer>, Vec<Layer>) =
            left.into_iter().partition(|layer| layer.inputs.iter().all(|input| known.contains(input)));
        if ready.is_empty() {
            let path = waiting.first().map(|layer| layer.path.as_str()).unwrap_or_default();
            return Err(BackendError::not_found(format!("nothing computes what `{path}` reads")));
        }
        known.extend(ready.iter().map(|layer| layer.output.clone()));
        network.layers.extend(ready);
        left = waiting;
    }
    Ok(())
}
