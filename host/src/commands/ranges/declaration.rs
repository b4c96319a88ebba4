//! What the report of ranges holds.

use super::{Compared, RangeRow, Unmatched, Unread, Variant};
use crate::inspect::pairing::Ground;
use crate::inspect::range::Extent;
use crate::render::record::{Direction, Field, Record, Unit};
use crate::render::style::Tone;

impl Record for Compared<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("models", Unit::Name, "The models, the reference first", |compared| {
                compared.models.clone()
            }),
            Self::field("total", Unit::Count, "Rows before `--top` cut them", |compared| compared.total),
            Self::field("low", Unit::Real, "Left end of the axis", |compared| compared.low),
            Self::field("high", Unit::Real, "Right end of the axis", |compared| compared.high),
            Self::field("is_logarithmic", Unit::Flag, "Whether the axis is logarithmic", |compared| {
                compared.is_logarithmic
            }),
            Self::list("rows", "One row for each layer, tensor or activation", |compared| &compared.rows),
            Self::list("unmatched", "Tensors of the other models without a match", |compared| {
                &compared.unmatched
            }),
            Self::list("unread", "Tensors that could not be read", |compared| &compared.unread),
        ]
    }
}

impl Record for RangeRow<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("name", Unit::Name, "The layer, or the tensor or activation", |row| row.name),
            Self::list("variants", "Its range in each of the models", |row| &row.variants),
            Self::field(
                "",
                Unit::Real,
                "Width: largest value minus the smallest, of the widest variant",
                |row| row.largest(Extent::width),
            )
            .sort("width", Direction::Descending),
            Self::field(
                "",
                Unit::Decimals(1),
                "Distance of the most extreme value from the mean, in standard deviations",
                |row| row.largest(|extent| extent.peak_sigmas),
            )
            .sort("peak", Direction::Descending),
        ]
    }
}

impl Record for Variant<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("name", Unit::Name, "The layer, or the tensor or activation", |variant| variant.name)
                .title("layer")
                .text(|variant| if variant.is_first { variant.name } else { "" }.to_owned()),
            Self::field("", Unit::Text, "Letter of the model", |variant| variant.letter)
                .title("")
                .hidden_if_missing(),
            Self::field("model", Unit::Index, "Index of the model in `models`", |variant| variant.model),
            Self::field("tensor", Unit::Name, "Name of its stored tensor or activation", |variant| {
                variant.tensor
            }),
            Self::nested(
                "ground",
                "Why it was matched with the reference's tensor",
                Ground::fields(),
                |variant| Some(&variant.ground),
            )
            .always()
            .change("why", |why| {
                why.title("matched by")
                    .rank(4)
                    .text(|variant| if variant.is_first { "" } else { variant.ground.why }.to_owned())
                    .tone(|_| Tone::Dim)
                    .shown_if(|variant| variant.letter.is_some())
                    .after("peak_sigmas")
            }),
            Self::flat(Extent::fields(), |variant| Some(&variant.extent))
                .always()
                .change("dtype", |dtype| dtype.title("dtype").rank(3))
                .change("min", |min| min.title("min").rank(1))
                .change("max", |max| max.title("max").rank(1))
                .change("peak_sigmas", |peak| {
                    peak.title("peak σ")
                        .rank(2)
                        .text(|variant| match variant.extent.peak_sigmas {
                            Some(peak) => format!("{peak:.1}{}", if variant.is_outlier { " ▲" } else { "" }),
                            None => "–".to_owned(),
                        })
                        .tone(|variant| if variant.is_outlier { Tone::Warning } else { Tone::Plain })
                }),
            Self::field(
                "is_outlier",
                Unit::Flag,
                "Whether the most extreme value is an outlier",
                |variant| variant.is_outlier,
            ),
            Self::chart("Range on the common axis", |variant| variant.chart.clone()).tone(|variant| {
                match variant.model {
                    _ if variant.is_outlier => Tone::Warning,
                    0 => Tone::Plain,
                    _ => Tone::Good,
                }
            }),
        ]
    }
}

impl Record for Extent {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("dtype", Unit::Text, "Element type as stored, or type of the codes", |extent| {
                extent.dtype
            }),
            Self::field(
                "min",
                Unit::Real,
                "Smallest finite value; null if the values are unknown",
                |extent| extent.min,
            ),
            Self::field(
                "max",
                Unit::Real,
                "Largest finite value; null if the values are unknown",
                |extent| extent.max,
            ),
            Self::field(
                "core",
                Unit::Real,
                "Three standard deviations around the mean, within the extremes",
                |extent| extent.core,
            ),
            Self::field(
                "representable",
                Unit::Real,
                "Real values of the smallest and the largest code, over all channels",
                |extent| extent.representable,
            ),
            Self::field(
                "peak_sigmas",
                Unit::Decimals(1),
                "Distance of the most extreme value from the mean, in standard deviations",
                |extent| extent.peak_sigmas,
            )
            .symbol("σ"),
            Self::field("non_finite", Unit::Count, "Elements that are NaN or infinite", |extent| {
                extent.non_finite
            }),
        ]
    }
}

impl Record for Unmatched<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("model", Unit::Index, "Index of the model in `models`", |other| other.model),
            Self::field("tensor", Unit::Name, "Name of the tensor", |other| other.tensor),
        ]
    }
}

impl Record for Unread<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("tensor", Unit::Name, "Name of the tensor", |unread| unread.tensor),
            Self::error("reason", "Why it could not be read", |unread| Some(&unread.reason)),
        ]
    }
}
