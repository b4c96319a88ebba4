//! One run of the program: sets the session up, and feeds it from where its commands come.

use crate::args::{Action, Args, ColorWhen, CommandLine, Document};
use crate::backend::{BackendConfig, Backends, Heard, PythonPlaces, RuntimeFolder, RuntimeOrigin};
use crate::cancel::CancelFlag;
use crate::catalog::{KeptResults, Measurements};
use crate::checking::{self, Checking};
use crate::commands::models_around;
use crate::dirs::Dirs;
use crate::documents;
use crate::env::Environment;
use crate::error::exit_code;
use crate::executor::{Executor, Origin, Outcome, Trust};
use crate::file;
use crate::language::{is_incomplete, token};
use crate::playground::Playground;
use crate::render::ui::{Appearance, Paging, Ui};
use crate::repl::{self, interrupt};
use crate::settings::Settings;
use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Lines are broken to this width on a terminal that does not tell its own.
const DEFAULT_WIDTH: u16 = 80;

/// Runs the program; returns its exit code.
pub fn run(line: &CommandLine) -> u8 {
    match (line.generate, &line.worker) {
        (Some(document), _) => generate(document),
        #[cfg(unix)]
        (None, Some(_)) => work(),
        (None, _) => start(&line.args),
    }
}

/// Writes a document for packagers. A closed output ends it quietly.
fn generate(document: Document) -> u8 {
    match documents::write(document, &mut std::io::stdout().lock()) {
        Ok(()) => exit_code::DONE,
        Err(_) => exit_code::FAILED,
    }
}

/// Shows what native libraries print, as they would show it themselves.
fn heard() -> Heard {
    Arc::new(|text: &str| drop(std::io::stderr().write_all(text.as_bytes())))
}

/// Runs models for another qp.
#[cfg(unix)]
fn work() -> u8 {
    match crate::backend::serve() {
        Ok(()) => exit_code::DONE,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            exit_code::FAILED
        }
    }
}

fn start(args: &Args) -> u8 {
    let environment = Environment::read();
    let dirs = Dirs::find(environment.home.as_deref());
    let ui =
        Ui::new(appearance(args, &environment), Box::new(std::io::stdout()), Box::new(std::io::stderr()));

    let config_file = dirs.as_ref().map(Dirs::config_file);
    let (mut settings, problems) = Settings::at_start(config_file.as_deref(), &environment);
    for problem in problems {
        ui.warning(&format!("{}. {}", problem.one_line(), problem.hints().join(" ")));
    }
    settings.format = args.format.unwrap_or(settings.format);

    let cancel = CancelFlag::default();
    let is_at_prompt = is_at_prompt(args);
    let interrupts = interrupt::install(&cancel, ui.ending(), is_at_prompt);
    for installed in [interrupts, file::survive_size_limits()] {
        if let Err(error) = installed {
            ui.warning(&error.one_line());
        }
    }
    let backends = Backends::discover(backend_config(&settings, &environment, dirs.as_ref(), args.verbose));
    let mut playground = Playground::new(settings, backends, PathBuf::new());
    if let Some(dirs) = &dirs {
        playground.measurements = Measurements::in_file(dirs.measurements_file());
        playground.kept_results = KeptResults::in_folder(dirs.results_folder());
    }
    let mut executor = Executor::new(playground, ui, cancel);
    executor.trust = match args.allow_programs {
        true => Trust::Everything,
        false if is_at_prompt || args.commands.is_some() => Trust::Typed,
        false => Trust::None,
    };

    let outcome = match (&args.action, &args.commands) {
        (Some(Action::Run { file, echo, keep_going, reports, params }), _) => {
            let checking = Checking { is_echoed: *echo, keeps_going: *keep_going, reports };
            checking::run(&mut executor, file, &checking, params)
        }
        (Some(Action::Check { files }), _) => {
            checking::check(&executor.ui, files, executor.playground.settings.format, args.allow_programs)
        }
        (None, Some(commands)) => match open_first(&mut executor, args.folder.as_deref()) {
            Outcome::GoOn => executor.execute(commands, Origin::Text { name: "-c", is_echoed: false }),
            end => end,
        },
        (None, None) if is_at_prompt => interactive(&mut executor, args, dirs.as_ref()),
        (None, None) => match open_first(&mut executor, args.folder.as_deref()) {
            Outcome::GoOn => piped(&mut executor),
            end => end,
        },
    };
    executor.ui.show_last();
    match outcome {
        Outcome::GoOn | Outcome::Quit if executor.ui.has_output_failed() => exit_code::FAILED,
        Outcome::GoOn | Outcome::Quit => exit_code::DONE,
        Outcome::Failed(code) => code,
    }
}

