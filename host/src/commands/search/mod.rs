//! `search`: the best mix of bits, layer by layer.

mod bench;
mod declaration;
mod scores;

use super::arguments::against::Against;
use super::arguments::evidence::Choice as Evidence;
use super::arguments::number::{margin, size};
use super::{Command, Example, Group, Scope};
use crate::capture::{Execution, can_be_captured};
use crate::commands::arguments::target::require_target;
use crate::error::{Error, Result};
use crate::file;
use crate::model::DType;
use crate::playground::Playground;
use crate::quantization::{Bits, Mixed, Options};
use crate::render::number;
use crate::render::record::ReportShape;
use crate::render::report::{Report, Table};
use crate::render::style::Tone;
use crate::render::text::counted;
use bench::Bench;
use declaration::{LayerRow, SearchReport};
use scores::Scores;

/// `search MODEL`
pub(super) struct Search;

/// The arguments of `search`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The float model; without it, the current one
    #[arg(value_name = "MODEL")]
    model: Option<String>,
    /// The largest size of the model's stored tensors, as in 60KiB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    target_size: Option<u64>,
    /// The least accuracy, as in 98%; the samples need labels
    #[arg(long, value_name = "SHARE", value_parser = margin, conflicts_with = "target_size")]
    min_accuracy: Option<f64>,
    /// The accuracy that may be lost against the float model, as in 0.5pp; the samples need labels
    #[arg(long, value_name = "POINTS", value_parser = margin, conflicts_with_all = ["target_size", "min_accuracy"])]
    max_drop: Option<f64>,
    /// A scale for each channel of a weight
    #[arg(long)]
    per_channel: bool,
    /// Write the scores to this JSON file; they can be edited: `"pin": "8"` fixes a layer
    #[arg(long, value_name = "PATH")]
    save_scores: Option<String>,
    /// Take the scores from this file instead of measuring them
    #[arg(long, value_name = "PATH")]
    scores: Option<String>,
    /// Write the best model to this file
    #[arg(long, value_name = "PATH")]
    out: Option<String>,
    /// Replace existing files
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    evidence: Evidence,
}

impl Arguments {
    fn asks_for_accuracy(&self) -> bool {
        self.min_accuracy.is_some() || self.max_drop.is_some()
    }
}

impl Command for Search {
    type Arguments = Arguments;
    const NAME: &'static str = "search";
    const SUMMARY: &'static str = "Find the best mix of 4, 8 and 16 bits and float for a size or an accuracy";
    const GROUP: Group = Group::Change;
    const EXAMPLES: &'static [Example] = &[
        Example {
            line: "search resnet8.onnx --target-size 60KiB --data digits.npz --samples 32",
            shows: "which layers get 4 bits if the model may take 60 KiB",
        },
        Example {
            line: "search resnet8.onnx --max-drop 1pp --data digits.npz --samples 48 --out mixed.onnx --force",
            shows: "the smallest model that loses at most one point",
        },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<SearchReport>(1)]
    }

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let task = scope.ui.task(scope.cancel);
        let model = playground.model(arguments.model.as_deref(), &task)?;
        if let Some(scheme) = &model.info().scheme {
            return Err(Error::invalid_input(format!("`{}` is quantized already: {scheme}", model.id))
                .with_hint("Give the float model that it was made of; `repair` mends a quantized one."));
        }
        can_be_captured(&model)?;
        for path in [&arguments.out, &arguments.save_scores].into_iter().flatten() {
            require_target(&model, &playground.path(path), arguments.force)?;
        }
        let given = arguments.evidence.read(playground)?;
        if arguments.asks_for_accuracy() && given.labels.is_none() {
            return Err(Error::usage("there are no labels to measure accuracy with").with_hint(
                "Give `--data` with labels or `--labels FILE`, or a size: `--target-size SIZE`.",
            ));
        }
        let options = options(&arguments);
        let side = arguments.evidence.running.side(&model, Execution::AsWritten, playground, &task);
        let mixed = Mixed::new(&side, arguments.evidence.samples.of(&given.input), &options, &task)?;
        let against = Against { reference: &model, given: &given, choice: &arguments.evidence };
        let bench = Bench { arguments: &arguments, against, mixed: &mixed, playground };
        let scores = match &arguments.scores {
            Some(path) => Scores::read(&playground.path(path), &mixed)?,
            None => bench.score(&task)?,
        };
        if let Some(path) = &arguments.save_scores {
            let text = format!("{:#}\n", scores.to_json(&mixed, &model.id));
            file::write(&playground.path(path), text.as_bytes(), arguments.force)?;
        }
        let found = bench.choose(&scores, &task)?;
        let mut out = None;
        if let Some(path) = &arguments.out {
            let path = playground.path(path);
            let session = mixed.model(&found.choices, true, &task)?;
            file::keep_all(&path, arguments.force, |place| session.export(place, &task))?;
            playground.list_written(&path, &task)?;
            out = Some(path.display().to_string());
        }
        drop(task);
        let report_value = SearchReport {
            model: model.id.clone(),
            data: given.input.source.clone(),
            samples: found.samples,
            target: target_text(&arguments),
            is_reached: found.is_reached,
            rank_correlation: scores.rank_correlation,
            layers: layer_rows(&mixed, &scores, &found.choices),
            front: found.front,
            models_measured: scores.measured + found.measured,
            out,
        };
        Ok(report(&report_value))
    }
}

