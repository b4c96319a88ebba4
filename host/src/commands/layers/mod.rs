//! `layers`: the layers of a model.

mod tree;

use super::fields::OpCount;
use super::{Command, Example, Group, Scope};
use crate::error::Result;
use crate::model::{DType, LayerInfo, ModelInfo, TensorInfo, TensorRole, ValueInfo, shape_text};
use crate::playground::Playground;
use crate::render::record::{Direction, Field, NATURAL, Record, ReportShape, SortKey, Unit, sort_keys};
use crate::render::report::{Report, Table};
use crate::render::style::Tone;
use crate::render::text::counted;
use crate::spelling::matches_pattern;
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
    /// Only layers whose path matches a pattern such as `layer1*`
    #[arg(long = "match", value_name = "PATTERN")]
    pattern: Option<String>,
    /// Only layers that are quantized
    #[arg(long, conflicts_with = "unquantized")]
    quantized: bool,
    /// Only layers that are not quantized
    #[arg(long)]
    unquantized: bool,
    /// The order of the rows
    #[arg(
        long,
        value_name = "KEY",
        value_parser = sort_keys::<Row<'_>>("The order of computation"),
        default_value = NATURAL,
        conflicts_with = "tree"
    )]
    sort: SortKey,
    /// As a tree of paths, with the totals of each subtree
    #[arg(long)]
    tree: bool,
    /// Show those too that only quantize and dequantize; JSON and CSV always have them
    #[arg(long)]
    all: bool,
}

struct Listing<'a> {
    model: &'a str,
    total: usize,
    op_counts: Vec<OpCount<'a>>,
    tree: Option<Branch<'a>>,
    layers: Vec<Row<'a>>,
}

struct Row<'a> {
    path: &'a str,
    op_type: &'a str,
    output: Option<&'a ValueInfo>,
    parameters: u64,
    bytes: u64,
    quantization: Option<&'a str>,
    is_plumbing: bool,
    /// What it adds to the totals of a tree: tensors shared with an earlier layer are counted there.
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

impl Record for Listing<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("model", Unit::Name, "The model", |listing| listing.model),
            Self::field("total", Unit::Count, "Layers of the model, before any filter", |listing| {
                listing.total
            }),
            Self::list(
                "op_counts",
                "How often each operator or class occurs among the layers listed, most frequent first",
                |listing| &listing.op_counts,
            ),
            Self::object("tree", "Root of the tree of paths, with `--tree`", |listing| listing.tree.as_ref())
                .omitted_if_missing(),
            Self::list("layers", "The layers", |listing| &listing.layers),
        ]
    }
}

impl Record for Row<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("path", Unit::Name, "Full path of the layer", |row| row.path)
                .title("layer")
                .sort("path", Direction::Ascending),
            Self::field("op_type", Unit::Text, "Operator (ONNX) or class (PyTorch)", |row| row.op_type)
                .title("type")
                .text(|row| type_name(row.op_type).to_owned())
                .sort("type", Direction::Ascending),
            Self::nested("output", "First output whose type or shape is known", ValueInfo::fields(), |row| {
                row.output
            })
            .change("dtype", |dtype| {
                dtype
                    .title("output")
                    .means("Element type and shape of the first output that is known")
                    .rank(2)
                    .text(|row| row.output.map_or_else(|| "–".to_owned(), output_text))
            }),
            Self::field("parameters", Unit::Count, "Number of parameters", |row| row.parameters)
                .title("parameters")
                .rank(1)
                .dash_if_zero()
                .sort("parameters", Direction::Descending),
            Self::field("bytes", Unit::Bytes, "Size of its stored tensors", |row| row.bytes)
                .title("bytes")
                .rank(3)
                .dash_if_zero()
                .sort("bytes", Direction::Descending),
            Self::field(
                "quantization",
                Unit::Text,
                "How it is quantized: qdq, qoperator, dynamic, …",
                |row| row.quantization,
            )
            .title("quantized"),
        ]
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
        Example { line: "layers resnet8_int8.onnx --all", shows: "what quantizes and dequantizes, too" },
        Example { line: "layers resnet8.pt --tree", shows: "modules with the totals of their subtrees" },
        Example { line: "layers resnet8.onnx --sort parameters", shows: "where the parameters are" },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<Listing<'_>>(1).draws::<tree::Line<'_>>("tree", "The tree of `--tree`")]
    }

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
        arguments.sort.apply(&mut layers);
        // Who names layers wants to see them.
        let shows_all = arguments.all || arguments.op.is_some() || arguments.pattern.is_some();
        let listing = Listing {
            model: &model.id,
            total: info.layers.len(),
            op_counts: op_counts(&layers),
            tree: arguments.tree.then(|| Branch::of(&layers)),
            layers,
        };
        Ok(report(&listing, shows_all))
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
    // A dequantizing layer reads a weight of the layer after it.
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
        is_plumbing: layer.kind.is_plumbing(),
        new,
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

fn report(listing: &Listing<'_>, shows_all: bool) -> Report {
    let text = match (listing.layers.len(), listing.total) {
        (shown, total) if shown == total => format!("{} in ", counted(total, "layer")),
        (shown, total) => format!("{shown} of {} in ", counted(total, "layer")),
    };
    let report = Report::of(listing)
        .toned_line([(Tone::Plain, text), (Tone::Name, listing.model.to_owned())])
        .toned_line([(Tone::Dim, counts_text(&listing.op_counts))]);
    match &listing.tree {
        _ if listing.layers.is_empty() => report,
        Some(tree) => report.table(tree.table()),
        None => with_table(report, &listing.layers, shows_all),
    }
}

/// The table of the layers; those that only quantize and dequantize are counted, unless there are no others.
fn with_table(report: Report, layers: &[Row<'_>], shows_all: bool) -> Report {
    let mut table = Table::of(layers);
    let plumbing = layers.iter().enumerate().filter(|(_, row)| row.is_plumbing).map(|(index, _)| index);
    let plumbing: BTreeSet<usize> = plumbing.collect();
    if shows_all || plumbing.is_empty() || plumbing.len() == layers.len() {
        return report.table(table);
    }
    let note = match plumbing.len() {
        1 => "  1 layer that only quantizes or dequantizes is not shown".to_owned(),
        count => format!("  {count} layers that only quantize or dequantize are not shown"),
    } + "; `--all` shows all";
    table.left_out = plumbing;
    report.table(table).toned_line([(Tone::Dim, note)])
}

/// `Conv 9, Relu 7, Add 3, 5 more types`.
fn counts_text(counts: &[OpCount<'_>]) -> String {
    const MOST: usize = 10;
    let mut texts: Vec<String> =
        counts.iter().take(MOST).map(|op| format!("{} {}", type_name(op.op_type), op.count)).collect();
    if counts.len() > MOST {
        texts.push(format!("{} more types", counts.len() - MOST));
    }
    texts.join(", ")
}

/// The operator or class; a question mark where the file does not say.
fn type_name(op_type: &str) -> &str {
    if op_type.is_empty() { "?" } else { op_type }
}

fn output_text(value: &ValueInfo) -> String {
    let shape = value.shape.as_ref().map_or_else(|| "?".to_owned(), |shape| shape_text(shape));
    match value.dtype {
        DType::UNDEFINED => shape,
        dtype => format!("{dtype} {shape}"),
    }
}
