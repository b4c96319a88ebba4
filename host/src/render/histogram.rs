//! Histograms as tables, one bin a row.

use super::chart::Chart;
use super::record::{Field, Record, Unit};
use super::report::Table;
use super::style::Tone;

/// One bin of a histogram.
pub struct Bin {
    low: f64,
    high: f64,
    count: u64,
    /// Its share of the fullest bin.
    share: f64,
    is_marked: bool,
}

impl Record for Bin {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("from", Unit::Real, "Lower edge of the bin, included", |bin| bin.low).title("from"),
            Self::field("to", Unit::Real, "Upper edge of the bin, included only in the last", |bin| bin.high)
                .title("to"),
            Self::field("count", Unit::Count, "Values in the bin", |bin| bin.count).title("count"),
            Self::chart("Bar of the count, full at the fullest bin", |bin| Some(Chart::Bar(bin.share)))
                .tone(|bin| if bin.is_marked { Tone::Good } else { Tone::Dim }),
        ]
    }
}

/// A row with a bar for each bin; those that are `marked` are green.
pub fn histogram_table(edges: &[f64], counts: &[u64], marked: impl Fn(f64, f64) -> bool) -> Table {
    let most = counts.iter().copied().max().unwrap_or(1).max(1) as f64;
    let bins: Vec<Bin> = edges
        .windows(2)
        .zip(counts)
        .map(|(edges, &count)| Bin {
            low: edges[0],
            high: edges[1],
            count,
            share: count as f64 / most,
            is_marked: marked(edges[0], edges[1]),
        })
        .collect();
    Table::of(&bins)
}
