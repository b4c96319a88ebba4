//! What several commands need to hold two models against each other: the models, the samples, the labels, the pairs.

use super::running::Running;
use super::samples::Samples;
use crate::backend::{Progress, RunOptions};
use crate::capture::batch::Batches;
use crate::capture::pairing::{self, Activations};
use crate::capture::{Execution, Feed, Side, by_value, can_be_captured};
use crate::error::{Error, Result};
use crate::input::{Input, PictureOptions, Selection, labels};
use crate::model::{ModelInfo, find_layer};
use crate::playground::{Loaded, Playground};
use std::path::Path;
use std::sync::Arc;

/// Which samples, and how they are run.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::commands) struct Choice {
    /// Samples, with their labels if an `.npz` has both; without it, the current input
    #[arg(long, value_name = "PATH")]
    pub(in crate::commands) data: Option<String>,
    /// The labels, as in digits.npz:labels
    #[arg(long, value_name = "PATH")]
    pub(in crate::commands) labels: Option<String>,
    #[command(flatten)]
    pub(in crate::commands) samples: Samples,
    #[command(flatten)]
    pub(in crate::commands) running: Running,
}

impl Choice {
    /// The samples, and their labels if there are any.
    ///
    /// # Errors
    /// `State` without an input; what reading says.
    pub(in crate::commands) fn read(
        &self,
        playground: &Playground,
    ) -> Result<(Arc<Input>, Option<Vec<i64>>)> {
        let (input, own_labels) = match &self.data {
            Some(data) => {
                let (file, selection) = Selection::parse(data)?;
                let (input, labels) =
                    data_of(&playground.path(file), &selection, data.clone(), playground.input.as_deref())?;
                (Arc::new(input), labels)
            }
            None => {
                let chosen = playground.chosen_input();
                (chosen.map_err(|error| error.with_hint("Or give `--data FILE`."))?, None)
            }
        };
        let labels = match &self.labels {
            Some(text) => {
                let (file, selection) = Selection::parse(text)?;
                Some(labels(&playground.path(file), &selection)?)
            }
            None => own_labels,
        };
        Ok((input, labels))
    }
}

/// The samples in `--data`. Pictures become tensors as those of the current input do, and the source says so.
fn data_of(
    path: &Path,
    selection: &Selection,
    mut source: String,
    current: Option<&Input>,
) -> Result<(Input, Option<Vec<i64>>)> {
    let kept = current.and_then(|input| Some((input, input.picture_options()?)));
    let kept = kept.filter(|(_, options)| **options != PictureOptions::default());
    let options = kept.map(|(_, options)| options.clone()).unwrap_or_default();
    let (mut input, labels) = Input::with_labels(path, selection, source.clone(), &options)?;
    if let (Some((current, _)), Some(_)) = (kept, input.picture_options()) {
        source.push_str(&format!(", prepared as {}", current.source));
        input.source = source;
    }
    Ok((input, labels))
}

/// Two models and what they are run on.
pub(in crate::commands) struct Evidence {
    pub(in crate::commands) reference_model: Arc<Loaded>,
    pub(in crate::commands) candidate_model: Arc<Loaded>,
    reference_sibling: Option<ModelInfo>,
    candidate_sibling: Option<ModelInfo>,
    pub(in crate::commands) input: Arc<Input>,
    pub(in crate::commands) labels: Option<Vec<i64>>,
    arguments: Choice,
}

impl Evidence {
    /// Loads the models and reads the samples.
    ///
    /// # Errors
    /// `State` without an input; what reading says; `UnsupportedOp` for models whose layers cannot be captured.
    pub(in crate::commands) fn gather(
        playground: &mut Playground,
        reference: &str,
        candidate: &str,
        arguments: &Choice,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let reference_model = playground.model(Some(reference), progress)?;
        let candidate_model = playground.model(Some(candidate), progress)?;
        for model in [&reference_model, &candidate_model] {
            can_be_captured(model)?;
        }
        arguments.running.check(&[&reference_model, &candidate_model])?;
        let (input, labels) = arguments.read(playground)?;
        Ok(Self {
            reference_sibling: playground.outspoken_sibling(&reference_model, progress),
            candidate_sibling: playground.outspoken_sibling(&candidate_model, progress),
            reference_model,
            candidate_model,
            input,
            labels,
            arguments: arguments.clone(),
        })
    }

    /// The reference, its graph as written.
    pub(in crate::commands) fn reference(&self) -> Side<'_> {
        self.sides(|model| self.options(model)).0
    }

    /// The candidate, its graph as written.
    pub(in crate::commands) fn candidate(&self) -> Side<'_> {
        self.sides(|model| self.options(model)).1
    }

    /// Both, run with other settings.
    pub(in crate::commands) fn sides(&self, options: impl Fn(&Loaded) -> RunOptions) -> (Side<'_>, Side<'_>) {
        let (reference, candidate) = (&self.reference_model, &self.candidate_model);
        (
            Side::new(reference, self.reference_sibling.clone(), options(reference)),
            Side::new(candidate, self.candidate_sibling.clone(), options(candidate)),
        )
    }

    /// The models run one after the other: each has the whole machine.
    fn options(&self, model: &Loaded) -> RunOptions {
        self.arguments.running.options_of(model, Execution::AsWritten, None)
    }

    /// What the models are run on.
    pub(in crate::commands) fn feed(&self) -> Feed<'_> {
        self.arguments.samples.of(&self.input)
    }

    /// The samples, some at a time.
    ///
    /// # Errors
    /// `InvalidInput` for more samples than there are, and for fewer labels.
    pub(in crate::commands) fn batches(&self, sides: &[&Side<'_>]) -> Result<Batches<'_>> {
        let batches = self.feed().batches(sides)?;
        match &self.labels {
            Some(labels) if (labels.len() as u64) < batches.samples() => Err(Error::invalid_input(format!(
                "there are {} labels for {} samples",
                labels.len(),
                batches.samples()
            ))),
            _ => Ok(batches),
        }
    }

    /// What belongs together, by names and by what is computed of the first batch.
    ///
    /// # Errors
    /// What the backends say; `Cancelled`.
    pub(in crate::commands) fn pairs<'a>(
        &self,
        reference: &Side<'a>,
        candidate: &Side<'a>,
        progress: &dyn Progress,
    ) -> Result<Activations<'a>> {
        let mut values = pairing::activations(reference.model.info(), candidate.model.info());
        if let Some((_, batch)) = self.batches(&[reference, candidate])?.next() {
            by_value::pair(&mut values, reference, candidate, &batch, progress)?;
        }
        Ok(values)
    }

    /// The path of the reference's layer that the user means.
    ///
    /// # Errors
    /// `NotFound`, `Ambiguous`.
    pub(in crate::commands) fn pair_of(&self, layer: &str) -> Result<&str> {
        Ok(&find_layer(layer, self.reference_model.info())?.path)
    }
}
