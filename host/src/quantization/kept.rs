//! Ranges of earlier calibrations: another choice of layers or weights does not run the model again, as long as nothing that
//! ranges depend on has changed.

use super::options::{Method, Options};
use crate::backend::Progress;
use crate::capture::batch::content_hash;
use crate::capture::{Feed, Side};
use crate::catalog::KeptResults;
use crate::error::Result;
use qp_analysis::calibration::ClipRange;
use serde::Serialize;
use std::collections::BTreeMap;

/// Raised when ranges are computed in another way.
const VERSION: u32 = 1;

/// The ranges of one model, with one choice of samples and method.
pub(super) struct KeptRanges<'a> {
    results: &'a KeptResults,
    key: Option<String>,
    /// The bits of both ends, by value.
    ranges: BTreeMap<String, (u32, u32)>,
}

/// What a range depends on.
#[derive(Serialize)]
struct Ground<'a> {
    what: &'static str,
    version: u32,
    program: &'a str,
    runtime: String,
    model: String,
    is_prepared: bool,
    samples: String,
    batch: u64,
    method: &'static str,
    percentile: u64,
    range_symmetric: Option<bool>,
    moving_average: bool,
    /// What else mse depends on.
    codes: Option<(u8, bool)>,
    options: &'a BTreeMap<String, String>,
}

impl<'a> KeptRanges<'a> {
    /// Those of earlier calibrations; none for a model that is too large to be hashed.
    ///
    /// # Errors
    /// Those of reading samples; `Cancelled`.
    pub(super) fn of(
        results: &'a KeptResults,
        side: &Side<'_>,
        feed: Feed<'_>,
        options: &Options,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let key = match (side.model.hash_text(), side.model.session.runtime_text()) {
            (Some(model), Some(runtime)) => KeptResults::key(&Ground {
                what: "ranges",
                version: VERSION,
                program: env!("CARGO_PKG_VERSION"),
                runtime,
                model,
                is_prepared: options.prepare,
                samples: content_hash(side, feed.batches(&[side])?, None, progress)?,
                batch: feed.batch,
                method: options.method.word(),
                percentile: options.percentile.to_bits(),
                range_symmetric: options.range_symmetric,
                moving_average: options.moving_average,
                codes: (options.method == Method::Mse)
                    .then(|| (options.activation.code(), options.activation_symmetric)),
                options: &side.options,
            }),
            _ => None,
        };
        let ranges = key.as_deref().and_then(|key| results.get(key)).unwrap_or_default();
        Ok(Self { results, key, ranges })
    }

    /// The range of a value.
    pub(super) fn get(&self, name: &str) -> Option<ClipRange> {
        let (low, high) = self.ranges.get(name)?;
        Some(ClipRange { low: f32::from_bits(*low), high: f32::from_bits(*high) })
    }

    /// Adds ranges to those that are kept.
    pub(super) fn keep<'n>(mut self, found: impl Iterator<Item = (&'n String, &'n ClipRange)>) {
        let Some(key) = &self.key else { return };
        let bits = |(name, range): (&String, &ClipRange)| {
            (name.clone(), (range.low.to_bits(), range.high.to_bits()))
        };
        self.ranges.extend(found.map(bits));
        self.results.keep(key, &self.ranges);
    }
}