fn interactive(executor: &mut Executor, args: &Args, dirs: Option<&Dirs>) -> Outcome {
    let appearance = executor.ui.appearance();
    let _kept = interrupt::KeptOutput::begin();
    let mut terminal = match repl::terminal(appearance.is_talk_colored, appearance.is_output_ascii) {
        Ok(terminal) => terminal,
        Err(error) => {
            executor.ui.warning(&error.one_line());
            return Outcome::Failed(exit_code::FAILED);
        }
    };
    let is_first = dirs.is_some_and(|dirs| !dirs.history_file().exists());
    let (is_open, models) = (args.folder.is_some(), || models_around(&executor.playground));
    executor.ui.remark(&greeting(is_first.then(models), is_open));
    // Go on even if the folder cannot be opened.
    open_first(executor, args.folder.as_deref());
    repl::run(executor, &mut terminal, dirs);
    Outcome::GoOn
}

/// What a session begins with: one line, or at the first start three, with the models that are around.
fn greeting(models: Option<Vec<String>>, is_open: bool) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let Some(models) = models else {
        let begin = if is_open { "`summary` to compare the models" } else { "`open FOLDER` to begin" };
        return format!("qp {version}: {begin}, `help` for all commands, Ctrl-D to end");
    };
    let here = match models.as_slice() {
        [] => "no models in this folder or below".to_owned(),
        [one] => format!("1 model in this folder or below: {one}"),
        [one, other] => format!("2 models in this folder or below: {one}, {other}"),
        [one, other, more @ ..] => {
            let count = models.len();
            format!("{count} models in this folder or below: {one}, {other} and {} more", more.len())
        }
    };
    let next = match (is_open, models.is_empty()) {
        (true, _) => "Type `summary` to compare the models, `info NAME` to look into one, or `tour`.",
        (false, false) => "Type `open .` to list them, `summary` to compare them, `tour` for a tour.",
        (false, true) => "Type `open FOLDER` with a folder that has some, then `summary`, or `tour`.",
    };
    format!(
        "qp {version}: {here}\n{next}\n`help` lists all commands, Tab completes, Ctrl-C stops a command, Ctrl-D ends."
    )
}

/// Executes what comes from standard input line by line, as it comes; the first error ends it.
fn piped(executor: &mut Executor) -> Outcome {
    let (mut pending, mut number, mut first) = (String::new(), 0, 1);
    // Within a block only a line with `end` can be the last, so the others need not be parsed again.
    let mut is_in_block = false;
    let mut lines = std::io::stdin().lock();
    loop {
        let length_before = pending.len();
        match lines.read_line(&mut pending) {
            Ok(_) => number += 1,
            Err(error) => {
                executor.ui.warning(&format!("standard input cannot be read: {error}"));
                return Outcome::Failed(exit_code::FAILED);
            }
        }
        let is_at_end = pending.len() == length_before;
        if !is_at_end && is_in_block && !pending[length_before..].contains("end") {
            continue;
        }
        if !is_at_end && is_incomplete(&pending) {
            is_in_block = !token::is_incomplete(&pending);
            continue;
        }
        let name = format!("standard input, from line {first}");
        match executor.execute(&pending, Origin::Text { name: &name, is_echoed: false }) {
            Outcome::GoOn if !is_at_end => {}
            end => return end,
        }
        pending.clear();
        is_in_block = false;
        first = number + 1;
    }
}

