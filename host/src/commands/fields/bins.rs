//! Histograms of several variants on the same bins.

use crate::render::record::{Field, Record, Unit};

/// One bin of all histograms; a column for each variant is declared when the variants are known.
pub(in crate::commands) struct SharedBin {
    low: f64,
    high: f64,
    counts: Vec<u64>,
    /// The count of the fullest bin of all.
    most: u64,
}

impl SharedBin {
    /// The bins between these edges, with the counts of each variant.
    pub(in crate::commands) fn all<'c>(
        edges: &[f64],
        counts: impl Iterator<Item = &'c [u64]> + Clone,
    ) -> Vec<Self> {
        let most = counts.clone().flatten().copied().max().unwrap_or(1).max(1);
        let bin = |(index, edges): (usize, &[f64])| Self {
            low: edges[0],
            high: edges[1],
            counts: counts.clone().map(|counts| counts.get(index).copied().unwrap_or_default()).collect(),
            most,
        };
        edges.windows(2).enumerate().map(bin).collect()
    }

    pub(in crate::commands) fn count(&self, variant: usize) -> u64 {
        self.counts.get(variant).copied().unwrap_or_default()
    }

    /// The count's share of the fullest bin of all.
    pub(in crate::commands) fn share(&self, variant: usize) -> f64 {
        self.count(variant) as f64 / self.most as f64
    }
}

impl Record for SharedBin {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("from", Unit::Real, "Lower edge of the bin, included", |bin| bin.low).title("from"),
            Self::field("to", Unit::Real, "Upper edge of the bin, included only in the last", |bin| bin.high)
                .title("to"),
        ]
    }
}
