//! `repair`: the smallest set of layers to leave in float, or to give more bits, that brings a quantized model to a target.

mod declaration;

use super::arguments::against::{Against, Outcome, in_groups, model_and_reference};
use super::arguments::evidence::Choice;
use super::arguments::number::margin;
use super::{Command, Example, Group, Scope};
use crate::backend::Progress;
use crate::commands::arguments::target::require_target;
use crate::editing::Switches;
use crate::error::{Error, Result};
use crate::file;
use crate::playground::{Loaded, Playground};
use crate::render::number;
use crate::render::record::ReportShape;
use crate::render::report::{Report, Table};
use crate::render::style::Tone;
use crate::render::text::counted;
use declaration::{RepairReport, StepRow};

/// `repair MODEL`
pub(super) struct Repair;

/// The arguments of `repair`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The quantized model; without it, the current one
    #[arg(value_name = "MODEL")]
    model: Option<String>,
    /// The reference; without it, the float variant of the same network
    #[arg(long, value_name = "MODEL")]
    reference: Option<String>,
    /// The accuracy that may be lost against the reference, as in 0.1pp; the samples need labels
    #[arg(long, value_name = "POINTS", value_parser = margin, required_unless_present = "min_sqnr")]
    lose: Option<f64>,
    /// The SQNR that the output must have against the reference's, in dB
    #[arg(long, value_name = "DB", conflicts_with = "lose")]
    min_sqnr: Option<f64>,
    /// Give the layers codes of 8 or 16 bits instead of leaving them in float
    #[arg(long, value_name = "BITS", value_parser = bits)]
    bits: Option<u32>,
    /// Write the mended model to this file, if the target is reached
    #[arg(long, value_name = "PATH")]
    out: Option<String>,
    /// Replace an existing file
    #[arg(long, requires = "out")]
    force: bool,
    #[command(flatten)]
    evidence: Choice,
}

impl Command for Repair {
    type Arguments = Arguments;
    const NAME: &'static str = "repair";
    const SUMMARY: &'static str =
        "Find the fewest layers to leave in float, or to give more bits, that reach a target";
    const GROUP: Group = Group::Change;
    const EXAMPLES: &'static [Example] = &[
        Example {
            line: "load resnet8.onnx resnet8_int8.onnx; repair resnet8_int8.onnx --min-sqnr 48 --data digits.npz --samples 32",
            shows: "the layers whose quantization keeps the output below 48 dB",
        },
        Example {
            line: "load resnet8.onnx resnet8_int8.onnx; repair resnet8_int8.onnx --min-sqnr 48 --bits 16 --data digits.npz --samples 32",
            shows: "the layers that need 16 bits for it",
        },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<RepairReport>(1)]
    }

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let task = scope.ui.task(scope.cancel);
        let (model, reference) = model_and_reference(
            arguments.model.as_deref(),
            arguments.reference.as_deref(),
            playground,
            &task,
        )?;
        if let Some(path) = &arguments.out {
            require_target(&model, &playground.path(path), arguments.force)?;
        }
        let given = arguments.evidence.read(playground)?;
        if arguments.lose.is_some() && given.labels.is_none() {
            return Err(Error::usage("there are no labels to measure accuracy with").with_hint(
                "Give `--data` with labels or `--labels FILE`, or a target without: `--min-sqnr DB`.",
            ));
        }
        let switches = Switches::of(playground, &model, arguments.bits, &task)?;
        let against = Against { reference: &reference, given: &given, choice: &arguments.evidence };
        let bench = Bench { arguments: &arguments, against, switches: &switches, playground };
        let found = bench.search(&model, &task)?;
        let off: Vec<usize> = found.off.clone();
        let mended = if off.is_empty() { model.clone() } else { switches.keep(playground, &off, &task)? };
        let mut out = None;
        // A model that misses the target is none to ship.
        if let Some(path) = arguments.out.as_ref().filter(|_| found.is_reached) {
            let path = playground.path(path);
            file::keep_all(&path, arguments.force, |place| mended.session.export(place, &task))?;
            playground.list_written(&path, &task)?;
            out = Some(path.display().to_string());
        }
        drop(task);
        let report_value = RepairReport {
            model: mended.id.clone(),
            reference: reference.id.clone(),
            data: given.input.source.clone(),
            samples: found.samples,
            target: target_text(&arguments),
            layers: off.iter().map(|place| switches.layers[*place].layer.clone()).collect(),
            is_reached: found.is_reached,
            runs: found.runs,
            bits: arguments.bits,
            more_bytes: more_bytes(&switches, &off),
            steps: found.steps,
            out,
        };
        Ok(report(&report_value, switches.layers.len()))
    }
}

