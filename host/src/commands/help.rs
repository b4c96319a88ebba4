//! `help`: the commands, or one of them.

use super::{Command, Entry, Example, Group, Scope, TABLE, find};
use crate::catalog::name::nearest;
use crate::error::{Error, Result};
use crate::playground::Playground;
use crate::render::report::{Cell, Report};
use crate::render::style::Tone;
use serde::Serialize;

/// `help [COMMAND]`
pub(super) struct Help;

/// The arguments of `help`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A command
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
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
        Example { line: "help load", shows: "the arguments of `load`, with examples" },
    ];

    fn run(arguments: Arguments, _: &mut Playground, _: &Scope<'_>) -> Result<Report> {
        let Some(name) = arguments.command else { return all() };
        match find(&name) {
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
    let mut report = Report::new(&serde_json::json!({ "commands": listed }))?;
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
    let value = serde_json::json!({
        "name": entry.name,
        "aliases": entry.aliases,
        "summary": entry.summary,
        "usage": usage,
        "arguments": arguments.iter().map(|(name, cell)| serde_json::json!({ "name": name, "help": cell.text })).collect::<Vec<_>>(),
        "examples": entry.examples.iter().map(|example| serde_json::json!({ "line": example.line, "shows": example.shows })).collect::<Vec<_>>(),
    });
    let mut report = Report::new(&value)?
        .line(entry.summary)
        .toned_line([(Tone::Heading, "Usage  ".to_owned()), (Tone::Plain, usage)]);
    if !entry.aliases.is_empty() {
        report = report
            .toned_line([(Tone::Heading, "Also   ".to_owned()), (Tone::Plain, entry.aliases.join(", "))]);
    }
    report = report.toned_line([(Tone::Heading, "Arguments".to_owned())]).fields(arguments);
    report = report.toned_line([(Tone::Heading, "Examples".to_owned())]);
    Ok(entry.examples.iter().fold(report, |report, example| {
        report
            .toned_line([(Tone::Name, format!("  {}", example.line))])
            .toned_line([(Tone::Dim, format!("      {}", example.shows))])
    }))
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
