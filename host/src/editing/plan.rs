//! From a line to what the backend has to do.
//!
//! A weight whose scale changes gets codes anew: of the float model's values if one is known, otherwise of those that its codes
//! stand for. An int32 bias has the scale of input times weight, so that one follows when either changes.

use super::line::{Action, Change, Property, Setting};
use super::subject::Subject;
use crate::backend::{Edit, Progress, Session};
use crate::error::{Error, ErrorKind, Result};
use crate::inspect::Elements;
use crate::inspect::contrast::values_in_reference_order;
use crate::inspect::pairing::{TensorPair, tensors};
use crate::inspect::suspicion::Wiring;
use crate::model::{DType, LayerInfo, ModelInfo, QuantizationParameters, TensorInfo, find_layer};
use crate::playground::{self, Loaded};
use crate::render::number;
use crate::render::text::counted;
use qp_analysis::{AffineList, CodeRange, ParameterMap};
use std::cell::OnceCell;

/// A bias counts as the product of two scales if it is within this of it; float32 has 24 bits.
const SAME_SCALE: f64 = 1e-4;

/// Makes the changes of one model.
pub struct Planner<'a> {
    /// The float variant, if one is loaded: the first source of weights.
    reference: Option<&'a Loaded>,
    /// The model as its file has it: the other source of weights.
    base: &'a Loaded,
    /// The tensors of both that are the same, found when a weight is first needed.
    pairs: OnceCell<Vec<TensorPair<'a>>>,
}

impl<'a> Planner<'a> {
    /// With the model as its file has it, and the float variant, if one is loaded.
    pub fn new(base: &'a Loaded, reference: Option<&'a Loaded>) -> Self {
        Self { reference, base, pairs: OnceCell::new() }
    }

    /// What a line does to the model as it is now.
    ///
    /// # Errors
    /// `NotFound`, `UnsupportedOp` and `InvalidInput` for what cannot be done, with what can.
    pub fn plan(
        &self,
        change: &Change,
        model: &Loaded,
        progress: &dyn Progress,
    ) -> Result<playground::Change> {
        model.session.require_edits()?;
        match &change.action {
            Action::Set(setting) => self.set(&change.target, setting, model, progress),
            Action::Quantized(false) => self.unquantize(&change.target, model, progress),
            Action::Bits(bits) => self.widen(&change.target, *bits, model, progress),
            Action::Quantized(true) => {
                let layer = find_layer(&change.target, model.info())?;
                Err(Error::new(ErrorKind::UnsupportedOp, format!("the file has no scales for `{}`", layer.path))
                    .with_hint("Only a layer that was turned off here can be turned on again; `quantize` quantizes a float model."))
            }
        }
    }

    fn set(
        &self,
        target: &str,
        setting: &Setting,
        model: &Loaded,
        progress: &dyn Progress,
    ) -> Result<playground::Change> {
        let subject = Subject::find(target, model.info())?;
        let new = changed(&subject, setting)?;
        let mut effects = vec![effect(subject.parameters, &new, setting)];
        let mut edits = vec![parameters(subject.codes, &new)];
        if let Some(tensor) = subject.tensor.filter(|tensor| !tensor.dtype.is_float()) {
            let source = self.values(model, tensor, progress)?;
            edits.push(codes(tensor, &new, &source.values)?);
            effects.push(format!("codes from {}", source.from));
        }
        let biases = self.biases(&edits, model, progress)?;
        if biases.count > 0 {
            effects.push(format!("{} adjusted", counted(biases.count, "bias")));
        }
        edits.extend(biases.edits);
        let subject_name = subject.owner().to_owned();
        let line = Change { target: subject.name, action: Action::Set(setting.clone()) };
        Ok(playground::Change {
            line: line.to_string(),
            subject: subject_name,
            effect: effects.join("; "),
            edits,
        })
    }

    fn unquantize(
        &self,
        target: &str,
        model: &Loaded,
        progress: &dyn Progress,
    ) -> Result<playground::Change> {
        let (layer, output) = quantized_layer(target, model.info())?;
        let (mut edits, mut arguments, mut sources) = (Vec::new(), Vec::new(), Vec::new());
        for used in &layer.weights {
            let Some(tensor) = model.info().tensor(&used.tensor) else { continue };
            if tensor.quantization.is_none() || tensor.dtype.is_float() {
                continue;
            }
            let source = self.values(model, tensor, progress)?;
            let name = free_name(&format!("{}.float", tensor.name), model.info());
            edits.push(real(&name, tensor, &source.values, model.info())?);
            arguments.push((format!("real:{}", tensor.name), name));
            sources.push(source.from);
        }
        edits.push(Edit { action: "unquantize", target: output.to_owned(), arguments, elements: None });
        sources.dedup();
        let mut effect = "computes with real numbers".to_owned();
        if let [from, ..] = &sources[..] {
            effect += &format!("; weight from {from}");
        }
        let line = Change { target: layer.path.clone(), action: Action::Quantized(false) };
        Ok(playground::Change { line: line.to_string(), subject: layer.path.clone(), effect, edits })
    }

