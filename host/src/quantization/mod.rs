//! Post-training quantization of a float model: the plugin says what can be quantized and changes the graph, the ranges and
//! parameters are decided here, from what the model computes on samples.

mod calibration;
mod edits;
mod kept;
mod lift;
mod mixed;
mod options;
mod parameters;
mod prepared;
mod statistics;
mod values;

pub use lift::Gain;
pub use mixed::{Bits, Mixed, MixedLayer};
pub use options::{Lift, Method, Options, Rounding};
pub use parameters::Parameters;

use crate::backend::{Progress, Session};
use crate::capture::{Feed, Side};
use crate::catalog::KeptResults;
use crate::error::{Error, Result};
use crate::model::{Activations, Quantizable, QuantizableOf};
use crate::spelling::matches_pattern;
use calibration::Calibrated;
use kept::KeptStatistics;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// A model with codes.
pub struct Quantized {
    /// The model.
    pub session: Session,
    /// What was to be quantized.
    pub plan: Quantizable,
    /// Scales and zero points, by the value or tensor.
    pub parameters: HashMap<String, Parameters>,
    /// How many samples the ranges come from.
    pub samples: u64,
    /// How many ranges were known from an earlier calibration.
    pub kept_ranges: usize,
    /// How long calibration took.
    pub calibrated_in: Duration,
    /// The runtime that calibrated, with its version.
    pub runtime: Option<(String, String)>,
    /// What each step that lifts accuracy gave.
    pub gains: Vec<Gain>,
}

/// Quantizes a model: calibrates on the samples of `feed`, and puts codes in place of real numbers. Ranges that are among
/// `results` are not measured again. Samples are not needed where no activation is calibrated and nothing is lifted.
///
/// # Errors
/// `UnsupportedOp` when the backend cannot or there is nothing to quantize; those of running the model and of its samples;
/// `Cancelled`.
pub fn quantize(
    side: &Side<'_>,
    feed: Option<Feed<'_>>,
    options: &Options,
    results: Option<&KeptResults>,
    progress: &dyn Progress,
) -> Result<Quantized> {
    let own = &side.model.session;
    own.require_edits()?;
    let described = prepared::described(side, feed, progress);
    let side = described.as_ref().unwrap_or(side);
    let prepared = if options.prepare { Some(prepared::prepared(side, feed, progress)?) } else { None };
    let session = prepared.as_ref().unwrap_or(own);
    let plan = session.quantizable(&question(session, options)?, progress)?;
    if plan.values.is_empty() && plan.tensors.is_empty() {
        return Err(Error::invalid_input(format!("`{}` has nothing to quantize", side.model.id))
            .with_hint("See `layers` for its layers, and `help quantize` for those that can be quantized."));
    }
    let mut calibrated = if plan.values.is_empty() {
        Calibrated::default()
    } else {
        let feed = feed.ok_or_else(no_samples)?;
        let codes = parameters::activation_codes(options)?;
        let kept = match results {
            Some(results) => Some(KeptStatistics::of(results, side, feed, options, progress)?),
            None => None,
        };
        calibration::calibrate((session, side), feed, &plan, (options, codes), kept, progress)?
    };
    let plain = Options { lift: Lift::default(), ..options.clone() };
    let made = parameters::decide(session, &plan, &calibrated.ranges, &plain, progress)?;
    progress.update("making the graph", 0, 0);
    let lift::Lifted { session, made, gains } = if options.lift == Lift::default() {
        let session = session.edit(edits::of(&plan, made.edits.clone()), progress)?;
        lift::Lifted { session, made, gains: Vec::new() }
    } else {
        let feed = feed.ok_or_else(no_samples)?;
        let ground = lift::Ground { side, feed, options, plan: &plan, progress };
        lift::lift(&ground, session, &mut calibrated, made)?
    };
    let is_static = options.activations == Activations::Calibrated;
    let session = if options.qoperator && is_static {
        session.edit(vec![edits::to_qoperator()], progress)?
    } else {
        session
    };
    Ok(Quantized {
        session,
        plan,
        parameters: made.parameters,
        samples: calibrated.samples,
        kept_ranges: calibrated.kept,
        calibrated_in: calibrated.elapsed,
        runtime: calibrated.runtime,
        gains,
    })
}

fn no_samples() -> Error {
    Error::invalid_input("there are no samples").with_hint("Give some with `--data`.")
}

/// What to ask the plugin.
fn question(session: &Session, options: &Options) -> Result<QuantizableOf> {
    let layers = &session.info().layers;
    let mut exclude = BTreeSet::new();
    for pattern in &options.exclude {
        let found = layers.iter().map(|layer| &layer.path).filter(|path| matches_pattern(pattern, path));
        let before = exclude.len();
        exclude.extend(found.cloned());
        if exclude.len() == before && !exclude.iter().any(|path| matches_pattern(pattern, path)) {
            return Err(Error::not_found(format!("no layer matches `{pattern}`"))
                .with_hint("`layers` lists the layers."));
        }
    }
    let is_wanted = |layer: &crate::model::LayerInfo| options.op_types.contains(&layer.op_type);
    if !options.op_types.is_empty() && !layers.iter().any(is_wanted) {
        return Err(Error::not_found(format!("no layer is a `{}`", options.op_types.join("` or a `")))
            .with_hint("`layers` lists the layers with their operators."));
    }
    Ok(QuantizableOf {
        exclude,
        op_types: options.op_types.iter().cloned().collect(),
        per_channel: options.per_channel,
        symmetric_activations: options.activation_symmetric,
        keep_clamps: options.keep_clamps,
        quantize_moves: options.quantize_moves,
        activations: options.activations,
        in_blocks: options.block_size.is_some(),
    })
}
