//! Scales, zero points and codes, as `onnxruntime.quantization` computes them.

use super::calibration::reals;
use super::edits;
use super::options::Options;
use crate::backend::{Edit, Progress, Session};
use crate::error::{Error, Result};
use crate::model::{DType, Quantizable, QuantizableBias, QuantizableTensor, Tensor};
use std::collections::HashMap;

/// How real numbers are codes: real = (code − zero point) · scale.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    /// The type of the codes.
    pub dtype: DType,
    /// The type of the real numbers.
    pub real: DType,
    /// One, or one for each index along `axis`.
    pub scales: Vec<f32>,
    /// As many.
    pub zero_points: Vec<i32>,
    /// The axis with a scale for each index.
    pub axis: Option<usize>,
}

/// Parameters, and the changes of stored tensors.
pub(super) struct Made {
    pub(super) parameters: HashMap<String, Parameters>,
    pub(super) edits: Vec<Edit>,
}

/// Decides on the parameters of everything in the plan.
pub(super) fn decide(
    session: &Session,
    plan: &Quantizable,
    ranges: &HashMap<String, (f32, f32)>,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Made> {
    let info = session.info();
    let values = info.values_by_name();
    let codes = code_range(options.activation, false, options.activation_symmetric);
    // Each value's own, whatever it shares.
    let mut own: HashMap<String, Parameters> = HashMap::new();
    for value in &plan.values {
        let range =
            value.range.or_else(|| ranges.get(value.range_of.as_ref().unwrap_or(&value.name)).copied());
        let Some((low, high)) = range else { continue };
        let (scale, zero_point) =
            scale_and_zero_point(low, high, codes, options.activation_symmetric, options.min_real_range);
        let real = values.get(value.name.as_str()).map_or(DType::FLOAT32, |value| value.dtype);
        let real = if real == DType::FLOAT16 { real } else { DType::FLOAT32 };
        own.insert(
            value.name.clone(),
            Parameters {
                dtype: options.activation,
                real,
                scales: vec![scale],
                zero_points: vec![zero_point],
                axis: None,
            },
        );
    }
    let mut all: HashMap<String, Parameters> = HashMap::new();
    let mut tensors = Vec::with_capacity(plan.tensors.len());
    for (done, planned) in plan.tensors.iter().enumerate() {
        progress.update("quantizing weights", done as u64, plan.tensors.len() as u64);
        if progress.is_cancelled() {
            return Err(Error::cancelled());
        }
        let tensor = session.read_whole_tensor(&planned.name, progress)?;
        let mut numbers = Vec::new();
        reals(&tensor, &mut numbers)?;
        let parameters = of_tensor(planned, &tensor, &numbers, options);
        all.insert(planned.name.clone(), parameters);
        tensors.push((planned, tensor.shape, numbers));
    }
    if options.adjust_for_bias {
        for bias in &plan.biases {
            let numbers = stored(session, &bias.tensor, progress)?;
            if let (Some(input), Some(weight)) = (own.get(&bias.input), all.get_mut(&bias.weight)) {
                widen_for_bias(input.scales[0], weight, &numbers);
            }
        }
    }
    let mut made = Vec::new();
    for (planned, shape, numbers) in tensors {
        let parameters = &all[&planned.name];
        let bytes = quantize(&numbers, &shape, parameters);
        made.push(edits::tensor(&planned.name, parameters, (shape, bytes)));
    }
    // Those that are shared come after what they are shared with; the plan has no circles of them.
    let mut waiting: Vec<_> = plan.values.iter().collect();
    let mut in_order = Vec::new();
    while !waiting.is_empty() {
        let before = waiting.len();
        waiting.retain(|value| {
            let found = match &value.same_as {
                None => own.get(&value.name),
                Some(other) => all.get(other),
            };
            let Some(found) = found.cloned() else { return true };
            all.insert(value.name.clone(), found);
            in_order.push(*value);
            false
        });
        if waiting.len() == before {
            let names: Vec<&str> = waiting.iter().take(3).map(|value| value.name.as_str()).collect();
            return Err(Error::internal(format!("no scale was decided for `{}`", names.join("`, `"))));
        }
    }
    made.extend(in_order.iter().map(|value| match &value.same_as {
        Some(other) => edits::same_value(&value.name, other),
        None => edits::value(&value.name, &all[&value.name]),
    }));
    for bias in &plan.biases {
        made.push(of_bias(session, bias, &mut all, progress)?);
    }
    Ok(Made { parameters: all, edits: made })
}

fn stored(session: &Session, name: &str, progress: &dyn Progress) -> Result<Vec<f32>> {
    let mut numbers = Vec::new();
    reals(&session.read_whole_tensor(name, progress)?, &mut numbers)?;
    Ok(numbers)
}

fn of_tensor(planned: &QuantizableTensor, tensor: &Tensor, numbers: &[f32], options: &Options) -> Parameters {
    let (dtype, is_symmetric) = match planned.is_operand {
        true => (options.activation, options.activation_symmetric),
        false => (options.weight, options.is_weight_symmetric()),
    };
    // Integer kernels need the same zero point in all channels.
    let is_symmetric = is_symmetric || planned.axis.is_some();
    let codes = code_range(dtype, options.reduce_range, is_symmetric);
    let one = |(low, high): (f32, f32)| {
        if low > high {
            (1.0, 0)
        } else {
            scale_and_zero_point(low, high, codes, is_symmetric, options.min_real_range)
        }
    };
    let none = (f32::INFINITY, f32::NEG_INFINITY);
    let widen = |ends: (f32, f32), number: f32| (ends.0.min(number), ends.1.max(number));
    let (scales, zero_points) = match planned.axis {
        None => {
            let (scale, zero_point) = one(numbers.iter().fold(none, |ends, number| widen(ends, *number)));
            (vec![scale], vec![zero_point])
        }
        Some(axis) => {
            let mut ends = vec![none; tensor.shape[axis] as usize];
            for (channel, run) in channels(numbers, &tensor.shape, axis) {
                ends[channel] = run.iter().fold(ends[channel], |ends, number| widen(ends, *number));
            }
            ends.into_iter().map(one).unzip()
        }
    };
    let real = tensor.dtype;
    Parameters { dtype, real, scales, zero_points, axis: planned.axis }
}

/// The runs of elements that lie together in one channel, with the channel.
fn channels<'a>(numbers: &'a [f32], shape: &[u64], axis: usize) -> impl Iterator<Item = (usize, &'a [f32])> {
    let run = shape[axis + 1..].iter().product::<u64>().max(1) as usize;
    let count = shape[axis].max(1) as usize;
    numbers.chunks(run).enumerate().map(move |(index, run)| (index % count, run))
}

