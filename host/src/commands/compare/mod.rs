//! `compare`: how far two models differ on the same samples, layer by layer.

mod declaration;
mod layout;

use super::arguments::evidence::{Choice, Evidence, require_pairs};
use super::arguments::running::Running;
use super::arguments::samples::Samples;
use super::fields::Ran;
use super::{Command, Example, Group, Scope};
use crate::capture::emulation::StandIn;
use crate::capture::order::Order;
use crate::capture::pairing::ActivationPair;
use crate::capture::{Alone, Compared, Comparison, Execution};
use crate::commands::arguments::number::{BUDGET, size};
use crate::error::{Error, Result};
use crate::inspect::Errors;
use crate::inspect::pairing::Ground;
use crate::playground::{Loaded, Playground};
use crate::render::record::{NATURAL, ReportShape, SortKey, sort_keys};
use crate::render::report::{Effect, Report};
use crate::spelling::matches_pattern;
use std::collections::HashSet;

/// `compare REF CAND`
pub(super) struct Compare;

/// The arguments of `compare`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The reference, usually the float model
    #[arg(value_name = "MODEL")]
    reference: String,
    /// The candidate
    #[arg(value_name = "MODEL")]
    candidate: String,
    /// Samples: the name of a data set, or what `data` takes; without it, the current input
    #[arg(long, value_name = "DATA")]
    data: Option<String>,
    #[command(flatten)]
    samples: Samples,
    /// Only layers whose path matches a pattern such as `layer1*`
    #[arg(long = "match", value_name = "PATTERN")]
    pattern: Option<String>,
    /// The order of the rows
    #[arg(
        long,
        value_name = "KEY",
        value_parser = sort_keys::<ComparedLayer<'_>>("The order of the reference's layers"),
        default_value = NATURAL
    )]
    sort: SortKey,
    /// Show at most this many rows
    #[arg(long, value_name = "COUNT")]
    top: Option<usize>,
    /// Mark layers below this SQNR
    #[arg(long, value_name = "DB", default_value_t = 20.0, allow_negative_numbers = true)]
    threshold: f64,
    /// Only the accumulated errors; faster, because no layer is computed alone
    #[arg(long)]
    accumulated: bool,
    /// Run the graphs as the runtimes optimize them, not as written
    #[arg(long)]
    optimized: bool,
    /// Memory for values that wait to be compared
    #[arg(long, value_name = "SIZE", default_value = BUDGET, value_parser = size)]
    budget: u64,
    #[command(flatten)]
    running: Running,
}

struct CompareReport<'a> {
    reference: &'a str,
    candidate: &'a str,
    input: String,
    samples: u64,
    batch: u64,
    is_batch_dependent: bool,
    is_optimized: bool,
    reference_run: Option<Ran>,
    candidate_run: Option<Ran>,
    threshold_db: f64,
    min_sqnr_db: Option<f64>,
    worst_layer: Option<&'a str>,
    first_below: Option<&'a str>,
    total: usize,
    layers: Vec<ComparedLayer<'a>>,
    local_obstacle: Option<Error>,
    unmatched_reference: Vec<&'a str>,
    unmatched_candidate: Vec<&'a str>,
}

struct ComparedLayer<'a> {
    layer: &'a str,
    /// The layer, or the value if it is not the layer's first.
    label: &'a str,
    op_type: &'a str,
    candidate_layer: &'a str,
    ground: Ground,
    reference_value: &'a str,
    candidate_value: &'a str,
    through: Vec<&'a str>,
    order: Option<Order>,
    errors: Option<Errors>,
    local: Option<Errors>,
    local_obstacle: Option<Error>,
    clipped_share: Option<f64>,
    obstacle: Option<Error>,
    is_below_threshold: bool,
}

impl ComparedLayer<'_> {
    fn sqnr_db(&self) -> Option<f64> {
        self.errors.as_ref()?.metrics.sqnr_db
    }
}

