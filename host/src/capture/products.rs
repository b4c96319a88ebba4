//! The integer products of a quantized model as x86 kernels compute them: unsigned codes by signed ones, in the order
//! in which neighbours are added.

use super::batch::Feed;
use super::real::Real;
use super::side::Side;
use super::streaming::{Streamed, each_tensor};
use crate::backend::Progress;
use crate::error::Result;
use crate::inspect::elements::Elements;
use crate::inspect::graph::Graph;
use crate::inspect::survey;
use crate::inspect::weight::channel_axis;
use crate::model::{Attribute, AttributeValue, DType, LayerInfo, QuantizationParameters, Tensor, TensorInfo};
use crate::playground::Loaded;
use qp_analysis::saturation::{Pair, fits, pair_bounds, pairs_at_risk, saturated};

/// How many output positions of a layer are checked per batch.
const MOST_POSITIONS: usize = 512;

/// A layer whose products are 8 bits by 8.
pub struct Product<'a> {
    /// The layer.
    pub layer: &'a LayerInfo,
    /// The value it reads.
    pub input: &'a str,
    codes: &'a QuantizationParameters,
    /// The lowest and highest sum of a pair for any activations.
    pub bounds: (i32, i32),
    /// For each output channel the pairs that may not fit, with the weights in the kernel's order: rows, columns,
    /// channels.
    at_risk: Vec<Vec<Pair>>,
    /// The weights in the same order, where a pair is at risk.
    weights: Vec<Vec<i16>>,
    window: Option<Window>,
    /// Why its sums are not sums of pairs.
    pub exempt: Option<&'static str>,
}

/// The window of a convolution: heights and widths.
#[derive(Clone, Debug)]
struct Window {
    kernel: [usize; 2],
    strides: [usize; 2],
    /// At the top and at the left.
    pads: [usize; 2],
    dilations: [usize; 2],
    groups: usize,
}

/// What was counted on data.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    /// Sums of pairs that were checked.
    pub sums: u64,
    /// Those that do not fit.
    pub saturated: u64,
    /// Outputs that were checked, and those that are wrong because of it.
    pub outputs: u64,
    /// Outputs with a sum that does not fit.
    pub wrong: u64,
    /// The largest error of an output, in products of codes.
    pub largest_error: i64,
    /// The sum of the squared errors, in products of codes.
    noise: f64,
    /// The sum of squares of some outputs without their zero point, and their number.
    signal: (f64, u64),
}

impl Counted {
    /// The SQNR with overflows as the only error, in dB; infinite without any.
    pub fn sqnr_db(&self) -> Option<f64> {
        let (signal, count) = self.signal;
        (count > 0 && self.outputs > 0)
            .then(|| 10.0 * ((signal / count as f64) / (self.noise / self.outputs as f64)).log10())
    }
}

/// One position in this many is computed in full, to learn the magnitude of the outputs; rows and columns are not
/// multiples of it.
const FULL_POSITIONS: usize = 7;

/// The layers of a model that multiply 8-bit codes.
///
/// # Errors
/// Those of reading the weights; `Cancelled`.
pub fn products<'a>(model: &'a Loaded, progress: &dyn Progress) -> Result<Vec<Product<'a>>> {
    let info = model.info();
    let graph = Graph::of(info, false);
    let mut found: Vec<(&LayerInfo, &TensorInfo, (&str, &QuantizationParameters))> = Vec::new();
    for stored in crate::inspect::weight::weights(info) {
        let (Some(layer), tensor) = (stored.layer, stored.tensor) else { continue };
        // Stored as codes, or rounded to them by the graph.
        let Some(weight_codes) = &tensor.quantization else { continue };
        let dtype = if tensor.dtype.is_float() { weight_codes.dtype } else { tensor.dtype };
        if !matches!(dtype, DType::INT8 | DType::UINT8) {
            continue;
        }
        let Some(node) = graph.layer(&layer.path) else { continue };
        let mut edges = graph.incoming(node).filter_map(|edge| Some((edge.value, edge.quantization?)));
        let is_byte = |codes: &QuantizationParameters| matches!(codes.dtype, DType::INT8 | DType::UINT8);
        let Some((input, codes)) = edges.find(|(_, codes)| is_byte(codes) && codes.scales.len() == 1) else {
            continue;
        };
        let input = layer
            .inputs
            .iter()
            .find(|name| {
                graph.value(name).is_some_and(|value| {
                    value
                        .quantization
                        .as_ref()
                        .is_some_and(|own| own.scales == codes.scales && own.zero_points == codes.zero_points)
                })
            })
            .map_or(input, String::as_str);
        found.push((layer, tensor, (input, codes)));
    }
    let sizes: Vec<u64> = found.iter().map(|(_, tensor, _)| tensor.bytes).collect();
    let products = survey::each(&sizes, "reading weights", progress, |index| {
        let (layer, tensor, codes) = found[index];
        Product::of(model, layer, tensor, codes, progress)
    })?;
    products.into_iter().filter_map(Result::transpose).collect()
}

