//! The ranges of activations: the model runs on the samples, batch by batch, and no value is kept.

use super::collector::Collector;
use super::kept::KeptRanges;
use super::options::Options;
use super::values::{Passed, Seen, each_value, reals};
use crate::backend::{Progress, Session};
use crate::capture::{Feed, Side};
use crate::error::{Error, Result};
use crate::model::Quantizable;
use qp_analysis::CodeRange;
use qp_analysis::calibration::{CalibrationError, ClipRange};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

/// What calibration found.
#[derive(Default)]
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
    let mut collectors: BTreeMap<String, Collector> = BTreeMap::new();
    let (mut names, mut constant) = (Vec::new(), Vec::new());
    let mut ranges = HashMap::new();
    for name in wanted(plan) {
        if let Some(range) = kept.as_ref().and_then(|kept| kept.get(&name)) {
            ranges.insert(name, range);
            continue;
        }
        if stored.contains(name.as_str()) {
            constant.push(session.read_whole_tensor(&name, progress)?);
        } else {
            names.push(name.clone());
        }
        collectors.insert(name, Collector::new(options)?);
    }
    let known = ranges.len();
    if collectors.is_empty() {
        let samples = feed.batches(&[side])?.samples();
        return Ok(Calibrated { ranges, samples, kept: known, elapsed: start.elapsed(), runtime: None });
    }
    let (mut passed, mut numbers) = (Passed::default(), Vec::new());
    for pass in 0..Collector::passes(options) {
        let mut take = |seen: Seen<'_>| -> Result<()> {
            match seen {
                Seen::EndOfBatch => collectors.values_mut().for_each(Collector::end_batch),
                Seen::Value(tensor) => {
                    if let Some(collector) = collectors.get_mut(&tensor.name) {
                        collector.add(pass, reals(tensor, &mut numbers)?);
                    }
                }
            }
            Ok(())
        };
        constant.iter().map(Seen::Value).try_for_each(&mut take)?;
        passed = each_value(session, (side, feed), (&names, "calibrating"), &mut take, progress)?;
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
    let Passed { samples, runtime } = passed;
    Ok(Calibrated { ranges, samples, kept: known, elapsed: start.elapsed(), runtime })
}

fn explained(name: &str, error: CalibrationError) -> Error {
    Error::invalid_input(format!("`{name}` cannot be calibrated: {error}"))
        .with_hint("See `activations` for its values; `--exclude` leaves a layer as it is.")
}
