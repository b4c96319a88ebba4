//! The commands: one table drives dispatch, help, completion and the tests that guard it.

mod activations;
mod arguments;
mod assert;
mod backends;
mod baseline;
mod bench;
mod cache;
mod capture;
mod changes;
mod clear;
mod compare;
mod convert;
mod data;
mod diff;
mod doctor;
mod drift;
mod echo;
mod evaluate;
mod expect_error;
mod explain;
mod export;
mod fields;
mod flips;
mod folder;
mod format;
mod graph;
mod help;
mod history;
mod info;
mod input;
mod kernels;
mod layer;
mod layers;
mod lint;
mod load;
mod matrix;
mod models;
mod open;
mod param;
mod plot;
mod quant;
mod quantize;
mod quit;
mod ranges;
mod record;
mod reload;
mod repair;
mod residuals;
mod run;
mod saturation;
mod search;
mod section;
mod select;
mod sensitivity;
mod set;
mod source;
mod stats;
mod summary;
mod sweep;
mod timing;
mod tour;
mod trial;
mod undo;
mod unload;
mod variables;
mod watch;
mod weights;

pub use assert::{names_of, parse as assertion};
pub use open::models_around;
pub use tour::next as next_of_tour;
pub use watch::{Round, parse as watched};

use crate::cancel::CancelFlag;
use crate::error::{Error, Result};
use crate::language::{Line, block, usage};
use crate::playground::Playground;
use crate::render::Format;
use crate::render::record::{ReportShape, schema};
use crate::render::report::Report;
use crate::render::ui::Ui;
use clap::{ArgMatches, Args, FromArgMatches};
use std::sync::LazyLock;

/// What a command gets besides the playground and its arguments.
pub struct Scope<'a> {
    /// Shows progress and asks questions; results are returned, not printed.
    pub ui: &'a Ui,
    /// Set when the user wants the command to stop.
    pub cancel: &'a CancelFlag,
}

/// A command of the language.
pub trait Command {
    /// Its arguments. A positional argument's value name tells completion what it takes: `MODEL`, `LAYER`,
    /// `PATH`, `DATA`, `COMMAND`, `BACKEND`.
    type Arguments: Args;
    /// Its name: lower-case words, joined by `-`.
    const NAME: &'static str;
    /// Other names.
    const ALIASES: &'static [&'static str] = &[];
    /// What it does, in one line, as an imperative.
    const SUMMARY: &'static str;
    /// Where `help` lists it.
    const GROUP: Group;
    /// Lines to try; a test runs every one of them in the folder `models/`.
    const EXAMPLES: &'static [Example];

    /// Whether its only argument is the rest of the line as written, quotes included.
    const TAKES_TEXT: bool = false;

    /// What it prints: one report, or several that each say when they are printed; none if it prints nothing.
    fn reports() -> Vec<ReportShape>;

    /// Runs it.
    ///
    /// # Errors
    /// Whatever went wrong; the playground is then unchanged.
    fn run(arguments: Self::Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report>;
}

/// A line to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Example {
    /// The line.
    pub line: &'static str,
    /// What it does.
    pub shows: &'static str,
}

/// The parts of the list that `help` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Finding and loading models.
    Models,
    /// Looking into them without running them.
    Inspect,
    /// Running them.
    Run,
    /// Changing them.
    Change,
    /// Scripts that check.
    Script,
    /// The session itself.
    Session,
}

impl Group {
    /// The heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Models => "Find and load models",
            Self::Inspect => "Look inside",
            Self::Run => "Run",
            Self::Change => "Change",
            Self::Script => "Check, in scripts",
            Self::Session => "Session",
        }
    }
}

