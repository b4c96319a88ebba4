//! Rows of earlier matrices: a model that was measured is not measured again, as long as nothing that its numbers depend on
//! has changed.

use super::{Arguments, TOP};
use crate::backend::Progress;
use crate::capture::Side;
use crate::capture::batch::Batches;
use crate::catalog::KeptResults;
use crate::error::{Error, Result};
use crate::input::Input;
use serde::Serialize;

/// Raised when numbers are computed in another way.
const VERSION: u32 = 1;

/// The keys of all rows; `None` for a model that is too large to be hashed.
pub(super) struct Keys(pub(super) Vec<Option<String>>);

/// What a row depends on.
#[derive(Serialize)]
struct Ground<'a> {
    version: u32,
    program: &'a str,
    runtime: String,
    model: String,
    reference: String,
    is_reference: bool,
    samples: &'a str,
    classes: &'a [String],
    margin: u64,
    top: usize,
    layer_samples: u64,
    batch: Option<u64>,
    options: &'a [(String, String)],
    /// The inputs of the model that samples are fitted by, where the model itself does not declare them.
    inputs: Option<String>,
}

impl Keys {
    /// # Errors
    /// Those of reading samples; `Cancelled`.
    pub(super) fn of(
        sides: &[Side<'_>],
        (input, labels, classes): (&Input, Option<&[i64]>, &[String]),
        (arguments, reference): (&Arguments, usize),
        progress: &dyn Progress,
    ) -> Result<Self> {
        let Some(of_reference) = sides[reference].model.hash_text() else {
            return Ok(Self(vec![None; sides.len()]));
        };
        let batches =
            arguments.choice.samples.for_outputs(input).batches(&sides.iter().collect::<Vec<_>>())?;
        let samples = hash_of(&sides[reference], batches, labels, progress)?;
        let options = arguments.choice.running.named();
        let key = |(index, side): (usize, &Side<'_>)| {
            KeptResults::key(&Ground {
                version: VERSION,
                program: env!("CARGO_PKG_VERSION"),
                runtime: side.model.session.runtime_text()?,
                model: side.model.hash_text()?,
                reference: of_reference.clone(),
                is_reference: index == reference,
                samples: &samples,
                classes,
                margin: arguments.margin.to_bits(),
                top: TOP,
                layer_samples: arguments.layer_samples,
                batch: arguments.choice.samples.batch,
                options: &options,
                inputs: side.sibling.as_ref().map(|sibling| format!("{:?}", sibling.inputs)),
            })
        };
        Ok(Self(sides.iter().enumerate().map(key).collect()))
    }
}

/// A hash of the samples as the reference reads them, and of their labels.
fn hash_of(
    side: &Side<'_>,
    batches: Batches<'_>,
    labels: Option<&[i64]>,
    progress: &dyn Progress,
) -> Result<String> {
    let total = batches.samples();
    let mut hasher = blake3::Hasher::new();
    let mut done = 0;
    for (count, samples) in batches {
        progress.update("reading samples", done, total);
        if progress.is_cancelled() {
            return Err(Error::cancelled());
        }
        for tensor in side.fit(&samples)? {
            hasher.update(format!("{} {} {:?}", tensor.name, tensor.dtype, tensor.shape).as_bytes());
            hasher.update(&tensor.bytes);
        }
        done += count;
    }
    let labels = labels.unwrap_or_default();
    labels.iter().take(usize::try_from(done).unwrap_or(usize::MAX)).for_each(|label| {
        hasher.update(&label.to_le_bytes());
    });
    Ok(hasher.finalize().to_hex().to_string())
}
