//! The file of a baseline: JSON with one value per line, for people to read, compare and edit.

use super::{Scalar, Values};
use crate::error::{Error, ErrorKind, Result};
use crate::regular_file;
use crate::spelling::{matches_pattern, natural_order};
use serde_json::{Map, Value, json};
use std::path::Path;

/// The version of the format.
const VERSION: u64 = 1;
/// A larger file is not a baseline.
const MAX_BYTES: u64 = 256 << 20;

/// How far a number may be from the baseline's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// As a share of the larger of the two.
    pub relative: f64,
    /// In the unit of the value.
    pub absolute: f64,
}

impl Default for Tolerance {
    /// Room for the last digits: sums of floats in another order.
    fn default() -> Self {
        Self { relative: 1e-6, absolute: 1e-9 }
    }
}

impl Tolerance {
    /// Whether two values agree: numbers that are close in the sense of Python's `math.isclose`
    /// (|a - b| <= max(relative * max(|a|, |b|), absolute)), and everything else if it is the same.
    pub fn allows(self, before: &Scalar, now: &Scalar) -> bool {
        match (before.number(), now.number()) {
            (Some(before), Some(now)) => {
                let allowed = (self.relative * before.abs().max(now.abs())).max(self.absolute);
                (now - before).abs() <= allowed
            }
            _ => before == now,
        }
    }
}

/// What a file says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Baseline {
    /// The values.
    pub values: Values,
    /// The tolerance of those without their own.
    pub tolerance: Tolerance,
    /// Those of keys, or of patterns with `*` and `?`.
    pub tolerances: Vec<(String, Tolerance)>,
}

impl Baseline {
    /// The tolerance of a key: its own, or that of the longest pattern that it matches, or the general one.
    pub fn tolerance_of(&self, key: &str) -> Tolerance {
        let own = self.tolerances.iter().find(|(name, _)| name == key);
        let matching = || {
            let fitting = self.tolerances.iter().filter(|(pattern, _)| matches_pattern(pattern, key));
            fitting.max_by_key(|(pattern, _)| pattern.len())
        };
        own.or_else(matching).map_or(self.tolerance, |(_, tolerance)| *tolerance)
    }

    /// The file.
    pub fn to_text(&self) -> String {
        let mut keys: Vec<&String> = self.values.keys().collect();
        keys.sort_by(|one, other| natural_order(one, other));
        let values = keys.into_iter().map(|key| (key.clone(), self.values[key].to_json()));
        let tolerances =
            self.tolerances.iter().map(|(key, tolerance)| (key.clone(), tolerance_json(*tolerance)));
        let parts = [
            line("baseline", &VERSION.into()),
            line("tolerance", &tolerance_json(self.tolerance)),
            object("tolerances", tolerances),
            object("values", values),
        ];
        format!("{{\n{}\n}}\n", parts.join(",\n"))
    }

    /// Reads a file.
    ///
    /// # Errors
    /// `NotFound`, `Io`; `CorruptFile` for anything but a baseline.
    pub fn read(path: &Path) -> Result<Self> {
        let text = regular_file::read_text(path, MAX_BYTES)?;
        Self::of_text(&text).map_err(|why| {
            Error::new(ErrorKind::CorruptFile, format!("`{}` is not a baseline", path.display()))
                .with_cause(why)
                .with_hint("`baseline save FILE` writes one.")
        })
    }

    fn of_text(text: &str) -> std::result::Result<Self, String> {
        let document: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let entries = document.as_object().ok_or("it is not an object")?;
        match entries.get("baseline").and_then(Value::as_u64) {
            Some(VERSION) => {}
            Some(other) => return Err(format!("its version is {other}, not {VERSION}")),
            None => return Err("it has no `baseline`".to_owned()),
        }
        let known = ["baseline", "tolerance", "tolerances", "values"];
        if let Some(unknown) = entries.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(format!("it has the unknown key `{unknown}`"));
        }
        let general = match entries.get("tolerance") {
            Some(tolerance) => tolerance_of("tolerance", tolerance, Tolerance::default())?,
            None => Tolerance::default(),
        };
        let part = |key: &str| match entries.get(key) {
            None => Ok(Map::new()),
            Some(Value::Object(part)) => Ok(part.clone()),
            Some(_) => Err(format!("`{key}` is not an object")),
        };
        let own = |(key, tolerance): (String, Value)| {
            let tolerance = tolerance_of(&key, &tolerance, general)?;
            Ok::<_, String>((key, tolerance))
        };
        let value = |(key, value): (String, Value)| match Scalar::of(&value) {
            Some(value) => Ok((key, value)),
            None => Err(format!("`{key}` is neither a number nor a text")),
        };
        Ok(Self {
            values: part("values")?.into_iter().map(value).collect::<std::result::Result<_, _>>()?,
            tolerance: general,
            tolerances: part("tolerances")?.into_iter().map(own).collect::<std::result::Result<_, _>>()?,
        })
    }
}

