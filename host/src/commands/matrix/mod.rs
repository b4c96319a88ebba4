//! `matrix`: every variant of a network, by what it costs and what it is worth.

mod declaration;

use super::arguments::evidence::{Choice, Given};
use super::arguments::number::integer_in;
use super::compare::Compare;
use super::evaluate::{BATCH, margin};
use super::{Command, Example, Group, Scope, find};
use crate::backend::Progress;
use crate::capture::evaluation::{self, Plan, Tally, Truth};
use crate::capture::{Feed, Side};
use crate::error::{Error, ErrorKind, Result};
use crate::input::Input;
use crate::playground::{Loaded, Playground};
use crate::render::record::ReportShape;
use crate::render::report::{Report, Table};
use crate::render::style::Tone;
use crate::render::text::counted;
use qp_analysis::proportion::CONFIDENCE;
use qp_analysis::{Interval, Verdict, wilson};
use serde_json::Value;
use std::sync::Arc;

/// Scores that count as found.
const TOP: usize = 5;

/// `matrix [FAMILY]`
pub(super) struct Matrix;

/// The arguments of `matrix`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A family, or one of its models; without it, the only one that is open
    #[arg(value_name = "MODEL")]
    family: Option<String>,
    /// The model that the others are held against; without it, the first float one
    #[arg(long, value_name = "MODEL")]
    reference: Option<String>,
    #[command(flatten)]
    choice: Choice,
    /// The difference in accuracy that does not matter, as in 1pp or 0.5pp
    #[arg(long, value_name = "MARGIN", default_value = "1pp", value_parser = margin)]
    margin: f64,
    /// Samples over which the worst layer is looked for; 0 leaves it out
    #[arg(long, value_name = "COUNT", default_value_t = 16, value_parser = integer_in::<u64>(0..=1_000_000))]
    layer_samples: u64,
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

struct Variant {
    model: String,
    backend: String,
    precision: String,
    bytes: u64,
    is_reference: bool,
    accuracy: Option<f64>,
    interval: Option<Interval>,
    difference: Option<f64>,
    verdict: Option<Verdict>,
    changed: Option<u64>,
    sqnr_db: Option<f64>,
    worst_layer: Option<String>,
    worst_layer_sqnr_db: Option<f64>,
    layers_obstacle: Option<String>,
    sample_ms: Option<f64>,
    is_pareto: bool,
    obstacle: Option<Error>,
}

impl Command for Matrix {
    type Arguments = Arguments;
    const NAME: &'static str = "matrix";
    const SUMMARY: &'static str =
        "Hold every variant of a network against its float model, with the best trade-offs marked";
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
        let Given { input, labels, .. } = arguments.choice.read(playground)?;
        let running = &arguments.choice.running;
        let sides: Vec<Side<'_>> =
            models.iter().map(|model| Side::of(model, running.options(model), playground, &task)).collect();
        let plan = Plan {
            truth: labels.as_deref().map_or(Truth::Unknown, Truth::Labels),
            output: None,
            top: TOP,
            reference: Some(reference),
        };
        let evaluated = evaluate(&sides, &input, &arguments, plan, &task)?;
        drop(sides);
        drop(task);
        let samples = evaluated.iter().flatten().map(|tally| tally.samples).max().unwrap_or(0);
        let mut variants: Vec<Variant> = models
            .iter()
            .zip(evaluated)
            .map(|(model, tally)| Variant::of(model, tally, labels.is_some(), arguments.margin))
            .collect();
        variants[reference].is_reference = true;
        let reference_id = models[reference].id.clone();
        if arguments.layer_samples > 0 {
            for variant in
                variants.iter_mut().filter(|variant| !variant.is_reference && variant.obstacle.is_none())
            {
                scope.cancel.check()?;
                worst_layer(variant, (&reference_id, samples), &arguments, playground, scope)?;
            }
        }
        mark_pareto(&mut variants);
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
        Ok(lay_out(&report))
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
        (true, None) => Err(Error::not_found(format!("there is no family `{family}`"))),
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
            Error::not_found("no float model to hold the others against")
                .with_hint("Name one with `--reference MODEL`.")
        });
    };
    let reference = playground.model(Some(name), progress)?;
    models.iter().position(|model| model.id == reference.id).ok_or_else(|| {
        Error::invalid_input(format!("`{name}` is not a model of this family that can be run"))
    })
}