/// As `quantize` without options.
fn options(arguments: &Arguments) -> Options {
    Options { activation: DType::UINT8, per_channel: arguments.per_channel, ..Options::default() }
}

fn target_text(arguments: &Arguments) -> String {
    let points = |share: f64| number::short(share * 100.0);
    match (arguments.target_size, arguments.min_accuracy, arguments.max_drop) {
        (Some(bytes), ..) => format!("at most {}", number::bytes(bytes)),
        (None, Some(share), _) => format!("an accuracy of at least {} %", points(share)),
        (None, None, Some(share)) => format!("at most {} pp of accuracy lost", points(share)),
        (None, None, None) => "the least divergence for each size".to_owned(),
    }
}

fn layer_rows(mixed: &Mixed<'_>, scores: &Scores, choices: &[Bits]) -> Vec<LayerRow> {
    let rows = mixed.layers.iter().zip(choices).enumerate().map(|(place, (layer, bits))| LayerRow {
        layer: layer.layer.clone(),
        op_type: layer.op_type.clone(),
        parameters: layer.parameters,
        bits: bits.word(),
        pin: scores.pins[place].map(Bits::word),
        four: Some(scores.losses[place][0]),
        eight: Some(scores.losses[place][1]),
        sixteen: Some(scores.losses[place][2]).filter(|loss| loss.is_finite()),
        bytes: layer.bytes(*bits),
    });
    rows.collect()
}

fn report(found: &SearchReport) -> Report {
    let trust = match found.rank_correlation {
        Some(correlation) => format!("; rank correlation of the halves {}", number::rounded(correlation, 3)),
        None => String::new(),
    };
    let mut report = Report::of(found)
        .line(format!(
            "{} on {} of {}; wanted: {}",
            found.model,
            counted(usize::try_from(found.samples).unwrap_or(usize::MAX), "sample"),
            found.data,
            found.target
        ))
        .line(format!("{} measured{trust}", counted(found.models_measured, "model")))
        .table(Table::of(&found.layers))
        .table(Table::of(&found.front));
    if !found.is_reached {
        report = report.toned_line([(Tone::Warning, "no mix of these bits reaches it".to_owned())]);
    }
    if let Some(out) = &found.out {
        report = report.toned_line([(Tone::Plain, "written to ".to_owned()), (Tone::Name, out.clone())]);
    }
    report
}