fn tolerance_json(tolerance: Tolerance) -> Value {
    json!({ "relative": tolerance.relative, "absolute": tolerance.absolute })
}

/// A missing entry is taken from `otherwise`, or zero if the other of the two is given.
fn tolerance_of(key: &str, value: &Value, otherwise: Tolerance) -> std::result::Result<Tolerance, String> {
    let entries = value.as_object().ok_or_else(|| format!("the tolerance of `{key}` is not an object"))?;
    let mut tolerance =
        if entries.is_empty() { otherwise } else { Tolerance { relative: 0.0, absolute: 0.0 } };
    for (name, value) in entries {
        let part = match name.as_str() {
            "relative" => &mut tolerance.relative,
            "absolute" => &mut tolerance.absolute,
            other => {
                return Err(format!(
                    "the tolerance of `{key}` has `{other}`; it takes `relative` and `absolute`"
                ));
            }
        };
        *part = value
            .as_f64()
            .filter(|number| *number >= 0.0)
            .ok_or_else(|| format!("`{name}` of `{key}` is not a number from 0 up"))?;
    }
    Ok(tolerance)
}

fn line(key: &str, value: &Value) -> String {
    format!("  {}: {value}", Value::from(key))
}

fn object(key: &str, entries: impl Iterator<Item = (String, Value)>) -> String {
    let lines: Vec<String> = entries.map(|(key, value)| format!("  {}", line(&key, &value))).collect();
    match lines.is_empty() {
        true => format!("  {}: {{}}", Value::from(key)),
        false => format!("  {}: {{\n{}\n  }}", Value::from(key), lines.join(",\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn baseline() -> Baseline {
        Baseline {
            values: [
                ("a.x[l10].y", Scalar::Real(0.1)),
                ("a.x[l9].y", Scalar::Whole(3)),
                ("a.\"n", Scalar::Missing),
                ("b", Scalar::Text("same".to_owned())),
                ("c", Scalar::Flag(true)),
            ]
            .map(|(key, value)| (key.to_owned(), value))
            .into(),
            tolerance: Tolerance::default(),
            tolerances: vec![
                ("a.*".to_owned(), Tolerance { relative: 0.1, absolute: 0.0 }),
                ("a.x*.y".to_owned(), Tolerance { relative: 0.2, absolute: 0.0 }),
                ("a.x[l9].y".to_owned(), Tolerance { relative: 0.0, absolute: 2.0 }),
            ],
        }
    }

    #[test]
    fn a_file_is_read_as_it_was_written_one_value_a_line() {
        let text = baseline().to_text();
        assert_eq!(Baseline::of_text(&text).unwrap(), baseline());
        assert!(text.contains("    \"a.x[l9].y\": 3,\n    \"a.x[l10].y\": 0.1,\n"), "{text}");
        assert!(Baseline::default().to_text().contains("\"values\": {}"));
    }

    #[test]
    fn the_own_tolerance_goes_before_the_longest_pattern() {
        let baseline = baseline();
        let relative = |key: &str| baseline.tolerance_of(key).relative;
        assert_eq!((relative("a.x[l9].y"), relative("a.x[l8].y"), relative("a.z")), (0.0, 0.2, 0.1));
        assert_eq!(baseline.tolerance_of("b"), Tolerance::default());
    }

    #[test]
    fn closeness_is_that_of_pythons_isclose() {
        let tolerance = Tolerance { relative: 0.1, absolute: 0.01 };
        let allows = |one: f64, other: f64| tolerance.allows(&Scalar::Real(one), &Scalar::Real(other));
        assert!(allows(9.0, 10.0) && allows(10.0, 9.0) && !allows(8.9, 10.0));
        assert!(allows(0.0, 0.01) && !allows(0.0, 0.011));
        assert!(!tolerance.allows(&Scalar::Missing, &Scalar::Real(0.0)));
        assert!(!tolerance.allows(&Scalar::Text("inf".to_owned()), &Scalar::Real(1e300)));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        for (text, why) in [
            ("[]", "not an object"),
            ("{\"values\": {}}", "no `baseline`"),
            ("{\"baseline\": 2}", "its version is 2"),
            ("{\"baseline\": 1, \"value\": {}}", "`value`"),
            ("{\"baseline\": 1, \"values\": {\"a\": []}}", "`a` is neither"),
            ("{\"baseline\": 1, \"tolerances\": {\"a\": {\"relative\": -1}}}", "from 0 up"),
            ("{\"baseline\": 1, \"tolerances\": {\"a\": {\"relativ\": 1}}}", "`relativ`"),
            ("{", "EOF"),
        ] {
            let found = Baseline::of_text(text).unwrap_err();
            assert!(found.contains(why), "{text}: {found}");
        }
    }
}
