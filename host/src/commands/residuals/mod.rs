//! `residuals`: where two branches meet, and what their scales cost.

mod declaration;

use super::arguments::evidence::{Choice, Evidence};
use super::fields::settings_line;
use super::{Command, Example, Group, Scope};
use crate::backend::{Progress, RunReport};
use crate::capture::branches::{Addition, measure};
use crate::capture::pairing::Activations;
use crate::error::{Error, Result};
use crate::inspect::graph::Graph;
use crate::inspect::residual::{Branch, Residual, residuals};
use crate::model::LayerInfo;
use crate::playground::Playground;
use crate::render::record::ReportShape;
use crate::render::report::{Report, Table};
use crate::render::style::Tone;
use crate::render::text::counted;
use declaration::Measured;
use qp_analysis::ErrorMetrics;

/// `residuals [NAME]`
pub(super) struct Residuals;

/// The arguments of `residuals`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The model; without it, the current one
    #[arg(value_name = "MODEL")]
    name: Option<String>,
    /// Sort by the order of the layers, not the largest mismatch first
    #[arg(long)]
    graph_order: bool,
    /// Mark mismatches of at least this ratio
    #[arg(long, value_name = "RATIO", default_value_t = 2.0)]
    threshold: f64,
    /// Measure on this float model's values what the scales cost, and what other scales would
    #[arg(long, value_name = "MODEL")]
    reference: Option<String>,
    #[command(flatten)]
    evidence: Choice,
}

struct Found<'a> {
    model: &'a str,
    /// The model whose values were measured.
    reference: Option<&'a str>,
    samples: u64,
    runtime: Option<String>,
    threshold: f64,
    /// The largest ratio of two branches' scales.
    max_ratio: Option<f64>,
    /// How many are at the threshold or above.
    above: usize,
    residuals: Vec<Row<'a>>,
}

struct Row<'a> {
    layer: &'a str,
    fork: Option<&'a str>,
    branches: [ShownBranch<'a>; 2],
    output_scale: Option<f64>,
    /// max / min of the two scales.
    ratio: Option<f64>,
    /// log2 of the ratio: bits that the finer branch loses.
    bits_lost: Option<f64>,
    /// Which branch is the finer one; none where the scales are equal.
    finer: Option<usize>,
    /// Bits of the branch's codes that remain at the other's scale.
    effective_bits: Option<f64>,
    /// What was measured.
    measured: Option<Costs>,
    obstacle: Option<Error>,
    is_above: bool,
}

/// SQNR in decibels, of the reference's values.
struct Costs {
    first_db: Option<f64>,
    second_db: Option<f64>,
    clipped_shares: (Option<f64>, Option<f64>),
    sum_db: Option<f64>,
    /// If both branches had the larger scale.
    shared_scale_db: Option<f64>,
    /// If every scale were the next power of two.
    power_of_two_db: Option<f64>,
}

struct ShownBranch<'a> {
    value: &'a str,
    layers: Vec<&'a str>,
    dtype: Option<String>,
    scale: Option<f64>,
    zero_point: Option<f64>,
}