    /// The real values of a stored tensor of codes: the float variant's, if it has the tensor.
    pub(super) fn values(
        &self,
        model: &Loaded,
        tensor: &TensorInfo,
        progress: &dyn Progress,
    ) -> Result<Source> {
        if let Some(reference) = self.reference {
            let pairs = self.pairs.get_or_init(|| tensors(self.base.info(), reference.info()).pairs);
            let pair = pairs.iter().find(|pair| pair.reference.tensor.name == tensor.name);
            if let Some(pair) = pair.filter(|pair| pair.candidate.tensor.dtype.is_float())
                && let Some(values) = of_float(self.base, reference, pair, progress)?
            {
                return Ok(Source { values, from: format!("`{}`", reference.id) });
            }
        }
        let of_file = self.base.info().tensor(&tensor.name).filter(|found| {
            found.shape == tensor.shape && found.dtype == tensor.dtype && found.quantization.is_some()
        });
        let (model, tensor) = of_file.map_or((model, tensor), |found| (self.base, found));
        let mut values = Vec::with_capacity(usize::try_from(tensor.element_count()).unwrap_or(0));
        Elements::values(model, tensor, progress)?.each_block(progress, &mut |_, numbers| {
            values.extend_from_slice(numbers);
            Ok(())
        })?;
        Ok(Source { values, from: "the file's own codes".to_owned() })
    }

    /// What has to follow so that each bias has the scale of input times weight, as it had before.
    fn biases(&self, edits: &[Edit], model: &Loaded, progress: &dyn Progress) -> Result<Biases> {
        let mut biases = Biases::default();
        let before = model.info();
        let of_layers: Vec<(&LayerInfo, &TensorInfo)> = before
            .layers
            .iter()
            .flat_map(|layer| layer.weights.iter().filter(|used| used.is_bias).map(move |used| (layer, used)))
            .filter_map(|(layer, used)| Some((layer, before.tensor(&used.tensor)?)))
            .filter(|(_, bias)| bias.dtype == DType::INT32 && bias.quantization.is_some())
            .collect();
        if of_layers.is_empty() {
            return Ok(biases);
        }
        let after: Session = model.session.edit(edits.to_vec(), progress)?;
        let (wiring, wiring_after) = (Wiring::of(before), Wiring::of(after.info()));
        let mut done: Vec<&str> = Vec::new();
        for (layer, bias) in of_layers {
            let (Some(old), Some(product)) = (&bias.quantization, product(layer, before, &wiring)) else {
                continue;
            };
            let Some(new_layer) = after.info().layer(&layer.path) else { continue };
            let Some(new_product) = self::product(new_layer, after.info(), &wiring_after) else { continue };
            if !is_same(&old.scales, &product) || product == new_product || done.contains(&bias.name.as_str())
            {
                continue;
            }
            done.push(&bias.name);
            let source = self.values(model, bias, progress)?;
            let new = QuantizationParameters { scales: new_product, ..old.clone() };
            if old.scale_name.is_some() {
                biases.edits.push(parameters(&bias.name, &new));
            }
            biases.edits.push(codes(bias, &new, &source.values)?);
            biases.count += 1;
        }
        Ok(biases)
    }
}

pub(super) struct Source {
    pub(super) values: Vec<f64>,
    pub(super) from: String,
}

#[derive(Default)]
struct Biases {
    edits: Vec<Edit>,
    count: usize,
}

/// The float variant's values in the order of the codes; `None` if they cannot be brought into it.
fn of_float(
    base: &Loaded,
    reference: &Loaded,
    pair: &TensorPair<'_>,
    progress: &dyn Progress,
) -> Result<Option<Vec<f64>>> {
    let values = match values_in_reference_order(reference, pair, progress) {
        Ok(values) => values,
        Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
        Err(_) => return Ok(None),
    };
    // A quantizer may have folded or equalized the weight: then the float variant's values are others.
    let mut distance = [0.0_f64; 2];
    Elements::values(base, pair.reference.tensor, progress)?.each_block(
        progress,
        &mut |first, numbers| {
            let first = usize::try_from(first).unwrap_or(usize::MAX);
            for (own, real) in numbers.iter().zip(values.get(first..).unwrap_or_default()) {
                distance[0] += (own - real).powi(2);
                distance[1] += real.powi(2);
            }
            Ok(())
        },
    )?;
    Ok((distance[0] <= 0.5 * distance[1]).then_some(values))
}

