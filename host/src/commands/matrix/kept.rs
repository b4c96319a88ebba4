//! Rows of earlier matrices: a model that was measured is not measured again, as long as nothing that its numbers depend on
//! has changed.

use super::{Arguments, TOP};
use crate::backend::Progress;
use crate::capture::Side;
use crate::capture::batch::content_hash;
use crate::catalog::KeptResults;
use crate::error::Result;
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
        let samples = content_hash(&sides[reference], batches, labels, progress)?;
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
