//! Scales, zero points and codes of everything in a plan.

use super::edits;
use super::options::Options;
use super::values::reals;
use crate::backend::{Edit, Progress, Session};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Activations, DType, Quantizable, QuantizableBias, QuantizableTensor, Tensor};
use qp_analysis::calibration::bias::{quantize_bias, raise_weight_scales};
use qp_analysis::calibration::matmul_nbits::{BlockForm, BlockedCodes};
use qp_analysis::calibration::weights::{WeightOptions, pack, weight_codes, weight_parameters};
use qp_analysis::calibration::{self, ClipRange, ParameterError, clipped_weight_parameters, parameters};
use qp_analysis::{CodeRange, ElementType, Granularity, ParameterMap};
use std::collections::{HashMap, HashSet};

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
    /// The axis with a scale for each index, or for each block of indices.
    pub axis: Option<usize>,
    /// How many indices are a block; scales then have the weight's shape with as many along `axis` as there are blocks.
    pub block_size: Option<usize>,
}

impl Parameters {
    /// Scales with their zero points.
    pub(super) fn pairs(&self) -> Vec<calibration::Parameters> {
        let pairs = self.scales.iter().zip(&self.zero_points);
        pairs
            .map(|(scale, zero_point)| calibration::Parameters { scale: *scale, zero_point: *zero_point })
            .collect()
    }
}

/// Parameters, and the changes that put codes in place of numbers.
pub(super) struct Made {
    pub(super) parameters: HashMap<String, Parameters>,
    pub(super) edits: Vec<Edit>,
}

/// The codes of activations.
///
/// # Errors
/// `UnsupportedOp` for a type that has none.
pub(super) fn activation_codes(options: &Options) -> Result<CodeRange> {
    calibration::code_range(element(options.activation)?, false, options.activation_symmetric).map_err(failed)
}