impl Command for Residuals {
    type Arguments = Arguments;
    const NAME: &'static str = "residuals";
    const SUMMARY: &'static str = "Show where two branches are added, and how far apart their scales are";
    const GROUP: Group = Group::Inspect;
    const EXAMPLES: &'static [Example] = &[
        Example { line: "residuals resnet8_int8.onnx", shows: "the largest mismatch first" },
        Example {
            line: "residuals resnet8_int8.onnx --reference resnet8.onnx --data digits.npz[0:32]",
            shows: "what the scales cost, and what a shared scale or powers of two would",
        },
        Example {
            line: "residuals resnet8_int8.pt --graph-order",
            shows: "additions of a TorchScript model",
        },
    ];

    fn reports() -> Vec<ReportShape> {
        let report = ReportShape::of::<Found<'_>>(1);
        vec![report.draws::<Measured<'_>>("measured", "What `--reference` measures")]
    }

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let task = scope.ui.task(scope.cancel);
        let model = playground.model(arguments.name.as_deref(), &task)?;
        let found = residuals(model.info());
        let mut rows: Vec<Row<'_>> = found.iter().map(row).collect();
        let (mut samples, mut runtime, mut reference) = (0, None, None);
        if let Some(name) = &arguments.reference {
            let evidence = Evidence::gather(playground, name, &model.id, &arguments.evidence, &task)?;
            reference = Some(evidence.reference_model.id.clone());
            let report;
            (samples, report) = measure_rows(&evidence, &found, &mut rows, &task)?;
            runtime = report
                .map(|report| settings_line(&report.runtime, &report.runtime_version, &report.settings));
        }
        drop(task);
        if rows.is_empty() {
            return Err(Error::not_found(format!("`{}` has no residual additions", model.id))
                .with_hint("See `graph` for how its layers are connected."));
        }
        if !arguments.graph_order {
            let ratio = |row: &Row<'_>| row.ratio.unwrap_or(0.0);
            rows.sort_by(|left, right| ratio(right).total_cmp(&ratio(left)));
        }
        for row in &mut rows {
            row.is_above = row.ratio.is_some_and(|ratio| ratio >= arguments.threshold);
        }
        Ok(report(&Found {
            model: &model.id,
            reference: reference.as_deref(),
            samples,
            runtime,
            threshold: arguments.threshold,
            max_ratio: rows.iter().filter_map(|row| row.ratio).reduce(f64::max),
            above: rows.iter().filter(|row| row.is_above).count(),
            residuals: rows,
        }))
    }
}

fn row<'a>(residual: &Residual<'a>) -> Row<'a> {
    let branch = |branch: &Branch<'a>| ShownBranch {
        value: branch.value,
        layers: branch.layers.clone(),
        dtype: branch.quantization.map(|codes| codes.dtype.to_string()),
        scale: branch.scale(),
        zero_point: branch.quantization.map(|codes| codes.zero_point(0)),
    };
    let mismatch = residual.mismatch();
    Row {
        layer: &residual.layer.path,
        fork: residual.fork,
        branches: [branch(&residual.branches[0]), branch(&residual.branches[1])],
        output_scale: residual.output.and_then(|codes| match codes.scales[..] {
            [scale] => Some(scale),
            _ => None,
        }),
        ratio: mismatch.map(|mismatch| mismatch.ratio()),
        bits_lost: mismatch.map(|mismatch| mismatch.bits_lost()),
        finer: residual.finer(),
        effective_bits: mismatch.and_then(|mismatch| {
            let finer = residual.branches[residual.finer().unwrap_or(0)].quantization?;
            Some(f64::from(finer.dtype.bits()) - mismatch.bits_lost())
        }),
        measured: None,
        obstacle: None,
        is_above: false,
    }
}

