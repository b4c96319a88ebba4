//! A world of its own for each test: an empty home, a cleared environment, a folder to work in.

use super::plugin;
use qp::backend::{RuntimeFolder, RuntimeOrigin};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

/// The world. Its folder holds `models`, a copy of the sample family that the test may damage.
pub struct World {
    folder: tempfile::TempDir,
}

/// What a finished `qp` left.
pub struct Ran {
    /// Standard output.
    pub output: String,
    /// Standard error.
    pub talk: String,
    /// The exit code.
    pub code: i32,
}

impl World {
    /// A new world.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let models = folder.path().join("models");
        std::fs::create_dir(&models).expect("a folder can be made");
        let source = plugin::model("");
        for entry in std::fs::read_dir(source).expect("the sample family is there").flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_file()) {
                std::fs::copy(entry.path(), models.join(entry.file_name())).expect("a sample can be copied");
            }
        }
        Self { folder }
    }

    /// A path in the world's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file in the world's folder.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a file lies in a folder"))
            .expect("a folder can be made");
        std::fs::write(&path, content).expect("a file can be written");
        path
    }

    /// `qp` in this world, without arguments.
    pub fn qp(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qp"));
        command
            .env_clear()
            .env("QP_HOME", self.path("home"))
            .env("QP_PLUGINS", plugin::library("qp-plugin-onnx").parent().expect("a file lies in a folder"))
            .env("QP_RUNTIMES", std::env::join_paths(plugin::runtime_folders()).expect("paths can be joined"))
            .current_dir(self.folder.path());
        command
    }

    /// Runs commands with `qp -c`.
    pub fn run(&self, commands: &str) -> Ran {
        Ran::of(self.qp().args(["-c", commands]).output())
    }

    /// Runs `qp` with these arguments.
    pub fn run_args(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.qp().args(arguments).output())
    }

    /// The result of the last of these commands.
    pub fn json(&self, commands: &str) -> Value {
        self.jsons(commands).pop().expect("a command has a result")
    }

    /// The results of these commands, none of which may fail.
    pub fn jsons(&self, commands: &str) -> Vec<Value> {
        let ran = Ran::of(self.qp().args(["--format", "json", "-c", commands]).output());
        assert_eq!(ran.code, 0, "{commands}: {}", ran.talk);
        ran.output.lines().map(|line| serde_json::from_str(line).expect("each line is a document")).collect()
    }

    /// A `qp` that takes one command after another.
    pub fn session(&self) -> Session {
        Session::of(self.qp())
    }
}

