//! The lines that change a model, as the user writes them and as the journal keeps them.

use crate::error::{Error, Result};
use crate::language::{Line, Variables, parse, quoted};
use std::fmt;

/// What a line changes, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The layer, one of its parts, or a tensor.
    pub target: String,
    /// What to do with it.
    pub action: Action,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Gives the codes other parameters.
    Set(Setting),
    /// Lets a layer compute with real numbers, or with codes again.
    Quantized(bool),
    /// Lets a layer read codes of this many bits, on a finer grid of the same range.
    Bits(u32),
}

/// New parameters for codes.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// What is set.
    pub property: Property,
    /// The only channel or block to change.
    pub channel: Option<usize>,
}

/// A property of codes, and its new value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Property {
    /// The distance between two neighbouring codes, in real units.
    Scale(f64),
    /// A factor for every scale.
    Factor(f64),
    /// The code of the real value 0.
    ZeroPoint(f64),
    /// The real values of the smallest and the largest code.
    Range(f64, f64),
}

const PROPERTIES: &str = "`scale`, `zero_point`, `range`, `bits` or `quantized`";

impl Change {
    /// What `set PATH VALUE` means: `conv1.weight.scale 0.02`, `conv1.weight.scale[3] 0.02`, `conv1.output.zero_point 3`,
    /// `conv1.output.range -1..6`, `conv1.bits 16`, `conv1.quantized off`.
    ///
    /// # Errors
    /// `Usage` for a property or a value that makes no sense.
    pub fn set(path: &str, value: &str) -> Result<Self> {
        let (path, channel) = split_channel(path)?;
        let Some((target, property)) = path.rsplit_once('.').filter(|(target, _)| !target.is_empty()) else {
            return Err(Error::usage(format!("`{path}` does not say what to set")).with_hint(format!(
                "Put a property behind the layer: {PROPERTIES}, as in `{path}.weight.scale`."
            )));
        };
        let property = match property {
            "scale" => Property::Scale(number(value)?),
            "zero_point" | "zero-point" => Property::ZeroPoint(number(value)?),
            "range" | "clip" => {
                let (low, high) = range(value)?;
                Property::Range(low, high)
            }
            "quantized" if channel.is_none() => {
                let is_on = match value {
                    "on" | "true" => true,
                    "off" | "false" => false,
                    other => {
                        return Err(Error::usage(format!("`{other}` is neither `on` nor `off`")));
                    }
                };
                return Ok(Self { target: target.to_owned(), action: Action::Quantized(is_on) });
            }
            "bits" if channel.is_none() => {
                let bits = value.parse().ok().filter(|bits| matches!(bits, 8 | 16)).ok_or_else(|| {
                    Error::usage(format!("codes cannot be given `{value}` bits")).with_hint(
                        "Codes get 8 or 16 bits; `quantize` and `search` make fewer of a float model.",
                    )
                })?;
                return Ok(Self { target: target.to_owned(), action: Action::Bits(bits) });
            }
            other => {
                return Err(Error::usage(format!("`{other}` cannot be set"))
                    .with_hint(format!("Set {PROPERTIES}, as in `{target}.scale`.")));
            }
        };
        Ok(Self { target: target.to_owned(), action: Action::Set(Setting { property, channel }) })
    }

    /// What `scale TARGET FACTOR` means; the words may have a `×`, an `x` or a `*` between them.
    ///
    /// # Errors
    /// `Usage` for a factor that makes no sense.
    pub fn scale(target: &str, words: &[String]) -> Result<Self> {
        let sign = |word: &str| matches!(word, "×" | "x" | "X" | "*" | "by");
        let factor = match words {
            [factor] => factor.trim_start_matches(['×', 'x', '*']),
            [between, factor] if sign(between) => factor,
            _ => {
                return Err(Error::usage("`scale` takes a layer and a factor")
                    .with_hint(format!("As in `scale {target} × 2`.")));
            }
        };
        let factor = number(factor)?;
        let (target, channel) = split_channel(target)?;
        let target = target.strip_suffix(".scale").unwrap_or(target).to_owned();
        Ok(Self { target, action: Action::Set(Setting { property: Property::Factor(factor), channel }) })
    }

