//! `help`: the commands, or one of them.

mod reference;

use super::{Command, Entry, Example, Group, Scope, TABLE, find};
use crate::error::{Error, Result};
use crate::language::block;
use crate::playground::Playground;
use crate::render::record::{Field, Kind, Record, ReportShape, Spec, TableShape, Unit};
use crate::render::report::{Cell, Report};
use crate::render::style::Tone;
use serde_json::Value;

/// `help [COMMAND]`
pub(super) struct Help;

/// The arguments of `help`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A command
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
    /// All commands as one document in Markdown
    #[arg(long, conflicts_with_all = ["command", "schema"])]
    markdown: bool,
    /// The JSON Schema of what the command prints with `--json`
    #[arg(long, requires = "command")]
    schema: bool,
}

/// The groups, in the order in which they are listed.
const GROUPS: [Group; 6] =
    [Group::Models, Group::Inspect, Group::Run, Group::Change, Group::Script, Group::Session];

struct All;

impl Record for All {
    fn fields() -> Vec<Field<Self>> {
        vec![Self::list("commands", "The commands", |_| TABLE)]
    }
}

impl Record for Entry {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("name", Unit::Name, "Name of the command", |entry| entry.name),
            Self::field("aliases", Unit::Text, "Its other names", |entry| entry.aliases),
            Self::field("summary", Unit::Text, "What it does", |entry| entry.summary),
            Self::field("group", Unit::Text, "Heading under which it is listed", |entry| entry.group.title()),
        ]
    }
}

/// The schema that `--schema` prints.
struct Schema(Value);

impl Record for Schema {
    fn fields() -> Vec<Field<Self>> {
        vec![Self::names("Keyword of JSON Schema", Kind::Any, |schema| {
            schema.0.as_object().cloned().unwrap_or_default()
        })]
    }
}

impl Command for Help {
    type Arguments = Arguments;
    const NAME: &'static str = "help";
    const SUMMARY: &'static str = "List the commands, or explain one";
    const GROUP: Group = Group::Session;
    const EXAMPLES: &'static [Example] = &[
        Example { line: "help", shows: "all commands" },
        Example { line: "help compare", shows: "the arguments and columns of `compare`, with examples" },
        Example { line: "help compare --schema", shows: "the JSON Schema of its report" },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![
            ReportShape::of::<All>(1).when("without a command"),
            ReportShape::of::<Explained>(1).when("of a command"),
            ReportShape::of::<Schema>(1).when("with `--schema`"),
        ]
    }

    fn run(arguments: Arguments, _: &mut Playground, _: &Scope<'_>) -> Result<Report> {
        let Some(name) = arguments.command else {
            return if arguments.markdown { Ok(Report::verbatim(reference::markdown())) } else { Ok(all()) };
        };
        match find(&name) {
            Some(entry) if arguments.schema => match entry.schema() {
                Some(schema) => Ok(Report::document(schema)),
                None => Err(Error::not_found(format!("`{name}` has no schema"))),
            },
            Some(entry) => Ok(of_command(entry)),
            None if block::usage(&name).is_some() => {
                let usage = block::usage(&name).unwrap_or_default();
                Err(Error::not_found(format!("`{name}` is not a command"))
                    .with_hint(format!("It belongs to a block: `{usage}`.")))
            }
            None => {
                let known = TABLE.iter().map(|entry| entry.name);
                Err(Error::not_found(format!("unknown command `{name}`"))
                    .with_nearest(&name, known, || "See `help` for all commands.".to_owned()))
            }
        }
    }
}

fn all() -> Report {
    let mut report = Report::of(&All);
    for group in GROUPS {
        let entries: Vec<_> = TABLE
            .iter()
            .filter(|entry| entry.group == group)
            .map(|entry| (format!("{:<10}", entry.name), Cell::text(entry.summary)))
            .collect();
        if !entries.is_empty() {
            report = if group == Group::Models { report } else { report.line("") };
            report = report.toned_line([(Tone::Heading, group.title().to_owned())]).fields(entries);
        }
    }
    report.line("").line("`if EXPR; …; else; …; end` and `for NAME in WORD…; …; end` run the commands between them on a condition, or once for each word.").line("`COMMAND | PROGRAM`, `COMMAND > FILE` and `!PROGRAM` work as in a shell.").line("Separate commands with `;`. Tab completes. `help COMMAND` explains one, `--json` prints any result as JSON.")
}

/// The explanation of one command.
struct Explained {
    entry: &'static Entry,
    usage: String,
    /// The arguments; the last [`COMMON`] are those of every command.
    arguments: Vec<Argument>,
    tables: Vec<ExplainedTable>,
}

/// Arguments that every command has: `--json` and `--help`.
const COMMON: usize = 2;

struct Argument {
    name: String,
    help: String,
}

/// A table of a command's report.
struct ExplainedTable {
    /// When it is printed; empty for always.
    when: &'static str,
    shape: TableShape,
}

impl Explained {
    fn of(entry: &'static Entry) -> Self {
        let mut definition = entry.definition();
        let usage = definition.render_usage().to_string().trim_start_matches("Usage: ").to_owned();
        let reports = (entry.reports)();
        let tables = reports.iter().flat_map(|report| {
            let of = |shape| ExplainedTable { when: report.when, shape };
            report.tables().into_iter().map(of)
        });
        Self { entry, usage, arguments: arguments_of(&definition), tables: tables.collect() }
    }

    /// Without those that every command has.
    fn own_arguments(&self) -> Vec<(String, String)> {
        let own = &self.arguments[..self.arguments.len().saturating_sub(COMMON)];
        own.iter().map(Argument::row).collect()
    }
}

