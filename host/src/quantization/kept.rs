//! Statistics of earlier calibrations: another choice of layers, of weights or of the method does not run the model again, as
//! long as nothing that values depend on has changed.

use super::options::Options;
use super::statistics::Statistics;
use crate::backend::Progress;
use crate::capture::batch::content_hash;
use crate::capture::{Feed, Side};
use crate::catalog::KeptResults;
use crate::error::Result;
use serde::Serialize;
use std::collections::BTreeMap;

/// Raised when statistics are computed in another way.
const VERSION: u32 = 2;

/// The statistics of one model's values, on one choice of samples.
pub(super) struct KeptStatistics<'a> {
    results: &'a KeptResults,
    key: Option<String>,
    by_value: BTreeMap<String, Statistics>,
}

/// What they depend on.
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
    options: &'a BTreeMap<String, String>,
}

impl<'a> KeptStatistics<'a> {
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
                what: "statistics",
                version: VERSION,
                program: env!("CARGO_PKG_VERSION"),
                runtime,
                model,
                is_prepared: options.prepare,
                samples: content_hash(side, feed.batches(&[side])?, None, progress)?,
                batch: feed.batch,
                options: &side.options,
            }),
            _ => None,
        };
        let by_value = key.as_deref().and_then(|key| results.get(key)).unwrap_or_default();
        Ok(Self { results, key, by_value })
    }

    /// What is known of a value.
    pub(super) fn get(&self, name: &str) -> Option<&Statistics> {
        self.by_value.get(name)
    }

    /// Adds statistics to those that are kept.
    pub(super) fn keep(mut self, found: BTreeMap<String, Statistics>) {
        let Some(key) = &self.key else { return };
        self.by_value.extend(found);
        self.results.keep(key, &self.by_value);
    }
}