fn target_text(arguments: &Arguments) -> String {
    match (arguments.lose, arguments.min_sqnr) {
        (Some(lose), _) => format!("at most {} pp of accuracy lost", number::short(lose * 100.0)),
        (None, Some(db)) => format!("an SQNR of at least {}", number::decibels(db)),
        (None, None) => String::new(),
    }
}

fn more_bytes(switches: &Switches, off: &[usize]) -> u64 {
    off.iter().map(|place| switches.layers[*place].more_bytes).sum()
}

struct Bench<'a> {
    arguments: &'a Arguments,
    against: Against<'a>,
    switches: &'a Switches,
    playground: &'a Playground,
}

struct Found {
    off: Vec<usize>,
    is_reached: bool,
    runs: usize,
    samples: u64,
    steps: Vec<StepRow>,
}

impl Bench<'_> {
    /// First each layer is quantized alone: that ranks them. Then the most useful ones are added until the target is reached,
    /// by bisection, and last each is taken back that proves unnecessary.
    fn search(&self, model: &Loaded, progress: &dyn Progress) -> Result<Found> {
        let count = self.switches.layers.len();
        let start = self.against.outcomes(&[model], self.playground, progress)?[0];
        let mut found = Found {
            off: Vec::new(),
            is_reached: self.is_reached(&start),
            runs: 1,
            samples: start.samples,
            steps: Vec::new(),
        };
        found.steps.push(self.row(&[], None, "start", start));
        if found.is_reached {
            return Ok(found);
        }
        // Errors of layers that are quantized alone add up, to a first approximation; what leaving one out of all of them
        // gains depends on the others.
        let alone: Vec<Vec<usize>> =
            (0..count).map(|kept| (0..count).filter(|place| *place != kept).collect()).collect();
        let outcomes = self.measure(&alone, "quantizing layers alone", progress)?;
        found.runs += count;
        let mut ranked: Vec<usize> = (0..count).collect();
        let harms = self.harms(&outcomes);
        ranked.sort_by(|one, other| harms[*other].total_cmp(&harms[*one]));
        // The smallest number of the best ones that is enough: more layers in float are rarely worse.
        let mut known: Vec<Option<Outcome>> = vec![None; count + 1];
        let (mut low, mut high) = (0, count);
        let all = self.measure(&[ranked.clone()], "switching all layers", progress)?[0];
        found.runs += 1;
        known[count] = Some(all);
        if !self.is_reached(&all) {
            found.off = Vec::new();
            found.steps.push(self.row(&ranked, None, "add", all));
            return Ok(found);
        }
        // Doubling first: few layers are the usual answer.
        let mut next = 1;
        while high - low > 1 {
            let size = if next < high { next.max(low + 1) } else { low.midpoint(high) };
            next = if next < high { next * 2 } else { high };
            let outcome = self.measure(&[ranked[..size].to_vec()], "adding layers", progress)?[0];
            found.runs += 1;
            known[size] = Some(outcome);
            if self.is_reached(&outcome) {
                high = size;
                next = high;
            } else {
                low = size;
            }
        }
        for size in 1..=high {
            let outcome = match known[size] {
                Some(outcome) => outcome,
                None => {
                    found.runs += 1;
                    self.measure(&[ranked[..size].to_vec()], "adding layers", progress)?[0]
                }
            };
            found.steps.push(self.row(&ranked[..size], Some(ranked[size - 1]), "add", outcome));
            // The target may be reached earlier than bisection saw.
            if self.is_reached(&outcome) {
                high = size;
                break;
            }
        }
        let mut off: Vec<usize> = ranked[..high].to_vec();
        // The last one was needed; each of the others may not be any more.
        for place in ranked[..high.saturating_sub(1)].iter().rev() {
            let without: Vec<usize> = off.iter().copied().filter(|other| other != place).collect();
            let outcome = self.measure(std::slice::from_ref(&without), "taking layers back", progress)?[0];
            found.runs += 1;
            if self.is_reached(&outcome) {
                off = without;
                found.steps.push(self.row(&off, Some(*place), "take back", outcome));
            }
        }
        found.off = off;
        found.is_reached = true;
        Ok(found)
    }

    /// What each layer's quantization alone does to what the target is about; accuracy itself moves in steps.
    fn harms(&self, outcomes: &[Outcome]) -> Vec<f64> {
        let by_divergence = || outcomes.iter().map(|outcome| outcome.kl_mean).collect::<Option<Vec<f64>>>();
        let by_sqnr =
            || outcomes.iter().map(|outcome| -outcome.sqnr_db.unwrap_or(f64::NEG_INFINITY)).collect();
        self.arguments.lose.and_then(|_| by_divergence()).unwrap_or_else(by_sqnr)
    }

    fn row(&self, off: &[usize], place: Option<usize>, action: &'static str, outcome: Outcome) -> StepRow {
        let switch = place.map(|place| &self.switches.layers[place]);
        StepRow {
            layers: off.len(),
            layer: switch.map(|switch| switch.layer.clone()).unwrap_or_default(),
            op_type: switch.map(|switch| switch.op_type.clone()).unwrap_or_default(),
            action,
            outcome,
            more_bytes: more_bytes(self.switches, off),
        }
    }

    fn is_reached(&self, outcome: &Outcome) -> bool {
        match (self.arguments.lose, self.arguments.min_sqnr) {
            (Some(lose), _) => outcome.lost.is_some_and(|lost| lost <= lose + 1e-12),
            (None, Some(db)) => outcome.sqnr_db.is_some_and(|sqnr| sqnr >= db),
            (None, None) => true,
        }
    }

    /// What the model does with each of these sets switched.
    fn measure(&self, sets: &[Vec<usize>], stage: &str, progress: &dyn Progress) -> Result<Vec<Outcome>> {
        in_groups(sets, stage, progress, |sets| {
            let models: Vec<Loaded> = sets
                .iter()
                .map(|off| self.switches.model(self.playground, off, progress))
                .collect::<Result<_>>()?;
            self.against.outcomes(&models.iter().collect::<Vec<_>>(), self.playground, progress)
        })
    }
}

