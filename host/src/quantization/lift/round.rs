//! Weights rounded by what the layer's inputs make of the errors, layer by layer.

use super::Ground;
use super::is_standard;
use crate::backend::Session;
use crate::error::{Error, Result};
use crate::model::{AttributeValue, LayerInfo, LayerKind, QuantizableTensor, Tensor};
use crate::parallel;
use crate::quantization::edits;
use crate::quantization::options::{Options, Rounding};
use crate::quantization::parameters::{Made, Parameters};
use crate::quantization::values::{Seen, each_value, reals};
use qp_analysis::calibration::weights::pack;
use qp_analysis::calibration::{
    Convolution, GptqOptions, Hessian, Layer, RoundingError, add_patches, code_range, descend, gptq,
};

/// Bytes of Hessians that are collected in one pass over the samples.
const BUDGET: usize = 256 << 20;
/// A Hessian of one layer beyond this is not collected.
const LARGEST: usize = 512 << 20;
/// How many inputs of a convolution are read for each of its columns, at least, and at least in all.
const ROWS_PER_COLUMN: usize = 8;
const ROWS: usize = 4096;
/// Rounds of descent.
const SWEEPS: usize = 10;

/// A layer whose weight is rounded.
struct Rounded<'a> {
    planned: &'a QuantizableTensor,
    layer: &'a LayerInfo,
    input: &'a str,
    /// Rows of one group, that is outputs, and what each of them multiplies.
    rows: usize,
    columns: usize,
    groups: usize,
    /// Whether the weight is stored as (inputs, outputs).
    is_transposed: bool,
    kernel: Option<[usize; 2]>,
}

impl Rounded<'_> {
    fn bytes(&self) -> usize {
        let square = self.columns.saturating_mul(self.columns);
        square.saturating_mul(self.groups).saturating_mul(size_of::<f64>())
    }
}

/// Gives weights other codes of the same scales. Returns how many weights.
///
/// # Errors
/// Those of running the float model; `Cancelled`.
pub(super) fn round(
    ground: &Ground<'_>,
    float: &Session,
    made: &mut Made,
    options: &Options,
) -> Result<usize> {
    let Ground { plan, progress, side, feed, .. } = *ground;
    let info = float.info();
    let found: Vec<Rounded<'_>> = plan
        .tensors
        .iter()
        .filter(|planned| !planned.is_operand)
        .filter_map(|planned| {
            let [path] = &planned.layers[..] else { return None };
            rounded(planned, info.layer(path)?, &info.tensor(&planned.name)?.shape)
        })
        .filter(|layer| layer.bytes() <= LARGEST)
        .collect();
    let samples = feed.batches(&[side])?.samples();
    let mut rest = &found[..];
    let mut changed = 0;
    while !rest.is_empty() {
        let mut bytes = 0;
        let count = rest
            .iter()
            .take_while(|layer| {
                bytes += layer.bytes();
                bytes <= BUDGET
            })
            .count();
        let (layers, behind) = rest.split_at(count.max(1));
        rest = behind;
        let hessians = hessians(ground, float, layers, samples)?;
        let mut weights = Vec::new();
        for layer in layers {
            let tensor = float.read_whole_tensor(&layer.planned.name, progress)?;
            let mut numbers = Vec::new();
            reals(&tensor, &mut numbers)?;
            weights.push(numbers);
        }
        progress.update("rounding weights", (found.len() - rest.len()) as u64, found.len() as u64);
        if progress.is_cancelled() {
            return Err(Error::cancelled());
        }
        let codes = parallel::map(layers.len(), parallel::cores(), |index| {
            let layer = &layers[index];
            let own = made.parameters.get(&layer.planned.name)?;
            codes(layer, &weights[index], hessians[index].as_ref()?, own, options)
        });
        for (layer, codes) in layers.iter().zip(codes) {
            let Some(codes) = codes else { continue };
            let is_of = |edit: &&mut crate::backend::Edit| edits::is_of_tensor(edit, &layer.planned.name);
            if let Some((_, _, bytes)) =
                made.edits.iter_mut().find(is_of).and_then(|edit| edit.elements.as_mut())
                && bytes.len() == codes.len()
            {
                changed += usize::from(*bytes != codes);
                *bytes = codes;
            }
        }
    }
    Ok(changed)
}

