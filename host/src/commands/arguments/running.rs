//! How a runtime runs models: options that several commands share.

use super::number::integer_in;
use crate::backend::{Progress, RunOptions};
use crate::capture::{Execution, Side};
use crate::error::{Error, Result};
use crate::playground::{Loaded, Playground};

/// Settings of the runtime.
#[derive(Clone, Debug, Default, clap::Args)]
pub(in crate::commands) struct Running {
    /// How many threads the runtime uses, from 1 to 1024; without it, the runtime chooses
    #[arg(long, value_name = "COUNT", value_parser = integer_in::<u32>(0..=4096))]
    pub(in crate::commands) threads: Option<u32>,
    #[command(flatten)]
    pub(in crate::commands) settings: Settings,
}

/// Those that a command with threads of its own takes, too.
#[derive(Clone, Debug, Default, clap::Args)]
pub(in crate::commands) struct Settings {
    /// The engine of PyTorch's quantized operators: x86, fbgemm, onednn or qnnpack
    #[arg(long, value_name = "ENGINE")]
    qengine: Option<String>,
    /// The precision of PyTorch's float computations: float32, float64, bfloat16 or float16
    #[arg(long, value_name = "DTYPE")]
    precision: Option<String>,
    /// Another setting that a backend declares, as in NAME=VALUE; see `backends info`
    #[arg(long = "option", value_name = "NAME=VALUE", value_parser = setting)]
    options: Vec<(String, String)>,
}

/// A name and a value.
fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is not NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Settings {
    /// The settings that are given, by the names under which backends declare them.
    fn given(&self) -> impl Iterator<Item = (&str, &str)> {
        [("qengine", &self.qengine), ("precision", &self.precision)]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_deref()?)))
            .chain(self.options.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }
}

impl Running {
    /// What is given, by name.
    pub(in crate::commands) fn named(&self) -> Vec<(String, String)> {
        let given = self.settings.given().map(|(name, value)| (name.to_owned(), value.to_owned()));
        given.chain(self.threads.map(|threads| ("threads".to_owned(), threads.to_string()))).collect()
    }

    /// What is given, as words for another command that takes the same.
    pub(in crate::commands) fn words(&self) -> Vec<String> {
        let word = |(name, value): (String, String)| match name.as_str() {
            "qengine" | "precision" | "threads" => [format!("--{name}"), value],
            name => ["--option".to_owned(), format!("{name}={value}")],
        };
        self.named().into_iter().flat_map(word).collect()
    }

    /// Fills in settings that are not given from another command's.
    pub(in crate::commands) fn or(&mut self, others: &[(String, String)]) {
        for (name, value) in others {
            match name.as_str() {
                "threads" => self.threads = self.threads.or(value.parse().ok()),
                name if self.settings.given().all(|(known, _)| known != name) => {
                    self.settings.options.push((name.to_owned(), value.clone()));
                }
                _ => {}
            }
        }
    }

    /// Refuses a setting that no backend of `models` has.
    ///
    /// # Errors
    /// `Usage`, with the setting.
    pub(in crate::commands) fn check(&self, models: &[&Loaded]) -> Result<()> {
        let plugins = || models.iter().map(|model| model.session.plugin());
        let label = |name: &str| match name {
            "qengine" | "precision" | "threads" => format!("--{name}"),
            name => name.to_owned(),
        };
        let unsupported = |name: &str| {
            let mut backends: Vec<&str> = plugins().map(|plugin| plugin.name.as_str()).collect();
            backends.dedup();
            Error::usage(format!("{} does not support `{}`", backends.join(" and "), label(name)))
                .with_hint("Leave it out; `backends info` lists the settings of a backend.")
        };
        for (name, value) in self.settings.given() {
            let option = plugins().find_map(|plugin| plugin.option(name)).ok_or_else(|| unsupported(name))?;
            if !option.values.is_empty() && !option.values.iter().any(|known| known == value) {
                return Err(Error::usage(format!(
                    "`{}` takes {}, not `{value}`",
                    label(name),
                    option.values.join(", ")
                )));
            }
        }
        if self.threads.is_some() && !plugins().any(|plugin| plugin.has_feature("threads")) {
            return Err(unsupported("threads"));
        }
        Ok(())
    }

    /// The options of a run of `model`: of several models, each gets the settings that its backend has.
    pub(in crate::commands) fn options(&self, model: &Loaded) -> RunOptions {
        let mut options = RunOptions::new();
        self.extend(&mut options, model);
        let threads = self.threads.filter(|_| model.session.plugin().has_feature("threads"));
        options.extend(threads.map(|threads| ("threads".to_owned(), threads.to_string())));
        options
    }

    /// The options of a run that captures layers, on `threads` unless the user says otherwise.
    pub(in crate::commands) fn options_of(
        &self,
        model: &Loaded,
        execution: Execution,
        threads: Option<usize>,
    ) -> RunOptions {
        let threads = self.threads.map(|threads| threads as usize).or(threads);
        let mut options = execution.options(model, threads);
        self.extend(&mut options, model);
        options
    }

    /// The model set up to capture its layers, with the whole machine.
    pub(in crate::commands) fn side<'a>(
        &self,
        model: &'a Loaded,
        execution: Execution,
        playground: &Playground,
        progress: &dyn Progress,
    ) -> Side<'a> {
        Side::of(model, self.options_of(model, execution, None), playground, progress)
    }

    fn extend(&self, options: &mut RunOptions, model: &Loaded) {
        let plugin = model.session.plugin();
        let has = self.settings.given().filter(|(name, _)| plugin.option(name).is_some());
        options.extend(has.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
