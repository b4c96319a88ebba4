//! `sweep`: what each of several values of a scale or a zero point does to the output.

mod declaration;

use super::arguments::against::{Against, Outcome, in_groups, model_and_reference};
use super::arguments::evidence::Choice;
use super::arguments::number::integer_in;
use super::{Command, Example, Group, Scope};
use crate::editing::{Action, Change, Prepared, Property, Setting, Subject, make, prepare};
use crate::error::{Error, Result};
use crate::playground::{Loaded, Playground};
use crate::render::number;
use crate::render::record::ReportShape;
use crate::render::report::{Report, Table};
use crate::render::style::Tone;
use crate::render::text::counted;
use declaration::{Point, SweepReport};

/// The factors that scales are swept over without a range.
const FACTORS: (f64, f64) = (0.125, 8.0);

/// `sweep LAYER.scale FROM..TO`
pub(super) struct Sweep;

/// What is best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum By {
    /// The highest SQNR of the output against the reference's
    Sqnr,
    /// The lowest divergence of the probabilities
    Kl,
    /// The highest accuracy; the samples need labels
    Accuracy,
}

/// The arguments of `sweep`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The scale or the zero point, as `set` takes it: `layer1.conv1.weight.scale`
    #[arg(value_name = "TARGET")]
    target: String,
    /// The first and the last value, as in `0.001..0.1`; factors of the present scale with a `×`, as in `×0.5..×2`
    #[arg(value_name = "FROM..TO", allow_hyphen_values = true)]
    range: Option<String>,
    /// How many values, from 2 to 1000; scales are spaced by equal factors
    #[arg(long, value_name = "COUNT", default_value_t = 25, value_parser = integer_in::<u32>(2..=1000))]
    steps: u32,
    /// What is best
    #[arg(long, value_name = "MEASURE", default_value = "sqnr")]
    by: By,
    /// Set the best value, if it is better than the present one
    #[arg(long)]
    apply: bool,
    /// The model; without it, the current one
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// The reference; without it, the float variant of the same network
    #[arg(long, value_name = "MODEL")]
    reference: Option<String>,
    #[command(flatten)]
    evidence: Choice,
}

impl Command for Sweep {
    type Arguments = Arguments;
    const NAME: &'static str = "sweep";
    const SUMMARY: &'static str = "Try many values of a scale or a zero point, and set the best";
    const GROUP: Group = Group::Change;
    const EXAMPLES: &'static [Example] = &[
        Example {
            line: "load resnet8.onnx resnet8_int8.onnx; use resnet8_int8.onnx; sweep layer1.conv1.weight.scale ×0.5..×2 --steps 5 --data digits.npz --samples 32",
            shows: "the output's SQNR for five scales of a weight",
        },
        Example {
            line: "load resnet8.onnx resnet8_int8.onnx; use resnet8_int8.onnx; scale layer1.conv1 × 8; sweep layer1.conv1 --steps 7 --apply --data digits.npz --samples 32",
            shows: "a damaged scale found again",
        },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<SweepReport>(1)]
    }

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let task = scope.ui.task(scope.cancel);
        let (model, reference) = model_and_reference(
            arguments.model.as_deref(),
            arguments.reference.as_deref(),
            playground,
            &task,
        )?;
        let given = arguments.evidence.read(playground)?;
        if arguments.by == By::Accuracy && given.labels.is_none() {
            return Err(Error::usage("there are no labels to measure accuracy with")
                .with_hint("Give `--data` with labels, or `--labels FILE`."));
        }
        let (target, now, values) = values(&arguments, &model)?;
        let against = Against { reference: &reference, given: &given, choice: &arguments.evidence };
        let outcomes = in_groups(&values, "trying values", &task, |values| {
            let changed: Vec<Prepared> = values
                .iter()
                .map(|value| prepare(playground, &model, &target.change(*value), &task))
                .collect::<Result<_>>()?;
            against.outcomes(&changed.iter().map(Prepared::model).collect::<Vec<_>>(), playground, &task)
        })?;
        let mut sweep = report_of(&arguments, &outcomes, (&values, now));
        (sweep.model, sweep.reference, sweep.data) =
            (model.id.clone(), reference.id.clone(), given.input.source.clone());
        sweep.target = target.path();
        let now_point = sweep.points.iter().find(|point| point.is_now);
        let is_better = now_point.is_some_and(|now| !now.is_best);
        if arguments.apply && is_better {
            let made = make(playground, &model, &target.change(sweep.best), &task)?;
            sweep.model = made.model.id.clone();
            sweep.applied = Some(made.change.line.clone());
        }
        drop(task);
        Ok(report(&sweep))
    }
}