    /// The line of the journal, as `set` or `scale` would take it again.
    ///
    /// # Errors
    /// As [`Self::set`] and [`Self::scale`].
    pub fn parse(line: &str) -> Result<Self> {
        let unclear = || Error::usage(format!("`{line}` is not one line"));
        let statements = parse(line).map_err(|_| unclear())?;
        let [statement] = &statements[..] else { return Err(unclear()) };
        let line = Line::new(line, statement, &Variables::default())?;
        let words: Vec<String> = line.words().map(str::to_owned).collect();
        match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["set", path, value] => Self::set(path, value),
            ["scale", target, ..] => Self::scale(target, &words[2..]),
            _ => Err(Error::usage("a change is `set LAYER.PROPERTY VALUE` or `scale LAYER × FACTOR`")),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = &self.target;
        match &self.action {
            Action::Quantized(is_on) => {
                write!(
                    f,
                    "set {} {}",
                    word(&format!("{target}.quantized")),
                    if *is_on { "on" } else { "off" }
                )
            }
            Action::Bits(bits) => write!(f, "set {} {bits}", word(&format!("{target}.bits"))),
            Action::Set(Setting { property, channel }) => {
                let channel = channel.map(|channel| format!("[{channel}]")).unwrap_or_default();
                let path = |property: &str| word(&format!("{target}.{property}{channel}"));
                match property {
                    // Stored as float32: the shortest digits that mean it.
                    Property::Scale(value) if f64::from(*value as f32) == *value => {
                        write!(f, "set {} {}", path("scale"), *value as f32)
                    }
                    Property::Scale(value) => write!(f, "set {} {value}", path("scale")),
                    Property::ZeroPoint(value) => write!(f, "set {} {value}", path("zero_point")),
                    Property::Range(low, high) => write!(f, "set {} {low}..{high}", path("range")),
                    Property::Factor(value) => {
                        write!(f, "scale {} × {value}", word(&format!("{target}{channel}")))
                    }
                }
            }
        }
    }
}

/// A word in quotes if it must be; brackets only mean something in words that are patterns.
fn word(text: &str) -> String {
    if text.contains(|letter: char| letter.is_whitespace() || "'\"\\;$#".contains(letter)) {
        return quoted(text);
    }
    text.to_owned()
}

/// `conv1.weight.scale[3]` without its index, and the index.
fn split_channel(path: &str) -> Result<(&str, Option<usize>)> {
    let Some((before, rest)) = path.strip_suffix(']').and_then(|path| path.rsplit_once('[')) else {
        return Ok((path, None));
    };
    match rest.parse() {
        Ok(channel) => Ok((before, Some(channel))),
        Err(_) => Err(Error::usage(format!("`[{rest}]` is not the number of a channel"))
            .with_hint("Channels are counted from 0, as in `conv1.weight.scale[3]`.")),
    }
}

fn number(text: &str) -> Result<f64> {
    text.parse()
        .ok()
        .filter(|number: &f64| number.is_finite())
        .ok_or_else(|| Error::usage(format!("`{text}` is not a number")))
}

fn range(text: &str) -> Result<(f64, f64)> {
    let ends = text.split_once("..").ok_or_else(|| {
        Error::usage(format!("`{text}` is not a range")).with_hint("Give both ends, as in `-1.5..6`.")
    })?;
    let (low, high) = (number(ends.0)?, number(ends.1)?);
    if low < high { Ok((low, high)) } else { Err(Error::usage(format!("the range `{text}` is empty"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_journal_means_what_it_meant() {
        for line in [
            "set layer1.conv1.weight.scale 0.02",
            "set layer1.conv1.weight.scale[3] 0.02",
            "set /block1/Conv.output.zero_point -3",
            "set conv.output.range -1.5..6",
            "set conv.quantized off",
            "set conv.bits 16",
            "scale conv.weight × 8",
            "scale conv.weight[2] × 0.125",
            "set \"a layer.weight.scale\" 1e-5",
        ] {
            let change = Change::parse(line).unwrap();
            assert_eq!(Change::parse(&change.to_string()).unwrap(), change, "{line}");
        }
        assert_eq!(Change::parse("scale conv x 2").unwrap(), Change::parse("scale conv ×2").unwrap());
        assert_eq!(Change::parse("scale conv.scale 2").unwrap().to_string(), "scale conv × 2");
    }

    #[test]
    fn what_makes_no_sense_is_an_error() {
        for line in [
            "set conv 1",
            "set conv.colour 1",
            "set conv.scale x",
            "set c.range 2..1",
            "set c.bits 4",
            "set c.bits[0] 16",
            "set c.scale[x] 1",
            "scale c",
            "scale c 1 2",
        ] {
            assert_eq!(Change::parse(line).unwrap_err().kind(), crate::error::ErrorKind::Usage, "{line}");
        }
    }
}
