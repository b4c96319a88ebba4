//! `layers`: the layers of a model.

mod tree;

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
use std::collections::{BTreeMap, BTreeSet};
use tree::Branch;

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
    /// The order of the rows
    #[arg(long, value_enum, value_name = "KEY", default_value_t, conflicts_with = "tree")]
    sort: SortKey,
    /// As the tree that the paths make, with the sums of what is below
    #[arg(long)]
    tree: bool,
}

/// What rows are sorted by, the largest first but for `graph`, `path` and `type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum SortKey {
    /// The order of computation
    #[default]
    Graph,
    /// The path
    Path,
    /// The operator or class
    Type,
    /// The number of parameters
    Parameters,
    /// The bytes of the stored tensors
    Bytes,
}

#[derive(Serialize)]
struct Listing<'a> {
    model: &'a str,
    total: usize,
    /// How many of the layers listed have each op type, the most frequent first.
    op_counts: Vec<OpCount<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tree: Option<Branch<'a>>,
    layers: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct OpCount<'a> {
    op_type: &'a str,
    count: usize,
}

#[derive(Serialize)]
struct Row<'a> {
    path: &'a str,
    op_type: &'a str,
    output: Option<&'a ValueInfo>,
    parameters: u64,
    bytes: u64,
    quantization: Option<&'a str>,
    /// The same for the sums of a tree: tensors that an earlier layer has too are counted there.
    #[serde(skip)]
    new: Size,
}

/// Parameters and bytes.
#[derive(Clone, Copy, Default)]
struct Size {
    parameters: u64,
    bytes: u64,
}

impl Size {
    fn of<'a>(tensors: impl Iterator<Item = &'a TensorInfo>) -> Self {
        tensors.fold(Self::default(), |sum, tensor| {
            let is_parameter = tensor.role == TensorRole::Parameter;
            let elements = if is_parameter { tensor.element_count() } else { 0 };
            Self {
                parameters: sum.parameters.saturating_add(elements),
                bytes: sum.bytes.saturating_add(tensor.bytes),
            }
        })
    }
}

impl Command for Layers {
    type Arguments = Arguments;
    const NAME: &'static str = "layers";
    const SUMMARY: &'static str = "List a model's layers";
    const GROUP: Group = Group::Inspect;
    const EXAMPLES: &'static [Example] = &[
        Example { line: "layers resnet8.onnx", shows: "every layer in the order of computation" },
        Example { line: "layers resnet8_int8.onnx --op Conv", shows: "the convolutions" },
        Example { line: "layers resnet8.pt --tree", shows: "modules with the sums of what is in them" },
        Example { line: "layers resnet8.onnx --sort parameters", shows: "where the parameters are" },
    ];

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let task = scope.ui.task(scope.cancel);
        let model = playground.model(arguments.name.as_deref(), &task)?;
        drop(task);
        let info = model.info();
        let stored: BTreeMap<&str, &TensorInfo> =
            info.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        let values = values_by_name(info);
        let mut seen = BTreeSet::new();
        let mut layers: Vec<Row<'_>> = info
            .layers
            .iter()
            .filter(|layer| is_wanted(layer, &arguments))
            .map(|layer| row(layer, &stored, &values, &mut seen))
            .collect();
        sort(&mut layers, arguments.sort);
        report(&Listing {
            model: &model.id,
            total: info.layers.len(),
            op_counts: op_counts(&layers),
            tree: arguments.tree.then(|| Branch::of(&layers)),
            layers,
        })
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
    seen: &mut BTreeSet<&'a str>,
) -> Row<'a> {
    // What dequantizes a weight reads it, but it is the weight of the layer behind.
    let is_own = |tensor: &&TensorInfo| tensor.layer.as_ref().is_none_or(|owner| *owner == layer.path);
    let own = || layer.tensors.iter().filter_map(|name| stored.get(name.as_str()).copied()).filter(is_own);
    let new = own().filter(|tensor| tensor.alias_of.is_none() && seen.insert(&tensor.name));
    let new = Size::of(new);
    let Size { parameters, bytes } = Size::of(own());
    Row {
        path: &layer.path,
        op_type: &layer.op_type,
        output: layer.outputs.iter().find_map(|name| values.get(name.as_str()).copied()),
        parameters,
        bytes,
        quantization: layer.quantization.as_deref(),
        new,
    }
}

fn sort(rows: &mut [Row<'_>], key: SortKey) {
    match key {
        SortKey::Graph => {}
        SortKey::Path => rows.sort_by_key(|row| row.path),
        SortKey::Type => rows.sort_by_key(|row| row.op_type),
        SortKey::Parameters => rows.sort_by_key(|row| std::cmp::Reverse(row.parameters)),
        SortKey::Bytes => rows.sort_by_key(|row| std::cmp::Reverse(row.bytes)),
    }
}

fn op_counts<'a>(rows: &[Row<'a>]) -> Vec<OpCount<'a>> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows {
        *counts.entry(row.op_type).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().map(|(op_type, count)| OpCount { op_type, count }).collect();
    counts.sort_by_key(|op| std::cmp::Reverse(op.count));
    counts
}

fn report(listing: &Listing<'_>) -> Result<Report> {
    let text = match (listing.layers.len(), listing.total) {
        (shown, total) if shown == total => format!("{} in ", counted(total, "layer")),
        (shown, total) => format!("{shown} of {} in ", counted(total, "layer")),
    };
    let report = Report::new(listing)?
        .toned_line([(Tone::Plain, text), (Tone::Name, listing.model.to_owned())])
        .toned_line([(Tone::Dim, counts_text(&listing.op_counts))]);
    Ok(match &listing.tree {
        _ if listing.layers.is_empty() => report,
        Some(tree) => report.table(tree.table()),
        None => report.table(table(listing)),
    })
}

/// `Conv 9, Relu 7, Add 3, 5 more types`.
fn counts_text(counts: &[OpCount<'_>]) -> String {
    const MOST: usize = 10;
    let name = |op: &OpCount<'_>| if op.op_type.is_empty() { "?" } else { op.op_type }.to_owned();
    let mut texts: Vec<String> =
        counts.iter().take(MOST).map(|op| format!("{} {}", name(op), op.count)).collect();
    if counts.len() > MOST {
        texts.push(format!("{} more types", counts.len() - MOST));
    }
    texts.join(", ")
}

fn table(listing: &Listing<'_>) -> Table {
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
    table
}

fn output_cell(value: &ValueInfo) -> Cell {
    let shape = value.shape.as_ref().map_or_else(|| "?".to_owned(), |shape| shape_text(shape));
    match value.dtype {
        DType::UNDEFINED => Cell::text(shape),
        dtype => Cell::text(format!("{dtype} {shape}")),
    }
}
