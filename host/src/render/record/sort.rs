//! `--sort`: the keys that columns declare.

use super::{Datum, Record, field};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use std::cmp::Ordering;

/// The key that leaves rows in the order in which the command found them.
pub const NATURAL: &str = "graph";

/// Which rows come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Those with the lowest number, or the first in the alphabet.
    Ascending,
    /// Those with the highest number.
    Descending,
}

/// A key that was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SortKey(String);

/// Reads a sort key of these rows; `natural` describes the order without one.
pub fn sort_keys<R: Record>(natural: &'static str) -> impl TypedValueParser<Value = SortKey> {
    let columns = field::columns(&R::fields());
    let declared = columns
        .iter()
        .filter_map(|column| Some(PossibleValue::new(column.spec.sort?.0).help(column.spec.meaning)));
    let keys: Vec<PossibleValue> =
        std::iter::once(PossibleValue::new(NATURAL).help(natural)).chain(declared).collect();
    PossibleValuesParser::new(keys).map(SortKey)
}

impl SortKey {
    /// Whether rows stay in the order in which they were found.
    pub fn is_natural(&self) -> bool {
        self.0 == NATURAL
    }

    /// Sorts rows; equal ones stay in their order, and those without a value come last.
    pub fn apply<R: Record>(&self, rows: &mut Vec<R>) {
        let columns = field::columns(&R::fields());
        let chosen = columns.iter().find_map(|column| {
            let (word, direction) = column.spec.sort?;
            (word == self.0).then_some((column, direction))
        });
        let Some((column, direction)) = chosen else { return };
        let mut keyed: Vec<(Datum, R)> = rows.drain(..).map(|row| (column.datum(&row), row)).collect();
        keyed.sort_by(|(left, _), (right, _)| order(left, right, direction));
        rows.extend(keyed.into_iter().map(|(_, row)| row));
    }
}

fn order(left: &Datum, right: &Datum, direction: Direction) -> Ordering {
    let order = match (left, right) {
        (Datum::Missing, Datum::Missing) => return Ordering::Equal,
        (Datum::Missing, _) => return Ordering::Greater,
        (_, Datum::Missing) => return Ordering::Less,
        (Datum::Text(left), Datum::Text(right)) => left.cmp(right),
        (Datum::Count(left), Datum::Count(right)) => left.cmp(right),
        (left, right) => match (number(left), number(right)) {
            (Some(left), Some(right)) => left.total_cmp(&right),
            _ => Ordering::Equal,
        },
    };
    if direction == Direction::Descending { order.reverse() } else { order }
}

fn number(datum: &Datum) -> Option<f64> {
    match datum {
        Datum::Real(number) => Some(*number),
        Datum::Count(number) => Some(*number as f64),
        Datum::Whole(number) => Some(*number as f64),
        Datum::Flag(flag) => Some(f64::from(u8::from(*flag))),
        Datum::Missing | Datum::Text(_) | Datum::List(_) | Datum::Tagged(..) | Datum::Error(_) => None,
    }
}