/// One row of the table of commands.
pub struct Entry {
    /// See [`Command::NAME`].
    pub name: &'static str,
    /// See [`Command::ALIASES`].
    pub aliases: &'static [&'static str],
    /// See [`Command::SUMMARY`].
    pub summary: &'static str,
    /// See [`Command::GROUP`].
    pub group: Group,
    /// See [`Command::EXAMPLES`].
    pub examples: &'static [Example],
    /// See [`Command::TAKES_TEXT`].
    pub takes_text: bool,
    /// See [`Command::reports`].
    pub reports: fn() -> Vec<ReportShape>,
    augment: fn(clap::Command) -> clap::Command,
    run: fn(&ArgMatches, &mut Playground, &Scope<'_>) -> Result<Report>,
}

impl Entry {
    const fn of<C: Command>() -> Self {
        Self {
            name: C::NAME,
            aliases: C::ALIASES,
            summary: C::SUMMARY,
            group: C::GROUP,
            examples: C::EXAMPLES,
            takes_text: C::TAKES_TEXT,
            reports: C::reports,
            augment: C::Arguments::augment_args,
            run: |matches, playground, scope| {
                let arguments = C::Arguments::from_arg_matches(matches).map_err(|error| {
                    Error::internal("arguments were accepted and cannot be read")
                        .with_cause(error.to_string())
                })?;
                C::run(arguments, playground, scope)
            },
        }
    }

    /// The JSON Schema of what it prints; `None` if that is nothing.
    pub fn schema(&self) -> Option<serde_json::Value> {
        let reports = (self.reports)();
        (!reports.is_empty()).then(|| schema::of(self.name, self.summary, &reports))
    }

    /// Whether it has a result of its own.
    pub fn has_result(&self) -> bool {
        WITH_RESULTS.contains(&self.name)
    }

    /// The definition of the arguments, with those that every command has.
    pub fn definition(&self) -> clap::Command {
        let json = clap::Arg::new("json")
            .long("json")
            .action(clap::ArgAction::SetTrue)
            .help("Print the result as JSON");
        (self.augment)(
            clap::Command::new(self.name).no_binary_name(true).disable_version_flag(true).about(self.summary),
        )
        .arg(json.global(true))
    }
}

/// The commands that have results; to describe all of those takes too long to do it for each condition.
static WITH_RESULTS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    TABLE.iter().filter(|entry| !(entry.reports)().is_empty()).map(|entry| entry.name).collect()
});

/// Every command, in the order in which `help` lists them.
pub static TABLE: &[Entry] = &[
    Entry::of::<open::Open>(),
    Entry::of::<models::Models>(),
    Entry::of::<load::Load>(),
    Entry::of::<select::Use>(),
    Entry::of::<unload::Unload>(),
    Entry::of::<reload::Reload>(),
    Entry::of::<summary::Summary>(),
    Entry::of::<info::Info>(),
    Entry::of::<layers::Layers>(),
    Entry::of::<layer::Layer>(),
    Entry::of::<graph::GraphCommand>(),
    Entry::of::<quant::Quant>(),
    Entry::of::<lint::Lint>(),
    Entry::of::<weights::Weights>(),
    Entry::of::<ranges::Ranges>(),
    Entry::of::<residuals::Residuals>(),
    Entry::of::<diff::Diff>(),
    Entry::of::<plot::Plot>(),
    Entry::of::<stats::Stats>(),
    Entry::of::<data::Data>(),
    Entry::of::<input::Input>(),
    Entry::of::<run::Run>(),
    Entry::of::<evaluate::Evaluate>(),
    Entry::of::<matrix::Matrix>(),
    Entry::of::<doctor::Doctor>(),
    Entry::of::<bench::Bench>(),
    Entry::of::<kernels::KernelsOfModel>(),
    Entry::of::<capture::Capture>(),
    Entry::of::<activations::Activations>(),
    Entry::of::<compare::Compare>(),
    Entry::of::<sensitivity::Sensitivity>(),
    Entry::of::<flips::Flips>(),
    Entry::of::<explain::Explain>(),
    Entry::of::<drift::Drift>(),
    Entry::of::<saturation::Saturation>(),
    Entry::of::<set::Set>(),
    Entry::of::<set::Scale>(),
    Entry::of::<undo::Undo>(),
    Entry::of::<undo::Redo>(),
    Entry::of::<undo::Reset>(),
    Entry::of::<changes::ChangesCommand>(),
    Entry::of::<trial::Try>(),
    Entry::of::<sweep::Sweep>(),
    Entry::of::<repair::Repair>(),
    Entry::of::<search::Search>(),
    Entry::of::<convert::Convert>(),
    Entry::of::<export::Export>(),
    Entry::of::<quantize::Quantize>(),
    Entry::of::<cache::Cache>(),
    Entry::of::<backends::Backends>(),
    Entry::of::<format::Format>(),
    Entry::of::<timing::Timing>(),
    Entry::of::<watch::Watch>(),
    Entry::of::<assert::Assert>(),
    Entry::of::<expect_error::ExpectError>(),
    Entry::of::<baseline::BaselineCommand>(),
    Entry::of::<section::Section>(),
    Entry::of::<param::Param>(),
    Entry::of::<record::Record>(),
    Entry::of::<source::Source>(),
    Entry::of::<variables::Let>(),
    Entry::of::<echo::Echo>(),
    Entry::of::<folder::Cd>(),
    Entry::of::<folder::Pwd>(),
    Entry::of::<clear::Clear>(),
    Entry::of::<history::History>(),
    Entry::of::<tour::TourCommand>(),
    Entry::of::<help::Help>(),
    Entry::of::<quit::Quit>(),
];

