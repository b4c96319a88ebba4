//! What the user has chosen: defaults, then `config.toml`, then the environment, then the arguments, then
//! the commands of the session.

use crate::backend::{Heard, Isolation, RuntimeFolder, RuntimeOrigin, Workers};
use crate::env::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::regular_file;
use crate::render::{Format, number};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Loaded models may take this many bytes unless the user says otherwise.
pub const DEFAULT_CACHE_LIMIT_BYTES: u64 = 4 << 30;

/// A larger configuration is not read.
const MOST_CONFIG_BYTES: u64 = 1 << 20;

/// The settings in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How results are printed.
    pub format: Format,
    /// Bytes that loaded models may take together.
    pub cache_limit_bytes: u64,
    /// Whether each command's time is shown.
    pub shows_timing: bool,
    /// Folders to look for plugins in, before the usual ones.
    pub plugin_folders: Vec<PathBuf>,
    /// Folders that hold native runtimes, before the usual one.
    pub runtime_folders: Vec<RuntimeFolder>,
    /// For each format the plugin that reads it, if several could.
    pub preferred_plugins: BTreeMap<String, String>,
    /// Settings of single plugins.
    pub plugin_settings: BTreeMap<String, BTreeMap<String, String>>,
    /// Whether models run in processes of their own.
    pub is_isolated: bool,
    /// The most bytes of memory that such a process may map.
    pub worker_memory_bytes: Option<u64>,
    /// The longest that one run may take in such a process.
    pub worker_time: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            format: Format::Table,
            cache_limit_bytes: DEFAULT_CACHE_LIMIT_BYTES,
            shows_timing: false,
            plugin_folders: Vec::new(),
            runtime_folders: Vec::new(),
            preferred_plugins: BTreeMap::new(),
            plugin_settings: BTreeMap::new(),
            is_isolated: true,
            worker_memory_bytes: None,
            worker_time: None,
        }
    }
}

/// `config.toml`, every entry optional.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ConfigFile {
    format: Option<Format>,
    cache_limit: Option<String>,
    timing: Option<bool>,
    #[serde(default)]
    plugin_folders: Vec<PathBuf>,
    #[serde(default)]
    runtime_folders: Vec<PathBuf>,
    #[serde(default)]
    formats: BTreeMap<String, String>,
    #[serde(default)]
    plugins: BTreeMap<String, BTreeMap<String, String>>,
    isolation: Option<IsolationName>,
    worker_memory: Option<String>,
    worker_time: Option<u64>,
}

/// What `isolation` may say.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum IsolationName {
    /// Models run in qp's own process.
    None,
    /// Models run in a process for each plugin.
    Worker,
}

impl Settings {
    /// The settings at the start of a session. An invalid configuration is ignored as a whole; the error says why.
    pub fn at_start(config_file: Option<&Path>, environment: &Environment) -> (Self, Vec<Error>) {
        let mut settings = Self::default();
        let problem = config_file.and_then(|path| settings.apply_file(path).err());
        let problems = problem.into_iter().chain(settings.apply_environment(environment).err()).collect();
        (settings, problems)
    }

    /// Where models run, as the plugins need it; `heard` takes what native libraries print.
    pub fn isolation(&self, heard: Option<Heard>) -> Isolation {
        #[cfg(unix)]
        if self.is_isolated
            && let Some(program) = own_program()
        {
            return Isolation::Worker(Workers {
                program,
                memory_limit: self.worker_memory_bytes,
                time_limit: self.worker_time,
                heard,
            });
        }
        let _ = heard;
        Isolation::None
    }

    fn apply_file(&mut self, path: &Path) -> Result<()> {
        let text = match regular_file::read_text(path, MOST_CONFIG_BYTES) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let file: ConfigFile = toml::from_str(&text).map_err(|error| {
            let mut explained = Error::invalid_input(format!("`{}` is ignored", path.display()))
                .with_cause(error.message().to_owned())
                .with_detail(error.to_string());
            if let Some(span) = error.span() {
                let line = text[..span.start.min(text.len())].matches('\n').count() + 1;
                explained = explained.with_hint(format!("Correct line {line} of the file."));
            }
            explained
        })?;
        let size = |name: &str, text: &str| {
            number::parse_bytes(text).ok_or_else(|| {
                Error::invalid_input(format!("`{name} = \"{text}\"` in `{}` is not a size", path.display()))
                    .with_hint("Write a size such as \"512MiB\" or \"2GB\".")
            })
        };
        if let Some(limit) = &file.cache_limit {
            self.cache_limit_bytes = size("cache-limit", limit)?;
        }
        if let Some(limit) = &file.worker_memory {
            self.worker_memory_bytes = Some(size("worker-memory", limit)?);
        }
        self.worker_time = file.worker_time.map(Duration::from_secs).or(self.worker_time);
        self.is_isolated =
            file.isolation.map_or(self.is_isolated, |name| matches!(name, IsolationName::Worker));
        self.format = file.format.unwrap_or(self.format);
        self.shows_timing = file.timing.unwrap_or(self.shows_timing);
        // Relative to the file's own folder, not to the working folder, which may be a stranger's.
        let here = std::path::absolute(path).ok().and_then(|path| path.parent().map(Path::to_owned));
        let from_here = |folder: PathBuf| here.as_ref().map_or(folder.clone(), |here| here.join(&folder));
        self.plugin_folders.extend(file.plugin_folders.into_iter().map(from_here));
        let listed = file.runtime_folders.into_iter().map(from_here);
        self.runtime_folders.extend(listed.map(|path| RuntimeFolder::new(path, RuntimeOrigin::Config)));
        self.preferred_plugins.extend(file.formats);
        self.plugin_settings.extend(file.plugins);
        Ok(())
    }

