//! `matrix`: every variant of a network, its cost and its accuracy.

mod declaration;
mod kept;
mod measure;

use super::arguments::evidence::{Choice, Evidence, Given, require_pairs};
use super::arguments::number::{BUDGET_BYTES, integer_in, margin};
use super::fields::judged::{Judged, remember};
use super::{Command, Example, Group, Scope};
use crate::backend::Progress;
use crate::capture::evaluation::Tally;
use crate::capture::{Alone, Comparison, Execution, Side};
use crate::catalog::kept_results::real;
use crate::error::{Error, ErrorKind, Result};
use crate::playground::{Loaded, Playground};
use crate::render::record::ReportShape;
use crate::render::report::{Effect, Report, Table};
use crate::render::style::Tone;
use crate::render::text::counted;
use kept::Keys;
use measure::measure;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Highest scores among which a label counts as found.
const TOP: usize = 5;

/// `matrix [FAMILY]`
pub(super) struct Matrix;

/// The arguments of `matrix`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A family, or one of its models; without it, the only one that is open
    #[arg(value_name = "MODEL")]
    family: Option<String>,
    /// The model to compare the others with; without it, the first float one
    #[arg(long, value_name = "MODEL")]
    reference: Option<String>,
    #[command(flatten)]
    choice: Choice,
    /// The difference in accuracy that does not matter, as in 1pp or 0.5pp
    #[arg(long, value_name = "MARGIN", default_value = "1pp", value_parser = margin)]
    margin: f64,
    /// Samples for finding the worst layer; 0 skips it
    #[arg(long, value_name = "COUNT", default_value_t = 16, value_parser = integer_in::<u64>(0..=1_000_000))]
    layer_samples: u64,
    /// Measure again what an earlier matrix has measured of the same files, samples and settings
    #[arg(long)]
    fresh: bool,
}

struct MatrixReport {
    family: String,
    data: String,
    samples: u64,
    has_labels: bool,
    reference: String,
    margin: f64,
    models: Vec<Variant>,
}

/// A model of the family.
#[derive(Default)]
struct Variant {
    model: String,
    backend: String,
    precision: String,
    bytes: u64,
    is_reference: bool,
    /// Whether its numbers are those of an earlier matrix.
    is_kept: bool,
    /// `None` if it was not evaluated.
    measured: Option<Measured>,
    is_pareto: bool,
    obstacle: Option<Error>,
}

/// What was measured of a model; kept for the next matrix.
#[derive(Serialize, Deserialize)]
struct Measured {
    samples: u64,
    judged: Judged,
    /// Time of one sample, in the batches that were run.
    sample_ms: f64,
    worst_layer: Option<String>,
    #[serde(with = "real")]
    worst_layer_sqnr_db: Option<f64>,
    layers_obstacle: Option<String>,
}

impl Command for Matrix {
    type Arguments = Arguments;
    const NAME: &'static str = "matrix";
    const SUMMARY: &'static str =
        "Compare every variant of a network with its float model, and mark the best trade-offs";
    const GROUP: Group = Group::Run;
    const EXAMPLES: &'static [Example] = &[
        Example {
            line: "open .; matrix --data digits.npz",
            shows: "accuracy, size, verdict and worst layer of all six",
        },
        Example {
            line: "open .; matrix resnet8 --data digits.npz --samples 100 --layer-samples 0",
            shows: "the same without looking into layers",
        },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<MatrixReport>(1)]
    }

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let task = scope.ui.task(scope.cancel);
        let family = family(arguments.family.as_deref(), playground)?;
        let (models, failed) = load(&family, playground, &task)?;
        let reference = reference(arguments.reference.as_deref(), &models, playground, &task)?;
        let running = &arguments.choice.running;
        running.check(&models.iter().map(|model| &**model).collect::<Vec<_>>())?;
        let Given { input, labels, classes } = arguments.choice.read(playground)?;
        let sides: Vec<Side<'_>> =
            models.iter().map(|model| Side::of(model, running.options(model), playground, &task)).collect();
        let keys = Keys::of(&sides, (&input, labels.as_deref(), &classes), (&arguments, reference), &task)?;
        let earlier = match arguments.fresh {
            true => keys.0.iter().map(|_| None).collect(),
            false => keys.0.iter().map(|key| playground.kept_results.get(key.as_deref()?)).collect(),
        };
        let given = (&*input, labels.as_deref(), &classes[..]);
        let (mut variants, mut stop) = measure(&sides, earlier, given, (&arguments, reference), &task)?;
        drop(sides);
        drop(task);
        let reference_id = models[reference].id.clone();
        let has_layers = |variant: &&mut Variant| !variant.is_kept && !variant.is_reference;
        for variant in variants.iter_mut().filter(has_layers).filter(|_| arguments.layer_samples > 0) {
            let Some(measured) = variant.measured.as_mut().filter(|_| stop.is_none()) else { continue };
            let pair = (&*reference_id, &*variant.model);
            stop = worst_layer(measured, pair, &arguments, playground, scope).err();
        }
        let samples = variants.iter().filter_map(|variant| Some(variant.measured.as_ref()?.samples)).max();
        let samples = samples.unwrap_or(0);
        mark_pareto(&mut variants);
        if stop.is_none() {
            let labelled = arguments.choice.labelled(&input.source);
            let fresh = || models.iter().zip(&variants).filter(|(_, variant)| !variant.is_kept);
            let judged = fresh().filter_map(|(model, variant)| Some((&**model, variant.judged()?)));
            remember(playground, judged, samples, &labelled);
            for (key, variant) in keys.0.iter().zip(&variants).filter(|(_, variant)| !variant.is_kept) {
                if let (Some(key), Some(measured)) = (key, &variant.measured) {
                    playground.kept_results.keep(key, measured);
                }
            }
        }
        variants.extend(failed);
        let report = MatrixReport {
            family,
            data: input.source.clone(),
            samples,
            has_labels: labels.is_some(),
            reference: reference_id,
            margin: arguments.margin,
            models: variants,
        };
        let report = lay_out(&report);
        Ok(match stop {
            Some(error) => report.effect(Effect::Fail(
                error.with_cause(format!("the table above covers {samples} samples, and not all layers")),
            )),
            None => report,
        })
    }
}