/// The Hessians of the layers' groups; `None` for a layer whose inputs do not fit its weight.
fn hessians(
    ground: &Ground<'_>,
    float: &Session,
    layers: &[Rounded<'_>],
    samples: u64,
) -> Result<Vec<Option<Vec<Hessian>>>> {
    let Ground { side, feed, progress, .. } = *ground;
    let mut found: Vec<Option<Vec<Hessian>>> =
        layers.iter().map(|layer| Some(vec![Hessian::new(layer.columns); layer.groups])).collect();
    let mut names: Vec<String> = layers.iter().map(|layer| layer.input.to_owned()).collect();
    names.sort_unstable();
    names.dedup();
    let mut numbers = Vec::new();
    each_value(
        float,
        (side, feed),
        (&names, "reading the inputs of layers"),
        &mut |seen| {
            let Seen::Value(tensor) = seen else { return Ok(()) };
            let inputs = reals(tensor, &mut numbers)?;
            for (layer, own) in layers.iter().zip(&mut found).filter(|(layer, _)| layer.input == tensor.name)
            {
                if let Some(hessians) = own
                    && add(layer, tensor, inputs, hessians, samples).is_err()
                {
                    *own = None;
                }
            }
            Ok(())
        },
        progress,
    )?;
    Ok(found)
}

fn add(
    layer: &Rounded<'_>,
    tensor: &Tensor,
    inputs: &[f32],
    hessians: &mut [Hessian],
    samples: u64,
) -> std::result::Result<(), RoundingError> {
    let Some(kernel) = layer.kernel else {
        return hessians.first_mut().ok_or(RoundingError::Shape)?.add(inputs);
    };
    let sizes: Vec<usize> =
        tensor.shape.iter().map(|size| usize::try_from(*size).unwrap_or(usize::MAX)).collect();
    let (channels, input) = match sizes[..] {
        [_, channels, width] => (channels, [1, width]),
        [_, channels, height, width] => (channels, [height, width]),
        _ => return Err(RoundingError::Shape),
    };
    let convolution =
        geometry(layer.layer, (channels, input), kernel, layer.groups).ok_or(RoundingError::Shape)?;
    let [rows, columns] = convolution.output().ok_or(RoundingError::Shape)?;
    let wanted =
        ROWS.max(ROWS_PER_COLUMN * layer.columns).div_ceil(usize::try_from(samples.max(1)).unwrap_or(1));
    // Odd, so that not the same column is read in each row.
    let step = ((rows * columns) / wanted.max(1)).max(1) | 1;
    for (group, hessian) in hessians.iter_mut().enumerate() {
        add_patches(hessian, inputs, &convolution, group, step)?;
    }
    Ok(())
}

fn ints(layer: &LayerInfo, name: &str) -> Option<Vec<usize>> {
    match layer.attribute(name)? {
        AttributeValue::Int(one) => Some(vec![usize::try_from(*one).ok()?]),
        AttributeValue::Ints(many) => many.iter().map(|one| usize::try_from(*one).ok()).collect(),
        _ => None,
    }
}

fn geometry(
    layer: &LayerInfo,
    (channels, input): (usize, [usize; 2]),
    kernel: [usize; 2],
    groups: usize,
) -> Option<Convolution> {
    // ONNX's names and PyTorch's.
    let pair = |name: &str, other: &str| match ints(layer, name).or_else(|| ints(layer, other)).as_deref() {
        None => Some([1, 1]),
        Some([one]) => Some([1, *one]),
        Some([rows, columns]) => Some([*rows, *columns]),
        Some(_) => None,
    };
    let (strides, dilations) = (pair("strides", "stride")?, pair("dilations", "dilation")?);
    let mode = match layer.attribute("auto_pad") {
        Some(AttributeValue::Text(mode)) => mode.as_str(),
        _ => "NOTSET",
    };
    let padding = match mode {
        "SAME_UPPER" | "SAME_LOWER" => {
            let mut padding = [[0; 2]; 2];
            for axis in 0..2 {
                let reach = (kernel[axis].checked_sub(1)?).checked_mul(dilations[axis])? + 1;
                let whole = (input[axis].div_ceil(strides[axis].max(1)).max(1) - 1) * strides[axis] + reach;
                let all = whole.saturating_sub(input[axis]);
                let less = all / 2;
                let before = if mode == "SAME_UPPER" { less } else { all - less };
                (padding[0][axis], padding[1][axis]) = (before, all - before);
            }
            padding
        }
        "VALID" => [[0; 2]; 2],
        _ if layer.attribute("padding").is_some() => match ints(layer, "padding").as_deref() {
            Some([both]) => [[0, *both]; 2],
            Some([rows, columns]) => [[*rows, *columns]; 2],
            _ => return None,
        },
        _ => match ints(layer, "pads").as_deref() {
            None => [[0; 2]; 2],
            Some([before, behind]) => [[0, *before], [0, *behind]],
            Some([top, left, bottom, right]) => [[*top, *left], [*bottom, *right]],
            Some(_) => return None,
        },
    };
    Some(Convolution { channels, input, kernel, strides, padding, dilations, groups })
}

/// A layer that is a sum of products of its stored weight; `None` for others.
fn rounded<'a>(planned: &'a QuantizableTensor, layer: &'a LayerInfo, shape: &[u64]) -> Option<Rounded<'a>> {
    if !is_standard(layer) || layer.is_inner || layer.inputs.get(1) != Some(&planned.name) {
        return None;
    }
    let sizes: Vec<usize> = shape.iter().map(|size| usize::try_from(*size).ok()).collect::<Option<_>>()?;
    let is_set =
        |name: &str| matches!(layer.attribute(name), Some(AttributeValue::Int(number)) if *number != 0);
    let input = layer.inputs.first()?.as_str();
    let linear = |is_transposed: bool| {
        let [first, second] = sizes[..] else { return None };
        let (rows, columns) = if is_transposed { (second, first) } else { (first, second) };
        Some(Rounded { planned, layer, input, rows, columns, groups: 1, is_transposed, kernel: None })
    };
    let used = layer.weights.iter().find(|used| !used.is_bias && used.tensor == planned.name)?;
    match layer.kind {
        // A transposed one has its outputs along another axis.
        LayerKind::Convolution if used.channel_axis == Some(0) => {
            let (outputs, inputs, kernel) = match sizes[..] {
                [outputs, inputs, width] => (outputs, inputs, [1, width]),
                [outputs, inputs, height, width] => (outputs, inputs, [height, width]),
                _ => return None,
            };
            let groups = ints(layer, "group")
                .or_else(|| ints(layer, "groups"))
                .map_or(1, |groups| groups.first().copied().unwrap_or(1))
                .max(1);
            let columns = inputs * kernel[0] * kernel[1];
            let (rows, kernel) = (outputs / groups, Some(kernel));
            Some(Rounded { planned, layer, input, rows, columns, groups, is_transposed: false, kernel })
        }
        LayerKind::Linear if !is_set("transA") && layer.attribute("equation").is_none() => {
            linear(used.is_transposed)
        }
        _ => None,
    }
}

/// The codes of a layer's weight as they are stored; `None` if there are no better ones than the nearest.
fn codes(
    layer: &Rounded<'_>,
    stored: &[f32],
    hessians: &[Hessian],
    own: &Parameters,
    options: &Options,
) -> Option<Vec<u8>> {
    let element = own.dtype.element_type()?;
    let Rounded { rows, columns, groups, is_transposed, .. } = *layer;
    let outputs = rows * groups;
    if stored.len() != outputs * columns {
        return None;
    }
    let output_axis = usize::from(is_transposed);
    let mut parameters = own.pairs();
    // How many inputs of an output share parameters.
    let group_size = own.block_size.unwrap_or(columns);
    let blocks = columns.div_ceil(group_size);
    let range = if own.block_size.is_some() {
        if own.axis != Some(1 - output_axis) || parameters.len() != outputs * blocks || groups != 1 {
            return None;
        }
        if is_transposed {
            parameters =
                (0..outputs * blocks).map(|at| parameters[at % blocks * outputs + at / blocks]).collect();
        }
        code_range(element, false, false).ok()?
    } else {
        if own.scales.len() > 1 && (own.axis != Some(output_axis) || own.scales.len() != outputs) {
            return None;
        }
        let is_symmetric = options.is_weight_symmetric(own.dtype) || own.axis.is_some();
        code_range(element, options.reduce_range, is_symmetric).ok()?
    };
    let by_output: Vec<f32> = match is_transposed {
        false => stored.to_vec(),
        true => (0..outputs * columns).map(|at| stored[at % columns * outputs + at / columns]).collect(),
    };
    let mut all = Vec::with_capacity(stored.len());
    for (group, (weight, hessian)) in by_output.chunks(rows * columns).zip(hessians).enumerate() {
        let parameters = match &parameters[..] {
            [one] => std::slice::from_ref(one),
            many => &many[group * rows * blocks..][..rows * blocks],
        };
        let layer = Layer { weight, columns, parameters, group_size, codes: range };
        all.extend(best(layer, hessian, options.lift.rounding)?);
    }
    let in_order: Vec<i32> = match is_transposed {
        false => all,
        true => (0..outputs * columns).map(|at| all[at % outputs * columns + at / outputs]).collect(),
    };
    pack(&in_order, element).ok()
}

/// The codes of one group: never with a larger error of the output than the nearest ones.
fn best(layer: Layer<'_>, hessian: &Hessian, rounding: Rounding) -> Option<Vec<i32>> {
    let nearest = layer.nearest();
    let by_activation = GptqOptions { by_activation: true, ..GptqOptions::default() };
    let Ok(mut found) = gptq(layer, hessian, by_activation) else { return Some(nearest) };
    if rounding == Rounding::Descent {
        descend(layer, hessian, &mut found, SWEEPS).ok()?;
    }
    let error = |codes: &[i32]| hessian.output_error(&layer.error(codes)).ok();
    Some(if error(&found)? <= error(&nearest)? { found } else { nearest })
}
