//! What the report of residual additions holds.

use super::{Costs, Found, Row, ShownBranch};
use crate::render::record::{Field, Record, Unit};
use crate::render::style::Tone;

impl Record for Found<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("model", Unit::Name, "The model", |found| found.model),
            Self::field(
                "reference",
                Unit::Name,
                "The model whose values were measured; null without `--reference`",
                |found| found.reference,
            ),
            Self::field("samples", Unit::Count, "Samples that the reference ran on", |found| found.samples),
            Self::field("runtime", Unit::Text, "The runtime that ran them, and its settings", |found| {
                found.runtime.clone()
            }),
            Self::field("threshold", Unit::Decimals(2), "Ratios of at least this are marked", |found| {
                found.threshold
            }),
            Self::field("max_ratio", Unit::Decimals(2), "The largest ratio of two scales", |found| {
                found.max_ratio
            }),
            Self::field("above", Unit::Count, "Additions at the threshold or above", |found| found.above),
            Self::list("residuals", "The additions of two branches", |found| &found.residuals),
        ]
    }
}

impl Record for Row<'_> {
    fn fields() -> Vec<Field<Self>> {
        let text = |row: &Self, place: usize| match row.branches[place].layers[..] {
            [] => "straight".to_owned(),
            [only] => only.to_owned(),
            [first, .., last] => format!("{first} … {last}"),
        };
        let branch_tone = |row: &Self, place: usize| match row.branches[place].layers[..] {
            [] => Tone::Dim,
            [..] => Tone::Plain,
        };
        let scale_tone = |row: &Self, place: usize| match (row.branches[place].scale, row.finer) {
            (Some(_), Some(finer)) if finer == place => Tone::Warning,
            _ => Tone::Plain,
        };
        let ratio_tone = |row: &Self| if row.is_above { Tone::Bad } else { Tone::Plain };
        vec![
            Self::field("layer", Unit::Name, "The layer that adds the branches", |row| row.layer)
                .title("addition"),
            Self::field("fork", Unit::Text, "The layer that both branches start from", |row| row.fork)
                .title("fork")
                .rank(3),
            Self::field("branch", Unit::Text, "First and last layer of the branch", move |row| text(row, 0))
                .title("branch")
                .rank(1)
                .tone(move |row| branch_tone(row, 0))
                .for_tables(),
            Self::field("scale", Unit::Real, "Scale of the branch", |row| row.branches[0].scale)
                .title("scale")
                .tone(move |row| scale_tone(row, 0))
                .for_tables(),
            Self::field("other_branch", Unit::Text, "First and last layer of the other branch", move |row| {
                text(row, 1)
            })
            .title("other branch")
            .rank(1)
            .tone(move |row| branch_tone(row, 1))
            .for_tables(),
            Self::field("other_scale", Unit::Real, "Scale of the other branch", |row| row.branches[1].scale)
                .title("other scale")
                .tone(move |row| scale_tone(row, 1))
                .for_tables(),
            Self::list("branches", "The two branches", |row| &row.branches),
            Self::field("output_scale", Unit::Real, "Scale of the sum", |row| row.output_scale)
                .title("sum's scale")
                .rank(2),
            Self::field("ratio", Unit::Decimals(2), "The larger of the two scales over the smaller", |row| {
                row.ratio
            })
            .title("ratio")
            .tone(ratio_tone),
            Self::field(
                "bits_lost",
                Unit::Decimals(2),
                "Bits that the finer branch loses at the other's scale: log2 of the ratio",
                |row| row.bits_lost,
            )
            .title("bits lost")
            .tone(ratio_tone),
            Self::field(
                "finer",
                Unit::Index,
                "Which branch has the smaller scale, 0 or 1; null if they are equal",
                |row| row.finer,
            ),
            Self::field(
                "effective_bits",
                Unit::Decimals(2),
                "Bits of the finer branch's codes that remain at the other's scale",
                |row| row.effective_bits,
            ),
            Self::object("measured", "What the scales cost; null if it was not measured", |row| {
                row.measured.as_ref()
            }),
            Self::error("obstacle", "Why it was not measured", |row| row.obstacle.as_ref()),
        ]
    }
}

impl Record for Costs {
    fn fields() -> Vec<Field<Self>> {
        let better = |field: Field<Self>, of: fn(&Self) -> Option<f64>| {
            field.rank(1).tone(move |costs| match of(costs).zip(costs.sum_db) {
                None if of(costs).is_none() => Tone::Dim,
                Some((other, own)) if other > own + 0.1 => Tone::Good,
                _ => Tone::Plain,
            })
        };
        vec![
            Self::field("first_db", Unit::Decibels, "SQNR of the branch after rounding", |costs| {
                costs.first_db
            })
            .title("branch dB"),
            Self::field("second_db", Unit::Decibels, "SQNR of the other branch after rounding", |costs| {
                costs.second_db
            })
            .title("other dB"),
            Self::field(
                "clipped_shares",
                Unit::Share,
                "Share of each branch's values outside the range of its codes",
                |costs| costs.clipped_shares,
            ),
            Self::field(
                "sum_db",
                Unit::Decibels,
                "SQNR of the sum after rounding the branches and the sum",
                |costs| costs.sum_db,
            )
            .title("sum dB"),
            better(
                Self::field(
                    "shared_scale_db",
                    Unit::Decibels,
                    "SQNR of the sum if both branches had the larger scale",
                    |costs| costs.shared_scale_db,
                )
                .title("if one scale"),
                |costs| costs.shared_scale_db,
            ),
            better(
                Self::field(
                    "power_of_two_db",
                    Unit::Decibels,
                    "SQNR of the sum if each scale were the next power of two",
                    |costs| costs.power_of_two_db,
                )
                .title("if powers of two"),
                |costs| costs.power_of_two_db,
            ),
        ]
    }
}

impl Record for ShownBranch<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("value", Unit::Name, "The value that is added", |branch| branch.value),
            Self::field(
                "layers",
                Unit::Name,
                "Its layers after the fork; empty for a plain skip connection",
                |branch| branch.layers.clone(),
            ),
            Self::field("dtype", Unit::Text, "Type of its codes; null if it is not quantized", |branch| {
                branch.dtype.clone()
            }),
            Self::field("scale", Unit::Real, "Its scale", |branch| branch.scale),
            Self::field("zero_point", Unit::Real, "Its zero point", |branch| branch.zero_point),
        ]
    }
}

/// What the scales of an addition cost.
pub(super) struct Measured<'a> {
    pub(super) layer: &'a str,
    pub(super) costs: &'a Costs,
}

impl Record for Measured<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("layer", Unit::Name, "The layer that adds the branches", |measured| measured.layer)
                .title("addition"),
            Self::flat(Costs::fields(), |measured| Some(measured.costs)).always(),
            Self::field(
                "clipped_share",
                Unit::Share,
                "Share of the branch's values outside the range of its codes",
                |measured| measured.costs.clipped_shares.0,
            )
            .title("clipped")
            .rank(2)
            .after("second_db"),
            Self::field(
                "other_clipped_share",
                Unit::Share,
                "Share of the other branch's values outside the range of its codes",
                |measured| measured.costs.clipped_shares.1,
            )
            .title("other clipped")
            .rank(2)
            .after("clipped_share"),
        ]
    }
}