/// The family that the user means.
fn family(name: Option<&str>, playground: &Playground) -> Result<String> {
    let targets = playground.targets();
    if let Some(name) = name {
        return match targets.iter().find(|target| target.family == name) {
            Some(target) => Ok(target.family.clone()),
            None => playground.find_one(name).map(|target| target.family),
        };
    }
    let mut families: Vec<&str> = targets.iter().map(|target| target.family.as_str()).collect();
    families.sort_unstable();
    families.dedup();
    match families[..] {
        [] => Err(Error::state("nothing is open").with_hint("Open a folder of models first: `open PATH`.")),
        [only] => Ok(only.to_owned()),
        _ => Err(Error::new(ErrorKind::Ambiguous, format!("there are {} families", families.len()))
            .with_hint(format!("Name one of {}.", families.join(", ")))),
    }
}

/// The models of a family that can be run, and rows for the others.
fn load(
    family: &str,
    playground: &mut Playground,
    progress: &dyn Progress,
) -> Result<(Vec<Arc<Loaded>>, Vec<Variant>)> {
    let (mut models, mut failed) = (Vec::new(), Vec::new());
    for target in playground.targets().into_iter().filter(|target| target.family == family) {
        match playground.model(Some(&target.id), progress).and_then(|model| model.runnable().map(|()| model))
        {
            Ok(model) => models.push(model),
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
            Err(error) => failed.push(Variant::failed(&target.id, error)),
        }
    }
    match (models.is_empty(), failed.first().and_then(|variant| variant.obstacle.clone())) {
        (false, _) => Ok((models, failed)),
        (true, Some(error)) => Err(error.within(format!("no model of `{family}` can be run"))),
        (true, None) => Err(Error::not_found(format!("unknown family `{family}`"))),
    }
}

/// The place of the reference: the one that the user names, or the first float model.
fn reference(
    name: Option<&str>,
    models: &[Arc<Loaded>],
    playground: &mut Playground,
    progress: &dyn Progress,
) -> Result<usize> {
    let Some(name) = name else {
        let is_float =
            |model: &&Arc<Loaded>| matches!(model.info().precision.as_str(), "float32" | "float64");
        let place = models.iter().position(|model| is_float(&model));
        return place.ok_or_else(|| {
            Error::not_found("no float model to compare the others with")
                .with_hint("Name one with `--reference MODEL`.")
        });
    };
    let reference = playground.model(Some(name), progress)?;
    models.iter().position(|model| model.id == reference.id).ok_or_else(|| {
        Error::invalid_input(format!("`{name}` is not a model of this family that can be run"))
    })
}

impl Variant {
    fn of(model: &Loaded, tally: Result<Tally>, names: Option<&[String]>, margin: f64) -> Self {
        let variant = Self::unmeasured(model);
        match tally {
            Ok(tally) => Self {
                measured: Some(Measured {
                    samples: tally.samples,
                    sample_ms: tally.elapsed().as_secs_f64() * 1e3 / tally.samples.max(1) as f64,
                    judged: Judged::of(tally, names, margin),
                    worst_layer: None,
                    worst_layer_sqnr_db: None,
                    layers_obstacle: None,
                }),
                ..variant
            },
            Err(error) => Self { obstacle: Some(error), ..variant },
        }
    }

    fn unmeasured(model: &Loaded) -> Self {
        Self {
            model: model.id.clone(),
            backend: model.session.plugin().id.clone(),
            precision: model.info().precision.clone(),
            bytes: model.bytes,
            ..Self::default()
        }
    }

    fn failed(model: &str, error: Error) -> Self {
        Self { model: model.to_owned(), obstacle: Some(error), ..Self::default() }
    }

    fn judged(&self) -> Option<&Judged> {
        self.measured.as_ref().map(|measured| &measured.judged)
    }

