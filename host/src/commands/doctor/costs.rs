//! What each layer costs, by its path.

use super::{Cost, Finding};
use crate::capture::pairing::ActivationPair;
use crate::capture::sensitivity::Measured;
use crate::capture::switched::Switched;
use std::collections::HashMap;

/// The costs of the float model's layers; none if they could not be measured.
#[derive(Default)]
pub(super) struct Costs<'a>(HashMap<&'a str, Cost>);

impl<'a> Costs<'a> {
    pub(super) fn of(measured: &Measured, switched: &Switched<'_>, pairs: &[ActivationPair<'a>]) -> Self {
        let all = measured.outcome(&measured.all);
        let cost = |(index, change): (&usize, _)| {
            let but = measured.outcome(change);
            let back = |all: Option<f64>, but: Option<f64>| Some(all? - but?);
            let cost = Cost {
                accuracy_pp: back(all.accuracy_drop_pp, but.accuracy_drop_pp),
                changed: Some(all.changed.cast_signed() - but.changed.cast_signed()),
                gain_db: back(but.sqnr_db, all.sqnr_db),
            };
            (pairs[*index].reference.path.as_str(), cost)
        };
        Self(switched.layers.iter().zip(&measured.all_but).map(cost).collect())
    }

    pub(super) fn put(&self, finding: Finding) -> Finding {
        let cost = finding.layer.as_deref().and_then(|layer| self.0.get(layer)).copied().unwrap_or_default();
        Finding { cost, ..finding }
    }

    /// The layers with the highest gain.
    pub(super) fn highest(&self, count: usize) -> Vec<&'a str> {
        let gain = |layer: &str| self.0[layer].gain_db.unwrap_or(0.0);
        let mut all: Vec<&str> = self.0.keys().copied().filter(|layer| gain(layer) > 0.0).collect();
        all.sort_by(|left, right| gain(right).total_cmp(&gain(left)).then(left.cmp(right)));
        all.truncate(count);
        all
    }
}
