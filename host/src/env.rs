//! Every environment variable that qp reads or sets, in one place. (Terminal libraries read `TERM` by themselves.)

use std::ffi::OsString;
use std::path::PathBuf;

/// One folder for configuration, data, cache and state, instead of the system's usual places.
pub const QP_HOME: &str = "QP_HOME";
/// More folders to look for plugins in, separated as in `PATH`; searched first.
pub const QP_PLUGINS: &str = "QP_PLUGINS";
/// More folders that hold native runtimes, separated as in `PATH`; searched first.
pub const QP_RUNTIMES: &str = "QP_RUNTIMES";
/// The format of results: `table`, `json`, `csv`, `markdown`.
pub const QP_FORMAT: &str = "QP_FORMAT";
/// Where models run: `worker`, in a process of their own, or `none`, in qp's.
pub const QP_ISOLATION: &str = "QP_ISOLATION";
/// Any value but the empty one switches colors off: <https://no-color.org>.
pub const NO_COLOR: &str = "NO_COLOR";
/// A value other than `0` turns colors on even for files and pipes.
pub const CLICOLOR_FORCE: &str = "CLICOLOR_FORCE";
/// `dumb` means a terminal without colors and cursor movement.
pub const TERM: &str = "TERM";
/// The width of the output if the terminal does not report one.
pub const COLUMNS: &str = "COLUMNS";
/// The program that shows long results at a prompt, instead of qp itself.
pub const PAGER: &str = "PAGER";
/// Options of `less`; qp gives it its own if there are none.
pub const LESS: &str = "LESS";

/// The locale, in this order; the first that is set counts.
pub const LOCALE: [&str; 3] = ["LC_ALL", "LC_CTYPE", "LANG"];

/// The virtual environment of Python that is active, as its `activate` sets it.
pub const VIRTUAL_ENV: &str = "VIRTUAL_ENV";
/// The conda environment that is active.
pub const CONDA_PREFIX: &str = "CONDA_PREFIX";
/// Where to find a `python3` that may have runtimes.
pub const PATH: &str = "PATH";

/// What the manual page says of each.
pub const VARIABLES: [(&str, &str); 15] = [
    (QP_HOME, "One folder for configuration, data, cache and state, instead of the system's usual places."),
    (QP_PLUGINS, "More folders to look for plugins in, separated as in PATH; searched first."),
    (
        QP_RUNTIMES,
        "More folders that hold ONNX Runtime or libtorch, also Python's site-packages, separated as in PATH; searched first.",
    ),
    (
        VIRTUAL_ENV,
        "The active virtual environment, whose packages onnxruntime and torch are used if no other is found.",
    ),
    (CONDA_PREFIX, "The active conda environment, likewise."),
    (PATH, "Where to find the python3 whose packages are searched if no runtime was found before."),
    (QP_FORMAT, "The format of results: table, json, csv or markdown."),
    (
        QP_ISOLATION,
        "Where models run: worker (a process of their own, the default) or none (qp's own process).",
    ),
    (NO_COLOR, "Any value turns colors off."),
    (CLICOLOR_FORCE, "A value other than 0 turns colors on even for files and pipes."),
    (TERM, "dumb means a terminal without colors or cursor movement."),
    (
        PAGER,
        "A program that shows long results at a prompt; cat shows them at once. Without it, qp waits after each screen.",
    ),
    (LESS, "Options of less, if that is the PAGER; FRX if not set."),
    (
        "LC_ALL, LC_CTYPE, LANG",
        "The locale: if the first that is set names no UTF-8, terminals get ASCII instead of lines and bars.",
    ),
    (COLUMNS, "The width of the output if the terminal does not report one."),
];

/// Set for native libraries, whatever the environment said before, so that they send nothing. ONNX Runtime
/// for Linux and macOS, from 1.29 on, otherwise keeps a device id in the user's home and reports each session;
/// its own switch, `DisableTelemetryEvents`, needs an environment whose making is reported already.
/// <https://consoledonottrack.com> is for the libraries of plugins that are not ours.
pub const SILENCED_LIBRARIES: [(&str, &str); 2] = [("ORT_DISABLE_TELEMETRY", "1"), ("DO_NOT_TRACK", "1")];

/// What the environment says, read once at the start.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// [`QP_HOME`]
    pub home: Option<PathBuf>,
    /// [`QP_PLUGINS`]
    pub plugin_folders: Vec<PathBuf>,
    /// [`QP_RUNTIMES`]
    pub runtime_folders: Vec<PathBuf>,
    /// [`QP_FORMAT`]
    pub format: Option<String>,
    /// [`QP_ISOLATION`]
    pub isolation: Option<String>,
    /// Whether [`NO_COLOR`] is set.
    pub no_color: bool,
    /// Whether [`CLICOLOR_FORCE`] is set.
    pub force_color: bool,
    /// Whether [`TERM`] is `dumb`.
    pub is_dumb_terminal: bool,
    /// [`COLUMNS`]
    pub columns: Option<u16>,
    /// Whether the locale is set, and is not UTF-8.
    pub is_ascii_locale: bool,
    /// [`PAGER`]
    pub pager: Option<String>,
    /// [`LESS`]
    pub less: Option<String>,
    /// [`VIRTUAL_ENV`]
    pub virtual_env: Option<PathBuf>,
    /// [`CONDA_PREFIX`]
    pub conda_prefix: Option<PathBuf>,
    /// [`PATH`], as it is: relative folders stay relative.
    pub search_path: Vec<PathBuf>,
}

impl Environment {
    /// Reads the environment of this process.
    pub fn read() -> Self {
        Self {
            home: read(QP_HOME).map(|home| std::path::absolute(&home).unwrap_or(home.into())),
            plugin_folders: folders(QP_PLUGINS),
            runtime_folders: folders(QP_RUNTIMES),
            format: text(QP_FORMAT),
            isolation: text(QP_ISOLATION),
            no_color: read(NO_COLOR).is_some(),
            force_color: text(CLICOLOR_FORCE).is_some_and(|value| value != "0"),
            is_dumb_terminal: text(TERM).is_some_and(|value| value == "dumb"),
            columns: text(COLUMNS).and_then(|value| value.parse().ok()),
            is_ascii_locale: LOCALE
                .iter()
                .find_map(|name| text(name))
                .is_some_and(|locale| !is_utf8(&locale)),
            pager: text(PAGER),
            less: text(LESS),
            virtual_env: read(VIRTUAL_ENV).map(PathBuf::from),
            conda_prefix: read(CONDA_PREFIX).map(PathBuf::from),
            search_path: read(PATH).map(|list| std::env::split_paths(&list).collect()).unwrap_or_default(),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
fn read(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Whether `de_DE.UTF-8` and the like is UTF-8; macOS also writes it alone.
fn is_utf8(locale: &str) -> bool {
    let locale = locale.to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

fn text(name: &str) -> Option<String> {
    read(name).and_then(|value| value.into_string().ok())
}

/// The folders of a list, the relative ones from the working folder as it is at the start.
fn folders(name: &str) -> Vec<PathBuf> {
    let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    let named = |list| {
        std::env::split_paths(&list).filter(|path| !path.as_os_str().is_empty()).map(absolute).collect()
    };
    read(name).map(named).unwrap_or_default()
}