fn report(found: &RepairReport, layers: usize) -> Report {
    let mut report = Report::of(found)
        .line(format!(
            "{} against {}, on {} of {}; wanted: {}",
            found.model,
            found.reference,
            counted(usize::try_from(found.samples).unwrap_or(usize::MAX), "sample"),
            found.data,
            found.target
        ))
        .table(Table::of(&found.steps));
    let verdict = match (found.is_reached, found.layers.len()) {
        (true, 0) => (Tone::Good, "the model reaches it as it is".to_owned()),
        (true, count) => (
            Tone::Good,
            format!(
                "reached with {count} of {} {} ({} more): {}",
                counted(layers, "layer"),
                found.how(),
                number::bytes(found.more_bytes),
                found.layers.join(", ")
            ),
        ),
        (false, _) => {
            let how = found.how();
            (Tone::Warning, format!("not reached, even with all {} {how}", counted(layers, "layer")))
        }
    };
    report = report.toned_line([verdict]);
    if found.is_reached && !found.layers.is_empty() {
        report = report
            .line(format!("`changes` lists them, `undo` takes them back; {} models measured", found.runs));
    }
    if let Some(out) = &found.out {
        report = report.toned_line([(Tone::Plain, "written to ".to_owned()), (Tone::Name, out.clone())]);
    }
    report
}

fn bits(text: &str) -> std::result::Result<u32, String> {
    match text.parse() {
        Ok(bits @ (8 | 16)) => Ok(bits),
        _ => Err("codes get 8 or 16 bits".to_owned()),
    }
}