/// Measures every addition of which both branches are quantized and which has a partner in the reference.
fn measure_rows(
    evidence: &Evidence,
    residuals: &[Residual<'_>],
    rows: &mut [Row<'_>],
    progress: &dyn Progress,
) -> Result<(u64, Option<RunReport>)> {
    let (reference, candidate) = (evidence.reference(), evidence.candidate());
    let pairs = evidence.pairs(&reference, &candidate, progress)?;
    let graph = Graph::of(reference.model.info(), false);
    let (mut additions, mut places) = (Vec::new(), Vec::new());
    for (place, residual) in residuals.iter().enumerate() {
        match addition(residual, &pairs, &graph) {
            Ok(addition) => {
                additions.push(addition);
                places.push(place);
            }
            Err(error) => rows[place].obstacle = Some(error),
        }
    }
    if additions.is_empty() {
        return Ok((0, None));
    }
    let (measured, samples, report) = measure(&reference, &additions, evidence.feed(), progress)?;
    for (place, measured) in places.into_iter().zip(measured) {
        let sqnr = |errors: &ErrorMetrics| errors.metrics().sqnr_db;
        rows[place].measured = measured.obstacle.is_none().then(|| Costs {
            first_db: sqnr(&measured.branches[0]),
            second_db: sqnr(&measured.branches[1]),
            clipped_shares: measured
                .within
                .map(|within| within.inside_share().map(|inside| 1.0 - inside))
                .into(),
            sum_db: sqnr(&measured.sum),
            shared_scale_db: sqnr(&measured.shared),
            power_of_two_db: sqnr(&measured.power_of_two),
        });
        rows[place].obstacle = measured.obstacle;
    }
    Ok((samples, report))
}

/// The addition in the reference's values.
fn addition<'a>(residual: &Residual<'a>, pairs: &Activations<'a>, graph: &Graph<'a>) -> Result<Addition<'a>> {
    let of_branch = |place: usize| {
        residual.branches[place].quantization.ok_or_else(|| Error::state("a branch is not quantized"))
    };
    let codes = [of_branch(0)?, of_branch(1)?];
    let pair = pairs.pairs.iter().find(|pair| {
        pair.candidate.path == residual.layer.path
            || pair.candidate_value.through.iter().any(|layer| layer.path == residual.layer.path)
    });
    let pair = pair.ok_or_else(|| Error::not_found("the reference has no such addition"))?;
    let node = graph.layer(&pair.reference.path);
    let branches: Vec<&str> =
        node.into_iter().flat_map(|node| graph.incoming(node)).map(|edge| edge.value).collect();
    let [first, second] = branches[..] else {
        return Err(Error::not_found("the reference adds no two values there"));
    };
    // If the layers before the branches pair the other way round, so do the branches.
    let producer = |value: &str| {
        let of = |pair: &&crate::capture::ActivationPair<'_>| {
            pair.reference.outputs.iter().any(|name| name == value) || pair.reference_value.name == value
        };
        pairs.pairs.iter().find(of).map(|pair| pair.candidate.path.as_str())
    };
    let ends_with = |place: usize, value: &str| {
        let last = residual.branches[place].layers.last().copied();
        last.is_some() && producer(value) == last
    };
    let is_crossed = ends_with(0, second) || ends_with(1, first);
    let through = pair.reference_value.through.iter().chain(&pair.candidate_value.through);
    let is_relu = |layer: &LayerInfo| layer.bounds.is_some_and(|bounds| bounds.low == 0.0);
    Ok(Addition {
        branches: if is_crossed { [second, first] } else { [first, second] },
        sum: pair.reference_value.name,
        has_relu: is_relu(pair.candidate) || through.copied().any(is_relu),
        codes,
        output: residual.output,
    })
}

fn report(found: &Found<'_>) -> Report {
    let verdict = match (found.max_ratio, found.above) {
        (None, _) => (Tone::Plain, "none is quantized".to_owned()),
        (Some(_), 0) => (Tone::Good, format!("all below a mismatch of {}", found.threshold)),
        (Some(_), above) => {
            (Tone::Warning, format!("{above} with scales {} times apart or more", found.threshold))
        }
    };
    let report = Report::of(found)
        .toned_line([
            (Tone::Plain, format!("{} in ", counted(found.residuals.len(), "residual addition"))),
            (Tone::Name, found.model.to_owned()),
            (Tone::Plain, ": ".to_owned()),
            verdict,
        ])
        .table(Table::of(&found.residuals));
    match found.reference {
        Some(reference) => costs(report, found, reference),
        None => report,
    }
}

/// What was measured: the branches, the sum, and the sum with other scales.
fn costs(report: Report, found: &Found<'_>, reference: &str) -> Report {
    let measured = found.residuals.iter().filter_map(|row| {
        let costs = row.measured.as_ref()?;
        Some(Measured { layer: row.layer, costs })
    });
    let measured: Vec<Measured<'_>> = measured.collect();
    let mut report = report
        .toned_line([
            (Tone::Plain, "rounded values of ".to_owned()),
            (Tone::Name, reference.to_owned()),
            (Tone::Plain, format!(", SQNR on {}:", counted(found.samples as usize, "sample"))),
        ])
        .toned_line([(Tone::Dim, found.runtime.clone().unwrap_or_default())])
        .table(Table::of(&measured));
    for row in &found.residuals {
        if let Some(obstacle) = &row.obstacle {
            report = report.toned_line([
                (Tone::Warning, "not measured: ".to_owned()),
                (Tone::Name, row.layer.to_owned()),
                (Tone::Plain, format!(": {}", obstacle.one_line())),
            ]);
        }
    }
    report
}