/// Opens the folder of the arguments, as if the user had typed it.
fn open_first(executor: &mut Executor, folder: Option<&Path>) -> Outcome {
    let Some(folder) = folder else { return Outcome::GoOn };
    let quoted = format!("'{}'", folder.to_string_lossy().replace('\'', r"'\''"));
    executor.execute(&format!("open {quoted}"), Origin::Text { name: "arguments", is_echoed: false })
}

/// Whether a user types the commands.
fn is_at_prompt(args: &Args) -> bool {
    args.action.is_none() && args.commands.is_none() && std::io::stdin().is_terminal()
}

/// Whether all commands are known at the start. A program that writes into a pipe may wait for each result, and so may a
/// reader of echoed commands.
fn runs_to_its_end(args: &Args) -> bool {
    match &args.action {
        Some(Action::Run { echo, .. }) => !echo,
        Some(Action::Check { .. }) => false,
        None => args.commands.is_some(),
    }
}

fn appearance(args: &Args, environment: &Environment) -> Appearance {
    let (output, talk) = (std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
    let is_colored = |is_terminal: bool| match args.color {
        ColorWhen::Always => true,
        ColorWhen::Never => false,
        ColorWhen::Auto if environment.no_color => false,
        ColorWhen::Auto => environment.force_color || (is_terminal && !environment.is_dumb_terminal),
    };
    let told_width = terminal_size::terminal_size().map(|(width, _)| width.0);
    let width = if output {
        Some(told_width.or(environment.columns).unwrap_or(DEFAULT_WIDTH))
    } else {
        environment.columns
    };
    Appearance {
        is_output_colored: is_colored(output),
        is_talk_colored: is_colored(talk),
        is_output_ascii: output && environment.is_ascii_locale,
        is_talk_ascii: talk && environment.is_ascii_locale,
        is_output_terminal: output,
        is_talk_terminal: talk && !environment.is_dumb_terminal,
        is_interactive: talk && std::io::stdin().is_terminal() && !environment.is_dumb_terminal,
        width,
        paging: (output && is_at_prompt(args) && !environment.is_dumb_terminal).then(|| Paging {
            program: environment.pager.clone(),
            less: environment.less.clone().or_else(|| Some("FRX".to_owned())),
        }),
        is_quiet: args.quiet,
        shows_last_only: args.quiet && !args.all_results && runs_to_its_end(args),
        is_verbose: args.verbose,
    }
}

/// Plugins are searched where the user says, beside the program, in the library folder of an installation, and in qp's
/// data folder; runtimes where the user says, in qp's data folder, and in Python environments.
fn backend_config(
    settings: &Settings,
    environment: &Environment,
    dirs: Option<&Dirs>,
    is_verbose: bool,
) -> BackendConfig {
    let mut plugin_folders = settings.plugin_folders.clone();
    let program_folder =
        std::env::current_exe().ok().and_then(|program| program.parent().map(Path::to_owned));
    if let Some(folder) = &program_folder {
        if let Some(prefix) = folder.parent() {
            plugin_folders.push(prefix.join("lib/qp/plugins"));
        }
        plugin_folders.push(folder.clone());
    }
    plugin_folders.extend(dirs.map(Dirs::plugin_folder));
    let mut runtime_folders = settings.runtime_folders.clone();
    let own = dirs.map(|dirs| RuntimeFolder::new(dirs.runtime_folder(), RuntimeOrigin::DataFolder));
    runtime_folders.extend(own);
    BackendConfig {
        plugin_folders,
        manifest_cache: dirs.map(|dirs| dirs.cache.join("plugins.json")),
        runtime_folders,
        python: PythonPlaces {
            virtual_env: environment.virtual_env.clone(),
            conda_prefix: environment.conda_prefix.clone(),
            program_folder,
            search_path: environment.search_path.clone(),
            cache_file: dirs.map(|dirs| dirs.cache.join("python.json")),
        },
        settings: settings.plugin_settings.clone(),
        preferred: settings.preferred_plugins.clone(),
        isolation: settings.isolation(is_verbose.then(heard)),
    }
}
