//! Bias correction: what quantization adds to the mean of each channel is taken from the biases.

use super::Ground;
use crate::backend::{Edit, Session};
use crate::error::Result;
use crate::model::{LayerKind, QuantizableBias, Tensor};
use crate::quantization::edits;
use crate::quantization::parameters::Made;
use crate::quantization::values::{Seen, each_value, reals};
use qp_analysis::calibration::{ChannelMeans, bias_correction};
use std::collections::HashMap;

/// Corrects the biases in the order of the graph, each one in a model where those before it are corrected: its layer then
/// computes what the float layer does, on average over the samples, before the activation function. Returns how many.
///
/// # Errors
/// Those of running and changing the models; `Cancelled`.
pub(super) fn correct(ground: &Ground<'_>, float: &Session, made: &mut Made) -> Result<usize> {
    let Ground { side, feed, plan, progress, .. } = *ground;
    let info = float.info();
    let places: HashMap<&str, usize> =
        info.layers.iter().enumerate().map(|(place, layer)| (layer.path.as_str(), place)).collect();
    let shares = |bias: &QuantizableBias| {
        plan.biases.iter().filter(|other| (&other.tensor, &other.copy) == (&bias.tensor, &bias.copy)).count()
    };
    let mut biases: Vec<(usize, &QuantizableBias)> = plan
        .biases
        .iter()
        .filter(|bias| shares(bias) == 1)
        .filter_map(|bias| Some((*places.get(bias.layer.as_str())?, bias)))
        .collect();
    biases.sort_by_key(|(place, _)| *place);
    // In the float model a clamp has not yet given its name to what it reads.
    let value_of = |place: usize| info.layers[place].outputs.first().cloned().unwrap_or_default();
    let is_planar = |place: usize| info.layers[place].kind == LayerKind::Convolution;
    let mut references: HashMap<String, ChannelMeans> = HashMap::new();
    let planar: HashMap<String, bool> =
        biases.iter().map(|(place, _)| (value_of(*place), is_planar(*place))).collect();
    let names: Vec<String> = biases.iter().map(|(place, _)| value_of(*place)).collect();
    let mut numbers = Vec::new();
    each_value(
        float,
        (side, feed),
        (&names, "measuring means"),
        &mut |seen| {
            let Seen::Value(tensor) = seen else { return Ok(()) };
            let Some(is_planar) = planar.get(&tensor.name) else { return Ok(()) };
            add(references.entry(tensor.name.clone()), tensor, *is_planar, &mut numbers)
        },
        progress,
    )?;
    let mut corrected = 0;
    for (done, (place, bias)) in biases.iter().enumerate() {
        progress.update("correcting biases", done as u64, biases.len() as u64);
        let Some(reference) = references.get(&value_of(*place)) else { continue };
        let session = float.edit(edits::of(plan, made.edits.clone()), progress)?;
        let mut found: HashMap<String, ChannelMeans> = HashMap::new();
        let names = [bias.value.clone()];
        each_value(
            &session,
            (side, feed),
            (&names, "correcting biases"),
            &mut |seen| {
                let Seen::Value(tensor) = seen else { return Ok(()) };
                add(found.entry(tensor.name.clone()), tensor, is_planar(*place), &mut numbers)
            },
            progress,
        )?;
        let Some(candidate) = found.get(&bias.value) else { continue };
        let Ok(shifts) = bias_correction(reference, candidate) else { continue };
        let parameters = made.parameters.get(bias.copy.as_ref().unwrap_or(&bias.tensor));
        let edit = made.edits.iter_mut().find(|edit| is_of(edit, bias));
        if let Some((scales, edit)) = parameters.map(|own| &own.scales).zip(edit)
            && let Some((_, _, bytes)) = &mut edit.elements
            && bytes.len() == 4 * shifts.len()
        {
            for (index, (code, shift)) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(&shifts).enumerate() {
                let scale = scales[if scales.len() == 1 { 0 } else { index }];
                let step = (f64::from(*shift) / f64::from(scale)).round_ties_even() as i32;
                *code = i32::from_le_bytes(*code).saturating_add(step).to_le_bytes();
            }
            corrected += 1;
        }
    }
    Ok(corrected)
}

/// Whether an edit stores this bias.
fn is_of(edit: &Edit, bias: &QuantizableBias) -> bool {
    let copy = edit.arguments.iter().find(|(key, _)| key == "copy").map(|(_, copy)| copy);
    edit.action == "quantize-bias" && edit.target == bias.tensor && copy == bias.copy.as_ref()
}

fn add(
    entry: std::collections::hash_map::Entry<'_, String, ChannelMeans>,
    tensor: &Tensor,
    is_planar: bool,
    numbers: &mut Vec<f32>,
) -> Result<()> {
    let axis = if is_planar { 1 } else { tensor.shape.len().saturating_sub(1) };
    let Some(channels) = tensor.shape.get(axis).and_then(|size| usize::try_from(*size).ok()) else {
        return Ok(());
    };
    let inner = tensor.shape[axis + 1..].iter().product::<u64>() as usize;
    // Shapes agree: both models compute the same graph. Without positions there is nothing to add.
    let _ = entry.or_insert_with(|| ChannelMeans::new(channels)).add(reals(tensor, numbers)?, inner);
    Ok(())
}
