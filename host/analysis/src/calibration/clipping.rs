//! Weights clipped for the least mean squared error.

use super::weights::weight_parameters;
use super::{ClipRange, ParameterError, Parameters, WeightOptions, code_range, parameters};
use crate::granularity::ParameterMap;
use crate::range::CodeRange;

/// The shares of the extremes that are tried: from 1 down to 1 / `STEPS`.
const STEPS: usize = 50;
/// How many of the best ones are refined, and how often at most.
const REFINED: usize = 3;
const ROUNDS: usize = 10;

/// Like [`weight_parameters`] with is_blocked false, but for each set of elements that share parameters with the scale
/// that makes Σ (w − s·(q − z))² the least.
///
/// First, ranges of 2 % to 100 % of the extremes. Then, from the three best, alternately the codes for the scale and
/// the scale for the codes, in closed form: s = Σ w·(q − z) / Σ (q − z)², the least squares for fixed codes; neither
/// step raises the error, so it ends. The range of all values is among the candidates: the result is never worse.
///
/// # Errors
///
/// Those of [`weight_parameters`].
pub fn clipped_weight_parameters(
    values: &[f32],
    map: &ParameterMap,
    options: WeightOptions,
) -> Result<Vec<Parameters>, ParameterError> {
    let mut found = weight_parameters(values, map, false, options)?;
    let codes = code_range(options.element, options.is_reduced, options.is_symmetric)?;
    let groups = Groups::new(values, map);
    for (index, parameters) in found.iter_mut().enumerate() {
        let values = groups.values(index);
        *parameters = clipped(values, *parameters, codes, &options);
    }
    Ok(found)
}

/// The elements that share parameters, one after the other.
struct Groups<'a> {
    values: &'a [f32],
    /// The elements in the order of their parameters, and where each set begins; empty if they already are.
    order: Vec<f32>,
    starts: Vec<usize>,
}

impl<'a> Groups<'a> {
    fn new(values: &'a [f32], map: &ParameterMap) -> Self {
        let mut starts = vec![0; map.parameter_count() as usize + 1];
        let mut is_sorted = true;
        let mut last = 0;
        for run in map.runs(0, values.len()) {
            is_sorted &= run.first_parameter >= last;
            last = run.first_parameter + if run.advances { run.len - 1 } else { 0 };
            let counted = if run.advances { run.len } else { 1 };
            let each = if run.advances { 1 } else { run.len };
            starts[run.first_parameter + 1..][..counted].iter_mut().for_each(|count| *count += each);
        }
        for index in 1..starts.len() {
            starts[index] += starts[index - 1];
        }
        if is_sorted {
            return Self { values, order: Vec::new(), starts };
        }
        let mut next = starts.clone();
        let mut order = vec![0.0; values.len()];
        for run in map.runs(0, values.len()) {
            for (offset, value) in values[run.first_element as usize..][..run.len].iter().enumerate() {
                let parameter = run.first_parameter + if run.advances { offset } else { 0 };
                order[next[parameter]] = *value;
                next[parameter] += 1;
            }
        }
        Self { values, order, starts }
    }

    fn values(&self, parameter: usize) -> &[f32] {
        let all = if self.order.is_empty() { self.values } else { &self.order };
        &all[self.starts[parameter]..self.starts[parameter + 1]]
    }
}

fn clipped(values: &[f32], widest: Parameters, codes: CodeRange, options: &WeightOptions) -> Parameters {
    let low = values.iter().fold(0.0, |low: f32, value| low.min(*value));
    let high = values.iter().fold(0.0, |high: f32, value| high.max(*value));
    let mut candidates = vec![(fit(values, widest, codes).error, widest)];
    for step in 1..STEPS {
        let share = step as f32 / STEPS as f32;
        let range = ClipRange { low: low * share, high: high * share };
        if let Ok(found) = parameters(range, codes, options.is_symmetric, options.min_real_range) {
            candidates.push((fit(values, found, codes).error, found));
        }
    }
    candidates.sort_by(|left, right| left.0.total_cmp(&right.0));
    candidates.truncate(REFINED);
    for candidate in &mut candidates {
        for _ in 0..ROUNDS {
            let best = fit(values, candidate.1, codes).scale as f32;
            if !best.is_normal() || best <= 0.0 || best == candidate.1.scale {
                break;
            }
            let refined = Parameters { scale: best, ..candidate.1 };
            let error = fit(values, refined, codes).error;
            if error >= candidate.0 {
                break;
            }
            *candidate = (error, refined);
        }
    }
    candidates.into_iter().min_by(|left, right| left.0.total_cmp(&right.0)).map_or(widest, |best| best.1)
}

struct Fit {
    error: f64,
    /// The best scale for these codes.
    scale: f64,
}

/// The squared error of these parameters.
fn fit(values: &[f32], parameters: Parameters, codes: CodeRange) -> Fit {
    let scale = parameters.scale;
    let low = (codes.min() - i64::from(parameters.zero_point)) as f32;
    let high = (codes.max() - i64::from(parameters.zero_point)) as f32;
    let (mut error, mut product, mut square) = (0.0, 0.0, 0.0);
    // Blocks are so short that their sums lose little in float32.
    for block in values.chunks(64 * LANES) {
        let mut sums = Sums::default();
        let (chunks, rest) = block.as_chunks::<LANES>();
        chunks.iter().for_each(|chunk| sums.add(chunk, scale, low, high));
        if !rest.is_empty() {
            // Zeros add nothing.
            let mut last = [0.0; LANES];
            last[..rest.len()].copy_from_slice(rest);
            sums.add(&last, scale, low, high);
        }
        let total = |sums: &[f32; LANES]| sums.iter().copied().map(f64::from).sum::<f64>();
        error += total(&sums.error);
        product += total(&sums.product);
        square += total(&sums.square);
    }
    Fit { error, scale: product / square }
}

const LANES: usize = 16;

#[derive(Default)]
struct Sums {
    error: [f32; LANES],
    product: [f32; LANES],
    square: [f32; LANES],
}

impl Sums {
    #[inline(always)]
    fn add(&mut self, values: &[f32; LANES], scale: f32, low: f32, high: f32) {
        /// See [`round`](super::weights::round); here the codes' own limits come first.
        const SHIFT: f32 = 12_582_912.0;
        let inverse = 1.0 / scale;
        for (lane, value) in values.iter().enumerate() {
            let code = value * inverse;
            let code = if code > low { code } else { low };
            let code = if code < high { code } else { high };
            let code = (code + SHIFT) - SHIFT;
            let rest = value - code * scale;
            self.error[lane] += rest * rest;
            self.product[lane] += value * code;
            self.square[lane] += code * code;
        }
    }
}
