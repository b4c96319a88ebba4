//! What quantization does to the branches of a residual addition, and what other scales would do.

use super::batch::Feed;
use super::real::Real;
use super::side::Side;
use crate::backend::{Fetch, Progress, RunReport};
use crate::error::{Error, Result};
use crate::inspect::range::code_range;
use crate::model::{QuantizationParameters, Tensor};
use qp_analysis::{Affine, ErrorMetrics, Quantizer, RangeCount, ValueRange};

/// One addition, in the reference's values.
pub struct Addition<'a> {
    /// The values of its two branches.
    pub branches: [&'a str; 2],
    /// Its result, after a ReLU if one is part of it.
    pub sum: &'a str,
    /// Whether negative sums become zero.
    pub has_relu: bool,
    /// The candidate's codes of both branches.
    pub codes: [&'a QuantizationParameters; 2],
    /// The candidate's codes of the sum, if it is quantized.
    pub output: Option<&'a QuantizationParameters>,
}

/// The measurements of one addition.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Each branch alone, rounded to its codes.
    pub branches: [ErrorMetrics; 2],
    /// How many of each branch's values its codes can represent.
    pub within: [RangeCount; 2],
    /// The sum of both, rounded.
    pub sum: ErrorMetrics,
    /// The same if both branches had the larger of the two scales.
    pub shared: ErrorMetrics,
    /// The same if every scale were the next power of two.
    pub power_of_two: ErrorMetrics,
    /// Why it was not measured.
    pub obstacle: Option<Error>,
}

/// Runs the reference and rounds its values as the candidate does; returns the measurements of each addition and the
/// number of samples.
///
/// # Errors
/// Those of the backend; `Cancelled`.
pub fn measure(
    reference: &Side<'_>,
    additions: &[Addition<'_>],
    feed: Feed<'_>,
    progress: &dyn Progress,
) -> Result<(Vec<Measured>, u64, Option<RunReport>)> {
    let mut names: Vec<String> = additions
        .iter()
        .flat_map(|addition| addition.branches.into_iter().chain([addition.sum]))
        .map(str::to_owned)
        .collect();
    names.sort_unstable();
    names.dedup();
    let fetch = Fetch::Named(names);
    let batches = feed.batches(&[reference])?;
    let total = batches.samples();
    let (mut measured, mut done, mut report) = (vec![Measured::default(); additions.len()], 0, None);
    for (count, batch) in batches {
        if progress.is_cancelled() {
            return Err(Error::cancelled());
        }
        progress.update("measuring branches", done, total);
        let outcome = reference.run(&batch, &fetch, progress)?;
        for (addition, measured) in additions.iter().zip(&mut measured) {
            if measured.obstacle.is_none() {
                measured.obstacle = measured.add(addition, &outcome.tensors).err();
            }
        }
        done += count;
        report = Some(outcome.report);
    }
    Ok((measured, done, report))
}

impl Measured {
    fn add(&mut self, addition: &Addition<'_>, tensors: &[Tensor]) -> Result<()> {
        let values = |name: &str| -> Result<Vec<f64>> {
            let tensor = tensors.iter().find(|tensor| tensor.name == name);
            let tensor = tensor.ok_or_else(|| Error::internal(format!("`{name}` was not delivered")))?;
            Ok(Real::of(tensor, tensor.quantization.as_ref())?.to_vec())
        };
        let exact = [values(addition.branches[0])?, values(addition.branches[1])?];
        let expected = values(addition.sum)?;
        if exact.iter().any(|branch| branch.len() != expected.len()) {
            return Err(Error::invalid_input("a branch is broadcast to the other's shape"));
        }
        let quantizers = [quantizer(addition.codes[0])?, quantizer(addition.codes[1])?];
        let output = addition.output.map(quantizer).transpose()?;
        for (place, exact) in exact.iter().enumerate() {
            let mut rounded = exact.clone();
            quantizers[place].fake_quantize_in_place(&mut rounded);
            let _ = self.branches[place].add(exact, &rounded);
            if let Some(range) = range(quantizers[place]) {
                self.within[place].add(exact, range);
            }
        }
        let sum = |branches: [Quantizer; 2], output: Option<Quantizer>| -> Vec<f64> {
            let one = |(left, right): (&f64, &f64)| {
                let sum = branches[0].fake_quantize(*left) + branches[1].fake_quantize(*right);
                let sum = if addition.has_relu { sum.max(0.0) } else { sum };
                output.map_or(sum, |output| output.fake_quantize(sum))
            };
            exact[0].iter().zip(&exact[1]).map(one).collect()
        };
        let _ = self.sum.add(&expected, &sum(quantizers, output));
        let scale = |quantizer: Quantizer| quantizer.affine().scale;
        let larger = scale(quantizers[0]).max(scale(quantizers[1]));
        let shared = quantizers.map(|quantizer| with_scale(quantizer, larger));
        let _ = self.shared.add(&expected, &sum(shared, output));
        let power = |quantizer: Quantizer| with_scale(quantizer, scale(quantizer).log2().ceil().exp2());
        let _ = self.power_of_two.add(&expected, &sum(quantizers.map(power), output.map(power)));
        Ok(())
    }
}

fn quantizer(codes: &QuantizationParameters) -> Result<Quantizer> {
    let range = code_range(codes);
    match (range, &codes.scales[..]) {
        (Some(range), [scale]) => {
            Ok(Quantizer::new(Affine { scale: *scale, zero_point: codes.zero_point(0) }, range))
        }
        _ => Err(Error::invalid_input("a branch has no scale, or one for each channel")),
    }
}

fn range(quantizer: Quantizer) -> Option<ValueRange> {
    quantizer.affine().representable_range(quantizer.codes())
}

/// The same codes with another scale: the zero point moves so that the lowest code stands for the lowest value it
/// stood for before, as nearly as possible.
fn with_scale(quantizer: Quantizer, scale: f64) -> Quantizer {
    let (codes, own) = (quantizer.codes(), quantizer.affine());
    // Symmetric codes stay symmetric.
    if own.zero_point == 0.0 && codes.min() < 0 {
        return Quantizer::new(Affine { scale, zero_point: 0.0 }, codes);
    }
    let lowest = codes.min() as f64;
    let least = (lowest - own.zero_point) * own.scale;
    let zero_point = (lowest - least / scale).round_ties_even().clamp(lowest, codes.max() as f64);
    Quantizer::new(Affine { scale, zero_point }, codes)
}
