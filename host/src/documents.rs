//! What a package contains besides the program: the manual page and shell completions, generated from the program's own
//! definitions.

use crate::args::{Args, Document};
use crate::commands::TABLE;
use crate::env;
use crate::error::exit_code;
use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};
use std::io::{self, Write};

/// The exit codes of commands that are not typed at a prompt.
const EXIT_CODES: [(u8, &str); 5] = [
    (exit_code::DONE, "Everything was done."),
    (exit_code::FAILED, "A command failed."),
    (exit_code::USAGE, "The arguments or a line were invalid."),
    (exit_code::ASSERTION, "An assertion does not hold."),
    (exit_code::INTERRUPTED, "Interrupted."),
];

/// Writes the document; the same program always writes the same.
///
/// # Errors
/// Those of `output`.
pub fn write(document: Document, output: &mut dyn Write) -> io::Result<()> {
    let mut definition = Args::command();
    let shell = match document {
        Document::Man => return write_manual(definition, output),
        Document::Bash => Shell::Bash,
        Document::Zsh => Shell::Zsh,
        Document::Fish => Shell::Fish,
    };
    // Into memory first: the generators do not handle write errors.
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut definition, "qp", &mut text);
    output.write_all(&text)
}

fn write_manual(definition: clap::Command, output: &mut dyn Write) -> io::Result<()> {
    let run = definition.find_subcommand("run").and_then(clap::Command::get_about).map(ToString::to_string);
    let manual = Man::new(definition).manual("User Commands");
    manual.render_title(output)?;
    manual.render_name_section(output)?;
    manual.render_synopsis_section(output)?;
    manual.render_description_section(output)?;
    manual.render_options_section(output)?;
    let mut page = Roff::new();
    page.control("SH", ["SCRIPTS"]).control("TP", []);
    page.text([bold("qp run"), roman(" [--echo] "), italic("FILE")]);
    page.text([roman(run.unwrap_or_default())]);
    page.control("SH", ["COMMANDS"]);
    page.text([
        roman("Of the interactive session, of scripts and of "),
        bold("-c"),
        roman(". The command "),
        bold("help"),
        roman(" explains each."),
    ]);
    let mut heading = "";
    for entry in TABLE {
        if entry.group.title() != heading {
            heading = entry.group.title();
            page.control("SS", [heading]);
        }
        page.control("TP", []);
        page.text([bold(entry.name)]).text([roman(entry.summary)]);
    }
    page.control("SH", ["ENVIRONMENT"]);
    for (name, meaning) in env::VARIABLES {
        page.control("TP", []).text([bold(name)]).text([roman(meaning)]);
    }
    page.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in EXIT_CODES {
        page.control("TP", []).text([bold(code.to_string())]).text([roman(meaning)]);
    }
    page.to_writer(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(document: Document) -> String {
        let mut bytes = Vec::new();
        write(document, &mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_manual_has_every_argument_command_variable_and_exit_code() {
        let page = text(Document::Man).replace(r"\-", "-");
        for entry in TABLE {
            assert!(page.contains(&format!("\\fB{}\\fR\n", entry.name)), "{}", entry.name);
        }
        for name in ["--command", "--format", "--color", "--quiet", "--verbose", "qp run", "QP_HOME", "130"] {
            assert!(page.contains(name), "{name}");
        }
        assert!(!page.contains("generate"));
        assert_eq!(page, text(Document::Man).replace(r"\-", "-"));
    }

    #[test]
    fn completions_know_the_arguments_and_nothing_that_is_hidden() {
        for (document, start) in
            [(Document::Bash, "_qp() {"), (Document::Zsh, "#compdef qp"), (Document::Fish, "# Print an")]
        {
            let script = text(document);
            assert!(script.contains("markdown") && script.contains("verbose"), "{script}");
            assert!(script.starts_with(start) && !script.contains("generate"), "{script}");
        }
    }
}