    /// Its accuracy, or without labels the SQNR of its output.
    fn worth(&self) -> Option<f64> {
        let judged = self.judged()?;
        match &judged.accuracy {
            Some(accuracy) => Some(accuracy.correct.share),
            None if self.is_reference => Some(f64::INFINITY),
            None => judged.agreement.as_ref()?.errors.sqnr_db,
        }
    }
}

/// Looks for the layer that is furthest from the reference's.
fn worst_layer(
    measured: &mut Measured,
    (reference, candidate): (&str, &str),
    arguments: &Arguments,
    playground: &mut Playground,
    scope: &Scope<'_>,
) -> Result<()> {
    let task = scope.ui.task(scope.cancel);
    let mut choice = arguments.choice.clone();
    choice.samples.first = Some(arguments.layer_samples.min(measured.samples));
    let found = Evidence::gather(playground, reference, candidate, &choice, &task)
        .and_then(|evidence| worst(&evidence, &task));
    match found {
        Ok(found) => (measured.worst_layer, measured.worst_layer_sqnr_db) = found.unzip(),
        Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
        // The rest of the row is still useful.
        Err(error) => measured.layers_obstacle = Some(error.one_line()),
    }
    Ok(())
}

/// The layer and its SQNR, by the accumulated errors.
fn worst(evidence: &Evidence, progress: &dyn Progress) -> Result<Option<(String, f64)>> {
    let (ours, theirs) = evidence.side_by_side(Execution::AsWritten, BUDGET_BYTES);
    let values = evidence.pairs(&ours, &theirs, progress)?;
    require_pairs(&values)?;
    let run = (&Alone::Not, BUDGET_BYTES / 2);
    let comparison = Comparison::run(&ours, &theirs, &values.pairs, evidence.feed(), run, progress)?;
    match comparison.stopped {
        Some(stopped) => Err(stopped),
        None => Ok(comparison.worst(&values.pairs).map(|(sqnr, pair)| (pair.reference.path.clone(), sqnr))),
    }
}

/// Marks the Pareto front of accuracy and size: whatever is better is larger, and the other way round.
fn mark_pareto(variants: &mut [Variant]) {
    let points: Vec<(Option<f64>, u64)> =
        variants.iter().map(|variant| (variant.worth(), variant.bytes)).collect();
    let beats = |(other, size): (Option<f64>, u64), (worth, bytes): (Option<f64>, u64)| {
        other >= worth && size <= bytes && (other > worth || size < bytes)
    };
    for (variant, &own) in variants.iter_mut().zip(&points) {
        variant.is_pareto =
            own.0.is_some() && !points.iter().any(|&other| other.0.is_some() && beats(other, own));
    }
}

fn lay_out(matrix: &MatrixReport) -> Report {
    let heading = format!(
        "{} of {} on {} of {}, against ",
        counted(matrix.models.len(), "variant"),
        matrix.family,
        counted(matrix.samples as usize, "sample"),
        matrix.data
    );
    let mut report = Report::of(matrix)
        .toned_line([(Tone::Plain, heading), (Tone::Name, matrix.reference.clone())])
        .table(Table::of(&matrix.models))
        .toned_line([(
            Tone::Dim,
            "● no other variant is both as good and as small; sample: time per sample in these batches, a rough number; `bench` measures it"
                .to_owned(),
        )]);
    let kept = matrix.models.iter().filter(|variant| variant.is_kept).count();
    if kept > 0 {
        let text = format!(
            "{} as measured before of the same files, samples and settings; `--fresh` measures again",
            counted(kept, "variant")
        );
        report = report.toned_line([(Tone::Dim, text)]);
    }
    for variant in &matrix.models {
        if let Some(error) = &variant.obstacle {
            report = report.toned_line([
                (Tone::Bad, "not evaluated: ".to_owned()),
                (Tone::Name, variant.model.clone()),
                (Tone::Plain, format!(": {}", error.one_line())),
            ]);
        } else if let Some(why) =
            variant.measured.as_ref().and_then(|measured| measured.layers_obstacle.as_ref())
        {
            report = report.toned_line([
                (Tone::Dim, "layers not compared: ".to_owned()),
                (Tone::Name, variant.model.clone()),
                (Tone::Dim, format!(": {why}")),
            ]);
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::evaluation::Tally;

    #[test]
    fn what_is_beaten_in_both_is_not_marked() {
        let variant = |correct: u64, bytes: u64| {
            let tally = Tally { samples: 100, correct, ..Tally::default() };
            let measured = Measured {
                samples: 100,
                judged: Judged::of(tally, Some(&[]), 0.01),
                sample_ms: 1.0,
                worst_layer: None,
                worst_layer_sqnr_db: None,
                layers_obstacle: None,
            };
            Variant { bytes, measured: Some(measured), ..Variant::default() }
        };
        let mut variants = vec![variant(99, 400), variant(98, 100), variant(97, 100), variant(99, 500)];
        variants.push(Variant::failed("broken", Error::cancelled()));
        mark_pareto(&mut variants);
        let marked: Vec<bool> = variants.iter().map(|variant| variant.is_pareto).collect();
        assert_eq!(marked, [true, true, false, false, false]);
    }
}
