//! The ranges of activations: the model runs on the samples, batch by batch, and no value is kept.

use super::collector::Collector;
use super::kept::KeptRanges;
use super::options::Options;
use crate::backend::{Fetch, Progress, Session, Spare};
use crate::capture::ahead::fitted_ahead;
use crate::capture::side::{BUDGET_OPTION, OnlyCancel};
use crate::capture::{Feed, Side};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Quantizable, Tensor};
use qp_analysis::calibration::{CalibrationError, ClipRange};
use qp_analysis::{CodeRange, ElementType};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

/// Memory for captured values.
pub(super) const BUDGET: u64 = 128 << 20;

/// What calibration found.
pub(super) struct Calibrated {
    pub(super) ranges: HashMap<String, ClipRange>,
    pub(super) samples: u64,
    /// How many ranges were known before.
    pub(super) kept: usize,
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

/// Runs the model on all samples, as often as the method needs it.
pub(super) fn calibrate(
    (session, side): (&Session, &Side<'_>),
    feed: Feed<'_>,
    plan: &Quantizable,
    (options, codes): (&Options, CodeRange),
    kept: Option<KeptRanges<'_>>,
    progress: &dyn Progress,
) -> Result<Calibrated> {
    let start = Instant::now();
    let info = session.info();
    let stored: HashSet<&str> = info.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    let inputs: HashSet<&str> = info.inputs.iter().map(|input| input.name.as_str()).collect();
    let mut collectors: BTreeMap<String, Collector> = BTreeMap::new();
    let (mut computed, mut constant) = (Vec::new(), Vec::new());
    let mut ranges = HashMap::new();
    for name in wanted(plan) {
        if let Some(range) = kept.as_ref().and_then(|kept| kept.get(&name)) {
            ranges.insert(name, range);
            continue;
        }
        if stored.contains(name.as_str()) {
            constant.push(session.read_whole_tensor(&name, progress)?);
        } else if !inputs.contains(name.as_str()) {
            computed.push(name.clone());
        }
        collectors.insert(name, Collector::new(options)?);
    }
    let mut settings = side.options.clone();
    if session.plugin().has_feature(BUDGET_OPTION) {
        settings.insert(BUDGET_OPTION.to_owned(), BUDGET.to_string());
    }
    let (fetch, spare) = (Fetch::Named(computed), Spare::default());
    let (mut samples, mut runtime, mut numbers) = (0, None, Vec::new());
    let fit = |batch: &crate::input::Input| Ok(batch.fit(info, side.sibling.as_ref())?.tensors);
    let known = ranges.len();
    if collectors.is_empty() {
        let samples = feed.batches(&[side])?.samples();
        return Ok(Calibrated { ranges, samples, kept: known, elapsed: start.elapsed(), runtime });
    }
    let passes = Collector::passes(options);
    for pass in 0..passes {
        let mut take = |tensor: &Tensor| -> Result<()> {
            if let Some(collector) = collectors.get_mut(&tensor.name) {
                collector.add(pass, reals(tensor, &mut numbers)?);
            }
            Ok(())
        };
        constant.iter().try_for_each(&mut take)?;
        let batches = feed.batches(&[side])?;
        let total = batches.samples();
        samples = 0;
        fitted_ahead(batches, &fit, &mut |count, fitted: Vec<Tensor>| {
            progress.update("calibrating", pass * total + samples, passes * total);
            let mut take = |tensor: &Tensor| -> Result<()> {
                if let Some(collector) = collectors.get_mut(&tensor.name) {
                    collector.add(pass, reals(tensor, &mut numbers)?);
                }
                Ok(())
            };
            fitted.iter().try_for_each(&mut take)?;
            let mut receive = |tensor: Tensor| {
                take(&tensor)?;
                spare.give(tensor.bytes);
                Ok(())
            };
            let only_cancel = OnlyCancel(progress);
            let outcome = session.run_each(&fitted, &fetch, &settings, (&spare, &mut receive), &only_cancel);
            if progress.is_cancelled() {
                return Err(Error::cancelled());
            }
            let report = outcome?;
            runtime = Some((report.runtime, report.runtime_version));
            collectors.values_mut().for_each(Collector::end_batch);
            samples += count;
            Ok(())
        })?;
        for (name, collector) in &mut collectors {
            collector.end_pass(pass).map_err(|error| explained(name, error))?;
        }
    }
    for (name, collector) in &collectors {
        let range = collector.range(options, codes).map_err(|error| explained(name, error))?;
        ranges.insert(name.clone(), range);
    }
    if let Some(kept) = kept {
        kept.keep(ranges.iter());
    }
    Ok(Calibrated { ranges, samples, kept: known, elapsed: start.elapsed(), runtime })
}

fn explained(name: &str, error: CalibrationError) -> Error {
    Error::invalid_input(format!("`{name}` cannot be calibrated: {error}"))
        .with_hint("See `activations` for its values; `--exclude` leaves a layer as it is.")
}

/// The numbers of a tensor of real numbers.
pub(super) fn reals<'a>(tensor: &Tensor, numbers: &'a mut Vec<f32>) -> Result<&'a [f32]> {
    numbers.clear();
    match tensor.dtype.element_type() {
        Some(ElementType::Float32) => {
            numbers.extend(tensor.bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
        }
        Some(half @ (ElementType::Float16 | ElementType::BFloat16)) => {
            let count = half.elements_in(tensor.bytes.len());
            half.for_each_block(&tensor.bytes, count, |block| {
                numbers.extend(block.iter().map(|number| *number as f32));
            });
        }
        _ => {
            return Err(Error::new(
                ErrorKind::UnsupportedOp,
                format!("`{}` holds {}, which is not quantized", tensor.name, tensor.dtype),
            ));
        }
    }
    Ok(numbers)
}