/// The smallest and the largest code.
fn code_range(dtype: DType, reduce_range: bool, is_symmetric: bool) -> (i32, i32) {
    match (dtype, reduce_range, is_symmetric) {
        (DType::INT8, true, _) => (-64, 64),
        (DType::UINT8, true, _) => (0, 127),
        (DType::INT16, true, _) => (-16384, 16384),
        (DType::UINT16, true, _) => (0, 32767),
        (DType::INT4, true, _) => (-4, 3),
        (DType::UINT4, true, _) => (0, 7),
        (DType::INT8, false, true) => (-127, 127),
        (DType::INT16, false, true) => (-32767, 32767),
        (other, ..) => full_range(other),
    }
}

fn full_range(dtype: DType) -> (i32, i32) {
    match dtype {
        DType::UINT8 => (0, 255),
        DType::INT16 => (-32768, 32767),
        DType::UINT16 => (0, 65535),
        DType::INT4 => (-8, 7),
        DType::UINT4 => (0, 15),
        _ => (-128, 127),
    }
}

/// The scale in float32 steps where NumPy has them, and the zero point from the unrounded scale.
fn scale_and_zero_point(
    low: f32,
    high: f32,
    (first, last): (i32, i32),
    is_symmetric: bool,
    min_real_range: Option<f32>,
) -> (f32, i32) {
    let (mut low, mut high) = (low.min(0.0), high.max(0.0));
    if let Some(least) = min_real_range {
        high = high.max(low + least);
    }
    if is_symmetric {
        high = low.abs().max(high.abs());
        low = -high;
    }
    let scale = (f64::from(high) - f64::from(low)) / f64::from(last - first);
    if scale < f64::from(f32::MIN_POSITIVE) {
        return (1.0, 0);
    }
    let zero_point = if is_symmetric {
        (f64::from(first + last) / 2.0).round_ties_even()
    } else {
        (f64::from(first) - f64::from(low) / scale).round_ties_even()
    };
    (scale as f32, zero_point as i32)
}

