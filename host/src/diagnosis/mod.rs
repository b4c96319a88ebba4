//! Why a quantized model is worse than its float model: known faults, found by comparing weights, biases and ranges.
//! Anything else only shows in the errors of the layers. Nothing here is displayed.

mod fault;
mod ranges;
mod weights;

pub use fault::{Cause, Fault};
pub use ranges::Observed;

use crate::backend::Progress;
use crate::capture::pairing::Activations;
use crate::error::Result;
use crate::playground::Loaded;

/// All known faults, those of the weights first, each in the order of the reference's layers. `observed` is what the
/// reference computes on some samples.
///
/// # Errors
/// `Cancelled`.
pub fn causes(
    reference: &Loaded,
    candidate: &Loaded,
    values: &Activations<'_>,
    observed: &Observed,
    progress: &dyn Progress,
) -> Result<Vec<Cause>> {
    let mut causes = weights::faults(reference, candidate, progress)?;
    let ranges = ranges::faults(candidate, values, observed);
    // A bias whose scale follows from a wrong range upstream is not a fault of its own.
    let factors: Vec<f64> = ranges.iter().filter_map(|cause| cause.fault.factor()).collect();
    let follows = |cause: &Cause| match cause.fault {
        Fault::BiasScale { factor } => {
            factors.iter().any(|upstream| (0.6..1.7).contains(&(factor / upstream)))
        }
        _ => false,
    };
    causes.retain(|cause| !follows(cause));
    causes.extend(ranges);
    Ok(causes)
}
