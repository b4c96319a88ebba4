//! `watch`: run a line again whenever a file that it read changes.

use super::{Command, Example, Group, Scope};
use crate::baseline::{Change, Scalar};
use crate::error::{Error, Result};
use crate::playground::Playground;
use crate::render::record::{Field, IntoDatum, Kind, Record, ReportShape, Unit};
use crate::render::report::{Effect, Report, Table};
use crate::render::style::Tone;
use crate::render::text::counted;
use serde_json::Value;

/// Moved values that the table shows.
const SHOWN: usize = 20;

/// `watch [--times COUNT] COMMAND`
pub(super) struct Watch;

/// The arguments of `watch`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Stop after this many runs instead of at Ctrl-C; goes before the command
    #[arg(long, value_name = "COUNT")]
    times: Option<u64>,
    /// The command, with its arguments; it runs again when a file of a loaded model, of the input or of its data changes
    #[arg(value_name = "COMMAND")]
    text: String,
}

/// What a run found.
pub struct Round {
    /// The number of the run; the one before any change is 1.
    pub run: u64,
    /// The line.
    pub line: String,
    /// The files that changed.
    pub changed: Vec<String>,
    /// The values that changed, those that moved most first.
    pub moved: Vec<Moved>,
    /// The line's result.
    pub result: Given,
}

/// The result of another command.
pub struct Given(Value);

/// A value that changed.
pub struct Moved(Change);

impl Round {
    /// The same with the values that changed.
    pub fn new(run: u64, line: &str, changed: Vec<String>, mut changes: Vec<Change>, result: Value) -> Self {
        // A change that is not numeric, such as a verdict's, matters most.
        let by = |change: &Change| change.relative().map_or(f64::INFINITY, f64::abs);
        changes.sort_by(|one, other| by(other).total_cmp(&by(one)));
        let moved = changes.into_iter().map(Moved).collect();
        Self { run, line: line.to_owned(), changed, moved, result: Given(result) }
    }

    /// For people and machines.
    pub fn report(&self) -> Report {
        let shown = Table::of(self.moved.iter().take(SHOWN));
        let report = Report::of(self).toned_line([
            (Tone::Heading, self.changed.join(", ")),
            (Tone::Plain, format!(" changed; run {} of `{}`: ", self.run, self.line)),
            match self.moved.len() {
                0 => (Tone::Plain, "nothing moved".to_owned()),
                count => (Tone::Warning, format!("{} moved", counted(count, "value"))),
            },
        ]);
        match self.moved.len() {
            0 => report,
            count if count > SHOWN => {
                report.table(shown).line(format!("and {} more that moved less", count - SHOWN))
            }
            _ => report.table(shown),
        }
    }
}

impl Record for Round {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("run", Unit::Count, "Number of the run", |round| round.run),
            Self::field("line", Unit::Text, "The line", |round| round.line.clone()),
            Self::field("changed", Unit::Text, "The files that changed", |round| round.changed.clone()),
            Self::list("moved", "The values that changed", |round| &round.moved),
            Self::object("result", "The line's result, by the schema of its command", |round| {
                Some(&round.result)
            }),
        ]
    }
}

impl Record for Given {
    fn fields() -> Vec<Field<Self>> {
        vec![Self::names("Key of its report", Kind::Any, |given| {
            given.0.as_object().cloned().unwrap_or_default()
        })]
    }
}

impl Record for Moved {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("key", Unit::Name, "Its key in the result", |moved| moved.0.key.clone())
                .title("value"),
            Self::field("before", Unit::Real, "Its value in the previous run", |moved| {
                moved.0.before.clone()
            })
            .title("before")
            .text(|moved| text(moved.0.before.as_ref())),
            Self::field("now", Unit::Real, "Its value now", |moved| moved.0.now.clone())
                .title("now")
                .text(|moved| text(moved.0.now.as_ref())),
            Self::field("difference", Unit::Real, "By how much a number moved", |moved| moved.0.difference())
                .title("by"),
            Self::field("relative", Unit::Real, "The same as a share of the larger of the two", |moved| {
                moved.0.relative()
            })
            .title("relative")
            .rank(1),
        ]
    }
}

fn text(value: Option<&Scalar>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| Unit::Real.text(&value.clone().into_datum()))
}

impl Command for Watch {
    type Arguments = Arguments;
    const NAME: &'static str = "watch";
    const SUMMARY: &'static str =
        "Run a command again when a file that it read changes, and show which numbers moved";
    const GROUP: Group = Group::Session;
    const TAKES_TEXT: bool = true;
    const EXAMPLES: &'static [Example] = &[Example {
        line: "watch --times 1 compare resnet8.onnx resnet8_int8.onnx --data digits.npz --samples 4",
        shows: "the layers; without `--times`, what moved whenever a model is exported again, until Ctrl-C",
    }];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<Round>(1)]
    }

    fn run(arguments: Arguments, _: &mut Playground, _: &Scope<'_>) -> Result<Report> {
        let Arguments { text, .. } = arguments;
        let (times, line) = parse(&text)?;
        if line.is_empty() {
            return Err(Error::usage("no command to watch")
                .with_hint("Add one, as in `watch compare a.onnx b.onnx`."));
        }
        Ok(Report::default().effect(Effect::Watch { times, line: line.to_owned() }))
    }
}

/// The number of runs, if one is given, and the line.
///
/// # Errors
/// `Usage` for another number.
pub fn parse(text: &str) -> Result<(Option<u64>, &str)> {
    let Some(rest) = text.strip_prefix("--times") else { return Ok((None, text.trim())) };
    let rest = rest.trim_start_matches('=').trim_start();
    let (count, line) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    match count.parse::<u64>() {
        Ok(count @ 1..) => Ok((Some(count), line.trim())),
        _ => Err(Error::usage(format!("invalid value `{count}` for `--times COUNT`"))
            .with_hint("Write `watch --times COUNT COMMAND`.")),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_number_of_runs_stands_before_the_command() {
        assert_eq!(parse("compare a b --times 3").unwrap(), (None, "compare a b --times 3"));
        assert_eq!(parse("--times 3 compare 'a b'").unwrap(), (Some(3), "compare 'a b'"));
        assert_eq!(parse("--times=2 summary").unwrap(), (Some(2), "summary"));
        assert!(parse("--times 0 summary").is_err() && parse("--times x summary").is_err());
    }
}