/// The command with that name or alias.
pub fn find(name: &str) -> Option<&'static Entry> {
    TABLE.iter().find(|entry| entry.name == name || entry.aliases.contains(&name))
}

/// A line that was understood: a command and its checked arguments.
pub struct Prepared {
    entry: &'static Entry,
    action: Action,
    /// How to print this result, if the line says so.
    pub format: Option<Format>,
}

enum Action {
    Run(ArgMatches),
    ShowHelp,
}

impl Prepared {
    /// Checks a line before anything is done.
    ///
    /// # Errors
    /// `Usage`, at the word that is wrong.
    pub fn new(line: &Line) -> Result<Self> {
        let entry = find(line.command()).ok_or_else(|| unknown(line))?;
        let format = line.words().any(|word| word == "--json").then_some(Format::Json);
        let rest = line.rest();
        let matches = match rest.strip_suffix("--json").map_or(rest, str::trim_end) {
            // `-h` and `--help` ask for help; everything else is the text.
            rest if entry.takes_text && !matches!(rest, "" | "--help" | "-h") => {
                entry.definition().try_get_matches_from(["--", rest])
            }
            _ => entry.definition().try_get_matches_from(line.words().skip(1)),
        };
        let action = match matches {
            Ok(matches) => Action::Run(matches),
            Err(error) if error.kind() == clap::error::ErrorKind::DisplayHelp => Action::ShowHelp,
            Err(error) => return Err(usage::explain(&error, entry.name, line)),
        };
        Ok(Self { entry, action, format })
    }

    /// The arguments that name files or folders: their ids, and the values that the user gave.
    pub fn paths(&self) -> Vec<(String, String)> {
        self.values_of(&["PATH", "DATA"])
    }

    /// The names of models among the arguments.
    pub fn models(&self) -> Vec<String> {
        self.values_of(&["MODEL"]).into_iter().map(|(_, name)| name).collect()
    }

    /// The arguments that help calls by one of these names: their ids, and the values that the user gave.
    fn values_of(&self, called: &[&str]) -> Vec<(String, String)> {
        let Action::Run(matches) = &self.action else { return Vec::new() };
        let mut values = Vec::new();
        for argument in self.entry.definition().get_arguments() {
            let is_called = argument
                .get_value_names()
                .is_some_and(|names| names.iter().any(|name| called.contains(&name.as_str())));
            let id = argument.get_id().as_str();
            if is_called && let Ok(Some(given)) = matches.try_get_many::<String>(id) {
                values.extend(given.map(|value| (id.to_owned(), value.clone())));
            }
        }
        values
    }

