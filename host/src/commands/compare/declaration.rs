//! What the report of a comparison holds.

use super::{CompareReport, ComparedLayer};
use crate::capture::order::Order;
use crate::inspect::Errors;
use crate::inspect::pairing::Ground;
use crate::render::chart::Chart;
use crate::render::record::{Direction, Field, Record, Unit, word};
use crate::render::style::Tone;

/// The SQNR at which the bar is full.
const FULL_BAR_DB: f64 = 60.0;

impl Record for CompareReport<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("reference", Unit::Name, "The reference", |found| found.reference),
            Self::field("candidate", Unit::Name, "The candidate", |found| found.candidate),
            Self::field("input", Unit::Text, "Where the samples come from", |found| found.input.clone()),
            Self::field("samples", Unit::Count, "Samples that both models ran on", |found| found.samples),
            Self::field("batch", Unit::Count, "Samples that ran together", |found| found.batch),
            Self::field(
                "is_batch_dependent",
                Unit::Flag,
                "Whether scales are computed from each batch, so that its size changes the numbers",
                |found| found.is_batch_dependent,
            ),
            Self::field(
                "is_optimized",
                Unit::Flag,
                "Whether the runtime optimized the graphs, instead of running them as written",
                |found| found.is_optimized,
            ),
            Self::object("reference_run", "How the reference was run", |found| found.reference_run.as_ref()),
            Self::object("candidate_run", "How the candidate was run", |found| found.candidate_run.as_ref()),
            Self::field("threshold_db", Unit::Decibels, "Layers below this SQNR are marked", |found| {
                found.threshold_db
            }),
            Self::field("min_sqnr_db", Unit::Decibels, "The lowest SQNR of all layers", |found| {
                found.min_sqnr_db
            }),
            Self::field("worst_layer", Unit::Name, "The layer with the lowest SQNR", |found| {
                found.worst_layer
            }),
            Self::field(
                "first_below",
                Unit::Name,
                "The first layer below the threshold, in the order of the reference",
                |found| found.first_below,
            ),
            Self::field("total", Unit::Count, "Rows before `--top` cut them", |found| found.total),
            Self::list("layers", "The layers that were compared", |found| &found.layers),
            Self::error("local_obstacle", "Why no layer was computed alone", |found| {
                found.local_obstacle.as_ref()
            }),
            Self::field(
                "unmatched_reference",
                Unit::Name,
                "Layers of the reference without a match",
                |found| found.unmatched_reference.clone(),
            ),
            Self::field(
                "unmatched_candidate",
                Unit::Name,
                "Layers of the candidate without a match",
                |found| found.unmatched_candidate.clone(),
            ),
        ]
    }
}

impl Record for ComparedLayer<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("layer", Unit::Name, "The layer of the reference", |row| row.layer)
                .title("layer")
                .text(|row| row.label.to_owned()),
            Self::field("op_type", Unit::Text, "Its operator or class", |row| row.op_type).title("type").rank(5),
            Self::field("candidate_layer", Unit::Name, "The layer of the candidate", |row| row.candidate_layer),
            Self::flat(Ground::fields(), |row| Some(&row.ground))
                .always()
                .change("why", |field| field.title("why").rank(4).text(why).tone(|_| Tone::Dim)),
            Self::field("reference_value", Unit::Name, "The value of the reference that was compared", |row| {
                row.reference_value
            }),
            Self::field("candidate_value", Unit::Name, "The value of the candidate that was compared", |row| {
                row.candidate_value
            }),
            Self::field(
                "through",
                Unit::Name,
                "Layers of one side that are part of the other side's layer",
                |row| row.through.clone(),
            )
            .title("through")
            .rank(6)
            .tone(|_| Tone::Dim),
            Self::field(
                "order",
                Unit::Text,
                "Order of the candidate's dimensions relative to the reference's",
                |row| row.order.map(word),
            )
            .choices(&["same", "channels-last", "channels-first", "middle-swapped", "last-swapped"]),
            Self::flat(Errors::fields(), |row| row.errors.as_ref())
                .change("sqnr_db", |sqnr| sqnr.tone(|row| if row.is_below_threshold { Tone::Bad } else { Tone::Plain })),
            Self::nested(
                "local",
                "The same errors of this layer alone, fed the reference's values; null if the candidate does not \
                 quantize it",
                Errors::fields(),
                |row| row.local.as_ref(),
            )
            .for_machines()
            .change("sqnr_db", |sqnr| {
                sqnr.title("alone dB")
                    .means("SQNR of this layer alone, fed the reference's values: its own error, without the errors of the layers before it")
                    .rank(2)
                    .sort("alone", Direction::Ascending)
                    .after("sqnr_db")
            }),
            Self::chart("Bar of the SQNR, full at 60 dB", |row| {
                Some(Chart::Bar((row.sqnr_db()? / FULL_BAR_DB).clamp(0.0, 1.0)))
            })
            .rank(1)
            .tone(|row| if row.is_below_threshold { Tone::Bad } else { Tone::Good })
            .after("local.sqnr_db"),
            Self::error("local_obstacle", "Why this layer was not computed alone", |row| {
                row.local_obstacle.as_ref()
            }),
            Self::field(
                "clipped_share",
                Unit::Share,
                "Share of the reference's values outside the range that the candidate's codes can represent",
                |row| row.clipped_share,
            )
            .title("clipped")
            .rank(2)
            .sort("clipped", Direction::Descending),
            Self::error("obstacle", "Why the layer was not compared", |row| row.obstacle.as_ref()),
        ]
    }
}

/// What the match is based on; for a match by values also how well they agree, and the order of the dimensions.
fn why(row: &ComparedLayer<'_>) -> String {
    let mut why = row.ground.why.to_owned();
    if row.ground.is_by_value() {
        // Rounded down: only equal values show 1.
        let thousandths = (row.ground.confidence * 1000.0).floor() / 1000.0;
        why.push_str(&format!(" {thousandths:.3}"));
    }
    match row.order {
        Some(Order::ChannelsLast) => why.push_str(", NHWC"),
        Some(Order::ChannelsFirst) => why.push_str(", NCHW"),
        Some(Order::MiddleSwapped | Order::LastSwapped) => why.push_str(", transposed"),
        Some(Order::Same) | None => {}
    }
    why
}
