//! The arguments of the process. Parsing has no effects.

use crate::render::Format;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// A playground for quantized neural networks.
///
/// Without arguments qp is interactive; commands may also come from -c, from a script or from a pipe.
#[derive(Clone, Debug, Parser)]
#[command(name = "qp", version, args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
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

    /// Print results and errors only.
    #[arg(short, long, global = true)]
    pub quiet: bool,

    /// Print the raw text behind errors too.
    #[arg(short, long, global = true)]
    pub verbose: bool,

    /// What to do in place of the interactive session.
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// The whole command line: the user's arguments, or those of `scripts/package.sh`. The latter are kept apart so that the
/// generated documents do not mention them.
#[derive(Clone, Debug, Parser)]
#[command(name = "qp", version, args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
pub struct CommandLine {
    /// What users give.
    #[command(flatten)]
    pub args: Args,

    /// Print the manual page or a shell's completion.
    #[arg(long, value_enum, hide = true, exclusive = true)]
    pub generate: Option<Document>,
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

/// What to do in place of the interactive session.
#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// Run a script; stop at the first error.
    Run {
        /// The script.
        file: PathBuf,
        /// Print each command before its result.
        #[arg(long)]
        echo: bool,
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
    use clap::CommandFactory;

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
}
