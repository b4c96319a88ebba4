//! `help`: the commands, or one of them.

mod reference;

use super::{Command, Entry, Example, Group, Scope, TABLE, find};
use crate::error::{Error, Result};
use crate::playground::Playground;
use crate::render::record::{Spec, TableShape};
use crate::render::report::{Cell, Report};
use crate::render::style::Tone;
use crate::spelling::nearest;
use serde::Serialize;
use serde_json::{Value, json};

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
const GROUPS: [Group; 4] = [Group::Models, Group::Inspect, Group::Run, Group::Session];

#[derive(Serialize)]
struct Listed {
    name: &'static str,
    aliases: &'static [&'static str],
    summary: &'static str,
    group: &'static str,
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

    fn run(arguments: Arguments, _: &mut Playground, _: &Scope<'_>) -> Result<Report> {
        let Some(name) = arguments.command else {
            return if arguments.markdown { Ok(Report::verbatim(reference::markdown())) } else { all() };
        };
        match find(&name) {
            Some(entry) if arguments.schema => match entry.schema() {
                Some(schema) => Ok(Report::document(schema)),
                None => Err(Error::not_found(format!("`{name}` has no schema"))),
            },
            Some(entry) => of_command(entry),
            None => {
                let error = Error::not_found(format!("there is no command `{name}`"));
                Err(match nearest(&name, TABLE.iter().map(|entry| entry.name)) {
                    Some(near) => error.with_hint(format!("Did you mean `{near}`?")),
                    None => error.with_hint("See `help` for all commands."),
                })
            }
        }
    }
}

fn all() -> Result<Report> {
    let listed: Vec<Listed> = TABLE
        .iter()
        .map(|entry| Listed {
            name: entry.name,
            aliases: entry.aliases,
            summary: entry.summary,
            group: entry.group.title(),
        })
        .collect();
    let mut report = Report::new(&json!({ "commands": listed }))?;
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
    Ok(report.line("").line("Separate commands with `;`. Tab completes. `help COMMAND` explains one, `--json` prints any result as JSON."))
}

/// What is said of one command.
struct Explained {
    entry: &'static Entry,
    usage: String,
    /// The names of the arguments with what they are; the last [`COMMON`] are those of every command.
    arguments: Vec<(String, String)>,
    tables: Vec<ExplainedTable>,
}

/// Arguments that every command has: `--json` and `--help`.
const COMMON: usize = 2;

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
        Self { entry, usage, arguments: rows(&definition), tables: tables.collect() }
    }

    /// Without those that every command has.
    fn own_arguments(&self) -> &[(String, String)] {
        &self.arguments[..self.arguments.len().saturating_sub(COMMON)]
    }
}

impl ExplainedTable {
    /// The headings of the columns with what they mean.
    fn rows(&self) -> Vec<(String, String)> {
        self.shape.columns.iter().filter_map(column_row).collect()
    }
}

/// The explanation of one command.
pub(super) fn of_command(entry: &'static Entry) -> Result<Report> {
    let Explained { usage, arguments, tables, .. } = Explained::of(entry);
    let value = json!({
        "name": entry.name,
        "aliases": entry.aliases,
        "summary": entry.summary,
        "usage": usage,
        "arguments": arguments.iter().map(|(name, help)| json!({ "name": name, "help": help })).collect::<Vec<_>>(),
        "tables": tables.iter().map(|table| json!({
            "key": table.shape.key,
            "meaning": table.shape.meaning,
            "columns": table.shape.columns.iter().map(column_json).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "examples": entry.examples.iter().map(|example| json!({ "line": example.line, "shows": example.shows })).collect::<Vec<_>>(),
    });
    let mut report = Report::new(&value)?
        .line(entry.summary)
        .toned_line([(Tone::Heading, "Usage  ".to_owned()), (Tone::Plain, usage)]);
    if !entry.aliases.is_empty() {
        report = report
            .toned_line([(Tone::Heading, "Also   ".to_owned()), (Tone::Plain, entry.aliases.join(", "))]);
    }
    let labelled = |rows: Vec<(String, String)>| {
        rows.into_iter().map(|(name, text)| (name, Cell::text(text))).collect::<Vec<_>>()
    };
    report = report.toned_line([(Tone::Heading, "Arguments".to_owned())]).fields(labelled(arguments));
    for table in &tables {
        let what = if tables.len() > 1 { format!("  {}", table.shape.meaning) } else { String::new() };
        let when = if table.when.is_empty() { String::new() } else { format!(", {}", table.when) };
        report = report
            .toned_line([(Tone::Heading, "Columns".to_owned()), (Tone::Dim, format!("{what}{when}"))])
            .fields(labelled(table.rows()));
    }
    report = report.toned_line([(Tone::Heading, "Examples".to_owned())]);
    Ok(entry.examples.iter().fold(report, |report, example| {
        report
            .toned_line([(Tone::Name, format!("  {}", example.line))])
            .toned_line([(Tone::Dim, format!("      {}", example.shows))])
    }))
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

fn column_json(column: &Spec) -> Value {
    json!({
        "key": column.key,
        "title": column.title,
        "unit": column.symbol,
        "meaning": column.meaning,
        "sort": column.sort.map(|(word, _)| word),
    })
}

fn rows(definition: &clap::Command) -> Vec<(String, String)> {
    let own = definition.get_arguments().filter(|argument| !argument.is_hide_set()).map(|argument| {
        let mut help = match argument.get_id().as_str() {
            // Of its own, clap refers to another help, which does not exist here.
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
    nested.chain(own).collect()
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
