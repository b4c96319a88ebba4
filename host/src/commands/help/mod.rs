//! `help`: the commands, or one of them.

use super::{Command, Entry, Example, Group, Scope, TABLE, find};
use crate::catalog::name::nearest;
use crate::error::{Error, Result};
use crate::playground::Playground;
use crate::render::record::{Spec, TableShape};
use crate::render::report::{Cell, Report};
use crate::render::style::Tone;
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
    /// The JSON Schema of what the command prints with `--json`
    #[arg(long, requires = "command")]
    schema: bool,
}

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
        let Some(name) = arguments.command else { return all() };
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
    for group in [Group::Models, Group::Inspect, Group::Run, Group::Session] {
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

/// The explanation of one command.
pub(super) fn of_command(entry: &Entry) -> Result<Report> {
    let mut definition = entry.definition();
    let usage = definition.render_usage().to_string().trim_start_matches("Usage: ").to_owned();
    let arguments: Vec<(String, Cell)> = rows(&definition);
    let tables: Vec<(&str, TableShape)> = (entry.reports)()
        .iter()
        .flat_map(|report| report.tables().into_iter().map(|table| (report.when, table)))
        .collect();
    let value = json!({
        "name": entry.name,
        "aliases": entry.aliases,
        "summary": entry.summary,
        "usage": usage,
        "arguments": arguments.iter().map(|(name, cell)| json!({ "name": name, "help": cell.text })).collect::<Vec<_>>(),
        "tables": tables.iter().map(|(_, table)| json!({
            "key": table.key,
            "meaning": table.meaning,
            "columns": table.columns.iter().map(column_json).collect::<Vec<_>>(),
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
    report = report.toned_line([(Tone::Heading, "Arguments".to_owned())]).fields(arguments);
    for (when, table) in &tables {
        let what = if tables.len() > 1 { format!("  {}", table.meaning) } else { String::new() };
        let when = if when.is_empty() { String::new() } else { format!(", {when}") };
        report = report
            .toned_line([(Tone::Heading, "Columns".to_owned()), (Tone::Dim, format!("{what}{when}"))])
            .fields(table.columns.iter().filter_map(column_row).collect());
    }
    report = report.toned_line([(Tone::Heading, "Examples".to_owned())]);
    Ok(entry.examples.iter().fold(report, |report, example| {
        report
            .toned_line([(Tone::Name, format!("  {}", example.line))])
            .toned_line([(Tone::Dim, format!("      {}", example.shows))])
    }))
}

/// The heading of a column with what it means, its unit, and how to sort by it; `None` for a chart without a heading.
fn column_row(column: &Spec) -> Option<(String, Cell)> {
    let title = column.title.as_ref().filter(|title| !title.is_empty())?;
    let mut text = column.meaning.to_owned();
    if !column.symbol.is_empty() {
        text.push_str(&format!(" [{}]", column.symbol));
    }
    if let Some(sort) = column.sort_text() {
        text.push_str(&format!("; {sort}"));
    }
    Some((title.to_string(), Cell::text(text)))
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

fn rows(definition: &clap::Command) -> Vec<(String, Cell)> {
    let own = definition.get_arguments().filter(|argument| !argument.is_hide_set()).map(|argument| {
        let mut help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        let choices: Vec<String> =
            argument.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
        if argument.get_action().takes_values() && !choices.is_empty() {
            help = format!("{help} ({})", choices.join(", "));
        }
        (argument_name(argument), Cell::text(help))
    });
    let nested = definition.get_subcommands().flat_map(|command| {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let values: Vec<String> = command.get_positionals().map(argument_name).collect();
        let name = std::iter::once(command.get_name().to_owned()).chain(values).collect::<Vec<_>>().join(" ");
        [(name, Cell::text(about))]
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
