//! What `baseline` reports.

use super::{Checked, Saved};
use crate::baseline::{Change, Outcome, Scalar};
use crate::render::number;
use crate::render::record::{Datum, Field, IntoDatum, Kind, Record, Unit};
use crate::render::style::Tone;

impl IntoDatum for Scalar {
    fn kind() -> Kind {
        Kind::AnyOf(vec![Kind::Real, Kind::Flag, Kind::Text])
    }

    fn into_datum(self) -> Datum {
        match self {
            Self::Missing => Datum::Missing,
            Self::Flag(flag) => Datum::Flag(flag),
            Self::Whole(number) => Datum::Whole(number),
            Self::Real(number) => Datum::Real(number),
            Self::Text(text) => Datum::Text(text),
        }
    }
}

impl Record for Saved {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("path", Unit::Name, "The file", |saved| saved.path.clone()),
            Self::field("values", Unit::Count, "Values in it", |saved| saved.values),
            Self::field("tolerances", Unit::Count, "Tolerances kept from the file it replaces", |saved| {
                saved.tolerances
            }),
        ]
    }
}

impl Record for Checked {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("path", Unit::Name, "The file", |checked| checked.path.clone()),
            Self::field("values", Unit::Count, "Values in it", |checked| checked.values),
            Self::field(
                "holds",
                Unit::Flag,
                "Whether no value is missing or moved beyond its tolerance",
                |checked| checked.moved + checked.missing == 0,
            ),
            Self::field("moved", Unit::Count, "Values that moved beyond their tolerance", |checked| {
                checked.moved
            }),
            Self::field("missing", Unit::Count, "Values that this session does not have", |checked| {
                checked.missing
            }),
            Self::field("new", Unit::Count, "Values that the file does not have", |checked| checked.new),
            Self::field("within", Unit::Count, "Values that moved within their tolerance", |checked| {
                checked.within
            }),
            Self::list(
                "changes",
                "All changes; the table lists only values that moved or are missing",
                |checked| &checked.changes,
            ),
        ]
    }
}

impl Record for Change {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("outcome", Unit::Text, "What happened to the value", |change| change.outcome.word())
                .title("")
                .choices(Outcome::WORDS)
                .tone(|change| if change.outcome.is_failure() { Tone::Bad } else { Tone::Plain }),
            Self::field("key", Unit::Name, "Its key in the results", |change| change.key.clone())
                .title("value"),
            Self::field("before", Unit::Real, "The value in the file", |change| change.before.clone())
                .title("before")
                .text(|change| text(change.before.as_ref())),
            Self::field("now", Unit::Real, "The value in this session", |change| change.now.clone())
                .title("now")
                .text(|change| text(change.now.as_ref())),
            Self::field("difference", Unit::Real, "By how much a number moved", Change::difference)
                .title("by")
                .text(|change| signed(change.difference()))
                .rank(2),
            Self::field("relative", Unit::Real, "The same as a share of the larger of the two", |change| {
                change.relative()
            })
            .title("relative")
            .text(|change| signed(change.relative()))
            .rank(1),
            Self::field("relative_tolerance", Unit::Real, "Tolerance of the relative difference", |change| {
                change.tolerance.relative
            })
            .title("may be")
            .rank(3),
            Self::field("absolute_tolerance", Unit::Real, "Tolerance of the absolute difference", |change| {
                change.tolerance.absolute
            }),
        ]
    }
}

impl Change {
    /// What happened, in a few words.
    pub(super) fn in_words(&self) -> String {
        match self.outcome {
            Outcome::Missing => format!("`{}` is missing", self.key),
            _ => format!(
                "`{}` was {} and is {}",
                self.key,
                text(self.before.as_ref()),
                text(self.now.as_ref())
            ),
        }
    }
}

fn text(value: Option<&Scalar>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| Unit::Real.text(&value.clone().into_datum()))
}

fn signed(number: Option<f64>) -> String {
    match number {
        None => "–".to_owned(),
        Some(number) if number > 0.0 => format!("+{}", number::real(number)),
        Some(number) => number::real(number),
    }
}
