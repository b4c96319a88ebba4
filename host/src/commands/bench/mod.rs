//! `bench`: how long models take, and whether one is really faster than another.

mod declaration;
mod layers;
mod layout;
mod measured;

use super::arguments::models::Models;
use super::arguments::number::integer_in;
use super::arguments::running::{Running, Settings};
use super::fields::Ran;
use super::{Command, Example, Group, Scope};
use crate::backend::Progress;
use crate::capture::batch::Batches;
use crate::capture::{Execution, Side};
use crate::error::{Error, ErrorKind, Result};
use crate::input::{Content, Fill, Fitted, Generator, Input, fixed_batch};
use crate::model::ModelInfo;
use crate::playground::{Loaded, Playground};
use crate::render::record::ReportShape;
use crate::render::report::{Effect, Report};
use crate::render::text::counted;
use layers::{LayerTimes, layer_times};
use measured::{Contestant, Extent, Measured, measure, resident_bytes};
use qp_analysis::proportion::CONFIDENCE;
use qp_analysis::quantile;
use qp_analysis::{Interval, RatioOfMedians, ratio_of_medians};
use std::sync::Arc;
use std::time::Duration;

/// Largest batch, unless the user says otherwise.
const BATCH: u64 = 32;
/// How long each configuration is measured, unless the user says otherwise.
const SECONDS: f64 = 3.0;
/// After an interruption, fewer rounds are not reported.
const FEWEST_ROUNDS: usize = 3;
/// Ratios that are closer to 1 are the same.
const SAME: f64 = 0.01;
/// A model that takes this many times as long as alone is disturbed by the others.
const DISTURBED: f64 = 1.2;

/// `bench [NAME…]`
pub(super) struct Bench;

/// The arguments of `bench`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    models: Models,
    /// Batch sizes, as in 1,8,32; without them all samples of the input, 32 at most
    #[arg(long, value_name = "COUNTS", value_delimiter = ',', value_parser = integer_in::<u64>(1..=1_000_000))]
    batch: Vec<u64>,
    /// Numbers of runtime threads, as in 1,2; without them the runtime chooses
    #[arg(long, value_name = "COUNTS", value_delimiter = ',', value_parser = integer_in::<u32>(1..=4096))]
    threads: Vec<u32>,
    /// How long to measure each combination of samples and threads; without it, 3 seconds; from 10 to 10,000 rounds
    #[arg(long, value_name = "SECONDS", value_parser = seconds, conflicts_with = "rounds")]
    seconds: Option<f64>,
    /// How many rounds to measure; in each round every model runs once
    #[arg(long, value_name = "COUNT", value_parser = integer_in::<u32>(3..=100_000))]
    rounds: Option<u32>,
    /// Also measure how long each layer takes, in further runs that the runtime profiles
    #[arg(long)]
    layers: bool,
    /// Show at most this many layers, those that take longest
    #[arg(long, value_name = "COUNT", default_value_t = 20, requires = "layers")]
    top: usize,
    #[command(flatten)]
    settings: Settings,
}

/// Reads a duration.
fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.trim_end_matches('s').parse::<f64>().ok();
    seconds
        .filter(|seconds| *seconds > 0.0 && *seconds <= 86_400.0)
        .ok_or_else(|| "it takes seconds, as in 3 or 0.5".to_owned())
}

struct BenchReport {
    input: String,
    is_input_chosen: bool,
    reference: Option<String>,
    rows: Vec<Row>,
    /// What each layer takes; empty if that was not asked for.
    layers: Vec<LayerTimes>,
}

/// One model with one number of samples and one of threads.
struct Row {
    model: String,
    batch: u64,
    /// `None` if the runtime chooses.
    threads: Option<u32>,
    rounds: usize,
    median_ms: f64,
    p90_ms: f64,
    p99_ms: f64,
    minimum_ms: f64,
    alone_ms: f64,
    samples_per_second: f64,
    /// `None` of the reference, and without one.
    relative: Option<Relative>,
    gained_bytes: Option<u64>,
    /// The median's share of the highest.
    share: f64,
    steps: Vec<String>,
    run: Ran,
}

