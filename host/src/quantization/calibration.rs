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
    let runs = Runs { session, side, feed, progress };
    let wanted = wanted(plan);
    let known = |name: &String| Some((name.clone(), kept.as_ref()?.get(name)?.clone()));
    let mut found: BTreeMap<String, Statistics> = wanted.iter().filter_map(known).collect();
    let known = found.values().filter(|statistics| statistics.suffices(options)).count();
    let mut passed = None;
    let unknown: Vec<String> = wanted.iter().filter(|name| !found.contains_key(*name)).cloned().collect();
    if !unknown.is_empty() {
        passed = Some(runs.extremes(&unknown, &mut found)?);
    }
    let lacks =
        |(name, statistics): (&String, &Statistics)| (!statistics.suffices(options)).then(|| name.clone());
    let lacking: Vec<String> = found.iter().filter_map(lacks).collect();
    if !lacking.is_empty() {
        passed = Some(runs.histograms(&lacking, options, &mut found)?);
    }
    let range = |(name, statistics): (&String, &Statistics)| {
        let range = statistics.range(options, codes).map_err(|error| explained(name, error))?;
        Ok((name.clone(), range))
    };
    let ranges = found.iter().map(range).collect::<Result<HashMap<_, _>>>();
    // What was measured is kept, even if it makes no range.
    if let Some(kept) = kept.filter(|_| passed.is_some()) {
        kept.keep(found);
    }
    let (samples, runtime) = match passed {
        Some(Passed { samples, runtime }) => (samples, runtime),
        None => (feed.batches(&[side])?.samples(), None),
    };
    Ok(Calibrated { ranges: ranges?, samples, kept: known, elapsed: start.elapsed(), runtime })
}

/// A model with the samples that it runs on.
struct Runs<'a> {
    session: &'a Session,
    side: &'a Side<'a>,
    feed: Feed<'a>,
    progress: &'a dyn Progress,
}

impl Runs<'_> {
    /// Adds the extremes of these values.
    fn extremes(&self, names: &[String], found: &mut BTreeMap<String, Statistics>) -> Result<Passed> {
        let mut passes = HashMap::new();
        for name in names {
            passes.insert(name.as_str(), FirstPass::new()?);
        }
        let mut numbers = Vec::new();
        let passed = self.each(names, "calibrating", &mut |seen| {
            match seen {
                Seen::EndOfBatch => passes.values_mut().for_each(FirstPass::end_batch),
                Seen::Value(tensor) => {
                    if let Some(pass) = passes.get_mut(tensor.name.as_str()) {
                        pass.add(reals(tensor, &mut numbers)?);
                    }
                }
            }
            Ok(())
        })?;
        found.extend(passes.into_iter().map(|(name, pass)| (name.to_owned(), pass.end())));
        Ok(passed)
    }

    /// Adds the histograms of these values, whose extremes are known.
    fn histograms(
        &self,
        names: &[String],
        options: &Options,
        found: &mut BTreeMap<String, Statistics>,
    ) -> Result<Passed> {
        let mut passes = HashMap::new();
        for name in names {
            let pass = SecondPass::new(&found[name], options).map_err(|error| explained(name, error))?;
            passes.insert(name.as_str(), pass);
        }
        let mut numbers = Vec::new();
        let passed = self.each(names, "counting values", &mut |seen| {
            if let Seen::Value(tensor) = seen
                && let Some(pass) = passes.get_mut(tensor.name.as_str())
            {
                pass.add(reals(tensor, &mut numbers)?);
            }
            Ok(())
        })?;
        for (name, pass) in passes {
            if let Some(statistics) = found.get_mut(name) {
                pass.end(statistics);
            }
        }
        Ok(passed)
    }

    /// Hands these values of all samples to `take`, stored ones once.
    fn each(
        &self,
        names: &[String],
        stage: &'static str,
        take: &mut dyn FnMut(Seen<'_>) -> Result<()>,
    ) -> Result<Passed> {
        let Self { session, side, feed, progress } = *self;
        let info = session.info();
        let stored: HashSet<&str> = info.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        let (constant, computed): (Vec<String>, Vec<String>) =
            names.iter().cloned().partition(|name| stored.contains(name.as_str()));
        for name in &constant {
            take(Seen::Value(&session.read_whole_tensor(name, progress)?))?;
        }
        each_value(session, (side, feed), (&computed, stage), take, progress)
    }
}

fn explained(name: &str, error: CalibrationError) -> Error {
    Error::invalid_input(format!("`{name}` cannot be calibrated: {error}"))
        .with_hint("See `activations` for its values; `--exclude` leaves a layer as it is.")
}
