//! What the report of a benchmark holds.

use super::{BenchReport, Relative, Row, Verdict};
use crate::render::chart::Chart;
use crate::render::number;
use crate::render::record::{Field, Record, Unit};
use crate::render::style::Tone;

impl Record for BenchReport {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("input", Unit::Text, "Where the samples come from", |report| report.input.clone()),
            Self::field(
                "is_input_chosen",
                Unit::Flag,
                "Whether the user has chosen an input; without one, the values are random",
                |report| report.is_input_chosen,
            ),
            Self::field("reference", Unit::Name, "The model that the others are compared with", |report| {
                report.reference.clone()
            }),
            Self::list("rows", "One row for each model, number of samples and number of threads", |report| {
                &report.rows
            }),
            Self::list(
                "layers",
                "What each layer takes in profiled runs, the longest first; empty without `--layers`",
                |report| &report.layers,
            ),
        ]
    }
}

impl Record for Row {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("model", Unit::Name, "The model", |row| row.model.clone()).title("model"),
            Self::field("batch", Unit::Count, "Samples run together", |row| row.batch)
                .title("batch"),
            Self::field(
                "threads",
                Unit::Count,
                "Threads of the runtime, as `--threads` says; null if it chooses",
                |row| row.threads,
            )
            .title("threads")
            .hidden_if_missing(),
            Self::field("rounds", Unit::Count, "Measured runs; in each round every model runs once", |row| {
                row.rounds as u64
            })
            .title("rounds")
            .rank(4),
            Self::field(
                "median_ms",
                Unit::Duration,
                "Median time of a run in the runtime alone: no preparation of inputs, no delivery of outputs",
                |row| row.median_ms,
            )
            .title("median"),
            Self::field("p90_ms", Unit::Duration, "90th percentile of the times", |row| row.p90_ms)
                .title("p90")
                .rank(3),
            Self::field("p99_ms", Unit::Duration, "99th percentile of the times", |row| row.p99_ms)
                .title("p99")
                .rank(5),
            Self::field("minimum_ms", Unit::Duration, "Shortest time", |row| row.minimum_ms)
                .title("min")
                .rank(6),
            Self::field(
                "alone_ms",
                Unit::Duration,
                "Median time of its runs before the first round, when no other model ran: if it is clearly shorter, the models \
                 disturb each other",
                |row| row.alone_ms,
            ),
            Self::field(
                "samples_per_second",
                Unit::Real,
                "Throughput: samples of a run divided by the median time",
                |row| row.samples_per_second,
            )
            .title("samples/s")
            .text(|row| throughput(row.samples_per_second))
            .rank(2),
            Self::flat(Relative::fields(), |row| row.relative.as_ref()),
            Self::field(
                "resident_gain_bytes",
                Unit::Bytes,
                "How much the resident memory of the process grew while the model was loaded and run so far; for the first \
                 model of a runtime this includes the runtime's library; memory in use before does not count; null if the \
                 system does not say",
                |row| row.gained_bytes,
            )
            .title("RSS gain")
            .rank(7)
            .hidden_if_missing(),
            Self::chart("Bar of the median time, the longest of the same batch and threads as wide as the column", |row| {
                Some(Chart::Bar(row.share))
            })
            .rank(8),
            Self::field("steps", Unit::Text, "What made the samples fit the model", |row| row.steps.clone()),
            Self::object("run", "How the model was run", |row| Some(&row.run)).always(),
        ]
    }
}

impl Record for Relative {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field(
                "ratio",
                Unit::Decimals(3),
                "Median time divided by the reference's; null for the reference",
                |relative| relative.ratio,
            )
            .title("ratio")
            .tone(|relative| tone(relative.verdict))
            .hidden_if_missing(),
            Self::field(
                "ratio_low",
                Unit::Decimals(3),
                "Lower end of its 95 % interval: paired bootstrap over blocks of rounds, 2,000 draws, percentiles; variation \
                 between processes is not included",
                |relative| relative.interval.low,
            )
            .title("low")
            .rank(1)
            .hidden_if_missing(),
            Self::field("ratio_high", Unit::Decimals(3), "Upper end of its 95 % interval", |relative| {
                relative.interval.high
            })
            .title("high")
            .rank(1)
            .hidden_if_missing(),
            Self::field(
                "block_rounds",
                Unit::Count,
                "Consecutive rounds that the bootstrap draws together: a twentieth of all, or more if rounds resemble their neighbors",
                |relative| relative.block as u64,
            ),
            Self::field(
                "verdict",
                Unit::Text,
                "same: the interval is within 1 % of 1, and another process may differ as much; otherwise faster or slower: it excludes 1; \
                 undecided: too few rounds to tell",
                |relative| relative.verdict.text(),
            )
            .choices(&Verdict::TEXTS),
        ]
    }
}

/// Samples per second, rounded to whole numbers if large.
fn throughput(samples: f64) -> String {
    if samples >= 100.0 { number::count(samples.round() as u64) } else { format!("{samples:.1}") }
}

/// The color of a verdict.
pub(super) fn tone(verdict: Verdict) -> Tone {
    match verdict {
        Verdict::Faster | Verdict::Same => Tone::Good,
        Verdict::Slower => Tone::Bad,
        Verdict::Undecided => Tone::Plain,
    }
}