/// Evaluates all models in one go; if one of them fails, each with the reference alone, so that the others have their
/// numbers.
fn evaluate(
    sides: &[Side<'_>],
    input: &Input,
    arguments: &Arguments,
    plan: Plan<'_>,
    progress: &dyn Progress,
) -> Result<Vec<Result<Tally>>> {
    let batch = arguments.choice.samples.batch.unwrap_or(BATCH);
    let feed = Feed { input, samples: arguments.choice.samples.first, batch };
    let together = |sides: &[Side<'_>], plan: Plan<'_>| -> Result<Vec<Tally>> {
        let batches = feed.batches(&sides.iter().collect::<Vec<_>>())?;
        match evaluation::evaluate(sides, batches, plan, progress) {
            (tallies, None) => Ok(tallies),
            (_, Some(error)) => Err(error),
        }
    };
    let error = match together(sides, plan) {
        Ok(tallies) => return Ok(tallies.into_iter().map(Ok).collect()),
        Err(error) if error.kind() == ErrorKind::Cancelled || sides.len() == 1 => return Err(error),
        Err(error) => error,
    };
    let place = plan.reference.unwrap_or(0);
    let mut all = Vec::new();
    for (index, side) in sides.iter().enumerate() {
        let pair = if index == place { vec![side.clone()] } else { vec![sides[place].clone(), side.clone()] };
        let own = Plan { reference: (index != place).then_some(0), ..plan };
        let outcome = together(&pair, own).map(|mut tallies| tallies.pop().unwrap_or_default());
        if let Err(failed) = &outcome
            && (failed.kind() == ErrorKind::Cancelled || index == place)
        {
            return Err(if index == place { error } else { failed.clone() });
        }
        all.push(outcome);
    }
    Ok(all)
}

impl Variant {
    fn of(model: &Loaded, tally: Result<Tally>, has_labels: bool, margin: f64) -> Self {
        let mut variant = Self {
            backend: model.session.plugin().id.clone(),
            precision: model.info().precision.clone(),
            bytes: model.bytes,
            obstacle: None,
            ..Self::failed(&model.id, Error::cancelled())
        };
        let tally = match tally {
            Ok(tally) => tally,
            Err(error) => {
                variant.obstacle = Some(error);
                return variant;
            }
        };
        let share = |count: u64| count as f64 / tally.samples.max(1) as f64;
        variant.sample_ms = Some(tally.elapsed().as_secs_f64() * 1e3 / tally.samples.max(1) as f64);
        if has_labels {
            variant.accuracy = Some(share(tally.correct));
            variant.interval = wilson(tally.correct, tally.samples, CONFIDENCE);
        }
        if let Some(agreement) = &tally.agreement {
            variant.changed = (tally.classes > 0).then(|| tally.samples - agreement.same);
            variant.sqnr_db = agreement.errors.metrics().sqnr_db;
            if has_labels {
                variant.difference = Some(agreement.paired.difference());
                variant.verdict = Some(agreement.paired.verdict(margin));
            }
        }
        variant
    }

    fn failed(model: &str, error: Error) -> Self {
        Self {
            model: model.to_owned(),
            backend: String::new(),
            precision: String::new(),
            bytes: 0,
            is_reference: false,
            accuracy: None,
            interval: None,
            difference: None,
            verdict: None,
            changed: None,
            sqnr_db: None,
            worst_layer: None,
            worst_layer_sqnr_db: None,
            layers_obstacle: None,
            sample_ms: None,
            is_pareto: false,
            obstacle: Some(error),
        }
    }
}

/// Asks `compare` for the layer that is furthest from the reference's.
fn worst_layer(
    variant: &mut Variant,
    (reference, available): (&str, u64),
    arguments: &Arguments,
    playground: &mut Playground,
    scope: &Scope<'_>,
) -> Result<()> {
    let samples = arguments.layer_samples.min(available).to_string();
    let mut words = vec![reference, &variant.model, "--accumulated", "--samples", &samples];
    if let Some(data) = &arguments.choice.data {
        words.extend(["--data", data]);
    }
    let entry = find(Compare::NAME).ok_or_else(|| Error::internal("there is no `compare`"))?;
    let matches = entry.definition().try_get_matches_from(words);
    let matches =
        matches.map_err(|error| Error::internal("`compare` refuses").with_cause(error.to_string()))?;
    match (entry.run)(&matches, playground, scope) {
        Ok(report) => {
            let value = report.value();
            variant.worst_layer = value["worst_layer"].as_str().map(str::to_owned);
            variant.worst_layer_sqnr_db = match &value["min_sqnr_db"] {
                Value::String(infinite) => infinite.parse().ok(),
                number => number.as_f64(),
            };
        }
        Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
        // The rest of the row is worth having.
        Err(error) => variant.layers_obstacle = Some(error.one_line()),
    }
    Ok(())
}

/// Marks what no other variant beats in accuracy and size: whatever is more accurate is larger, and the other way
/// round. Without labels the output's SQNR stands for accuracy.
fn mark_pareto(variants: &mut [Variant]) {
    let worth = |variant: &Variant| match (variant.accuracy, variant.is_reference) {
        (Some(accuracy), _) => Some(accuracy),
        (None, true) => Some(f64::INFINITY),
        (None, false) => variant.sqnr_db,
    };
    let points: Vec<Option<(f64, u64)>> =
        variants.iter().map(|variant| worth(variant).map(|worth| (worth, variant.bytes))).collect();
    for (variant, own) in variants.iter_mut().zip(&points) {
        let Some((worth, bytes)) = *own else { continue };
        let beats =
            |&(other, size): &(f64, u64)| other >= worth && size <= bytes && (other > worth || size < bytes);
        variant.is_pareto = !points.iter().flatten().any(beats);
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
            "● no other variant is both as good and as small; sample: time of one, in the batches that were run; `bench` measures it"
                .to_owned(),
        )]);
    for variant in &matrix.models {
        if let Some(error) = &variant.obstacle {
            report = report.toned_line([
                (Tone::Bad, "not evaluated: ".to_owned()),
                (Tone::Name, variant.model.clone()),
                (Tone::Plain, format!(": {}", error.one_line())),
            ]);
        } else if let Some(why) = &variant.layers_obstacle {
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

    #[test]
    fn what_is_beaten_in_both_is_not_marked() {
        let variant = |accuracy: f64, bytes: u64| Variant {
            accuracy: Some(accuracy),
            bytes,
            obstacle: None,
            ..Variant::failed("m", Error::cancelled())
        };
        let mut variants =
            vec![variant(0.99, 400), variant(0.98, 100), variant(0.97, 100), variant(0.99, 500)];
        variants.push(Variant::failed("broken", Error::cancelled()));
        mark_pareto(&mut variants);
        let marked: Vec<bool> = variants.iter().map(|variant| variant.is_pareto).collect();
        assert_eq!(marked, [true, true, false, false, false]);
    }
}
