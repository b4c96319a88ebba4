//! How a runtime is to run models: options that several commands share.

use crate::backend::RunOptions;
use crate::capture::Execution;
use crate::error::{Error, Result};
use crate::playground::Loaded;

/// Settings of the runtime.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Running {
    /// Threads of the runtime
    #[arg(long, value_name = "COUNT")]
    pub(super) threads: Option<u32>,
    /// The engine of PyTorch's quantized operators: x86, fbgemm, onednn or qnnpack
    #[arg(long, value_name = "ENGINE")]
    qengine: Option<String>,
    /// The precision that PyTorch computes floats in: float32, float64, bfloat16 or float16
    #[arg(long, value_name = "DTYPE")]
    precision: Option<String>,
}

impl Running {
    /// The settings that are given, each with the feature of a backend that has it.
    fn given(&self) -> impl Iterator<Item = (&'static str, &String)> {
        [("qengine", &self.qengine), ("precision", &self.precision)]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_ref()?)))
    }

    /// Refuses a setting that no backend of `models` has.
    ///
    /// # Errors
    /// `Usage`, with the setting.
    pub(super) fn check(&self, models: &[&Loaded]) -> Result<()> {
        for (name, _) in self.given() {
            if !models.iter().any(|model| model.session.plugin().has_feature(name)) {
                let backends: Vec<&str> =
                    models.iter().map(|model| model.session.plugin().name.as_str()).collect();
                return Err(Error::usage(format!(
                    "`--{name}` is a setting that {} lacks",
                    backends.join(" and ")
                ))
                .with_hint(format!("Leave `--{name}` out, or run a model of PyTorch.")));
            }
        }
        Ok(())
    }

    /// The options of a run of `model`: of several models, each gets the settings that its backend has.
    pub(super) fn options(&self, model: &Loaded) -> RunOptions {
        let mut options = RunOptions::new();
        self.extend(&mut options, model);
        options.extend(self.threads.map(|threads| ("threads".to_owned(), threads.to_string())));
        options
    }

    /// The options of a run for what the layers compute, on `threads` unless the user says otherwise.
    pub(super) fn options_of(
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

    fn extend(&self, options: &mut RunOptions, model: &Loaded) {
        let plugin = model.session.plugin();
        let has = self.given().filter(|(name, _)| plugin.has_feature(name));
        options.extend(has.map(|(name, value)| (name.to_owned(), value.clone())));
    }
}
