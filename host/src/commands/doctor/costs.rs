//! What each layer costs, by its path.

use super::Finding;
use serde_json::Value;
use std::collections::HashMap;

#[derive(Default)]
pub(super) struct Costs(HashMap<String, Cost>);

#[derive(Clone, Copy)]
pub(super) struct Cost {
    pub(super) accuracy_pp: Option<f64>,
    pub(super) changed: Option<i64>,
    pub(super) gain_db: Option<f64>,
}

impl Costs {
    pub(super) fn of(value: &Value) -> Self {
        let all = &value["all"];
        let rows = value["layers"].as_array().into_iter().flatten();
        let cost = |row: &Value| {
            let but = &row["all_but"];
            let back = |key: &str| Some(real(&all[key])? - real(&but[key])?);
            let layer = row["layer"].as_str()?.to_owned();
            let changed = back("changed").map(|changed| changed as i64);
            Some((
                layer,
                Cost { accuracy_pp: back("accuracy_drop_pp"), changed, gain_db: real(&row["gain_db"]) },
            ))
        };
        Self(rows.filter_map(cost).collect())
    }

    pub(super) fn put(&self, finding: Finding) -> Finding {
        match finding.layer.as_ref().and_then(|layer| self.0.get(layer)) {
            Some(Cost { accuracy_pp, changed, gain_db }) => {
                Finding { accuracy_pp: *accuracy_pp, changed: *changed, gain_db: *gain_db, ..finding }
            }
            None => finding,
        }
    }

    /// The layers with the highest gain.
    pub(super) fn highest(&self, count: usize) -> Vec<(&String, Cost)> {
        let mut all: Vec<(&String, Cost)> = self
            .0
            .iter()
            .map(|(layer, cost)| (layer, *cost))
            .filter(|(_, cost)| cost.gain_db > Some(0.0))
            .collect();
        let gain = |cost: &Cost| cost.gain_db.unwrap_or(0.0);
        all.sort_by(|left, right| gain(&right.1).total_cmp(&gain(&left.1)).then(left.0.cmp(right.0)));
        all.truncate(count);
        all
    }
}

/// A number of a report, infinite ones included.
pub(super) fn real(value: &Value) -> Option<f64> {
    match value {
        Value::String(infinite) => infinite.parse().ok(),
        number => number.as_f64(),
    }
}
