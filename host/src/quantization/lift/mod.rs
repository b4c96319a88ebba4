//! What lifts the accuracy of a quantized model, one step after the other, each with its gain.

mod correct;
mod equalize;
mod gain;
mod round;

use super::calibration::{Calibrated, calibrate};
use super::options::Options;
use super::parameters::{Made, activation_codes, decide};
use super::{Lift, Rounding, edits};
use crate::backend::{Progress, Session};
use crate::capture::{Feed, Side};
use crate::error::{Error, Result};
use crate::model::{LayerInfo, Quantizable};

/// What a step gives: the SQNR of the outputs on the samples of calibration, against the float model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gain {
    /// The option.
    pub option: &'static str,
    /// How many weights, biases or pairs of layers it changes.
    pub changed: usize,
    /// With the steps before it, in dB; `None` without any noise or any signal.
    pub before_db: Option<f64>,
    /// With it as well.
    pub after_db: Option<f64>,
}

/// What all steps work with.
pub(super) struct Ground<'a> {
    pub(super) side: &'a Side<'a>,
    pub(super) feed: Feed<'a>,
    pub(super) options: &'a Options,
    pub(super) plan: &'a Quantizable,
    pub(super) progress: &'a dyn Progress,
}

/// A model after all steps.
pub(super) struct Lifted {
    pub(super) session: Session,
    pub(super) made: Made,
    pub(super) gains: Vec<Gain>,
}

/// A step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Equalize,
    ClipWeights,
    Round,
    CorrectBiases,
}

impl Step {
    fn option(self) -> &'static str {
        match self {
            Self::Equalize => "equalize",
            Self::ClipWeights => "weight-clip",
            Self::Round => "rounding",
            Self::CorrectBiases => "bias-correction",
        }
    }

    /// In the order in which they are done: what a step changes, later ones find.
    fn of(lift: Lift) -> Vec<Self> {
        let steps = [
            (Self::Equalize, lift.equalize),
            (Self::ClipWeights, lift.clip_weights),
            (Self::Round, lift.rounding != Rounding::Nearest),
            (Self::CorrectBiases, lift.correct_biases),
        ];
        steps.into_iter().filter(|(_, is_wanted)| *is_wanted).map(|(step, _)| step).collect()
    }
}

/// Does the steps that the options name, from a model that `made` was decided for without them.
///
/// # Errors
/// Those of running and changing the model; `Cancelled`.
pub(super) fn lift(
    ground: &Ground<'_>,
    float: &Session,
    calibrated: &mut Calibrated,
    mut made: Made,
) -> Result<Lifted> {
    let Ground { side, feed, plan, options, progress } = *ground;
    let mut own = Options { lift: Lift::default(), ..options.clone() };
    let mut equalized: Option<Session> = None;
    let steps = Step::of(options.lift);
    let mut session = float.edit(edits::of(plan, made.edits.clone()), progress)?;
    // The models before the first step and after each, the last one in `session`.
    let (mut stages, mut done) = (Vec::new(), Vec::new());
    for step in steps {
        let changed = match step {
            Step::Equalize => {
                let (changes, pairs) = equalize::edits(float, progress)?;
                let scaled = equalized.insert(float.edit(changes, progress)?);
                let codes = activation_codes(options)?;
                let again = calibrate((scaled, side), feed, plan, (options, codes), None, progress)?;
                calibrated.ranges = again.ranges;
                calibrated.elapsed += again.elapsed;
                calibrated.kept = 0;
                calibrated.runtime = again.runtime;
                made = decide(scaled, plan, &calibrated.ranges, &own, progress)?;
                pairs
            }
            Step::Round => round::round(ground, equalized.as_ref().unwrap_or(float), &mut made, options)?,
            Step::CorrectBiases => correct::correct(ground, equalized.as_ref().unwrap_or(float), &mut made)?,
            Step::ClipWeights => {
                own.lift.clip_weights = true;
                let old = made.parameters;
                made = decide(equalized.as_ref().unwrap_or(float), plan, &calibrated.ranges, &own, progress)?;
                let is_new = |name: &&String| old.get(*name) != made.parameters.get(*name);
                let weights = plan.tensors.iter().map(|tensor| &tensor.name);
                weights.filter(is_new).count()
            }
        };
        let next = equalized.as_ref().unwrap_or(float).edit(edits::of(plan, made.edits.clone()), progress)?;
        stages.push(std::mem::replace(&mut session, next));
        done.push((step, changed));
    }
    stages.push(session);
    let sqnrs = gain::sqnrs_db(ground, &stages)?;
    let gain = |((step, changed), sqnrs): (&(Step, usize), &[Option<f64>])| Gain {
        option: step.option(),
        changed: *changed,
        before_db: sqnrs[0],
        after_db: sqnrs[1],
    };
    let gains = done.iter().zip(sqnrs.windows(2)).map(gain).collect();
    let session = stages.pop().ok_or_else(|| Error::internal("the quantized model was lost"))?;
    Ok(Lifted { session, made, gains })
}

/// Whether a layer is one of ONNX's own operators, or of PyTorch's.
fn is_standard(layer: &LayerInfo) -> bool {
    layer.domain.as_deref().is_none_or(|domain| domain == "aten")
}