/// A candidate's time against the reference's.
struct Relative {
    ratio: f64,
    interval: Interval,
    block: usize,
    verdict: Verdict,
}

/// Whether a candidate takes less time than the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Faster,
    Slower,
    /// The whole interval is close to 1: two processes running the same model differ as much.
    Same,
    Undecided,
}

impl Verdict {
    const TEXTS: [&'static str; 4] = ["faster", "slower", "same", "undecided"];

    fn of(interval: Interval) -> Self {
        if interval.low >= 1.0 - SAME && interval.high <= 1.0 + SAME {
            Self::Same
        } else if interval.high < 1.0 {
            Self::Faster
        } else if interval.low > 1.0 {
            Self::Slower
        } else {
            Self::Undecided
        }
    }

    fn text(self) -> &'static str {
        Self::TEXTS[self as usize]
    }
}

impl Command for Bench {
    type Arguments = Arguments;
    const NAME: &'static str = "bench";
    const SUMMARY: &'static str = "Measure how long models take, in turn, and which one is faster";
    const GROUP: Group = Group::Run;
    const EXAMPLES: &'static [Example] = &[
        Example {
            line: "bench resnet8.onnx resnet8_int8.onnx --rounds 20",
            shows: "how much faster the int8 model is, on random values",
        },
        Example {
            line: "input digits.npz:images[0:8]; bench resnet8.onnx --batch 1,8 --threads 1 --rounds 5",
            shows: "the throughput of one digit and of eight at a time, on one thread",
        },
        Example {
            line: "bench resnet8.onnx resnet8_uint8.onnx --layers --top 5 --rounds 20",
            shows: "which layers become faster, which slower",
        },
        Example {
            line: "bench resnet8_int8.pt --reference resnet8_int8.onnx --seconds 0.1",
            shows: "one network on two runtimes, for a tenth of a second",
        },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<BenchReport>(1)]
    }

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let task = scope.ui.task(scope.cancel);
        let (mut entrants, reference) = entrants(&arguments, playground, &task)?;
        let running = |threads: Option<u32>| Running { threads, settings: arguments.settings.clone() };
        running(arguments.threads.first().copied())
            .check(&entrants.iter().map(|entrant| &*entrant.model).collect::<Vec<_>>())?;
        let is_input_chosen = playground.input.is_some();
        arguments.check_layers(&entrants)?;
        let input = playground.input.clone().unwrap_or_else(random);
        let batches = match &arguments.batch[..] {
            [] => vec![whole(&input, &entrants)],
            batches => batches.to_vec(),
        };
        let threads = match &arguments.threads[..] {
            [] => vec![None],
            threads => threads.iter().copied().map(Some).collect(),
        };
        let extent = match arguments.rounds {
            Some(rounds) => Extent::Rounds(rounds),
            None => Extent::Time(Duration::from_secs_f64(arguments.seconds.unwrap_or(SECONDS))),
        };
        // What does not fit is an error before anything is measured.
        let fitted: Vec<Vec<Fitted>> = batches
            .iter()
            .map(|&batch| entrants.iter().map(|entrant| entrant.fit(&input, batch)).collect())
            .collect::<Result<_>>()?;
        let mut rows = Vec::new();
        let mut stop = None;
        let configurations = batches.iter().zip(&fitted).flat_map(|(&batch, fitted)| {
            threads.iter().map(move |&threads| (Configuration { batch, threads }, fitted))
        });
        for (configuration, fitted) in configurations {
            let running = running(configuration.threads);
            let contestants: Vec<Contestant<'_>> =
                entrants.iter().zip(fitted).map(|(entrant, fitted)| entrant.on(fitted, &running)).collect();
            let (measured, stopped) = measure(&contestants, extent, &task);
            drop(contestants);
            if measured.first().is_some_and(|first| first.times_ms.len() >= FEWEST_ROUNDS) {
                for (entrant, measured) in entrants.iter_mut().zip(&measured) {
                    entrant.gain(measured.gained_bytes);
                }
                rows.extend(rows_of(&entrants, measured, reference, configuration, fitted));
            }
            stop = stopped;
            if stop.is_some() {
                break;
            }
        }
        let (mut layers, mut are_layers_missing) = (Vec::new(), false);
        if arguments.layers && stop.is_none() {
            let running = running(threads[0]);
            match layer_times(&entrants, &fitted[0], &running, (extent, reference.unwrap_or(0)), &task) {
                Ok(times) => layers = times,
                Err(error) if error.kind() == ErrorKind::Cancelled => {
                    (stop, are_layers_missing) = (Some(error), true);
                }
                Err(error) => return Err(error),
            }
        }
        drop(task);
        if let Some(error) = &stop
            && (error.kind() != ErrorKind::Cancelled || rows.is_empty())
        {
            return Err(error.clone());
        }
        let wanted = batches.len() * threads.len() * entrants.len();
        let measured = rows.len();
        let models: Vec<String> = entrants.iter().map(|entrant| entrant.model.id.clone()).collect();
        let found = BenchReport {
            input: input.source.clone(),
            is_input_chosen,
            reference: reference.map(|place| models[place].clone()),
            rows,
            layers,
        };
        let report = layout::lay_out(&found, (&models, reference, arguments.top));
        Ok(match stop {
            Some(error) if are_layers_missing => {
                report.effect(Effect::Fail(error.with_cause("the layers were not measured to the end")))
            }
            Some(error) => report.effect(Effect::Fail(error.with_cause(format!(
                "the table above has {measured} of {wanted} rows, the last of fewer rounds"
            )))),
            None => report,
        })
    }
}

