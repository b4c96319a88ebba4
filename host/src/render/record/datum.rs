//! A value as machines see it, and its type.

use crate::error::Error;
use serde::Serialize;
use serde_json::{Value, json};
use std::time::Duration;

/// One value, unrounded and without its unit.
#[derive(Clone, Debug)]
pub enum Datum {
    /// No value.
    Missing,
    /// Whether something holds.
    Flag(bool),
    /// A whole number.
    Whole(i64),
    /// A whole number that is not negative.
    Count(u64),
    /// A real number; JSON writes the values it cannot express as texts: `inf`, `-inf`, `NaN`.
    Real(f64),
    /// A text.
    Text(String),
    /// Several values.
    List(Vec<Self>),
    /// A value with a tag: an object with this one key.
    Tagged(&'static str, Box<Self>),
    /// Why something failed.
    Error(Error),
}

/// The type of a value, for its schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Flag,
    /// A whole number.
    Whole,
    /// A whole number that is not negative.
    Count,
    /// A number, or one of `inf`, `-inf`, `NaN`.
    Real,
    /// A text.
    Text,
    /// An array.
    List(Box<Self>),
    /// A value or `null`.
    Optional(Box<Self>),
    /// A value of one of several types.
    AnyOf(Vec<Self>),
    /// Any value.
    Any,
    /// An object with this one key.
    Tagged(&'static str, Box<Self>),
    /// An error: kind, message, causes, hints.
    Error,
}

/// A type whose values are [`Datum`]s.
pub trait IntoDatum {
    /// The type of all its values.
    fn kind() -> Kind;
    /// The value.
    fn into_datum(self) -> Datum;
}

macro_rules! into_datum {
    ($($type:ty => $kind:ident, $convert:expr;)*) => {$(
        impl IntoDatum for $type {
            fn kind() -> Kind {
                Kind::$kind
            }
            fn into_datum(self) -> Datum {
                let convert: fn($type) -> _ = $convert;
                Datum::$kind(convert(self))
            }
        }
    )*};
}

into_datum! {
    bool => Flag, |flag| flag;
    i64 => Whole, |number| number;
    u64 => Count, |number| number;
    u32 => Count, u64::from;
    usize => Count, |number| number as u64;
    f64 => Real, |number| number;
    Duration => Real, |duration| duration.as_secs_f64() * 1e3;
    String => Text, |text| text;
}

impl IntoDatum for &str {
    fn kind() -> Kind {
        Kind::Text
    }

    fn into_datum(self) -> Datum {
        Datum::Text(self.to_owned())
    }
}

impl<V: IntoDatum> IntoDatum for Option<V> {
    fn kind() -> Kind {
        Kind::Optional(Box::new(V::kind()))
    }

    fn into_datum(self) -> Datum {
        self.map_or(Datum::Missing, V::into_datum)
    }
}

/// From the first to the second.
impl<V: IntoDatum> IntoDatum for (V, V) {
    fn kind() -> Kind {
        Kind::List(Box::new(V::kind()))
    }

    fn into_datum(self) -> Datum {
        Datum::List(vec![self.0.into_datum(), self.1.into_datum()])
    }
}

impl<V: IntoDatum> IntoDatum for Vec<V> {
    fn kind() -> Kind {
        Kind::List(Box::new(V::kind()))
    }

    fn into_datum(self) -> Datum {
        Datum::List(self.into_iter().map(V::into_datum).collect())
    }
}

impl<V: IntoDatum + Copy> IntoDatum for &[V] {
    fn kind() -> Kind {
        Kind::List(Box::new(V::kind()))
    }

    fn into_datum(self) -> Datum {
        Datum::List(self.iter().map(|value| value.into_datum()).collect())
    }
}

/// The JSON word of an enum variant without fields.
pub fn word(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        _ => String::new(),
    }
}

impl Datum {
    /// For machines.
    pub fn into_json(self) -> Value {
        match self {
            Self::Missing => Value::Null,
            Self::Flag(flag) => flag.into(),
            Self::Whole(number) => number.into(),
            Self::Count(number) => number.into(),
            Self::Real(number) if number.is_finite() => number.into(),
            Self::Real(number) => crate::render::number::real(number).into(),
            Self::Text(text) => text.into(),
            Self::List(values) => values.into_iter().map(Self::into_json).collect(),
            Self::Tagged(key, value) => json!({ key: value.into_json() }),
            Self::Error(error) => json!(error),
        }
    }

    /// For a cell of a CSV file.
    pub fn into_raw(self) -> Value {
        match self {
            Self::Error(error) => error.one_line().into(),
            other => other.into_json(),
        }
    }

    /// Whether there is no value.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing)
    }
}
