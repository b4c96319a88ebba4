//! `evaluate`: how often models are right, how well they agree with a reference, and whether that is good enough.

mod declaration;
mod layout;

use super::arguments::evidence::{Choice, Given};
use super::arguments::models::Models;
use super::arguments::number::{integer_in, margin};
use super::fields::judged::{Judged, remember};
use super::{Command, Example, Group, Scope};
use crate::capture::Side;
use crate::capture::evaluation::{self, Plan, Truth};
use crate::error::{Error, ErrorKind, Result};
use crate::input::{Input, PictureOptions, Selection};
use crate::playground::Playground;
use crate::render::record::ReportShape;
use crate::render::report::{Effect, Report};

/// Pairs of classes that are printed.
const SHOWN_CONFUSIONS: usize = 5;

/// `evaluate [NAME…]`
pub(super) struct Evaluate;

/// The arguments of `evaluate`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    models: Models,
    #[command(flatten)]
    choice: Choice,
    /// What the output should be, as in data.npz:targets, for models that do not classify
    #[arg(long, value_name = "PATH", conflicts_with = "labels")]
    targets: Option<String>,
    /// The output to evaluate; without it, the first
    #[arg(long, value_name = "NAME")]
    output: Option<String>,
    /// The difference in accuracy that does not matter, as in 1pp or 0.5pp
    #[arg(long, value_name = "MARGIN", default_value = "1pp", value_parser = margin)]
    margin: f64,
    /// Also measure top-K accuracy: the label is among so many highest scores
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = integer_in::<u32>(1..=10_000))]
    top: u32,
}

struct EvaluateReport {
    data: String,
    samples: u64,
    has_labels: bool,
    reference: Option<String>,
    margin: f64,
    top: u32,
    models: Vec<Evaluated>,
}

/// The outcome for one model.
struct Evaluated {
    model: String,
    judged: Judged,
}

impl Command for Evaluate {
    type Arguments = Arguments;
    const NAME: &'static str = "evaluate";
    const SUMMARY: &'static str =
        "Measure accuracy, agreement with a reference, and whether a difference matters";
    const GROUP: Group = Group::Run;
    const EXAMPLES: &'static [Example] = &[
        Example {
            line: "evaluate resnet8.onnx resnet8_int8.onnx --data digits.npz",
            shows: "whether the int8 model is as accurate as the float one",
        },
        Example {
            line: "evaluate resnet8_int8.pt --reference resnet8.onnx --data digits.npz --margin 2pp",
            shows: "the same across two backends, with a wider margin",
        },
        Example {
            line: "input digits.npz:images[0:64]; evaluate resnet8.onnx resnet8_uint8.onnx",
            shows: "how well the outputs agree, without labels",
        },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<EvaluateReport>(1)]
    }

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let task = scope.ui.task(scope.cancel);
        let (models, reference) =
            arguments.models.load(|name| playground.model(name, &task), |model| model.id.as_str())?;
        models.iter().try_for_each(|model| model.runnable())?;
        arguments.choice.running.check(&models.iter().map(|model| &**model).collect::<Vec<_>>())?;
        let Given { input, labels, classes } = arguments.choice.read(playground)?;
        let targets = arguments.targets.as_deref().map(|text| targets(text, playground)).transpose()?;
        let truth = match (&targets, &labels) {
            (Some(targets), _) => Truth::Targets(targets),
            (None, Some(labels)) => Truth::Labels(labels),
            (None, None) => Truth::Unknown,
        };
        if matches!(truth, Truth::Unknown) && reference.is_none() {
            return Err(Error::usage("there is nothing to evaluate against")
                .with_hint("Give labels (a `--data FILE` that has some, or `--labels FILE`), `--targets FILE`, or `--reference MODEL`."));
        }
        let running = &arguments.choice.running;
        let sides: Vec<Side<'_>> =
            models.iter().map(|model| Side::of(model, running.options(model), playground, &task)).collect();
        let feed = arguments.choice.samples.for_outputs(&input);
        let batches = feed.batches(&sides.iter().collect::<Vec<_>>())?;
        let wanted = batches.samples();
        let plan =
            Plan { truth, output: arguments.output.as_deref(), top: arguments.top as usize, reference };
        let (tallies, stop) = evaluation::evaluate(&sides, batches, plan, &task);
        drop(task);
        let samples = tallies.first().map_or(0, |tally| tally.samples);
        if let Some(error) = &stop
            && (error.kind() != ErrorKind::Cancelled || samples == 0)
        {
            return Err(error.clone());
        }
        let has_labels = matches!(truth, Truth::Labels(_));
        let names = has_labels.then_some(&classes[..]);
        let evaluated = EvaluateReport {
            data: input.source.clone(),
            samples,
            has_labels,
            reference: reference.map(|place| models[place].id.clone()),
            margin: arguments.margin,
            top: arguments.top,
            models: models
                .iter()
                .zip(tallies)
                .map(|(model, tally)| Evaluated {
                    model: model.id.clone(),
                    judged: Judged::of(tally, names, arguments.margin),
                })
                .collect(),
        };
        if stop.is_none() && arguments.output.is_none() {
            let labelled = arguments.choice.labelled(&evaluated.data);
            let judged = models.iter().zip(&evaluated.models).map(|(model, one)| (&**model, &one.judged));
            remember(playground, judged, samples, &labelled);
        }
        let report = layout::lay_out(&evaluated);
        Ok(match stop {
            Some(error) => report.effect(Effect::Fail(
                error.with_cause(format!("the result above covers {samples} of {wanted} samples")),
            )),
            None => report,
        })
    }
}

/// The values that the output should have.
fn targets(text: &str, playground: &Playground) -> Result<Input> {
    let (file, selection) = Selection::parse(text)?;
    Input::from_file(&playground.path(file), &selection, text.to_owned(), &PictureOptions::default())
}