impl Session {
    /// A session of this `qp`, which has no arguments yet.
    pub fn of(mut command: Command) -> Self {
        command.args(["--format", "json"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("qp can be started");
        let input = child.stdin.take().expect("it was asked for");
        let output = BufReader::new(child.stdout.take().expect("it was asked for"));
        Session { child, input, output }
    }
}

impl Ran {
    fn of(output: std::io::Result<Output>) -> Self {
        let output = output.expect("qp can be started");
        Self {
            output: String::from_utf8(output.stdout).expect("results are text"),
            talk: String::from_utf8(output.stderr).expect("messages are text"),
            code: output.status.code().expect("qp ends by itself"),
        }
    }

    /// The line that begins with `error:`, without that.
    pub fn error(&self) -> &str {
        self.talk
            .lines()
            .find_map(|line| line.strip_prefix("error: "))
            .unwrap_or_else(|| panic!("no error in {:?}", self.talk))
    }

    /// The first hint.
    pub fn hint(&self) -> &str {
        self.talk
            .lines()
            .find_map(|line| line.strip_prefix("  hint: "))
            .unwrap_or_else(|| panic!("no hint in {:?}", self.talk))
    }
}

/// A running `qp` that reads commands from a pipe.
pub struct Session {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Session {
    /// The result of a command.
    pub fn command(&mut self, command: &str) -> Value {
        writeln!(self.input, "{command}").expect("qp reads its input");
        self.next(command)
    }

    /// The next result of a command that has several.
    pub fn next(&mut self, command: &str) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("qp answers");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("`{command}` gave {line:?}: {error}"))
    }

    /// Sends a command without waiting for its result.
    pub fn send(&mut self, command: &str) {
        writeln!(self.input, "{command}").expect("qp reads its input");
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What the process has open, as `/proc` names it.
    pub fn open_files(&self) -> Vec<String> {
        open_files(self.child.id())
    }

    /// A file of the process's folder in `/proc`.
    pub fn proc_file(&self, name: &str) -> String {
        let path = Path::new("/proc").join(self.child.id().to_string()).join(name);
        std::fs::read_to_string(path).expect("the process is there")
    }

    /// The processes that run models for it.
    pub fn workers(&self) -> Vec<u32> {
        workers(self.child.id())
    }

    /// Resident memory of it and its workers, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let workers = self.workers().into_iter();
        workers.map(|worker| status_kib(worker, "VmRSS:")).sum::<u64>() + self.status_kib("VmRSS:")
    }

    /// The most that was resident, in KiB.
    pub fn most_resident_kib(&self) -> u64 {
        self.status_kib("VmHWM:")
    }

    fn status_kib(&self, key: &str) -> u64 {
        status_kib(self.child.id(), key)
    }
}

fn status_kib(process: u32, key: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the process is there");
    let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("Linux tells it");
    line.trim().trim_end_matches("kB").trim().parse().expect("it is a number")
}

/// The processes that run models for the qp with this number.
pub fn workers(parent: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let children: String =
        tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok()).collect();
    let is_worker = |id: &u32| {
        let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == b"--worker")
    };
    children.split_whitespace().filter_map(|id| id.parse().ok()).filter(is_worker).collect()
}

/// What a process has open, as `/proc` names it.
pub fn open_files(process: u32) -> Vec<String> {
    let links = std::fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
    // One may be closed while we look.
    links
        .filter_map(|link| std::fs::read_link(link.path()).ok()?.into_os_string().into_string().ok())
        .collect()
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A session within the test, with lines in place of a terminal: errors end a line only.
pub struct Repl {
    executor: qp::executor::Executor,
    screen: Screen,
}

/// Both streams of a session, in the order in which they are written.
#[derive(Clone, Default)]
pub struct Screen(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl Screen {
    /// What was written since the last call.
    pub fn take(&self) -> String {
        let bytes = std::mem::take(&mut *self.0.lock().expect("no test panics while it writes"));
        String::from_utf8(bytes).expect("what is shown is text")
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no test panics while it writes").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Repl {
    /// A session whose relative paths start at `base`.
    pub fn new(base: PathBuf) -> Self {
        Self::looking_as(Default::default(), base)
    }

    /// The same, shown as on such a terminal.
    pub fn looking_as(appearance: qp::render::ui::Appearance, base: PathBuf) -> Self {
        let screen = Screen::default();
        let ui = qp::render::ui::Ui::new(appearance, Box::new(screen.clone()), Box::new(screen.clone()));
        let backends = qp::backend::Backends::discover(qp::backend::BackendConfig {
            plugin_folders: vec![
                plugin::library("qp-plugin-onnx").parent().expect("it lies in a folder").to_owned(),
            ],
            runtime_folders: plugin::runtime_folders()
                .into_iter()
                .map(|path| RuntimeFolder::new(path, RuntimeOrigin::DataFolder))
                .collect(),
            ..Default::default()
        });
        let playground = qp::playground::Playground::new(Default::default(), backends, base);
        let executor = qp::executor::Executor::new(playground, ui, Default::default());
        Self { executor, screen }
    }

    /// Types a line; returns what is shown.
    pub fn line(&mut self, line: &str) -> String {
        self.executor.execute(line, qp::executor::Origin::Prompt { width: 4, has_pages: false });
        self.screen.take()
    }

    /// Feeds lines to the loop of the interactive session.
    pub fn lines(&mut self, lines: &[&str], home: &Path) -> String {
        let mut lines = qp::repl::line_source::List::new(lines.iter().copied());
        qp::repl::run(&mut self.executor, &mut lines, qp::dirs::Dirs::find(Some(home)).as_ref());
        self.screen.take()
    }
}