impl Arguments {
    /// Whether layers can be timed, if that is asked for.
    ///
    /// # Errors
    /// `UnsupportedOp`, `Usage`.
    fn check_layers(&self, entrants: &[Entrant]) -> Result<()> {
        if !self.layers {
            return Ok(());
        }
        if self.batch.len() > 1 || self.threads.len() > 1 {
            return Err(Error::usage("`--layers` takes one batch size and one number of threads")
                .with_hint("Measure the others without it."));
        }
        entrants.iter().try_for_each(|entrant| entrant.model.session.require_kernels())
    }
}

/// How the models are run.
#[derive(Clone, Copy, Debug)]
struct Configuration {
    batch: u64,
    threads: Option<u32>,
}

/// A model that takes part.
struct Entrant {
    model: Arc<Loaded>,
    sibling: Option<ModelInfo>,
    /// How much resident memory grew so far while it was loaded and run.
    gained_bytes: Option<u64>,
}

/// Loads the models; the second is the place of the reference.
fn entrants(
    arguments: &Arguments,
    playground: &mut Playground,
    progress: &dyn Progress,
) -> Result<(Vec<Entrant>, Option<usize>)> {
    let load = |name: Option<&str>| -> Result<Entrant> {
        let before = resident_bytes();
        let model = playground.model(name, progress)?;
        let gained_bytes = before.zip(resident_bytes()).map(|(before, after)| after.saturating_sub(before));
        model.runnable()?;
        let sibling = playground.outspoken_sibling(&model, progress);
        Ok(Entrant { model, sibling, gained_bytes })
    };
    arguments.models.load(load, |entrant| &entrant.model.id)
}

impl Entrant {
    /// This many samples of the input, for this model.
    fn fit(&self, input: &Input, batch: u64) -> Result<Fitted> {
        let (info, sibling) = (self.model.info(), self.sibling.as_ref());
        if let Some(fixed) = fixed_batch(info, sibling).filter(|fixed| *fixed != batch) {
            return Err(Error::invalid_input(format!(
                "`{}` takes {} at a time, not {batch}",
                self.model.id,
                counted(fixed as usize, "sample")
            ))
            .with_hint(format!("Give `--batch {fixed}`, or leave the model out.")));
        }
        input.check_names(&info.inputs)?;
        let input = input.made_up_for(batch);
        let available = input.sample_count(info, sibling);
        let first = Batches::new(&input, available, Some(batch), batch)?.next();
        let (_, samples) = first.ok_or_else(|| Error::internal("there is no first batch"))?;
        samples.fit(info, sibling)
    }

