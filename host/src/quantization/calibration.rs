//! The ranges of activations: the model runs on the samples, batch by batch, and no value is kept.

use super::kept::KeptStatistics;
use super::options::Options;
use super::statistics::{FirstPass, SecondPass, Statistics};
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

/// Runs the model on all samples, as often as the method needs it and as what is known leaves to be measured.
pub(super) fn calibrate(
    (session, side): (&Session, &Side<'_>),
    feed: Feed<'_>,
    plan: &Quantizable,
    (options, codes): (&Options, CodeRange),
    kept: Option<KeptStatistics<'_>>,
    progress: &dyn Progress,
) -> Result<Calibrated> {
    let start = Instant::now();
    let wanted = wanted(plan);
    let mut found: BTreeMap<String, Statistics> = BTreeMap::new();
    for name in &wanted {
        if let Some(statistics) = kept.as_ref().and_then(|kept| kept.get(name)) {
            found.insert(name.clone(), statistics.clone());
        }
    }
    let known =
        wanted.iter().filter(|name| found.get(*name).is_some_and(|known| known.suffices(options))).count();
    let mut passed = None;
    let mut numbers = Vec::new();
    let unknown = |found: &BTreeMap<String, Statistics>| -> Vec<String> {
        wanted.iter().filter(|name| !found.contains_key(*name)).cloned().collect()
    };
    let first = unknown(&found);
    if !first.is_empty() {
        let mut passes = HashMap::new();
        for name in &first {
            passes.insert(name.as_str(), FirstPass::new()?);
        }
        passed = Some(each(
            (session, side, feed),
            (&first, "calibrating"),
            &mut |seen| {
                match seen {
                    Seen::EndOfBatch => passes.values_mut().for_each(FirstPass::end_batch),
                    Seen::Value(tensor) => {
                        if let Some(pass) = passes.get_mut(tensor.name.as_str()) {
                            pass.add(reals(tensor, &mut numbers)?);
                        }
                    }
                }
                Ok(())
            },
            progress,
        )?);
        found.extend(passes.into_iter().map(|(name, pass)| (name.to_owned(), pass.end())));
    }
    let second: Vec<String> = found
        .iter()
        .filter(|(_, statistics)| !statistics.suffices(options))
        .map(|(name, _)| name.clone())
        .collect();
    if !second.is_empty() {
        let mut passes = HashMap::new();
        for name in &second {
            let pass = SecondPass::new(&found[name], options).map_err(|error| explained(name, error))?;
            passes.insert(name.as_str(), pass);
        }
        let stage = if first.is_empty() { "calibrating" } else { "calibrating again" };
        passed = Some(each(
            (session, side, feed),
            (&second, stage),
            &mut |seen| {
                let Seen::Value(tensor) = seen else { return Ok(()) };
                if let Some(pass) = passes.get_mut(tensor.name.as_str()) {
                    pass.add(reals(tensor, &mut numbers)?);
                }
                Ok(())
            },
            progress,
        )?);
        for (name, pass) in passes {
            if let Some(statistics) = found.get_mut(name) {
                pass.end(statistics);
            }
        }
    }
    let mut ranges = HashMap::new();
    for (name, statistics) in &found {
        let range = statistics.range(options, codes).map_err(|error| explained(name, error))?;
        ranges.insert(name.clone(), range);
    }
    let (samples, runtime) = match passed {
        Some(Passed { samples, runtime }) => (samples, runtime),
        None => (feed.batches(&[side])?.samples(), None),
    };
    if let Some(kept) = kept.filter(|_| known < wanted.len()) {
        kept.keep(found);
    }
    Ok(Calibrated { ranges, samples, kept: known, elapsed: start.elapsed(), runtime })
}

/// Hands the named values of all samples to `take`, stored ones once.
fn each(
    (session, side, feed): (&Session, &Side<'_>, Feed<'_>),
    (names, stage): (&[String], &'static str),
    take: &mut dyn FnMut(Seen<'_>) -> Result<()>,
    progress: &dyn Progress,
) -> Result<Passed> {
    let info = session.info();
    let stored: HashSet<&str> = info.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    let (constant, computed): (Vec<String>, Vec<String>) =
        names.iter().cloned().partition(|name| stored.contains(name.as_str()));
    for name in &constant {
        take(Seen::Value(&session.read_whole_tensor(name, progress)?))?;
    }
    each_value(session, (side, feed), (&computed, stage), take, progress)
}

fn explained(name: &str, error: CalibrationError) -> Error {
    Error::invalid_input(format!("`{name}` cannot be calibrated: {error}"))
        .with_hint("See `activations` for its values; `--exclude` leaves a layer as it is.")
}