/// Counts, for each product that may overflow, the sums that do on these samples.
///
/// # Errors
/// Those of the backend; `Cancelled` if nothing was counted.
pub fn count(
    side: &Side<'_>,
    products: &[Product<'_>],
    counts: &mut [Option<Counted>],
    feed: Feed<'_>,
    progress: &dyn Progress,
) -> Result<Streamed> {
    let mut names: Vec<String> = products
        .iter()
        .filter(|product| product.is_at_risk())
        .map(|product| product.input.to_owned())
        .collect();
    names.sort_unstable();
    names.dedup();
    each_tensor(side, &[names], feed, progress, &mut |tensor| {
        for (product, count) in products.iter().zip(&mut *counts) {
            if product.input == tensor.name && product.exempt.is_none() {
                product.count(tensor, count.get_or_insert_default())?;
            }
        }
        Ok(())
    })
}

/// The codes of a weight in the order of the file.
fn weight_codes(model: &Loaded, tensor: &TensorInfo, progress: &dyn Progress) -> Result<Vec<i32>> {
    let mut codes = Vec::new();
    let elements = if tensor.dtype.is_float() {
        Elements::values(model, tensor, progress)?
    } else {
        Elements::stored(model, tensor)?
    };
    elements.each_block_of_codes(progress, &mut |_, numbers| {
        codes.extend(numbers.iter().map(|number| *number as i32));
        Ok(())
    })?;
    Ok(codes)
}

impl<'a> Product<'a> {
    fn of(
        model: &'a Loaded,
        layer: &'a LayerInfo,
        tensor: &'a TensorInfo,
        (input, codes): (&'a str, &'a QuantizationParameters),
        progress: &dyn Progress,
    ) -> Result<Option<Self>> {
        let sizes: Vec<usize> =
            tensor.shape.iter().map(|size| usize::try_from(*size).unwrap_or(usize::MAX)).collect();
        let stored = weight_codes(model, tensor, progress)?;
        let at = |index: usize| stored.get(index).copied().unwrap_or(0);
        let (weights, window) = match sizes[..] {
            [rows, columns] => {
                let has_outputs_first = channel_axis(Some(layer), tensor).unwrap_or(0) == 0;
                let weights: Vec<Vec<i32>> = if has_outputs_first {
                    (0..rows)
                        .map(|row| (0..columns).map(|column| at(row * columns + column)).collect())
                        .collect()
                } else {
                    (0..columns)
                        .map(|column| (0..rows).map(|row| at(row * columns + column)).collect())
                        .collect()
                };
                (weights, None)
            }
            [outputs, inputs, height, width] => {
                let kernel = |output: usize| -> Vec<i32> {
                    let mut ordered = Vec::with_capacity(inputs * height * width);
                    for row in 0..height {
                        for column in 0..width {
                            ordered.extend((0..inputs).map(|input| {
                                at(((output * inputs + input) * height + row) * width + column)
                            }));
                        }
                    }
                    ordered
                };
                ((0..outputs).map(kernel).collect(), Some(Window::of(layer, [height, width])))
            }
            _ => return Ok(None),
        };
        let is_depthwise =
            window.as_ref().is_some_and(|window| window.groups > 1) && sizes.get(1) == Some(&1);
        let is_unsigned = tensor.dtype == DType::UINT8
            || tensor.quantization.as_ref().is_some_and(|own| own.dtype == DType::UINT8);
        let exempt = if is_unsigned {
            Some("unsigned weights are widened to 16 bits first")
        } else if is_depthwise {
            Some("a depthwise kernel adds into 32 bits")
        } else {
            None
        };
        let weights: Vec<Vec<i32>> = weights;
        let bounds = weights.iter().map(|weights| pair_bounds(weights, 0, 255));
        let bounds = bounds.fold((0, 0), |all, own| (all.0.min(own.0), all.1.max(own.1)));
        let at_risk: Vec<Vec<Pair>> = weights.iter().map(|weights| pairs_at_risk(weights)).collect();
        let kept = |(weights, pairs): (Vec<i32>, &Vec<Pair>)| -> Vec<i16> {
            if pairs.is_empty() || exempt.is_some() {
                Vec::new()
            } else {
                weights.iter().map(|weight| *weight as i16).collect()
            }
        };
        let weights = weights.into_iter().zip(&at_risk).map(kept).collect();
        Ok(Some(Self { layer, input, codes, bounds, at_risk, weights, window, exempt }))
    }

    /// Whether one of its sums may not fit for some activations.
    pub fn is_at_risk(&self) -> bool {
        self.exempt.is_none() && !fits(self.bounds)
    }

    /// How many output channels have a pair whose sum may not fit, and how many there are.
    pub fn channels_at_risk(&self) -> (usize, usize) {
        (self.at_risk.iter().filter(|pairs| !pairs.is_empty()).count(), self.at_risk.len())
    }

    /// Counts the sums that do not fit for the layer's input in one batch.
    ///
    /// # Errors
    /// `UnsupportedOp` for a value that is not real numbers.
    pub fn count(&self, tensor: &Tensor, counted: &mut Counted) -> Result<()> {
        let own = tensor.quantization.as_ref().unwrap_or(self.codes);
        let real = Real::of(tensor, Some(own))?;
        let (scale, zero_point) = (self.codes.scales[0], self.codes.zero_point(0));
        // Signed codes become unsigned by adding 128, as in the kernels.
        let shift = if self.codes.dtype == DType::INT8 { 128.0 } else { 0.0 };
        let mut codes = Vec::with_capacity(real.len());
        real.each(&mut |values| {
            let code =
                |value: &f64| ((value / scale).round_ties_even() + zero_point + shift).clamp(0.0, 255.0);
            codes.extend(values.iter().map(|value| code(value) as u8));
        });
        let zero = (zero_point + shift).clamp(0.0, 255.0) as u8;
        let sizes: Vec<usize> =
            tensor.shape.iter().map(|size| usize::try_from(*size).unwrap_or(usize::MAX)).collect();
        match (&self.window, &sizes[..]) {
            (Some(window), [samples, channels, height, width]) => {
                self.convolve(window, &codes, [*samples, *channels, *height, *width], zero, counted);
            }
            (None, [.., columns]) if *columns > 0 => {
                let rows = codes.len() / columns;
                let step = rows.div_ceil(MOST_POSITIONS).max(1);
                for (place, row) in codes.chunks_exact(*columns).step_by(step).enumerate() {
                    self.at_risk.iter().for_each(|pairs| counted.add(row, pairs));
                    if place % FULL_POSITIONS == 0 {
                        self.weights.iter().for_each(|weights| counted.measure(row, weights, zero));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn convolve(
        &self,
        window: &Window,
        codes: &[u8],
        [samples, channels, height, width]: [usize; 4],
        zero: u8,
        counted: &mut Counted,
    ) {
        let Some([rows, columns]) = window.positions([height, width]) else { return };
        let positions = samples * rows * columns;
        let step = positions.div_ceil(MOST_POSITIONS).max(1);
        let per_group = channels / window.groups.max(1);
        let outputs = self.at_risk.len() / window.groups.max(1);
        let mut patch = Vec::with_capacity(window.kernel[0] * window.kernel[1] * per_group);
        for position in (0..positions).step_by(step) {
            let (sample, place) = (position / (rows * columns), position % (rows * columns));
            let (row, column) = (place / columns, place % columns);
            for group in 0..window.groups {
                patch.clear();
                for kernel_row in 0..window.kernel[0] {
                    for kernel_column in 0..window.kernel[1] {
                        let y = window.reach(0, row, kernel_row);
                        let x = window.reach(1, column, kernel_column);
                        let is_inside = y < height && x < width;
                        patch.extend((0..per_group).map(|channel| {
                            if !is_inside {
                                return zero;
                            }
                            let plane = sample * channels + group * per_group + channel;
                            codes.get((plane * height + y) * width + x).copied().unwrap_or(zero)
                        }));
                    }
                }
                let own = self.at_risk.iter().skip(group * outputs).take(outputs);
                own.for_each(|pairs| counted.add(&patch, pairs));
                if (position / step).is_multiple_of(FULL_POSITIONS) {
                    let own = self.weights.iter().skip(group * outputs).take(outputs);
                    own.for_each(|weights| counted.measure(&patch, weights, zero));
                }
            }
        }
    }
}

impl Counted {
    fn add(&mut self, activations: &[u8], pairs: &[Pair]) {
        let (saturated, error) = saturated(activations, pairs);
        self.sums += activations.len().div_ceil(2) as u64;
        self.saturated += saturated;
        self.outputs += 1;
        self.wrong += u64::from(error != 0);
        self.largest_error = if error.abs() > self.largest_error.abs() { error } else { self.largest_error };
        self.noise += (error as f64).powi(2);
    }

    /// Computes one output in full. Channels without a pair at risk are not kept and are skipped.
    fn measure(&mut self, activations: &[u8], weights: &[i16], zero: u8) {
        if weights.is_empty() {
            return;
        }
        let products = activations.iter().zip(weights);
        let sum: i64 = products
            .map(|(activation, weight)| {
                i64::from((i32::from(*activation) - i32::from(zero)) * i32::from(*weight))
            })
            .sum();
        self.signal = (self.signal.0 + (sum as f64).powi(2), self.signal.1 + 1);
    }
}

impl Window {
    /// The window that a layer's attributes describe, as ONNX or PyTorch names them.
    fn of(layer: &LayerInfo, kernel: [usize; 2]) -> Self {
        let numbers = |names: [&str; 2], default: usize| -> [usize; 2] {
            let found = layer.attributes.iter().find(|attribute| names.contains(&attribute.name.as_str()));
            match ints(found)[..] {
                [both] => [both, both],
                [first, second, ..] => [first, second],
                [] => [default, default],
            }
        };
        let groups =
            layer.attributes.iter().find(|attribute| matches!(attribute.name.as_str(), "group" | "groups"));
        Self {
            kernel,
            strides: numbers(["strides", "stride"], 1).map(|stride| stride.max(1)),
            pads: numbers(["pads", "padding"], 0),
            dilations: numbers(["dilations", "dilation"], 1),
            groups: ints(groups).first().copied().unwrap_or(1).max(1),
        }
    }

    /// Where a kernel position lies in the input for an output position; padding lies outside.
    fn reach(&self, axis: usize, output: usize, kernel: usize) -> usize {
        let place = output * self.strides[axis] + kernel.saturating_mul(self.dilations[axis]);
        place.wrapping_sub(self.pads[axis])
    }

    /// The rows and columns of the output; the padding at the end equals that at the start.
    fn positions(&self, sizes: [usize; 2]) -> Option<[usize; 2]> {
        let along = |axis: usize| {
            let reach =
                self.dilations[axis].checked_mul(self.kernel[axis].checked_sub(1)?)?.checked_add(1)?;
            let whole = self.pads[axis].checked_mul(2)?.checked_add(sizes[axis])?;
            Some(whole.checked_sub(reach)? / self.strides[axis] + 1)
        };
        Some([along(0)?, along(1)?])
    }
}

fn ints(attribute: Option<&Attribute>) -> Vec<usize> {
    let number = |number: &i64| usize::try_from(*number).unwrap_or(0);
    match attribute.map(|attribute| &attribute.value) {
        Some(AttributeValue::Int(one)) => vec![number(one)],
        Some(AttributeValue::Ints(many)) => many.iter().map(number).collect(),
        _ => Vec::new(),
    }
}