    fn on<'a>(&'a self, fitted: &'a Fitted, running: &Running) -> Contestant<'a> {
        let options = running.options_of(&self.model, Execution::Optimized, None);
        Contestant { side: Side::new(&self.model, self.sibling.clone(), options), tensors: &fitted.tensors }
    }

    fn gain(&mut self, more: Option<u64>) {
        self.gained_bytes = self.gained_bytes.zip(more).map(|(before, more)| before + more);
    }
}

/// The default batch size: what a model fixes, otherwise the number of samples of the input.
fn whole(input: &Input, entrants: &[Entrant]) -> u64 {
    let fixed =
        entrants.iter().find_map(|entrant| fixed_batch(entrant.model.info(), entrant.sibling.as_ref()));
    fixed.unwrap_or_else(|| {
        let count = |entrant: &Entrant| input.sample_count(entrant.model.info(), entrant.sibling.as_ref());
        entrants.first().map_or(1, count).clamp(1, BATCH)
    })
}

/// What models run on if the user has chosen no input: the same as `input random`.
fn random() -> Arc<Input> {
    let generator = Generator { fill: Fill::Uniform(0), ..Generator::default() };
    Arc::new(Input {
        source: "random --seed 0".to_owned(),
        content: Content::Generated(generator),
        may_round: false,
    })
}

/// What was measured with one configuration, one row for each model.
fn rows_of(
    entrants: &[Entrant],
    measured: Vec<Measured>,
    reference: Option<usize>,
    configuration: Configuration,
    fitted: &[Fitted],
) -> Vec<Row> {
    let against = reference.map(|place| measured[place].times_ms.clone());
    let rows = entrants.iter().zip(measured).zip(fitted).enumerate();
    let mut rows: Vec<Row> = rows
        .map(|(place, ((entrant, measured), fitted))| {
            let relative = against
                .as_ref()
                .filter(|_| reference != Some(place))
                .and_then(|against| Relative::of(against, &measured.times_ms));
            Row::of(entrant, measured, configuration, (relative, fitted.steps.clone()))
        })
        .collect();
    let longest = rows.iter().map(|row| row.median_ms).fold(0.0, f64::max);
    for row in &mut rows {
        row.share = row.median_ms / longest;
    }
    rows
}

impl Row {
    fn of(
        entrant: &Entrant,
        measured: Measured,
        Configuration { batch, threads }: Configuration,
        (relative, steps): (Option<Relative>, Vec<String>),
    ) -> Self {
        let mut times = measured.times_ms;
        times.sort_by(f64::total_cmp);
        let at = |share: f64| quantile(&times, share).unwrap_or(f64::NAN);
        let median_ms = at(0.5);
        Self {
            model: entrant.model.id.clone(),
            batch,
            threads,
            rounds: times.len(),
            median_ms,
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            minimum_ms: at(0.0),
            alone_ms: measured.alone_ms,
            samples_per_second: batch as f64 / median_ms * 1e3,
            relative,
            gained_bytes: entrant.gained_bytes,
            share: 0.0,
            steps,
            run: Ran::from(measured.report),
        }
    }
}

impl Relative {
    fn of(reference: &[f64], candidate: &[f64]) -> Option<Self> {
        let RatioOfMedians { ratio, interval, block } = ratio_of_medians(reference, candidate, CONFIDENCE)?;
        Some(Self { ratio, interval, block, verdict: Verdict::of(interval) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_may_have_a_unit_and_are_more_than_none() {
        assert_eq!((seconds("0.5"), seconds("3s")), (Ok(0.5), Ok(3.0)));
        for text in ["0", "-1", "x", "inf", "NaN", ""] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_an_interval_without_1_or_next_to_it_decides() {
        let verdict = |low: f64, high: f64| Verdict::of(Interval { low, high }).text();
        assert_eq!(verdict(0.5, 0.9), "faster");
        assert_eq!(verdict(1.1, 1.2), "slower");
        assert_eq!([verdict(0.992, 0.997), verdict(0.99, 1.01)], ["same"; 2]);
        assert_eq!([verdict(0.9, 1.1), verdict(1.0, 1.1), verdict(0.9, 1.0)], ["undecided"; 3]);
    }
}
