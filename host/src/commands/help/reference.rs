//! All commands as one document in Markdown: COMMANDS.md is what this writes.

use super::{Explained, GROUPS};
use crate::commands::TABLE;
use std::fmt::Write;

const HEAD: &str = "\
# Commands

Printed by `help --markdown`; a test compares this file with it.

A line is a command with its arguments and options, split into words as a shell does; `;` separates commands, `#` starts a
comment. Paths are relative to the working folder, or in a script to the script's folder. `help COMMAND` explains a command
with examples, `help COMMAND --schema` prints the JSON Schema of its report. A name is a file name, its stem if that is
unique, an alias, a family, a pattern such as `*.onnx`, or a path.

`if EXPR`, `else if EXPR`, `else`, `end` choose what is run: `EXPR` is CEL over the results so far, as in [`assert`](#assert). `for NAME
in WORD…`, `end` runs what is between once for each word, which `$NAME` stands for there; a word with `*`, `?` or `[a-z]` outside
quotes stands for the models of the session that it matches, or else for the files, naturally sorted. Each of these is a statement
of its own, as in `for m in *.onnx; info $m; end`.

`COMMAND | PROGRAM` gives a result to a program, as plain text; `COMMAND > FILE` writes it into a new file, `>>` adds it to one, `>|`
replaces one; `!PROGRAM` runs a program with the rest of the line. A shell reads what follows `|` and `!`, and knows the variables that it
names. Scripts and pipes may be a stranger's: they run no program, and write only new files in their own folder or below, unless qp is started with
`--allow-programs`. `?COMMAND` is `help COMMAND`.

At the prompt, lines that are typed or pasted while a command runs follow it one by one. A space before a line keeps it out of the
history. Ctrl-C stops a command and drops the lines that wait; a command that does not stop is reported, and the next Ctrl-C ends
qp. Ctrl-D at an empty prompt ends it, too. Tab completes commands, options and their values, models, layers, files and the arrays of an
`.npz`, also from the middle of a name; Up searches the lines that begin with what is typed. A result that is longer than the terminal waits after each screen: Space shows the next,
Enter the next line, `a` all, `q` none; the program in `PAGER` shows it instead if there is one.
";

/// The whole document.
pub(super) fn markdown() -> String {
    let mut text = HEAD.to_owned();
    for group in GROUPS {
        let _ = write!(text, "\n| {} | |\n|---|---|\n", group.title());
        for entry in TABLE.iter().filter(|entry| entry.group == group) {
            let _ = writeln!(text, "| [`{0}`](#{0}) | {1} |", entry.name, cell(entry.summary));
        }
    }
    for entry in TABLE {
        push(&mut text, &Explained::of(entry));
    }
    text
}

fn push(text: &mut String, command: &Explained) {
    let entry = command.entry;
    let _ = write!(text, "\n## {}\n\n{}.\n\n    {}\n", entry.name, entry.summary, command.usage);
    if !entry.aliases.is_empty() {
        let aliases: Vec<String> = entry.aliases.iter().map(|alias| format!("`{alias}`")).collect();
        let _ = write!(text, "\nAlso {}.\n", aliases.join(", "));
    }
    push_table(text, "argument", &command.own_arguments());
    for table in &command.tables {
        let when = if table.when.is_empty() { String::new() } else { format!(" ({})", table.when) };
        let _ = write!(text, "\n{}{when}:\n", table.shape.meaning);
        push_table(text, "column", &table.rows());
    }
    text.push_str("\nExamples:\n\n");
    for example in entry.examples {
        let _ = writeln!(text, "- `{}`: {}", example.line, example.shows);
    }
}

fn push_table(text: &mut String, what: &str, rows: &[(String, String)]) {
    if rows.is_empty() {
        return;
    }
    let _ = write!(text, "\n| {what} | |\n|---|---|\n");
    for (name, meaning) in rows {
        let _ = writeln!(text, "| `{}` | {} |", cell(name), cell(meaning));
    }
}

/// A text in a table; its backticks are Markdown already.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