/// A property that can have several values.
struct Target {
    name: String,
    channel: Option<usize>,
    is_scale: bool,
}

impl Target {
    fn change(&self, value: f64) -> Change {
        let property = if self.is_scale { Property::Scale(value) } else { Property::ZeroPoint(value) };
        Change { target: self.name.clone(), action: Action::Set(Setting { property, channel: self.channel }) }
    }

    fn path(&self) -> String {
        let channel = self.channel.map(|channel| format!("[{channel}]")).unwrap_or_default();
        format!("{}.{}{channel}", self.name, if self.is_scale { "scale" } else { "zero_point" })
    }
}

/// What is swept, its present value, and the values in ascending order, the present one among them.
fn values(arguments: &Arguments, model: &Loaded) -> Result<(Target, f64, Vec<f64>)> {
    let text = arguments.target.as_str();
    // Any value will do to read the words.
    let read = Change::set(text, "1").or_else(|error| {
        match text.ends_with(".quantized") || text.ends_with(".range") {
            true => Err(error),
            false => Change::set(&format!("{text}.scale"), "1"),
        }
    })?;
    let Action::Set(Setting { property, channel }) = read.action else {
        return Err(Error::usage(format!("`{text}` has no values to sweep over"))
            .with_hint("Sweep a `scale` or a `zero_point`."));
    };
    let subject = Subject::find(&read.target, model.info())?;
    let target =
        Target { name: subject.name.clone(), channel, is_scale: matches!(property, Property::Scale(_)) };
    let index = channel.unwrap_or(0);
    let parameters = subject.parameters;
    let scale = parameters.scales.get(index).copied().ok_or_else(|| {
        Error::invalid_input(format!("`{}` has {}", target.name, counted(parameters.scales.len(), "scale")))
    })?;
    if channel.is_none() && parameters.scales.len() > 1 {
        return Err(Error::invalid_input(format!(
            "`{}` has {} scales",
            target.name,
            parameters.scales.len()
        ))
        .with_hint(format!("Sweep one channel, as in `{}.scale[0]`.", target.name)));
    }
    let (low, high) = parameters.codes().unwrap_or((i64::MIN, i64::MAX));
    let now = if target.is_scale { scale } else { parameters.zero_point(index) };
    let (from, to) = match (&arguments.range, target.is_scale) {
        (Some(text), _) => ends(text, now)?,
        (None, true) => (now * FACTORS.0, now * FACTORS.1),
        (None, false) => (low as f64, high as f64),
    };
    let last = f64::from(arguments.steps - 1);
    let mut values: Vec<f64> = (0..arguments.steps)
        .map(|step| f64::from(step) / last)
        .map(|share| match target.is_scale {
            true if from > 0.0 => from * (to / from).powf(share),
            _ => from + (to - from) * share,
        })
        .collect();
    if target.is_scale {
        // What the file can hold.
        values.iter_mut().for_each(|value| *value = f64::from(*value as f32));
    } else {
        values.iter_mut().for_each(|value| *value = value.round().clamp(low as f64, high as f64));
    }
    // Rounding may have moved a value next to the present one.
    values.retain(|value| (value - now).abs() > 1e-6 * now.abs() || (!target.is_scale && *value != now));
    values.push(now);
    values.sort_by(f64::total_cmp);
    values.dedup();
    Ok((target, now, values))
}

