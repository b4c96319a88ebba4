//! Why a quantized model is worse than the one that it was made from: faults with a name, found by holding its weights,
//! biases and ranges against the other's. What has no name is left to the errors of the layers. Nothing here is
//! displayed.

mod fault;
mod ranges;
mod weights;

pub use fault::{Cause, Fault};
pub use ranges::Observed;

use crate::backend::Progress;
use crate::capture::pairing::Activations;
use crate::error::Result;
use crate::playground::Loaded;

/// All faults that have a name, those of the weights first, each in the order of the reference's layers. `observed` is
/// what the reference computes on some samples.
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
    // A bias whose scale follows from a wrong range upstream is no fault of its own.
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
