//! What several commands need to compare two models: the models, the samples, the labels, the pairs.

use super::running::Running;
use super::samples::Samples;
use crate::backend::{Progress, RunOptions};
use crate::capture::batch::Batches;
use crate::capture::pairing::{self, Activations};
use crate::capture::scores::enough_labels;
use crate::capture::side::{budgeted, half_of_the_threads};
use crate::capture::{Execution, Feed, Side, by_value, can_be_captured};
use crate::error::{Error, Result};
use crate::input::{Dataset, Input, PictureOptions, Recipe, Selection, read_labels};
use crate::model::{ModelInfo, find_layer};
use crate::playground::{Loaded, Playground};
use std::sync::Arc;

/// Which samples, and how they are run.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::commands) struct Choice {
    /// Samples, with their labels if the source has both: the name of a data set, or what `data` takes; without it, the current input
    #[arg(long, value_name = "DATA")]
    pub(in crate::commands) data: Option<String>,
    /// The labels, as in digits.npz:labels, labels.txt or labels.csv:class
    #[arg(long, value_name = "PATH")]
    pub(in crate::commands) labels: Option<String>,
    #[command(flatten)]
    pub(in crate::commands) samples: Samples,
    #[command(flatten)]
    pub(in crate::commands) running: Running,
}

impl Choice {
    /// The samples from `source` with the labels that are given, in words.
    pub(in crate::commands) fn labelled(&self, source: &str) -> String {
        match &self.labels {
            Some(labels) => format!("{source} with {labels}"),
            None => source.to_owned(),
        }
    }

    /// The options given, except labels and number of samples, as words for another command that takes the same.
    pub(in crate::commands) fn words(&self) -> Vec<String> {
        let data = self.data.clone().map(|data| ["--data".to_owned(), data]);
        let batch = self.samples.batch.map(|batch| ["--batch".to_owned(), batch.to_string()]);
        data.into_iter().chain(batch).flatten().chain(self.running.words()).collect()
    }

    /// The same with the labels.
    pub(in crate::commands) fn words_with_labels(&self) -> Vec<String> {
        let labels = self.labels.clone().map(|labels| ["--labels".to_owned(), labels]);
        labels.into_iter().flatten().chain(self.words()).collect()
    }

    /// The samples, and their labels and classes if there are any.
    ///
    /// # Errors
    /// `State` without an input; what reading says.
    pub(in crate::commands) fn read(&self, playground: &Playground) -> Result<Given> {
        let given = match &self.data {
            Some(data) => {
                let dataset = match playground.dataset(data)? {
                    Some(dataset) => dataset,
                    None => Arc::new(data_of(data, playground)?),
                };
                Given {
                    input: Arc::clone(&dataset.input),
                    labels: dataset.labels.clone(),
                    classes: dataset.classes.clone(),
                }
            }
            None => {
                let chosen = playground.chosen_input();
                let input = chosen.map_err(|error| error.with_hint("Or give `--data FILE`."))?;
                Given { input, labels: None, classes: Vec::new() }
            }
        };
        let Some(text) = &self.labels else { return Ok(given) };
        let names = Some(&given.classes[..]).filter(|names| !names.is_empty());
        let (labels, classes) = read_labels(text, &|text| playground.path(text), names)?;
        Ok(Given { labels: Some(labels), classes, ..given })
    }
}

/// Samples, and what is known about them.
pub(in crate::commands) struct Given {
    pub(in crate::commands) input: Arc<Input>,
    pub(in crate::commands) labels: Option<Vec<i64>>,
    /// By label; empty if unknown.
    pub(in crate::commands) classes: Vec<String>,
}

/// The samples in `--data`. Pictures are prepared like those of the current input, and the source says so.
fn data_of(text: &str, playground: &Playground) -> Result<Dataset> {
    let (file, selection) = Selection::parse(text)?;
    let path = playground.path(file);
    if Recipe::is_file(&path) {
        let recipe = Recipe { source: text.to_owned(), ..Recipe::default() };
        return recipe.open(&|text| playground.path(text));
    }
    let current = playground.input.as_deref();
    let kept = current.and_then(|input| Some((input, input.picture_options()?)));
    let kept = kept.filter(|(_, options)| **options != PictureOptions::default());
    let options = kept.map(|(_, options)| options.clone()).unwrap_or_default();
    let dataset = Dataset::open(&path, &selection, text.to_owned(), &options, None)?;
    Ok(match kept {
        Some((current, _)) if dataset.input.picture_options().is_some() => {
            let mut dataset = dataset;
            let source = format!("{text}, prepared as {}", current.source);
            dataset.input = Arc::new(Input { source, ..Arc::unwrap_or_clone(dataset.input) });
            dataset
        }
        _ => dataset,
    })
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
        let Given { input, labels, .. } = arguments.read(playground)?;
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

    /// Both for a comparison, which runs them at once: half of the threads for each, values within `budget` bytes.
    pub(in crate::commands) fn side_by_side(
        &self,
        execution: Execution,
        budget: u64,
    ) -> (Side<'_>, Side<'_>) {
        let threads = Some(half_of_the_threads());
        self.sides(|model| {
            let options = self.arguments.running.options_of(model, execution, threads);
            // Both runtimes hold the values of one piece, and as much again may be waiting.
            budgeted(options, model, budget / 4)
        })
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
        if let Some(labels) = &self.labels {
            enough_labels(labels, batches.samples())?;
        }
        Ok(batches)
    }

    /// The pairs of values, by names and by what the first batch computes.
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

/// Refuses a comparison without pairs.
///
/// # Errors
/// `NotFound`.
pub(in crate::commands) fn require_pairs(values: &Activations<'_>) -> Result<()> {
    if values.pairs.is_empty() {
        return Err(Error::not_found("the two models have no matching layers")
            .with_hint("See `diff` for what was matched."));
    }
    Ok(())
}
