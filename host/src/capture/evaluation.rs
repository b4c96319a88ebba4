//! What models predict for all samples, and how well candidates agree with a reference. Samples come batch by batch;
//! only a few numbers of each are kept.

use super::ahead::fitted_ahead;
use super::batch::Batches;
use super::real::Real;
use super::scores::{enough_labels, first};
use super::side::{OnlyCancel, Side};
use crate::backend::{Fetch, Progress, RunReport};
use crate::error::{Error, ErrorKind, Result};
use crate::input::{Fitted, Input};
use qp_analysis::divergence::{kl_divergence, probabilities};
use qp_analysis::{ErrorMetrics, Paired, argmax};
use std::collections::HashMap;
use std::time::Duration;

/// The ground truth: the class of each sample, or the values that the output should have.
#[derive(Clone, Copy)]
pub enum Truth<'a> {
    /// Nothing is known.
    Unknown,
    /// The class of each sample.
    Labels(&'a [i64]),
    /// The output for all samples.
    Targets(&'a Input),
}

impl Truth<'_> {
    /// # Errors
    /// `InvalidInput` if it covers fewer samples than there are.
    fn check(&self, samples: u64) -> Result<()> {
        match self {
            Self::Unknown => Ok(()),
            Self::Labels(labels) => enough_labels(labels, samples),
            Self::Targets(targets) => match targets.content.own_count() {
                Some(count) if count < samples => {
                    Err(Error::invalid_input(format!("there are {count} targets for {samples} samples")))
                }
                _ => Ok(()),
            },
        }
    }
}

/// What to evaluate, and how.
#[derive(Clone, Copy)]
pub struct Plan<'a> {
    /// The ground truth.
    pub truth: Truth<'a>,
    /// The output to evaluate; `None` for the first.
    pub output: Option<&'a str>,
    /// A label among this many highest scores counts as found.
    pub top: usize,
    /// The index of the reference among the sides.
    pub reference: Option<usize>,
}

/// What one model predicted.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Samples that it ran on.
    pub samples: u64,
    /// The output that was evaluated.
    pub output: String,
    /// How many classes there are; 0 if the output is not scores of classes.
    pub classes: usize,
    /// Samples whose class is the label.
    pub correct: u64,
    /// Samples whose label is among the highest scores.
    pub in_top: u64,
    /// By label: samples, and those classified correctly.
    pub by_class: Vec<(u64, u64)>,
    /// By label and predicted class, where they differ: samples.
    pub confusions: HashMap<(usize, usize), u64>,
    /// Against the reference; `None` for the reference itself, and without one.
    pub agreement: Option<Agreement>,
    /// Against the targets, if there are any, and the lowest and the highest of them.
    pub targets: Option<(ErrorMetrics, Extremes)>,
    /// The run, its time that of all batches.
    pub run: Option<RunReport>,
    /// What was done to make the samples fit.
    pub steps: Vec<String>,
}

/// How well a candidate agrees with the reference.
#[derive(Clone, Debug, Default)]
pub struct Agreement {
    /// Samples with the same class.
    pub same: u64,
    /// Which of the two is right; counted only with labels.
    pub paired: Paired,
    /// The divergence of the candidate's probabilities, of each sample.
    pub divergences: Vec<f64>,
    /// The errors of the output against the reference's.
    pub errors: ErrorMetrics,
    /// The range of the reference's output.
    pub extremes: Extremes,
}

/// The lowest and the highest of finite values.
#[derive(Clone, Copy, Debug)]
pub struct Extremes {
    low: f64,
    high: f64,
}

impl Default for Extremes {
    fn default() -> Self {
        Self { low: f64::INFINITY, high: f64::NEG_INFINITY }
    }
}

impl Extremes {
    fn add(&mut self, values: &[f64]) {
        for value in values.iter().filter(|value| value.is_finite()) {
            (self.low, self.high) = (self.low.min(*value), self.high.max(*value));
        }
    }

    /// The peak signal-to-noise ratio, 10·log10(range² / MSE), in dB; `None` where the range is empty.
    pub fn psnr_db(&self, errors: &ErrorMetrics) -> Option<f64> {
        let (range, mse) = (self.high - self.low, errors.metrics().mse?);
        (range > 0.0).then(|| 10.0 * (range * range / mse).log10())
    }
}