    /// The command's name.
    pub fn command(&self) -> &'static str {
        self.entry.name
    }

    /// Runs it.
    ///
    /// # Errors
    /// Whatever went wrong; the playground is then unchanged.
    pub fn run(&self, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        match &self.action {
            Action::Run(matches) => (self.entry.run)(matches, playground, scope),
            Action::ShowHelp => Ok(help::of_command(self.entry)),
        }
    }
}

fn unknown(line: &Line) -> Error {
    let name = line.command();
    let error = match block::usage(name) {
        Some(_) => Error::usage(format!("`{name}` is not allowed here")),
        None => Error::usage(format!("unknown command `{name}`")),
    };
    let error = match line.word_span(0) {
        Some(span) => error.with_span(span),
        None => error,
    };
    if let Some(usage) = block::usage(name) {
        return error.with_hint(format!("It belongs to a block: `{usage}`."));
    }
    error.with_nearest(name, TABLE.iter().map(|entry| entry.name), || {
        "See `help` for all commands.".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::record::{Form, Shape};
    use std::collections::BTreeSet;

    #[test]
    fn names_and_aliases_are_unique_lower_case_words() {
        let mut seen = BTreeSet::new();
        for entry in TABLE {
            for name in entry.aliases.iter().chain([&entry.name]) {
                assert!(seen.insert(*name), "`{name}` is there twice");
                assert!(name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-'), "{name}");
            }
        }
    }

    #[test]
    fn definitions_are_consistent_and_summaries_are_one_imperative_line() {
        for entry in TABLE {
            entry.definition().debug_assert();
            assert!(!entry.summary.contains('\n') && !entry.summary.ends_with('.'), "{}", entry.name);
            assert!(entry.summary.chars().next().is_some_and(char::is_uppercase), "{}", entry.name);
            assert!(!entry.examples.is_empty(), "`{}` has no example", entry.name);
        }
    }

    #[test]
    fn every_argument_is_explained() {
        for entry in TABLE {
            let definition = entry.definition();
            for argument in definition.get_arguments() {
                assert!(argument.get_help().is_some(), "`{}` of `{}`", argument.get_id(), entry.name);
            }
        }
    }

    /// Keys are unique in their object, titles and keys of `--sort` in their table; a meaning is a sentence's words alone.
    #[test]
    fn reports_are_declared_consistently() {
        fn check(fields: &[Shape], place: &str, keys: &mut BTreeSet<String>) {
            for field in fields {
                let (key, meaning) = (&field.spec.key, field.spec.meaning);
                let place = format!("{place}.{key}");
                if matches!(field.spec.form, Form::Flat) {
                    check(&field.fields, &place, keys);
                    continue;
                }
                assert!(key.is_empty() || keys.insert(key.to_string()), "{place} is there twice");
                assert!(!meaning.is_empty() && !meaning.ends_with('.'), "{place}: {meaning}");
                check(&field.fields, &place, &mut BTreeSet::new());
            }
        }
        for entry in TABLE {
            for report in (entry.reports)() {
                assert!(report.version > 0, "{}", entry.name);
                check(&report.fields, entry.name, &mut BTreeSet::new());
                for table in report.tables() {
                    let (mut titles, mut words) = (BTreeSet::new(), BTreeSet::new());
                    for column in &table.columns {
                        let title = column.title.as_deref().unwrap_or_default();
                        assert!(title.is_empty() || titles.insert(title), "`{title}` in {}", entry.name);
                        let is_new = column.sort.is_none_or(|(word, _)| words.insert(word));
                        assert!(is_new, "{:?} in {}", column.sort, entry.name);
                    }
                }
            }
        }
    }

    #[test]
    fn every_example_can_be_parsed() {
        let mut variables = crate::language::Variables::default();
        for name in ["net", "n", "model"] {
            variables.set(name.to_owned(), "x".into());
        }
        for example in TABLE.iter().flat_map(|entry| entry.examples) {
            for statement in crate::language::parse(example.line).unwrap() {
                let line = Line::new(example.line, &statement, &variables).unwrap();
                assert!(Prepared::new(&line).is_ok(), "{}", example.line);
            }
        }
    }
}