/// `0.001..0.1`, or `×0.5..×2` of what it is now.
fn ends(text: &str, now: f64) -> Result<(f64, f64)> {
    let unclear = || {
        Error::usage(format!("`{text}` is not a range"))
            .with_hint("Give both ends, as in `0.001..0.1` or `×0.5..×2`.")
    };
    let end = |text: &str| -> Option<f64> {
        let factor = text.strip_prefix(['×', 'x', '*']);
        let value: f64 = factor.unwrap_or(text).parse().ok().filter(|value: &f64| value.is_finite())?;
        Some(if factor.is_some() { value * now } else { value })
    };
    let (from, to) = text.split_once("..").ok_or_else(unclear)?;
    let (from, to) = (end(from).ok_or_else(unclear)?, end(to).ok_or_else(unclear)?);
    if from < to { Ok((from, to)) } else { Err(Error::usage(format!("the range `{text}` is empty"))) }
}

fn report_of(arguments: &Arguments, outcomes: &[Outcome], (values, now): (&[f64], f64)) -> SweepReport {
    let mut points: Vec<Point> = values
        .iter()
        .zip(outcomes)
        .map(|(value, outcome)| Point {
            value: *value,
            is_now: *value == now,
            is_best: false,
            outcome: *outcome,
            bar: None,
        })
        .collect();
    let measures: Vec<f64> = points.iter().map(|point| point.measure(arguments.by)).collect();
    // Of equal ones the one nearest to the present value: nothing is changed without need.
    let distance = |index: usize| (values[index] - now).abs();
    let best = (0..points.len()).max_by(|one, other| {
        measures[*one].total_cmp(&measures[*other]).then_with(|| distance(*other).total_cmp(&distance(*one)))
    });
    let finite = || measures.iter().copied().filter(|measure| measure.is_finite());
    let (worst, top) = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
    for (index, point) in points.iter_mut().enumerate() {
        point.is_best = Some(index) == best;
        let share = (measures[index] - worst) / (top - worst);
        point.bar = Some(if share.is_finite() { share.clamp(0.0, 1.0) } else { 1.0 });
    }
    SweepReport {
        model: String::new(),
        reference: String::new(),
        target: String::new(),
        data: String::new(),
        samples: outcomes.first().map_or(0, |outcome| outcome.samples),
        by: match arguments.by {
            By::Sqnr => "sqnr",
            By::Kl => "kl",
            By::Accuracy => "accuracy",
        },
        best: best.map_or(now, |index| values[index]),
        points,
        applied: None,
    }
}

impl Point {
    /// Higher is better.
    fn measure(&self, by: By) -> f64 {
        let measure = match by {
            By::Sqnr => self.outcome.sqnr_db,
            By::Kl => self.outcome.kl_mean.map(|divergence| -divergence),
            By::Accuracy => self.outcome.accuracy,
        };
        measure.unwrap_or(f64::NEG_INFINITY)
    }

    fn text(&self, by: &str) -> String {
        match by {
            "kl" => self
                .outcome
                .kl_mean
                .map_or_else(|| "–".to_owned(), |value| format!("KL {}", number::real(value))),
            "accuracy" => self.outcome.accuracy.map_or_else(|| "–".to_owned(), number::percent),
            _ => self.outcome.sqnr_db.map_or_else(|| "–".to_owned(), number::decibels),
        }
    }
}

fn report(sweep: &SweepReport) -> Report {
    let mut report = Report::of(sweep)
        .line(format!(
            "{} of {} against {}, on {} of {}",
            sweep.target,
            sweep.model,
            sweep.reference,
            counted(usize::try_from(sweep.samples).unwrap_or(usize::MAX), "sample"),
            sweep.data
        ))
        .table(Table::of(&sweep.points));
    let find = |is_it: fn(&&Point) -> bool| sweep.points.iter().find(is_it);
    if let (Some(now), Some(best)) = (find(|point| point.is_now), find(|point| point.is_best)) {
        let text = match best.is_now {
            true => format!("the present value is the best: {}", now.text(sweep.by)),
            false => format!(
                "best: {} (×{}) with {}; now {}",
                number::real(best.value),
                number::short(best.value / now.value),
                best.text(sweep.by),
                now.text(sweep.by)
            ),
        };
        report = report.toned_line([(Tone::Good, text)]);
    }
    if let Some(line) = &sweep.applied {
        report = report.toned_line([(Tone::Plain, "made: ".to_owned()), (Tone::Name, line.clone())]);
    }
    report
}
