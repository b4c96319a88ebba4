//! `layers`: the layers of a model.

use super::listing::counted;
use super::{Command, Example, Group, Scope};
use crate::catalog::name::matches_pattern;
use crate::error::Result;
use crate::input::shape_text;
use crate::model::{DType, LayerInfo, ModelInfo, TensorInfo, TensorRole, ValueInfo};
use crate::playground::Playground;
use crate::render::report::{Cell, Column, Report, Table};
use crate::render::style::Tone;
use serde::Serialize;
use std::collections::BTreeMap;

/// `layers [NAME] [filters]`
pub(super) struct Layers;

/// The arguments of `layers`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The model; without it, the current one
    #[arg(value_name = "MODEL")]
    name: Option<String>,
    /// Only layers of this operator or class
    #[arg(long, value_name = "OP_TYPE")]
    op: Option<String>,
    /// Only layers whose path fits a pattern such as `layer1*`
    #[arg(long = "match", value_name = "PATTERN")]
    pattern: Option<String>,
    /// Only layers that are quantized
    #[arg(long, conflicts_with = "unquantized")]
    quantized: bool,
    /// Only layers that are not quantized
    #[arg(long)]
    unquantized: bool,
}

#[derive(Serialize)]
struct Listing<'a> {
    model: &'a str,
    total: usize,
    layers: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    path: &'a str,
    op_type: &'a str,
    output: Option<&'a ValueInfo>,
    parameters: u64,
    bytes: u64,
    quantization: Option<&'a str>,
}

impl Command for Layers {
    type Arguments = Arguments;
    const NAME: &'static str = "layers";
    const SUMMARY: &'static str = "List a model's layers";
    const GROUP: Group = Group::Inspect;
    const EXAMPLES: &'static [Example] = &[
        Example { line: "layers resnet8.onnx", shows: "every layer in the order of computation" },
        Example { line: "layers resnet8_int8.onnx --op Conv", shows: "the convolutions" },
    ];

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let task = scope.ui.task(scope.cancel);
        let model = playground.model(arguments.name.as_deref(), &task)?;
        drop(task);
        let info = model.info();
        let stored: BTreeMap<&str, &TensorInfo> =
            info.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        let values = values_by_name(info);
        let layers: Vec<Row<'_>> = info
            .layers
            .iter()
            .filter(|layer| is_wanted(layer, &arguments))
            .map(|layer| row(layer, &stored, &values))
            .collect();
        report(Listing { model: &model.id, total: info.layers.len(), layers })
    }
}

fn values_by_name(info: &ModelInfo) -> BTreeMap<&str, &ValueInfo> {
    let all = info.inputs.iter().chain(&info.outputs).chain(&info.values);
    all.map(|value| (value.name.as_str(), value)).collect()
}

fn is_wanted(layer: &LayerInfo, arguments: &Arguments) -> bool {
    arguments.op.as_ref().is_none_or(|op| layer.op_type.eq_ignore_ascii_case(op))
        && arguments.pattern.as_ref().is_none_or(|pattern| matches_pattern(pattern, &layer.path))
        && !(arguments.quantized && layer.quantization.is_none())
        && !(arguments.unquantized && layer.quantization.is_some())
}

fn row<'a>(
    layer: &'a LayerInfo,
    stored: &BTreeMap<&str, &'a TensorInfo>,
    values: &BTreeMap<&str, &'a ValueInfo>,
) -> Row<'a> {
    let own = || layer.tensors.iter().filter_map(|name| stored.get(name.as_str()));
    Row {
        path: &layer.path,
        op_type: &layer.op_type,
        output: layer.outputs.iter().find_map(|name| values.get(name.as_str()).copied()),
        parameters: own()
            .filter(|tensor| tensor.role == TensorRole::Parameter)
            .map(|tensor| tensor.element_count())
            .sum(),
        bytes: own().map(|tensor| tensor.bytes).sum(),
        quantization: layer.quantization.as_deref(),
    }
}

fn report(listing: Listing<'_>) -> Result<Report> {
    let mut table = Table::new([
        Column::text("layer"),
        Column::text("type"),
        Column::text("output").rank(2),
        Column::number("parameters").rank(1),
        Column::number("bytes").rank(3),
        Column::text("quantized"),
    ]);
    for row in &listing.layers {
        table.row([
            Cell::name(row.path),
            Cell::text(if row.op_type.is_empty() { "?" } else { row.op_type }),
            Cell::option(row.output, output_cell),
            if row.parameters == 0 { Cell::missing() } else { Cell::count(row.parameters) },
            if row.bytes == 0 { Cell::missing() } else { Cell::bytes(row.bytes) },
            Cell::option(row.quantization, Cell::text),
        ]);
    }
    let text = match (listing.layers.len(), listing.total) {
        (shown, total) if shown == total => format!("{} in ", counted(total, "layer")),
        (shown, total) => format!("{shown} of {} in ", counted(total, "layer")),
    };
    Ok(Report::new(&listing)?
        .toned_line([(Tone::Plain, text), (Tone::Name, listing.model.to_owned())])
        .table(table))
}

fn output_cell(value: &ValueInfo) -> Cell {
    let shape = value.shape.as_ref().map_or_else(|| "?".to_owned(), |shape| shape_text(shape));
    match value.dtype {
        DType::UNDEFINED => Cell::text(shape),
        dtype => Cell::text(format!("{dtype} {shape}")),
    }
}
