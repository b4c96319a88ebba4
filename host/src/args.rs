//! The arguments of the process. Parsing has no effects.

use crate::render::Format;
use clap::{CommandFactory, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

/// A playground for quantized neural networks.
///
/// Without arguments qp is interactive; commands may also come from -c, from a script or from a pipe.
#[derive(Clone, Debug, Parser)]
#[command(name = "qp", version, disable_help_subcommand = true)]
pub struct Args {
    /// A folder of models, or one model, to open at the start.
    pub folder: Option<PathBuf>,

    /// Run these commands, separated by `;`, and end.
    #[arg(short = 'c', long = "command", value_name = "COMMANDS")]
    pub commands: Option<String>,

    /// How to print results.
    #[arg(long, value_enum, global = true)]
    pub format: Option<Format>,

    /// When to use color.
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto", global = true)]
    pub color: ColorWhen,

    /// Print results and errors only; with -c or `run`, and with --format json or csv, only the last result.
    #[arg(short, long, global = true)]
    pub quiet: bool,

    /// Print the results of all commands despite --quiet.
    #[arg(long, global = true)]
    pub all_results: bool,

    /// Also print the raw text of errors.
    #[arg(short, long, global = true)]
    pub verbose: bool,

    /// Let scripts and pipes run other programs (`!` and `|`) and write to any file, as you may yourself.
    #[arg(long, global = true)]
    pub allow_programs: bool,

    /// What to do instead of an interactive session.
    #[command(subcommand)]
    pub action: Option<Action>,
}

// No doc comment: `--help` would begin with it.
// The whole command line: the user's arguments, or those of `scripts/package.sh`. The latter are kept apart so that the
// generated documents do not mention them.
#[expect(missing_docs, reason = "see above")]
#[derive(Clone, Debug, Parser)]
#[command(name = "qp", version, disable_help_subcommand = true)]
pub struct CommandLine {
    /// What users give.
    #[command(flatten)]
    pub args: Args,

    /// Print the manual page or a shell's completion.
    #[arg(long, value_enum, hide = true, exclusive = true)]
    pub generate: Option<Document>,

    /// Run the models of this plugin for the qp at the other end of standard input.
    #[arg(long, value_name = "LIBRARY", hide = true, exclusive = true)]
    pub worker: Option<PathBuf>,
}

impl CommandLine {
    /// The process's arguments; ends the process with an error about them, or with help.
    pub fn read() -> Self {
        Self::checked(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    /// Settings may stand before `run`; a folder or commands may not.
    fn checked(
        arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, clap::Error> {
        let line = Self::try_parse_from(arguments)?;
        let Args { folder, commands, action, .. } = &line.args;
        if action.is_some() && (folder.is_some() || commands.is_some()) {
            let message = "`run` takes neither FOLDER nor --command: let the script `open` what it needs";
            return Err(Self::command().error(clap::error::ErrorKind::ArgumentConflict, message));
        }
        Ok(line)
    }
}

/// A document that the program generates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Document {
    /// The manual page, `qp.1`.
    Man,
    /// Completion for bash.
    Bash,
    /// Completion for zsh.
    Zsh,
    /// Completion for fish.
    Fish,
}

/// What to do instead of an interactive session.
#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// Find what is wrong with scripts, without running them.
    Check {
        /// The scripts.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Run a script; stop at the first error.
    Run {
        /// The script.
        file: PathBuf,
        /// Print each command before its result.
        #[arg(long)]
        echo: bool,
        /// Go on after a command that fails.
        #[arg(long)]
        keep_going: bool,
        /// Write what was checked to FILE: .xml (JUnit), .json or .md. May be given several times.
        #[arg(long = "report", value_name = "FILE")]
        reports: Vec<PathBuf>,
        /// Values for the script's parameters, as in `-- --model m.onnx`; `-- --help` lists them.
        #[arg(last = true, value_name = "--NAME VALUE", allow_hyphen_values = true)]
        params: Vec<String>,
    },
}

/// When to use color.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorWhen {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        CommandLine::command().debug_assert();
        Args::command().debug_assert();
    }

    #[test]
    fn a_folder_called_run_can_still_be_opened() {
        let args = Args::try_parse_from(["qp", "./run"]).unwrap();
        assert_eq!(args.folder, Some("./run".into()));
        assert!(args.action.is_none());
    }

    #[test]
    fn settings_may_stand_before_run_but_no_folder() {
        for line in
            ["qp -q run a.qp", "qp --format json run --keep-going a.qp -- --model m.onnx", "qp run -q a.qp"]
        {
            let args = CommandLine::checked(line.split(' ')).unwrap().args;
            assert!(matches!(args.action, Some(Action::Run { .. })) && args.folder.is_none(), "{line}");
        }
        assert!(CommandLine::checked(["qp", "models", "run", "a.qp"]).is_err());
        assert!(CommandLine::checked(["qp", "-c", "help", "run", "a.qp"]).is_err());
    }
}