/// The scales of input times weight, in float32 as runtimes compute them.
pub(super) fn product(layer: &LayerInfo, info: &ModelInfo, wiring: &Wiring<'_>) -> Option<Vec<f64>> {
    let weight = layer.weights.iter().find(|used| !used.is_bias)?;
    let weight = info.tensor(&weight.tensor)?.quantization.as_ref()?;
    let (place, input) = layer.data().next()?;
    let input = layer.codes_of_input(place).or_else(|| wiring.parameters(input))?;
    let [input] = input.scales[..] else { return None };
    Some(weight.scales.iter().map(|scale| f64::from(input as f32 * *scale as f32)).collect())
}

fn is_same(scales: &[f64], others: &[f64]) -> bool {
    scales.len() == others.len()
        && scales.iter().zip(others).all(|(one, other)| (one - other).abs() <= SAME_SCALE * other.abs())
}

/// The parameters after a setting.
fn changed(subject: &Subject<'_>, setting: &Setting) -> Result<QuantizationParameters> {
    let old = subject.parameters;
    let name = &subject.name;
    let count = old.scales.len();
    let range = match setting.channel {
        None => 0..count,
        Some(channel) if channel < count => channel..channel + 1,
        Some(channel) => {
            let text = match count {
                1 => "has one scale for all".to_owned(),
                _ => format!("has scales 0 to {}", count - 1),
            };
            return Err(Error::invalid_input(format!("`{name}` {text}, not a scale {channel}")));
        }
    };
    let (low, high) = old.codes().ok_or_else(|| Error::internal("the codes have no range"))?;
    let mut new = old.clone();
    new.zero_points = (0..count).map(|index| old.zero_point(index)).collect();
    for index in range {
        let (scale, zero_point) = (old.scales[index], old.zero_point(index));
        let (scale, zero_point) = match setting.property {
            Property::Scale(value) => (value, zero_point),
            Property::Factor(factor) => (scale * factor, zero_point),
            Property::ZeroPoint(value) => {
                if value.fract() != 0.0 || value < low as f64 || value > high as f64 {
                    return Err(Error::invalid_input(format!(
                        "the zero point {value} is not a code of {}: `{name}` has codes from {low} to {high}",
                        old.dtype
                    )));
                }
                (scale, value)
            }
            Property::Range(from, to) => of_range((from, to), (low, high), old.is_symmetric() == Some(true)),
        };
        // What the file holds is float32.
        let stored = f64::from(scale as f32);
        if !stored.is_finite() || stored < f64::from(f32::MIN_POSITIVE) {
            return Err(Error::invalid_input(format!(
                "a scale of `{name}` would be {}",
                number::real(scale)
            ))
            .with_hint(format!(
                "A scale is from {} to {}.",
                number::real(f64::from(f32::MIN_POSITIVE)),
                number::real(f64::from(f32::MAX))
            )));
        }
        new.scales[index] = stored;
        new.zero_points[index] = zero_point;
    }
    Ok(new)
}

/// The scale and the zero point of codes that cover a range. Zero is always in it, so that it has a code of its own.
fn of_range((from, to): (f64, f64), (low, high): (i64, i64), is_symmetric: bool) -> (f64, f64) {
    let (from, to) = (from.min(0.0), to.max(0.0));
    if is_symmetric {
        let steps = (high - low) / 2;
        let zero_point = if low < 0 { 0 } else { low + steps + 1 };
        return (from.abs().max(to) / steps as f64, zero_point as f64);
    }
    let scale = (to - from) / (high - low) as f64;
    (scale, (low as f64 - from / scale).round_ties_even())
}

fn effect(old: &QuantizationParameters, new: &QuantizationParameters, setting: &Setting) -> String {
    let at = setting.channel.unwrap_or(0);
    let scale = format!("scale {} → {}", number::real(old.scales[at]), number::real(new.scales[at]));
    let zero_point = format!("zero point {} → {}", old.zero_point(at), new.zero_point(at));
    let text = match setting.property {
        Property::Scale(_) | Property::Factor(_) => scale,
        Property::ZeroPoint(_) => zero_point,
        Property::Range(..) if old.zero_point(at) == new.zero_point(at) => scale,
        Property::Range(..) => format!("{scale}, {zero_point}"),
    };
    match (setting.channel, new.scales.len()) {
        (None, count @ 2..) => format!("{text} for the first of {count} channels"),
        _ => text,
    }
}