/// The codes of a tensor, packed.
fn quantize(numbers: &[f32], shape: &[u64], parameters: &Parameters) -> Vec<u8> {
    let (first, last) = full_range(parameters.dtype);
    let (first, last) = (first as f32, last as f32);
    let code = |number: f32, at: usize| {
        let rounded = (number / parameters.scales[at]).round_ties_even() + parameters.zero_points[at] as f32;
        rounded.clamp(first, last) as i32
    };
    let codes: Vec<i32> = match parameters.axis {
        None => numbers.iter().map(|number| code(*number, 0)).collect(),
        Some(axis) => channels(numbers, shape, axis)
            .flat_map(|(channel, run)| run.iter().map(move |number| (*number, channel)))
            .map(|(number, channel)| code(number, channel))
            .collect(),
    };
    match parameters.dtype {
        DType::INT16 | DType::UINT16 => codes.iter().flat_map(|code| (*code as u16).to_le_bytes()).collect(),
        DType::INT4 | DType::UINT4 => codes
            .chunks(2)
            .map(|pair| (pair[0] & 0xf) as u8 | pair.get(1).map_or(0, |code| ((code & 0xf) as u8) << 4))
            .collect(),
        _ => codes.iter().map(|code| *code as u8).collect(),
    }
}

/// Makes a weight's scale larger where the bias would not fit into 32 bits with the product of both scales.
fn widen_for_bias(input: f32, weight: &mut Parameters, bias: &[f32]) {
    let is_signed = matches!(weight.dtype, DType::INT8 | DType::INT16);
    if !is_signed || weight.zero_points.iter().any(|zero_point| *zero_point != 0) {
        return;
    }
    let codes = f64::from(i32::MAX) - f64::from(i32::MIN + 1);
    let least = |magnitude: f64| 1.0001 * (2.0 * magnitude) / codes;
    let widen = |scale: &mut f32, magnitude: f64| {
        let product = f64::from(input) * f64::from(*scale);
        let least = least(magnitude);
        if product < least && product > 0.0 {
            *scale = (f64::from(*scale) * (least / product)) as f32;
        }
    };
    if weight.axis.is_none() {
        let magnitude = bias.iter().fold(0.0_f32, |most, number| most.max(number.abs()));
        widen(&mut weight.scales[0], f64::from(magnitude));
    } else {
        for (scale, number) in weight.scales.iter_mut().zip(bias) {
            widen(scale, f64::from(number.abs()));
        }
    }
}

fn of_bias(
    session: &Session,
    bias: &QuantizableBias,
    all: &mut HashMap<String, Parameters>,
    progress: &dyn Progress,
) -> Result<Edit> {
    let tensor = session.read_whole_tensor(&bias.tensor, progress)?;
    let mut numbers = Vec::new();
    reals(&tensor, &mut numbers)?;
    let (input, weight) = (&all[&bias.input], &all[&bias.weight]);
    let scales: Vec<f32> = weight.scales.iter().map(|scale| input.scales[0] * scale * bias.factor).collect();
    if scales.len() != 1 && scales.len() != numbers.len() {
        return Err(Error::internal(format!(
            "`{}` has {} numbers and {} scales",
            bias.tensor,
            numbers.len(),
            scales.len()
        )));
    }
    let code = |(at, number): (usize, &f32)| {
        let scale = scales[if scales.len() == 1 { 0 } else { at }];
        let code = (f64::from(*number) / f64::from(scale)).round_ties_even();
        code.clamp(f64::from(i32::MIN), f64::from(i32::MAX)) as i32
    };
    let bytes = numbers.iter().enumerate().flat_map(|pair| code(pair).to_le_bytes()).collect();
    let parameters = Parameters {
        dtype: DType::INT32,
        real: tensor.dtype,
        zero_points: vec![0; scales.len()],
        axis: (scales.len() > 1).then_some(0),
        scales,
    };
    let edit = edits::bias(bias, &parameters, (tensor.shape, bytes));
    all.insert(bias.copy.clone().unwrap_or_else(|| bias.tensor.clone()), parameters);
    Ok(edit)
}
