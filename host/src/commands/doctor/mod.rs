//! `doctor`: what is wrong with a quantized model, what it costs, and how to fix it.

mod costs;
mod declaration;
mod examine;
mod words;

use super::arguments::evidence::{Choice, Evidence};
use super::arguments::number::{integer_in, margin};
use super::fields::judged::Judged;
use super::{Command, Example, Group, Scope};
use crate::error::{Error, ErrorKind, Result};
use crate::playground::{Loaded, Playground};
use crate::render::record::ReportShape;
use crate::render::report::{Effect, Report};

/// `doctor FLOAT INT8`
pub(super) struct Doctor;

/// The arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The float model
    #[arg(value_name = "MODEL")]
    reference: String,
    /// The quantized model
    #[arg(value_name = "MODEL")]
    candidate: String,
    #[command(flatten)]
    choice: Choice,
    /// The difference in accuracy that does not matter, as in 1pp or 0.5pp
    #[arg(long, value_name = "MARGIN", default_value = "1pp", value_parser = margin)]
    margin: f64,
    /// How many samples to examine layers on
    #[arg(long, value_name = "COUNT", default_value_t = 64, value_parser = integer_in::<u64>(1..=1_000_000))]
    layer_samples: u64,
}

/// What was found.
struct Diagnosis {
    reference: String,
    candidate: String,
    data: String,
    samples: u64,
    layer_samples: u64,
    /// Of both, by all samples; nothing if the command was stopped before.
    judged: Option<(Judged, Judged)>,
    causes: Vec<Finding>,
    notes: Vec<String>,
    /// What could not be looked at.
    left_out: Vec<LeftOut>,
}

/// One cause.
struct Finding {
    layer: Option<String>,
    code: &'static str,
    text: String,
    cost: Cost,
    mend: String,
    evidence: String,
    /// Whether it is a matter of degree: some of it is normal in any quantized model.
    is_of_degree: bool,
}

/// What comes back when the layer alone is in float.
#[derive(Clone, Copy, Default)]
struct Cost {
    /// Percentage points of accuracy.
    accuracy_pp: Option<f64>,
    /// Samples whose class comes back.
    changed: Option<i64>,
    /// Decibels of the output's SQNR.
    gain_db: Option<f64>,
}

struct LeftOut {
    step: &'static str,
    error: Error,
}

impl Command for Doctor {
    type Arguments = Arguments;
    const NAME: &'static str = "doctor";
    const SUMMARY: &'static str =
        "Find what is wrong with a quantized model, what it costs, and how to fix it";
    const GROUP: Group = Group::Run;
    const EXAMPLES: &'static [Example] = &[
        Example {
            line: "doctor resnet8.onnx resnet8_int8.onnx --data digits.npz",
            shows: "what is wrong with it, if anything",
        },
        Example {
            line: "input digits.npz:images[0:32]; doctor resnet8.onnx resnet8_uint8.onnx",
            shows: "the same without labels",
        },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<Diagnosis>(1)]
    }

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let task = scope.ui.task(scope.cancel);
        let mut choice = arguments.choice.clone();
        let reference = playground.model(Some(&arguments.reference), &task)?;
        let given = choice.read(playground)?;
        let available = given.input.sample_count(reference.info(), None);
        let wanted = choice.samples.first.unwrap_or(available).min(available);
        let layer_samples = arguments.layer_samples.min(wanted.max(1));
        choice.samples.first = Some(layer_samples);
        let evidence =
            Evidence::gather(playground, &arguments.reference, &arguments.candidate, &choice, &task)?;
        check_order(&evidence)?;
        let mut diagnosis = Diagnosis {
            reference: evidence.reference_model.id.clone(),
            candidate: evidence.candidate_model.id.clone(),
            data: evidence.input.source.clone(),
            samples: 0,
            layer_samples,
            judged: None,
            causes: Vec::new(),
            notes: Vec::new(),
            left_out: Vec::new(),
        };
        let examined = diagnosis
            .evaluate(&arguments, &evidence, &given.classes, playground, &task)
            .and_then(|()| diagnosis.examine(&arguments.choice, &evidence, &task));
        drop(task);
        let stop = examined.err();
        if let Some(error) = &stop
            && (error.kind() != ErrorKind::Cancelled || diagnosis.judged.is_none())
        {
            return Err(error.clone());
        }
        let report = words::lay_out(&diagnosis);
        Ok(match stop {
            Some(error) => report.effect(Effect::Fail(error.with_cause("not everything was examined"))),
            None => report,
        })
    }
}

/// Refuses the two models in the opposite order: the differences would be told the wrong way round.
fn check_order(evidence: &Evidence) -> Result<()> {
    let (reference, candidate) = (&evidence.reference_model, &evidence.candidate_model);
    let is_quantized = |model: &Loaded| model.info().layers.iter().any(|layer| layer.quantization.is_some());
    if is_quantized(reference) && !is_quantized(candidate) {
        return Err(Error::usage(format!("`{}` is quantized and `{}` is not", reference.id, candidate.id))
            .with_hint(format!("The float model comes first: `doctor {} {}`.", candidate.id, reference.id)));
    }
    Ok(())
}
