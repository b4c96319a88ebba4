//! The runs of one model on all samples, in batches.

use super::{Output, SHOWN_SAMPLES, output, scores_of};
use crate::backend::{Fetch, Progress, RunReport};
use crate::capture::Side;
use crate::capture::ahead::fitted_ahead;
use crate::capture::batch::Batches;
use crate::capture::side::OnlyCancel;
use crate::error::{Error, Result};
use crate::input::{Fitted, Input, fixed_batch};
use crate::model::{Dimension, Tensor, ValueInfo};
use std::time::Duration;

/// This many samples always run together.
const FEW_SAMPLES: u64 = 32;

/// With more samples, a batch takes about this many bytes.
const BATCH_BYTES: u64 = 1 << 20;

/// The outcome of running one model.
pub(super) struct Measured {
    pub(super) steps: Vec<String>,
    pub(super) outputs: Outputs,
    pub(super) report: RunReport,
    pub(super) latencies: Vec<Duration>,
}

/// The outputs of all batches, as far as they are shown.
#[derive(Default)]
pub(super) struct Outputs {
    pub(super) list: Vec<Output>,
    /// The scores of the samples that are shown.
    pub(super) scores: Vec<Vec<f64>>,
    /// How many samples have scores.
    pub(super) scored: usize,
}

/// Runs a model on all samples as often as asked; of several runs the first is not counted. `receive` gets the
/// outputs of the first, batch by batch.
///
/// # Errors
/// `InvalidInput` for samples that do not fit, what the backend says, and what `receive` answers; `Cancelled`.
pub(super) fn repeated(
    side: &Side<'_>,
    input: &Input,
    (repeat, batch): (u32, Option<u64>),
    receive: &mut dyn FnMut(&Tensor) -> Result<()>,
    progress: &dyn Progress,
) -> Result<Measured> {
    let runs = Runs::of(side, input, batch)?;
    // One that is not counted, where several are.
    let total = if repeat > 1 { u64::from(repeat) + 1 } else { 1 };
    let mut outputs = Outputs::default();
    let mut first = |tensor: &Tensor| {
        outputs.add(tensor);
        receive(tensor)
    };
    let mut report = runs.once(&mut first, (0, total), progress)?;
    let mut latencies = vec![report.elapsed];
    for done in 1..total {
        report = runs.once(&mut |_| Ok(()), (done, total), progress)?;
        latencies.push(report.elapsed);
    }
    latencies.drain(..usize::from(total > 1));
    Ok(Measured { steps: runs.steps, outputs, report, latencies })
}

/// How a model is run on all samples.
struct Runs<'a> {
    side: &'a Side<'a>,
    input: &'a Input,
    /// How many samples there are, and the batch size.
    count: u64,
    together: u64,
    /// The samples, where one run takes all: what is fitted serves all repetitions.
    whole: Option<Vec<Tensor>>,
    /// What was done to make them fit.
    steps: Vec<String>,
}

impl<'a> Runs<'a> {
    fn of(side: &'a Side<'a>, input: &'a Input, batch: Option<u64>) -> Result<Self> {
        let (info, sibling) = (side.model.info(), side.sibling.as_ref());
        let count = input.sample_count(info, sibling);
        let fixed = fixed_batch(info, sibling).filter(|fixed| count.is_multiple_of(*fixed));
        let is_one = match fixed.or(batch) {
            Some(size) => size >= count,
            None => count <= FEW_SAMPLES || !may_count_samples(&info.outputs),
        };
        let fit = |input: &Input| input.fit(info, sibling);
        if is_one {
            let Fitted { tensors, steps } = fit(input)?;
            return Ok(Self { side, input, count, together: count, whole: Some(tensors), steps });
        }
        // A model with a fixed batch size gets that.
        let Fitted { tensors, mut steps } = fit(&input.samples(0, fixed.unwrap_or(1)))?;
        let together = fixed.or(batch).unwrap_or_else(|| {
            let bytes: usize = tensors.iter().map(|tensor| tensor.bytes.len()).sum();
            (BATCH_BYTES / bytes.max(1) as u64).max(FEW_SAMPLES).min(count)
        });
        let runs = count.div_ceil(together);
        if runs > 1 {
            let why = if fixed.is_some() { ", as the model fixes it" } else { "" };
            steps.push(format!("{runs} runs of {together} samples{why}"));
        }
        Ok(Self { side, input, count, together, whole: None, steps })
    }

    /// Goes through all samples once, as the `done`th of `total` times.
    fn once(
        &self,
        receive: &mut dyn FnMut(&Tensor) -> Result<()>,
        (done, total): (u64, u64),
        progress: &dyn Progress,
    ) -> Result<RunReport> {
        let mut report: Option<RunReport> = None;
        let mut at = done * self.count;
        let mut run = |samples: u64, tensors: &[Tensor]| -> Result<()> {
            if progress.is_cancelled() {
                return Err(Error::cancelled());
            }
            progress.update("running samples", at, total * self.count);
            at += samples;
            let session = &self.side.model.session;
            let own = session.run(tensors, &Fetch::Outputs, &self.side.options, &OnlyCancel(progress))?;
            own.tensors.iter().try_for_each(&mut *receive)?;
            match &mut report {
                None => report = Some(own.report),
                Some(report) => report.elapsed += own.report.elapsed,
            }
            Ok(())
        };
        match &self.whole {
            Some(tensors) => run(self.count, tensors)?,
            None => {
                let batches = Batches::new(self.input, self.count, None, self.together)?;
                let fit = |batch: &Input| batch.fit(self.side.model.info(), self.side.sibling.as_ref());
                fitted_ahead(batches, &fit, &mut |samples, fitted| run(samples, &fitted.tensors))?;
            }
        }
        report.ok_or_else(|| Error::internal("nothing was run"))
    }
}

/// Whether the first dimension may be the batch. The first dimension of a sequence, which is one sample at any length,
/// is missing from some output; and an output whose size does not depend on the batch cannot be joined from parts.
fn may_count_samples(outputs: &[ValueInfo]) -> bool {
    let is_lost = |output: &ValueInfo| {
        let shape = output.shape.as_ref();
        shape.is_some_and(|shape| matches!(shape.first(), None | Some(Dimension::Fixed(_))))
    };
    !outputs.iter().any(is_lost)
}

impl Outputs {
    fn add(&mut self, tensor: &Tensor) {
        if self.list.first().is_none_or(|first| first.name == tensor.name) {
            let scores = scores_of(tensor);
            self.scored += scores.len();
            let room = SHOWN_SAMPLES.saturating_sub(self.scores.len());
            self.scores.extend(scores.into_iter().take(room));
        }
        match self.list.iter_mut().find(|output| output.name == tensor.name) {
            Some(output) => output.extend(tensor),
            None => self.list.push(output(tensor)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DType;

    /// The outputs of PyTorch's LSTM are [time, batch, hidden] and, for its last states, [layers, batch, hidden].
    #[test]
    fn a_sequence_is_one_sample() {
        let value =
            |name: &str, shape: &[Dimension]| ValueInfo::new(name, DType::FLOAT32, Some(shape.to_vec()));
        let free = |name: &str| Dimension::Symbolic(name.to_owned());
        let all = value("y", &[free("time"), free("batch"), Dimension::Fixed(8)]);
        let last = value("h", &[Dimension::Fixed(1), free("batch"), Dimension::Fixed(8)]);
        assert!(may_count_samples(std::slice::from_ref(&all)));
        assert!(!may_count_samples(&[all, last]));
        assert!(!may_count_samples(&[value("loss", &[])]));
    }
}