    fn apply_environment(&mut self, environment: &Environment) -> Result<()> {
        self.plugin_folders.splice(0..0, environment.plugin_folders.iter().cloned());
        let listed = environment.runtime_folders.iter();
        let listed = listed.map(|path| RuntimeFolder::new(path, RuntimeOrigin::Variable));
        self.runtime_folders.splice(0..0, listed);
        match environment.isolation.as_deref() {
            None => {}
            Some("none") => self.is_isolated = false,
            Some("worker") => self.is_isolated = true,
            Some(other) => {
                return Err(Error::invalid_input(format!("`QP_ISOLATION` is `{other}`"))
                    .with_hint("It is `worker` or `none`."));
            }
        }
        if let Some(name) = &environment.format {
            self.format =
                parse_format(name).map_err(|error| error.with_cause("in the variable `QP_FORMAT`"))?;
        }
        Ok(())
    }
}

/// This program; where the system has a link to it, that: it leads to the same program after an update, too.
#[cfg(unix)]
fn own_program() -> Option<PathBuf> {
    let link = Path::new("/proc/self/exe");
    if link.exists() { Some(link.to_owned()) } else { std::env::current_exe().ok() }
}

/// The format with this name.
///
/// # Errors
/// `Usage` that lists the names.
pub fn parse_format(name: &str) -> Result<Format> {
    clap::ValueEnum::from_str(name, true).map_err(|_| {
        Error::new(ErrorKind::Usage, format!("unknown format `{name}`"))
            .with_hint("Choose one of table, json, csv, markdown.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings_of(text: &str, environment: &Environment) -> (Settings, Vec<Error>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        Settings::at_start(Some(&path), environment)
    }

    #[test]
    fn the_environment_goes_before_the_file() {
        let environment = Environment {
            format: Some("csv".to_owned()),
            plugin_folders: vec!["/e".into()],
            runtime_folders: vec!["/r".into()],
            ..Environment::default()
        };
        let text = "format = \"json\"\ncache-limit = \"1GiB\"\nplugin-folders = [\"/f\"]\n[formats]\nonnx = \"mine\"\n";
        let (settings, problem) = settings_of(text, &environment);
        assert_eq!(problem, []);
        assert_eq!(settings.format, Format::Csv);
        assert_eq!(settings.cache_limit_bytes, 1 << 30);
        assert_eq!(settings.plugin_folders, [PathBuf::from("/e"), PathBuf::from("/f")]);
        assert_eq!(settings.preferred_plugins["onnx"], "mine");
        assert_eq!(settings.runtime_folders, [RuntimeFolder::new("/r", RuntimeOrigin::Variable)]);
    }

    #[test]
    fn a_misspelled_entry_is_named_with_its_line_and_nothing_of_the_file_is_used() {
        let (settings, problem) = settings_of("timing = true\nfromat = \"json\"\n", &Environment::default());
        let [problem] = &problem[..] else { panic!("{problem:?}") };
        assert!(problem.one_line().contains("fromat"), "{problem:?}");
        assert_eq!(problem.hints(), ["Correct line 2 of the file."]);
        assert_eq!(settings, Settings::default());
    }

    #[test]
    fn relative_folders_are_those_beside_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(
            &path,
            "plugin-folders = [\"mine\", \"/opt/qp\"]\nruntime-folders = [\"../runtimes\"]\n",
        )
        .unwrap();
        let (settings, problems) = Settings::at_start(Some(&path), &Environment::default());
        assert_eq!(problems, []);
        assert_eq!(settings.plugin_folders, [folder.path().join("mine"), "/opt/qp".into()]);
        let runtimes = folder.path().join("../runtimes");
        assert_eq!(settings.runtime_folders, [RuntimeFolder::new(runtimes, RuntimeOrigin::Config)]);
    }

    #[test]
    fn no_file_is_no_problem() {
        let (settings, problem) =
            Settings::at_start(Some(Path::new("/nonexistent/c.toml")), &Environment::default());
        assert_eq!((settings, problem), (Settings::default(), Vec::new()));
    }
}
