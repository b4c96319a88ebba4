//! The ranges of activations: the model runs on the samples, batch by batch, and each value is seen once.

use super::options::Options;
use crate::backend::{Fetch, Progress, Session, Spare};
use crate::capture::ahead::fitted_ahead;
use crate::capture::side::{BUDGET_OPTION, OnlyCancel};
use crate::capture::{Feed, Side};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{DType, Quantizable, Tensor};
use half::f16;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

/// Memory for captured values.
const BUDGET: u64 = 128 << 20;

/// What calibration found.
pub(super) struct Calibrated {
    pub(super) ranges: HashMap<String, (f32, f32)>,
    pub(super) samples: u64,
    pub(super) elapsed: Duration,
    pub(super) runtime: Option<(String, String)>,
}

/// The values whose ranges are needed.
fn wanted(plan: &Quantizable) -> Vec<String> {
    // A weight's scale is checked against its input's own range, even if that shares another's.
    let of_biases: HashSet<&str> = plan.biases.iter().map(|bias| bias.input.as_str()).collect();
    let mut seen = HashSet::new();
    let own = plan.values.iter().filter(|value| {
        value.range.is_none() && (value.same_as.is_none() || of_biases.contains(value.name.as_str()))
    });
    own.map(|value| value.range_of.as_ref().unwrap_or(&value.name))
        .filter(|name| seen.insert(name.as_str()))
        .cloned()
        .collect()
}

/// Runs the model on all samples.
pub(super) fn calibrate(
    session: &Session,
    side: &Side<'_>,
    feed: Feed<'_>,
    plan: &Quantizable,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Calibrated> {
    let start = Instant::now();
    let info = session.info();
    let stored: HashSet<&str> = info.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    let inputs: HashSet<&str> = info.inputs.iter().map(|input| input.name.as_str()).collect();
    let mut ranges: BTreeMap<String, Range> = BTreeMap::new();
    let mut computed = Vec::new();
    let mut numbers = Vec::new();
    for name in wanted(plan) {
        let mut range = Range::new(options.moving_average);
        if stored.contains(name.as_str()) {
            reals(&session.read_whole_tensor(&name, progress)?, &mut numbers)?;
            range.add(&numbers);
        } else if !inputs.contains(name.as_str()) {
            computed.push(name.clone());
        }
        ranges.insert(name, range);
    }
    let batches = feed.batches(&[side])?;
    let total = batches.samples();
    let fit =
        |batch: &crate::input::Input| batch.fit(info, side.sibling.as_ref()).map(|fitted| fitted.tensors);
    let mut settings = side.options.clone();
    if session.plugin().has_feature(BUDGET_OPTION) {
        settings.insert(BUDGET_OPTION.to_owned(), BUDGET.to_string());
    }
    let (fetch, spare) = (Fetch::Named(computed), Spare::default());
    let (mut samples, mut runtime) = (0, None);
    fitted_ahead(batches, &fit, &mut |count, fitted: Vec<Tensor>| {
        progress.update("calibrating", samples, total);
        for tensor in &fitted {
            if let Some(range) = ranges.get_mut(&tensor.name) {
                reals(tensor, &mut numbers)?;
                range.add(&numbers);
            }
        }
        let mut receive = |tensor: Tensor| {
            if let Some(range) = ranges.get_mut(&tensor.name) {
                reals(&tensor, &mut numbers)?;
                range.add(&numbers);
            }
            spare.give(tensor.bytes);
            Ok(())
        };
        let outcome =
            session.run_each(&fitted, &fetch, &settings, (&spare, &mut receive), &OnlyCancel(progress));
        if progress.is_cancelled() {
            return Err(Error::cancelled());
        }
        let report = outcome?;
        runtime = Some((report.runtime, report.runtime_version));
        ranges.values_mut().for_each(Range::end_batch);
        samples += count;
        Ok(())
    })?;
    let ranges = ranges.into_iter().map(|(name, range)| range.finish(&name).map(|ends| (name, ends)));
    Ok(Calibrated { ranges: ranges.collect::<Result<_>>()?, samples, elapsed: start.elapsed(), runtime })
}

/// The range of one value.
struct Range {
    is_averaged: bool,
    batch: (f32, f32),
    low: f32,
    high: f32,
    batches: u32,
}

impl Range {
    fn new(is_averaged: bool) -> Self {
        let none = (f32::INFINITY, f32::NEG_INFINITY);
        Self { is_averaged, batch: none, low: none.0, high: none.1, batches: 0 }
    }

    fn add(&mut self, numbers: &[f32]) {
        const LANES: usize = 16;
        let (mut low, mut high) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
        let (chunks, rest) = numbers.as_chunks::<LANES>();
        for chunk in chunks {
            for lane in 0..LANES {
                low[lane] = low[lane].min(chunk[lane]);
                high[lane] = high[lane].max(chunk[lane]);
            }
        }
        let least = low.iter().chain(rest).copied().fold(f32::INFINITY, f32::min);
        let most = high.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max);
        self.batch = (self.batch.0.min(least), self.batch.1.max(most));
    }

    fn end_batch(&mut self) {
        let (low, high) = std::mem::replace(&mut self.batch, (f32::INFINITY, f32::NEG_INFINITY));
        if low > high {
            return;
        }
        if self.is_averaged && self.batches > 0 {
            (self.low, self.high) = (self.low + low, self.high + high);
        } else {
            (self.low, self.high) = (self.low.min(low), self.high.max(high));
        }
        self.batches += 1;
    }

    fn finish(mut self, name: &str) -> Result<(f32, f32)> {
        self.end_batch();
        if self.is_averaged && self.batches > 0 {
            self.low /= self.batches as f32;
            self.high /= self.batches as f32;
        }
        if self.low.is_finite() && self.high.is_finite() {
            return Ok((self.low, self.high));
        }
        Err(Error::invalid_input(format!("`{name}` has no finite range on these samples"))
            .with_hint("See `activations` for its values; `--exclude` leaves a layer as it is."))
    }
}

/// The numbers of a tensor of real numbers.
pub(super) fn reals(tensor: &Tensor, numbers: &mut Vec<f32>) -> Result<()> {
    numbers.clear();
    match tensor.dtype {
        DType::FLOAT32 => {
            numbers.extend(tensor.bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
        }
        DType::FLOAT16 => {
            let halves = tensor.bytes.as_chunks::<2>().0.iter();
            numbers.extend(halves.map(|bytes| f16::from_le_bytes(*bytes).to_f32()));
        }
        other => {
            return Err(Error::new(
                ErrorKind::UnsupportedOp,
                format!("`{}` holds {other}, which is not quantized", tensor.name),
            ));
        }
    }
    Ok(())
}
