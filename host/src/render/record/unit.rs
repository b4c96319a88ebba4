//! What a value is measured in: how people read it, and how its column is aligned.

use super::Datum;
use crate::render::number;
use crate::render::style::Tone;
use std::time::Duration;

/// The unit of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// The name of a model, a layer, a file.
    Name,
    /// Any other text, and lists of texts.
    Text,
    /// Whether something holds.
    Flag,
    /// How many there are.
    Count,
    /// A number that identifies one of several, such as a class: without separators.
    Index,
    /// A size in bytes.
    Bytes,
    /// A real number in the unit of the values.
    Real,
    /// A real number that people see with this many decimals.
    Decimals(u8),
    /// A ratio in decibels.
    Decibels,
    /// A share, from 0 to 1; people see percent.
    Share,
    /// Milliseconds.
    Duration,
}

impl Unit {
    /// Its symbol; empty where the number has none, or is in the unit of the values.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Decibels => "dB",
            Self::Share => "0 to 1",
            Self::Duration => "ms",
            Self::Name | Self::Text | Self::Flag | Self::Count | Self::Index | Self::Real => "",
            Self::Decimals(_) => "",
        }
    }

    /// Whether cells end at the right, as numbers do.
    pub fn is_right_aligned(self) -> bool {
        !matches!(self, Self::Name | Self::Text | Self::Flag)
    }

    pub(super) fn tone(self) -> Tone {
        if self == Self::Name { Tone::Name } else { Tone::Plain }
    }

    /// The value as people read it; a dash where there is none.
    pub fn text(self, datum: &Datum) -> String {
        match (self, datum) {
            (_, Datum::Missing) => "–".to_owned(),
            (_, Datum::Flag(flag)) => if *flag { "yes" } else { "no" }.to_owned(),
            (_, Datum::Text(text)) => text.clone(),
            (_, Datum::Error(error)) => error.one_line(),
            (_, Datum::Tagged(key, value)) => format!("{key} {}", self.text(value)),
            (_, Datum::List(values)) => {
                values.iter().map(|value| self.text(value)).collect::<Vec<_>>().join(", ")
            }
            (Self::Bytes, Datum::Count(number)) => number::bytes(*number),
            (Self::Index, Datum::Count(number)) => number.to_string(),
            (_, Datum::Count(number)) => number::count(*number),
            (_, Datum::Whole(number)) => number.to_string(),
            (_, Datum::Real(number)) if !number.is_finite() => number::real(*number),
            (Self::Decibels, Datum::Real(number)) => format!("{number:.2}"),
            (Self::Decimals(decimals), Datum::Real(number)) => format!("{number:.*}", usize::from(decimals)),
            (Self::Share, Datum::Real(number)) => number::percent(*number),
            (Self::Duration, Datum::Real(number)) => {
                number::duration(Duration::try_from_secs_f64(number / 1e3).unwrap_or_default())
            }
            (_, Datum::Real(number)) => number::real(*number),
        }
    }
}