/// Decides on the parameters of everything in the plan.
///
/// # Errors
/// Those of reading stored tensors; `InvalidInput` for numbers that have no scale; `Cancelled`.
pub(super) fn decide(
    session: &Session,
    plan: &Quantizable,
    ranges: &HashMap<String, ClipRange>,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Made> {
    let own = own(session, plan, ranges, options)?;
    let mut all: HashMap<String, Parameters> = HashMap::new();
    let mut numbers = Vec::new();
    let mut edits = Vec::new();
    // Scales that may depend on biases first; the numbers are read twice instead of kept.
    let biased: HashSet<&str> = match options.adjust_for_bias {
        true => plan.biases.iter().map(|bias| bias.weight.as_str()).collect(),
        false => HashSet::new(),
    };
    for planned in plan.tensors.iter().filter(|planned| biased.contains(planned.name.as_str())) {
        let tensor = read(session, &planned.name, &mut numbers, progress)?;
        all.insert(planned.name.clone(), of_tensor(planned, &tensor, &numbers, options)?);
    }
    if options.adjust_for_bias {
        for bias in &plan.biases {
            let (Some(input), Some(weight)) = (own.get(&bias.input), all.get_mut(&bias.weight)) else {
                continue;
            };
            let is_signed = matches!(weight.dtype, DType::INT8 | DType::INT16);
            if is_signed && weight.zero_points.iter().all(|zero_point| *zero_point == 0) {
                read(session, &bias.tensor, &mut numbers, progress)?;
                let is_per_channel = weight.axis.is_some();
                raise_weight_scales(&mut weight.scales, input.scales[0], &numbers, is_per_channel)
                    .map_err(|error| of(&bias.tensor, error))?;
            }
        }
    }
    for (done, planned) in plan.tensors.iter().enumerate() {
        progress.update("quantizing weights", done as u64, plan.tensors.len() as u64);
        let tensor = read(session, &planned.name, &mut numbers, progress)?;
        let made = if options.block_size.is_some() && planned.input_axis.is_some() {
            blocked(&numbers, &tensor, planned, options)
        } else {
            let parameters = match all.remove(&planned.name) {
                Some(parameters) => parameters,
                None => of_tensor(planned, &tensor, &numbers, options)?,
            };
            codes(&numbers, &tensor.shape, &parameters).map(|bytes| (parameters, bytes))
        };
        let (parameters, bytes) = made.map_err(|error| of(&planned.name, error))?;
        edits.push(edits::tensor(planned, &parameters, (tensor.shape, bytes), options));
        all.insert(planned.name.clone(), parameters);
    }
    // Those that share come after what they share with.
    let mut waiting: Vec<_> = plan.values.iter().collect();
    while !waiting.is_empty() {
        let before = waiting.len();
        waiting.retain(|value| {
            let found = match &value.same_as {
                None => own.get(&value.name),
                Some(other) => all.get(other),
            };
            let Some(found) = found.cloned() else { return true };
            edits.push(match &value.same_as {
                Some(other) => edits::same_value(&value.name, other),
                None => edits::value(&value.name, &found),
            });
            all.insert(value.name.clone(), found);
            false
        });
        if waiting.len() == before {
            let names: Vec<&str> = waiting.iter().take(3).map(|value| value.name.as_str()).collect();
            return Err(Error::internal(format!("no scale was decided for `{}`", names.join("`, `"))));
        }
    }
    for bias in &plan.biases {
        let tensor = read(session, &bias.tensor, &mut numbers, progress)?;
        edits.push(of_bias(bias, &tensor, &numbers, &mut all)?);
    }
    Ok(Made { parameters: all, edits })
}

/// The parameters of each value by its own range, whatever it shares.
fn own(
    session: &Session,
    plan: &Quantizable,
    ranges: &HashMap<String, ClipRange>,
    options: &Options,
) -> Result<HashMap<String, Parameters>> {
    let values = session.info().values_by_name();
    let codes = activation_codes(options)?;
    let mut own = HashMap::new();
    for value in &plan.values {
        let fixed = value.range.map(|(low, high)| ClipRange { low, high });
        let range = fixed.or_else(|| ranges.get(value.range_of.as_ref().unwrap_or(&value.name)).copied());
        let Some(range) = range else { continue };
        let found = parameters(range, codes, options.activation_symmetric, options.min_real_range)
            .map_err(|error| of(&value.name, error))?;
        let dtype = values.get(value.name.as_str()).map(|value| value.dtype);
        own.insert(
            value.name.clone(),
            Parameters {
                dtype: options.activation,
                real: dtype.filter(|dtype| *dtype == DType::FLOAT16).unwrap_or(DType::FLOAT32),
                scales: vec![found.scale],
                zero_points: vec![found.zero_point],
                axis: None,
                block_size: None,
            },
        );
    }
    Ok(own)
}

fn read(session: &Session, name: &str, numbers: &mut Vec<f32>, progress: &dyn Progress) -> Result<Tensor> {
    if progress.is_cancelled() {
        return Err(Error::cancelled());
    }
    let tensor = session.read_whole_tensor(name, progress)?;
    reals(&tensor, numbers)?;
    Ok(tensor)
}

fn of_tensor(
    planned: &QuantizableTensor,
    tensor: &Tensor,
    numbers: &[f32],
    options: &Options,
) -> Result<Parameters> {
    let (dtype, is_symmetric) = match planned.is_operand {
        true => (options.activation, options.activation_symmetric),
        false => {
            let codes = options.weight_codes(&planned.layers);
            match codes {
                DType::UINT8 if planned.is_signed => (DType::INT8, true),
                _ => (codes, options.is_weight_symmetric(codes) || planned.is_signed),
            }
        }
    };
    let weight_options = WeightOptions {
        element: element(dtype)?,
        // Static kernels need the same zero point in all channels.
        is_symmetric: is_symmetric || planned.axis.is_some() && options.activations != Activations::Dynamic,
        // Tables that values are picked from are not part of a sum of products.
        is_reduced: options.reduce_range
            && !(planned.is_operand && options.activations == Activations::Dynamic),
        min_real_range: options.min_real_range,
    };
    let found = map(&tensor.shape, planned.axis)
        .and_then(|map| match options.lift.clip_weights && !planned.is_operand {
            true => clipped_weight_parameters(numbers, &map, weight_options),
            false => weight_parameters(numbers, &map, false, weight_options),
        })
        .map_err(|error| of(&planned.name, error))?;
    Ok(Parameters {
        dtype,
        real: tensor.dtype,
        scales: found.iter().map(|one| one.scale).collect(),
        zero_points: found.iter().map(|one| one.zero_point).collect(),
        axis: planned.axis,
        block_size: None,
    })
}

/// A matrix in blocks along its inputs: parameters, and codes as they are stored.
fn blocked(
    numbers: &[f32],
    tensor: &Tensor,
    planned: &QuantizableTensor,
    options: &Options,
) -> Result<(Parameters, Vec<u8>), ParameterError> {
    let dtype = options.weight_codes(&planned.layers);
    let (Some(size), [rows, columns], Some(axis @ (0 | 1))) =
        (options.block_size, &tensor.shape[..], planned.input_axis)
    else {
        return Err(ParameterError::Shape);
    };
    let element = dtype.element_type().ok_or(ParameterError::Shape)?;
    let ElementType::Int { bits, is_signed } = element else { return Err(ParameterError::Shape) };
    let bits = u8::try_from(bits).map_err(|_| ParameterError::Shape)?;
    let form = if options.qoperator { BlockForm::Product } else { BlockForm::Tensor };
    let (rows, columns) = (*rows as usize, *columns as usize);
    let turned;
    let by_inputs = match axis {
        0 => numbers,
        _ => {
            turned = turn(numbers, rows, columns);
            &turned
        }
    };
    let (inputs, outputs) = if axis == 0 { (rows, columns) } else { (columns, rows) };
    let found = BlockedCodes::new(by_inputs, inputs, outputs, bits, (size, form), is_signed)?;
    let middle = if is_signed { 1_i32 << (bits - 1) } else { 0 };
    let as_stored = |numbers: Vec<i32>| if axis == 0 { numbers } else { turn(&numbers, inputs, outputs) };
    let codes = as_stored(found.codes.iter().map(|code| i32::from(*code) - middle).collect());
    let mut parameters = found.parameters;
    if axis == 1 {
        parameters = turn(&parameters, found.blocks, outputs);
    }
    let made = Parameters {
        dtype,
        real: tensor.dtype,
        scales: parameters.iter().map(|found| found.scale).collect(),
        zero_points: parameters.iter().map(|found| found.zero_point - middle).collect(),
        axis: Some(axis),
        block_size: Some(size),
    };
    Ok((made, pack(&codes, element)?))
}

/// A matrix the other way.
fn turn<T: Copy>(numbers: &[T], rows: usize, columns: usize) -> Vec<T> {
    (0..rows * columns).map(|at| numbers[at % rows * columns + at / rows]).collect()
}

fn map(shape: &[u64], axis: Option<usize>) -> Result<ParameterMap, ParameterError> {
    let granularity = match axis {
        Some(axis) => Granularity::PerChannel { axis: axis as i64 },
        None => Granularity::PerTensor,
    };
    ParameterMap::new(shape, granularity).map_err(|_| ParameterError::Shape)
}

fn codes(numbers: &[f32], shape: &[u64], found: &Parameters) -> Result<Vec<u8>, ParameterError> {
    let element = found.dtype.element_type().ok_or(ParameterError::Shape)?;
    pack(&weight_codes(numbers, &map(shape, found.axis)?, &found.pairs(), element)?, element)
}

fn of_bias(
    bias: &QuantizableBias,
    tensor: &Tensor,
    numbers: &[f32],
    all: &mut HashMap<String, Parameters>,
) -> Result<Edit> {
    let (input, weight) = (&all[&bias.input], &all[&bias.weight]);
    let found = quantize_bias(numbers, input.scales[0], &weight.scales, bias.factor)
        .map_err(|error| of(&bias.tensor, error))?;
    let parameters = Parameters {
        dtype: DType::INT32,
        real: tensor.dtype,
        zero_points: vec![0; found.scales.len()],
        axis: (found.scales.len() > 1).then_some(0),
        block_size: None,
        scales: found.scales,
    };
    let bytes = found.codes.iter().flat_map(|code| code.to_le_bytes()).collect();
    let edit = edits::bias(bias, &parameters, (tensor.shape.clone(), bytes));
    all.insert(bias.copy.clone().unwrap_or_else(|| bias.tensor.clone()), parameters);
    Ok(edit)
}

fn element(dtype: DType) -> Result<ElementType> {
    let unsupported = || Error::new(ErrorKind::UnsupportedOp, format!("there are no codes of {dtype}"));
    dtype.element_type().ok_or_else(unsupported)
}

fn of(name: &str, error: ParameterError) -> Error {
    Error::invalid_input(format!("`{name}` cannot be quantized: {error}"))
        .with_hint("`stats` shows what is stored; `--exclude` leaves a layer as it is.")
}

fn failed(error: ParameterError) -> Error {
    Error::new(ErrorKind::UnsupportedOp, error.to_string())
}