impl Argument {
    fn row(&self) -> (String, String) {
        (self.name.clone(), self.help.clone())
    }
}

impl Record for Explained {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("name", Unit::Name, "Name of the command", |explained| explained.entry.name),
            Self::field("aliases", Unit::Text, "Its other names", |explained| explained.entry.aliases),
            Self::field("summary", Unit::Text, "What it does", |explained| explained.entry.summary),
            Self::field("usage", Unit::Text, "How it is called", |explained| explained.usage.clone()),
            Self::list("arguments", "Its arguments", |explained| &explained.arguments),
            Self::list("tables", "The tables of its reports", |explained| &explained.tables),
            Self::list("examples", "Lines to try", |explained| explained.entry.examples),
        ]
    }
}

impl Record for Argument {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("name", Unit::Name, "Name of the argument", |argument| argument.name.clone()),
            Self::field("help", Unit::Text, "What it is", |argument| argument.help.clone()),
        ]
    }
}

impl Record for ExplainedTable {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("key", Unit::Text, "Key of its rows in the report", |table| table.shape.key.clone()),
            Self::field("meaning", Unit::Text, "What its rows are", |table| table.shape.meaning),
            Self::list("columns", "Its columns", |table| &table.shape.columns),
        ]
    }
}

impl Record for Spec {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("key", Unit::Text, "Key of the value in a row", |column| column.key.to_string()),
            Self::field("title", Unit::Text, "Heading of the column", |column| {
                column.title.as_ref().map(ToString::to_string)
            }),
            Self::field("unit", Unit::Text, "Symbol of the unit; empty for none", |column| column.symbol),
            Self::field("meaning", Unit::Text, "What the value means", |column| column.meaning),
            Self::field("sort", Unit::Text, "Key of `--sort`", |column| column.sort.map(|(word, _)| word)),
        ]
    }
}

impl Record for Example {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("line", Unit::Text, "The line", |example| example.line),
            Self::field("shows", Unit::Text, "What it shows", |example| example.shows),
        ]
    }
}

impl ExplainedTable {
    /// The headings of the columns with what they mean.
    fn rows(&self) -> Vec<(String, String)> {
        self.shape.columns.iter().filter_map(column_row).collect()
    }
}

/// The explanation of one command.
pub(super) fn of_command(entry: &'static Entry) -> Report {
    let explained = Explained::of(entry);
    let mut report = Report::of(&explained)
        .line(entry.summary)
        .toned_line([(Tone::Heading, "Usage  ".to_owned()), (Tone::Plain, explained.usage.clone())]);
    if !entry.aliases.is_empty() {
        report = report
            .toned_line([(Tone::Heading, "Also   ".to_owned()), (Tone::Plain, entry.aliases.join(", "))]);
    }
    let labelled = |rows: Vec<(String, String)>| {
        rows.into_iter().map(|(name, text)| (name, Cell::text(text))).collect::<Vec<_>>()
    };
    report = report
        .toned_line([(Tone::Heading, "Arguments".to_owned())])
        .fields(labelled(explained.arguments.iter().map(Argument::row).collect()));
    for table in &explained.tables {
        let what =
            if explained.tables.len() > 1 { format!("  {}", table.shape.meaning) } else { String::new() };
        let when = if table.when.is_empty() { String::new() } else { format!(", {}", table.when) };
        report = report
            .toned_line([(Tone::Heading, "Columns".to_owned()), (Tone::Dim, format!("{what}{when}"))])
            .fields(labelled(table.rows()));
    }
    report = report.toned_line([(Tone::Heading, "Examples".to_owned())]);
    entry.examples.iter().fold(report, |report, example| {
        report
            .toned_line([(Tone::Name, format!("  {}", example.line))])
            .toned_line([(Tone::Dim, format!("      {}", example.shows))])
    })
}

/// The heading of a column with what it means, its unit, and how to sort by it; `None` for a chart without a heading.
fn column_row(column: &Spec) -> Option<(String, String)> {
    let title = column.title.as_ref().filter(|title| !title.is_empty())?;
    let mut text = column.meaning.to_owned();
    if !column.symbol.is_empty() {
        text.push_str(&format!(" [{}]", column.symbol));
    }
    if let Some(sort) = column.sort_text() {
        text.push_str(&format!("; {sort}"));
    }
    Some((title.to_string(), text))
}

fn arguments_of(definition: &clap::Command) -> Vec<Argument> {
    let own = definition.get_arguments().filter(|argument| !argument.is_hide_set()).map(|argument| {
        let mut help = match argument.get_id().as_str() {
            // clap's own text refers to a help that does not exist here.
            "help" => "Print this explanation".to_owned(),
            _ => argument.get_help().map(ToString::to_string).unwrap_or_default(),
        };
        let choices: Vec<String> =
            argument.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
        if argument.get_action().takes_values() && !choices.is_empty() {
            help = format!("{help} ({})", choices.join(", "));
        }
        (argument_name(argument), help)
    });
    let nested = definition.get_subcommands().flat_map(|command| {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let values: Vec<String> = command.get_positionals().map(argument_name).collect();
        let name = std::iter::once(command.get_name().to_owned()).chain(values).collect::<Vec<_>>().join(" ");
        [(name, about)]
    });
    nested.chain(own).map(|(name, help)| Argument { name, help }).collect()
}

fn argument_name(argument: &clap::Arg) -> String {
    let value = argument
        .get_value_names()
        .and_then(|names| names.first())
        .map(ToString::to_string)
        .unwrap_or_default();
    match (argument.get_long(), argument.get_action().takes_values()) {
        (Some(long), true) => format!("--{long} {value}"),
        (Some(long), false) => format!("--{long}"),
        (None, _) => value,
    }
}
