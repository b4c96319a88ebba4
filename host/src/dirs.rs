//! Where qp keeps files between sessions: configuration, data, cache and state.

use directories::ProjectDirs;
use std::path::{Path, PathBuf};

/// The four folders. Each is created when something is written to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dirs {
    /// `config.toml`
    pub config: PathBuf,
    /// Installed plugins and native runtimes.
    pub data: PathBuf,
    /// Plugin manifests; may be deleted at any time.
    pub cache: PathBuf,
    /// The history of commands; accuracies and other results that were measured.
    pub state: PathBuf,
}

impl Dirs {
    /// The folders under `home` when it is given (`QP_HOME`), else the system's usual places for this user.
    /// `None` when the system names no home folder.
    pub fn find(home: Option<&Path>) -> Option<Self> {
        if let Some(home) = home {
            return Some(Self {
                config: home.join("config"),
                data: home.join("data"),
                cache: home.join("cache"),
                state: home.join("state"),
            });
        }
        let project = ProjectDirs::from("", "", "qp")?;
        Some(Self {
            config: project.config_dir().to_owned(),
            data: project.data_dir().to_owned(),
            cache: project.cache_dir().to_owned(),
            state: project.state_dir().unwrap_or_else(|| project.data_local_dir()).to_owned(),
        })
    }

    /// The configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.config.join("config.toml")
    }

    /// The command history.
    pub fn history_file(&self) -> PathBuf {
        self.state.join("history.txt")
    }

    /// Accuracies that were measured.
    pub fn measurements_file(&self) -> PathBuf {
        self.state.join("accuracies.json")
    }

    /// Results that took long to find.
    pub fn results_folder(&self) -> PathBuf {
        self.state.join("results")
    }

    /// Installed plugins.
    pub fn plugin_folder(&self) -> PathBuf {
        self.data.join("plugins")
    }

    /// Native runtimes, one folder each.
    pub fn runtime_folder(&self) -> PathBuf {
        self.data.join("runtimes")
    }
}