/// Runs all sides on the batches, one after the other, while the next batch is fitted. Returns what was counted up to
/// an error or an interruption, and that error.
pub fn evaluate(
    sides: &[Side<'_>],
    batches: Batches<'_>,
    plan: Plan<'_>,
    progress: &dyn Progress,
) -> (Vec<Tally>, Option<Error>) {
    let total = batches.samples();
    let mut tallies = vec![Tally::default(); sides.len()];
    if let Err(error) = plan.truth.check(total) {
        return (tallies, Some(error));
    }
    for (index, tally) in tallies.iter_mut().enumerate() {
        tally.agreement =
            plan.reference.filter(|reference| *reference != index).map(|_| Agreement::default());
    }
    let fit = |batch: &Input| -> Result<Vec<Fitted>> {
        sides.iter().map(|side| batch.fit(side.model.info(), side.sibling.as_ref())).collect()
    };
    let mut done = 0;
    let outcome = fitted_ahead(batches, &fit, &mut |count, fitted| {
        let mut predictions = Vec::new();
        for (side, fitted) in sides.iter().zip(fitted) {
            progress.update("evaluating samples", done, total);
            if progress.is_cancelled() {
                return Err(Error::cancelled());
            }
            predictions.push(Prediction::of(side, fitted, plan.output, count, progress)?);
        }
        // A batch that some model fails on does not count: all models cover the same samples.
        let right = Right::of(plan.truth, done, count)?;
        for (prediction, side) in predictions.iter().zip(sides) {
            let within = |error: Error| error.within(format!("`{}` cannot be evaluated", side.model.id));
            right.check(prediction, done).map_err(within)?;
            let reference = plan.reference.and_then(|reference| predictions.get(reference));
            reference
                .map_or(Ok(()), |reference| prediction.check_size(reference.values.len(), "the reference's"))
                .map_err(within)?;
        }
        let reference = plan.reference.and_then(|reference| predictions.get(reference));
        for (tally, prediction) in tallies.iter_mut().zip(&predictions) {
            tally.add(prediction, &right, plan.top);
            if let (Some(agreement), Some(reference)) = (&mut tally.agreement, reference) {
                agreement.add(reference, prediction, &right);
            }
        }
        for (tally, prediction) in tallies.iter_mut().zip(predictions) {
            tally.samples += count;
            tally.ran(prediction);
        }
        done += count;
        Ok(())
    });
    (tallies, outcome.err())
}

/// What a model computed for a batch.
struct Prediction {
    output: String,
    /// Samples.
    rows: usize,
    /// In the order of the samples.
    values: Vec<f64>,
    /// Values of each sample that are scores of classes; 0 if they are anything else.
    classes: usize,
    report: RunReport,
    steps: Vec<String>,
}

impl Prediction {
    fn of(
        side: &Side<'_>,
        fitted: Fitted,
        output: Option<&str>,
        count: u64,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let Fitted { tensors, steps } = fitted;
        let outcome =
            side.model.session.run(&tensors, &Fetch::Outputs, &side.options, &OnlyCancel(progress))?;
        let (report, mut found) = (outcome.report, outcome.tensors);
        if let Some(name) = output {
            let names: Vec<String> = found.iter().map(|tensor| format!("`{}`", tensor.name)).collect();
            found.retain(|tensor| tensor.name == name);
            if found.is_empty() {
                let error = Error::not_found(format!("`{}` has no output `{name}`", side.model.id));
                return Err(error.with_hint(format!("Its outputs are {}.", names.join(", "))));
            }
        }
        let tensor = first(found, side)?;
        let values = Real::of(&tensor, tensor.quantization.as_ref())?.to_vec();
        let has_samples = tensor.shape.first() == Some(&count);
        let rows = if has_samples { usize::try_from(count).unwrap_or(1).max(1) } else { 1 };
        let is_scores =
            has_samples && matches!(tensor.shape[..], [_, classes] | [_, classes, 1, 1] if classes > 1);
        let classes = if is_scores { values.len() / rows } else { 0 };
        Ok(Self { output: tensor.name, rows, values, classes, report, steps })
    }

    /// The scores of each sample.
    fn scores(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks_exact(self.classes.max(1)).take(if self.classes > 0 { self.rows } else { 0 })
    }

    fn check_size(&self, due: usize, whose: &str) -> Result<()> {
        if self.values.len() == due {
            return Ok(());
        }
        Err(Error::invalid_input(format!(
            "its output `{}` has {} values for {} samples, but {whose} {due}",
            self.output,
            self.values.len(),
            self.rows
        )))
    }
}

/// The ground truth of a batch.
enum Right<'a> {
    Unknown,
    Labels(&'a [i64]),
    Targets(Vec<f64>),
}

impl<'a> Right<'a> {
    fn of(truth: Truth<'a>, done: u64, count: u64) -> Result<Self> {
        Ok(match truth {
            Truth::Unknown => Self::Unknown,
            Truth::Labels(labels) => {
                let place = |samples: u64| usize::try_from(samples).unwrap_or(usize::MAX).min(labels.len());
                Self::Labels(&labels[place(done)..place(done + count)])
            }
            Truth::Targets(targets) => {
                let tensor = targets.samples(done, done + count).array()?;
                Self::Targets(Real::of(&tensor, None)?.to_vec())
            }
        })
    }

    /// Checks that the prediction has the form that the ground truth needs.
    fn check(&self, prediction: &Prediction, done: u64) -> Result<()> {
        match self {
            Self::Unknown => Ok(()),
            Self::Targets(values) => prediction.check_size(values.len(), "the targets"),
            Self::Labels(_) if prediction.classes == 0 => Err(Error::new(
                ErrorKind::UnsupportedOp,
                format!(
                    "its output `{}` is not one score per class, so labels do not apply to it",
                    prediction.output
                ),
            )
            .with_hint("Choose an output with `--output NAME`, or give `--targets FILE`.")),
            Self::Labels(labels) => {
                let is_class =
                    |label: i64| usize::try_from(label).is_ok_and(|label| label < prediction.classes);
                match labels.iter().position(|label| !is_class(*label)) {
                    None => Ok(()),
                    Some(place) => Err(Error::invalid_input(format!(
                        "the label of sample {} is {}, but `{}` has {} classes, counted from 0",
                        done + place as u64,
                        labels[place],
                        prediction.output,
                        prediction.classes
                    ))),
                }
            }
        }
    }

    fn label(&self, row: usize) -> Option<usize> {
        match self {
            Self::Labels(labels) => labels.get(row).and_then(|label| usize::try_from(*label).ok()),
            _ => None,
        }
    }
}

impl Tally {
    fn add(&mut self, prediction: &Prediction, right: &Right<'_>, top: usize) {
        self.classes = prediction.classes;
        for (row, scores) in prediction.scores().enumerate() {
            let Some(label) = right.label(row) else { continue };
            let class = argmax(scores).unwrap_or(0);
            self.by_class.resize(self.classes, (0, 0));
            let own = &mut self.by_class[label];
            own.0 += 1;
            if class == label {
                own.1 += 1;
                self.correct += 1;
            } else {
                *self.confusions.entry((label, class)).or_default() += 1;
            }
            self.in_top += u64::from(rank(scores, label) < top);
        }
        if let Right::Targets(targets) = right {
            let (errors, extremes) = self.targets.get_or_insert_default();
            let _ = errors.add(targets, &prediction.values);
            extremes.add(targets);
        }
    }

    fn ran(&mut self, prediction: Prediction) {
        let Prediction { output, report, steps, .. } = prediction;
        match &mut self.run {
            Some(run) => run.elapsed += report.elapsed,
            None => (self.output, self.run, self.steps) = (output, Some(report), steps),
        }
    }

    /// The time in the runtime.
    pub fn elapsed(&self) -> Duration {
        self.run.as_ref().map(|run| run.elapsed).unwrap_or_default()
    }
}

/// How many classes rank before `class`: those with a higher score, and earlier ones with the same.
fn rank(scores: &[f64], class: usize) -> usize {
    // As for the class itself, NaN comes last.
    let key = |score: f64| if score.is_nan() { f64::NEG_INFINITY } else { score };
    let own = key(scores[class]);
    let is_before = |index: usize, score: f64| score > own || (score == own && index < class);
    scores.iter().enumerate().filter(|(index, score)| is_before(*index, key(**score))).count()
}

impl Agreement {
    fn add(&mut self, reference: &Prediction, candidate: &Prediction, right: &Right<'_>) {
        let _ = self.errors.add(&reference.values, &candidate.values);
        self.extremes.add(&reference.values);
        for (row, (expected, found)) in reference.scores().zip(candidate.scores()).enumerate() {
            let (theirs, ours) = (argmax(expected), argmax(found));
            self.same += u64::from(theirs == ours);
            self.divergences.push(kl_divergence(&probabilities(expected), &probabilities(found)));
            self.paired.samples += 1;
            if let Some(label) = right.label(row) {
                let (reference_is_right, candidate_is_right) = (theirs == Some(label), ours == Some(label));
                self.paired.only_reference += u64::from(reference_is_right && !candidate_is_right);
                self.paired.only_candidate += u64::from(candidate_is_right && !reference_is_right);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_counts_who_comes_before() {
        let scores = [0.1, 0.4, 0.4, 0.1];
        assert_eq!([0, 1, 2, 3].map(|class| rank(&scores, class)), [2, 0, 1, 3]);
        assert_eq!(rank(&[0.1, f64::NAN], 1), 1);
    }
}