impl Command for Compare {
    type Arguments = Arguments;
    const NAME: &'static str = "compare";
    const SUMMARY: &'static str = "Compare what the layers of two models compute, layer by layer";
    const GROUP: Group = Group::Run;
    const EXAMPLES: &'static [Example] = &[
        Example {
            line: "input digits.npz:images[0:32]; compare resnet8.onnx resnet8_int8.onnx",
            shows: "where the int8 model departs from the float one",
        },
        Example {
            line: "input digits.npz:images[0:8]; compare resnet8.onnx resnet8_uint8.onnx --sort sqnr --top 3",
            shows: "the three worst layers",
        },
        Example {
            line: "compare resnet8.onnx resnet8_int8.pt --data digits.npz --samples 32",
            shows: "the same on samples other than the current input",
        },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<CompareReport<'_>>(1)]
    }

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let task = scope.ui.task(scope.cancel);
        let choice = Choice {
            data: arguments.data.clone(),
            labels: None,
            samples: arguments.samples.clone(),
            running: arguments.running.clone(),
        };
        let evidence =
            Evidence::gather(playground, &arguments.reference, &arguments.candidate, &choice, &task)?;
        let (reference, candidate) = (&evidence.reference_model, &evidence.candidate_model);
        let execution = Execution::new(arguments.optimized);
        let (ours, theirs) = evidence.side_by_side(execution, arguments.budget);
        let mut values = evidence.pairs(&ours, &theirs, &task)?;
        if let Some(pattern) = &arguments.pattern {
            values.pairs.retain(|pair| {
                matches_pattern(pattern, &pair.reference.path)
                    || matches_pattern(pattern, &pair.candidate.path)
            });
        }
        require_pairs(&values)?;
        let run = (evidence.feed(), arguments.budget / 2);
        let (comparison, alone, local_obstacle) = if arguments.accumulated || arguments.optimized {
            let comparison =
                Comparison::run(&ours, &theirs, &values.pairs, run.0, (&Alone::Not, run.1), &task)?;
            (comparison, Alone::Not, None)
        } else {
            Comparison::with_layers_alone(&ours, &theirs, &values.pairs, run, &task)?
        };
        drop(task);
        let pairs = values.pairs.iter().zip(&comparison.compared).enumerate();
        let pairs = pairs.filter(|(_, (_, found))| !found.is_whole);
        let mut rows: Vec<ComparedLayer<'_>> =
            pairs.map(|(index, (pair, found))| row(pair, alone.stand_in(index), found)).collect();
        let worst = comparison.worst(&values.pairs);
        for row in &mut rows {
            row.is_below_threshold = row.sqnr_db().is_some_and(|sqnr| sqnr < arguments.threshold);
        }
        let first_below = rows.iter().find(|row| row.is_below_threshold).map(|row| row.layer);
        arguments.sort.apply(&mut rows);
        let total = rows.len();
        keep_worst(&mut rows, arguments.top, arguments.sort.is_natural());
        let report = layout::report(&CompareReport {
            reference: &reference.id,
            candidate: &candidate.id,
            input: evidence.input.source.clone(),
            samples: comparison.samples,
            batch: evidence.feed().batch.min(comparison.samples),
            is_batch_dependent: [reference, candidate].into_iter().any(|model| has_dynamic_scales(model)),
            is_optimized: arguments.optimized,
            reference_run: comparison.reference_run.map(Ran::from),
            candidate_run: comparison.candidate_run.map(Ran::from),
            threshold_db: arguments.threshold,
            min_sqnr_db: worst.map(|(sqnr, _)| sqnr),
            worst_layer: worst.map(|(_, pair)| pair.reference.path.as_str()),
            first_below,
            total,
            layers: rows,
            local_obstacle,
            unmatched_reference: values.unmatched_reference.iter().map(|layer| layer.path.as_str()).collect(),
            unmatched_candidate: values.unmatched_candidate.iter().map(|layer| layer.path.as_str()).collect(),
        });
        Ok(match comparison.stopped {
            Some(error) => report.effect(Effect::Fail(error)),
            None => report,
        })
    }
}

/// A dynamic scale is computed from the whole batch.
fn has_dynamic_scales(model: &Loaded) -> bool {
    let info = model.info();
    let of_values = info.values.iter().filter_map(|value| value.quantization.as_ref());
    let of_inputs = info.layers.iter().flat_map(|layer| &layer.input_codes).map(|(_, codes)| codes);
    of_values.chain(of_inputs).any(|codes| codes.is_dynamic)
}

fn row<'a>(pair: &ActivationPair<'a>, stand_in: Option<&StandIn>, found: &Compared) -> ComparedLayer<'a> {
    let through = pair.reference_value.through.iter().chain(&pair.candidate_value.through);
    ComparedLayer {
        layer: &pair.reference.path,
        label: pair.reference.label_of(pair.reference_value.name),
        op_type: &pair.reference.op_type,
        candidate_layer: &pair.candidate.path,
        ground: pair.ground,
        reference_value: pair.reference_value.name,
        candidate_value: pair.candidate_value.name,
        through: through.map(|layer| layer.path.as_str()).collect(),
        order: found.order,
        errors: found.was_compared().then(|| Errors::from(&found.errors)),
        local: found.is_alone(pair, stand_in).then(|| Errors::from(&found.local)),
        local_obstacle: stand_in.and_then(|stand_in| stand_in.obstacle.clone()),
        clipped_share: found.within.inside_share().map(|inside| 1.0 - inside),
        obstacle: found.obstacle.clone(),
        is_below_threshold: false,
    }
}

/// Keeps this many rows: the first if sorted, or, in graph order, those with the lowest SQNRs.
fn keep_worst(rows: &mut Vec<ComparedLayer<'_>>, top: Option<usize>, is_natural: bool) {
    let Some(top) = top.filter(|top| *top < rows.len()) else { return };
    if is_natural {
        let sqnr = |row: &ComparedLayer<'_>| row.sqnr_db().unwrap_or(f64::INFINITY);
        let mut sqnrs: Vec<(f64, usize)> = rows.iter().map(sqnr).zip(0..).collect();
        sqnrs.sort_by(|left, right| left.0.total_cmp(&right.0));
        let kept: HashSet<usize> = sqnrs.iter().take(top).map(|(_, place)| *place).collect();
        let mut place = 0..;
        rows.retain(|_| place.next().is_some_and(|place| kept.contains(&place)));
    }
    rows.truncate(top);
}