/// The change that gives codes these parameters.
fn parameters(codes: &str, new: &QuantizationParameters) -> Edit {
    let join = |numbers: &mut dyn Iterator<Item = f64>| {
        numbers.map(|number| number.to_string()).collect::<Vec<_>>().join(",")
    };
    let arguments = vec![
        ("scales".to_owned(), join(&mut new.scales.iter().copied())),
        ("zero-points".to_owned(), join(&mut (0..new.scales.len()).map(|index| new.zero_point(index)))),
    ];
    Edit {
        action: "set-quantization",
        target: codes.to_owned(),
        arguments,
        elements: Some((new.dtype, Vec::new(), Vec::new())),
    }
}

/// The change that gives a stored tensor the codes of these values.
fn codes(tensor: &TensorInfo, new: &QuantizationParameters, values: &[f64]) -> Result<Edit> {
    let elements = Some(coded(tensor, new, values)?);
    Ok(Edit { action: "replace", target: tensor.name.clone(), arguments: Vec::new(), elements })
}

/// The codes of these values, in the shape of a stored tensor and of the type of the new parameters.
pub(super) fn coded(
    tensor: &TensorInfo,
    new: &QuantizationParameters,
    values: &[f64],
) -> Result<(DType, Vec<u64>, Vec<u8>)> {
    let unfit = |reason: String| Error::new(ErrorKind::UnsupportedOp, format!("`{}`: {reason}", tensor.name));
    let element =
        new.dtype.element_type().ok_or_else(|| unfit("codes of this type are not written".to_owned()))?;
    let (low, high) = new.codes().ok_or_else(|| unfit("its codes have no range".to_owned()))?;
    let range = CodeRange::new(low, high).ok_or_else(|| unfit("its codes have no range".to_owned()))?;
    let map =
        ParameterMap::new(&tensor.shape, new.granularity()).map_err(|error| unfit(error.to_string()))?;
    let list = AffineList::new(&new.scales, &new.zero_points).map_err(|error| unfit(error.to_string()))?;
    let mut numbers = values.to_vec();
    map.quantize_in_place(0, &mut numbers, list, range).map_err(|error| unfit(error.to_string()))?;
    let mut bytes = Vec::with_capacity(element.packed_bytes(numbers.len()));
    match element.bits() {
        8.. => {
            for code in numbers {
                element
                    .push(&mut bytes, code)
                    .ok_or_else(|| unfit("codes of this type are not written".to_owned()))?;
            }
        }
        _ => bytes = nibbles(&numbers, element.bits()),
    }
    Ok((new.dtype, tensor.shape.clone(), bytes))
}

/// A quantized layer, and the value that it computes.
pub(super) fn quantized_layer<'a>(target: &str, info: &'a ModelInfo) -> Result<(&'a LayerInfo, &'a str)> {
    let layer = find_layer(target, info)?;
    if layer.quantization.is_none() {
        return Err(Error::new(ErrorKind::InvalidInput, format!("`{}` is not quantized", layer.path))
            .with_hint("`layers --quantized` lists those that are."));
    }
    let output =
        layer.outputs.iter().find(|name| !name.is_empty()).ok_or_else(|| {
            Error::new(ErrorKind::UnsupportedOp, format!("`{}` computes nothing", layer.path))
        })?;
    Ok((layer, output))
}

/// Codes of fewer than 8 bits, packed with the first in the low bits.
fn nibbles(codes: &[f64], bits: u32) -> Vec<u8> {
    let in_byte = (8 / bits.max(1)) as usize;
    let mask = (1_u16 << bits) - 1;
    let one = |code: &f64| (*code as i64 as u16) & mask;
    let byte = |codes: &[f64]| codes.iter().rev().fold(0_u16, |byte, code| (byte << bits) | one(code)) as u8;
    codes.chunks(in_byte).map(byte).collect()
}

/// The change that stores real numbers of the type that the model computes with.
pub(super) fn real(name: &str, tensor: &TensorInfo, values: &[f64], info: &ModelInfo) -> Result<Edit> {
    let is_half = |value: &crate::model::ValueInfo| value.dtype == DType::FLOAT16;
    let dtype = if info.inputs.iter().any(is_half) { DType::FLOAT16 } else { DType::FLOAT32 };
    crate::capture::edits::store(name, values, dtype, &tensor.shape)
}

pub(super) fn free_name(like: &str, info: &ModelInfo) -> String {
    let is_taken = |name: &str| info.tensor(name).is_some() || info.value(name).is_some();
    let mut name = like.to_owned();
    while is_taken(&name) {
        name.push('_');
    }
    name
}
