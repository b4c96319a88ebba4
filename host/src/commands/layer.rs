//! `layer`: one layer in detail, which becomes the current one.

use super::inspection::find_layer;
use super::{Command, Example, Group, Scope, code};
use crate::error::{Error, Result};
use crate::input::{shape_text, type_text};
use crate::model::{AttributeValue, LayerInfo, ModelInfo, QuantizationParameters, TensorInfo, TensorRole};
use crate::playground::Playground;
use crate::render::number;
use crate::render::report::{Cell, Column, Report, Table};
use crate::render::style::Tone;
use serde::Serialize;

/// `layer [PATH]`
pub(super) struct Layer;

/// The arguments of `layer`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The layer's path, or the end of it where that is unique; without it, choose from a list
    #[arg(value_name = "LAYER")]
    path: Option<String>,
    /// The model; without it, the current one
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Show the code of the layer: the methods of its class, and all that it computes with every call inlined
    #[arg(long)]
    code: bool,
}

#[derive(Serialize)]
struct Described<'a> {
    model: &'a str,
    layer: &'a LayerInfo,
    inputs: Vec<Wire<'a>>,
    outputs: Vec<Wire<'a>>,
    tensors: Vec<&'a TensorInfo>,
}

/// A value or stored tensor that a layer reads or computes, and who else does.
#[derive(Serialize)]
struct Wire<'a> {
    name: &'a str,
    kind: WireKind,
    #[serde(rename = "type")]
    type_text: Option<String>,
    quantization: Option<&'a QuantizationParameters>,
    /// The layer that computes an input; the layers that read an output.
    layers: Vec<&'a str>,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
enum WireKind {
    Stored,
    Input,
    Output,
    Activation,
}

impl Command for Layer {
    type Arguments = Arguments;
    const NAME: &'static str = "layer";
    const SUMMARY: &'static str = "Show a layer's attributes, inputs, outputs and tensors, and select it";
    const GROUP: Group = Group::Inspect;
    const EXAMPLES: &'static [Example] = &[
        Example {
            line: "use resnet8_int8.onnx; layer layer1.conv1",
            shows: "one convolution and its neighbours",
        },
        Example { line: "layer fc --model resnet8.pt", shows: "a module of a pickle" },
        Example {
            line: "layer layer1.conv1 --model resnet8_int8.pt --code",
            shows: "the TorchScript of a quantized convolution",
        },
    ];

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let task = scope.ui.task(scope.cancel);
        let model = playground.model(arguments.model.as_deref(), &task)?;
        drop(task);
        let info = model.info();
        let path = match (&arguments.path, &playground.layer) {
            (Some(text), _) => find_layer(text, info)?.path.clone(),
            (None, _) if scope.ui.appearance().is_interactive => picked(info, scope)?,
            (None, Some(layer)) if info.layer(layer).is_some() => layer.clone(),
            (None, _) => {
                return Err(Error::usage("`layer` needs a path when there is nobody to ask")
                    .with_hint("Write `layer PATH`; see `layers`."));
            }
        };
        let layer = info
            .layer(&path)
            .ok_or_else(|| Error::internal(format!("`{path}` was found and is not there")))?;
        let report = match arguments.code {
            true => {
                let task = scope.ui.task(scope.cancel);
                code::report(&model.id, &path, &model.session.listing(Some(&path), &task)?)?
            }
            false => report(&describe(&model.id, layer, info))?,
        };
        playground.choose(Some(model.path.clone()));
        playground.layer = Some(path);
        Ok(report)
    }
}

fn picked(info: &ModelInfo, scope: &Scope<'_>) -> Result<String> {
    let paths: Vec<String> = info.layers.iter().map(|layer| layer.path.clone()).collect();
    let shown = info.layers.iter().map(|layer| format!("{}  {}", layer.path, layer.op_type)).collect();
    scope
        .ui
        .pick("Which layer?", shown)?
        .and_then(|index| paths.get(index).cloned())
        .ok_or_else(Error::cancelled)
}

fn describe<'a>(model: &'a str, layer: &'a LayerInfo, info: &'a ModelInfo) -> Described<'a> {
    let wires = |names: &'a [String], is_input: bool| {
        names.iter().filter(|name| !name.is_empty()).map(move |name| wire(name, is_input, info)).collect()
    };
    Described {
        model,
        layer,
        inputs: wires(&layer.inputs, true),
        outputs: wires(&layer.outputs, false),
        tensors: layer.tensors.iter().filter_map(|name| info.tensor(name)).collect(),
    }
}

fn wire<'a>(name: &'a str, is_input: bool, info: &'a ModelInfo) -> Wire<'a> {
    let touches = |layer: &&LayerInfo| {
        let names = if is_input { &layer.outputs } else { &layer.inputs };
        names.iter().any(|other| other == name)
    };
    let layers = info.layers.iter().filter(touches).map(|layer| layer.path.as_str()).collect();
    let is_in = |values: &[crate::model::ValueInfo]| values.iter().any(|value| value.name == name);
    let stored = info.tensor(name);
    let value = info.value(name);
    Wire {
        name,
        kind: match () {
            () if stored.is_some() => WireKind::Stored,
            () if is_in(&info.inputs) => WireKind::Input,
            () if is_in(&info.outputs) => WireKind::Output,
            () => WireKind::Activation,
        },
        type_text: stored.map(tensor_type).or_else(|| value.map(type_text)),
        quantization: stored
            .and_then(|tensor| tensor.quantization.as_ref())
            .or_else(|| value.and_then(|value| value.quantization.as_ref())),
        layers,
    }
}

fn tensor_type(tensor: &TensorInfo) -> String {
    format!("{} {}", tensor.dtype_name(), shape_text(&tensor.shape))
}

fn report(described: &Described<'_>) -> Result<Report> {
    let layer = described.layer;
    let class = if layer.op_type.is_empty() { "?" } else { &layer.op_type };
    let mut fields = vec![
        ("layer".to_owned(), Cell::name(layer.path.clone())),
        ("model".to_owned(), Cell::text(described.model)),
        (
            "type".to_owned(),
            Cell::text(match &layer.domain {
                Some(domain) => format!("{class} ({domain})"),
                None => class.to_owned(),
            }),
        ),
    ];
    if let Some(scope) = &layer.scope {
        fields.push(("within".to_owned(), Cell::text(scope.clone())));
    }
    fields.push(("quantized".to_owned(), Cell::option(layer.quantization.clone(), Cell::text)));
    fields.extend(
        layer
            .attributes
            .iter()
            .map(|attribute| (attribute.name.clone(), Cell::text(attribute_text(&attribute.value)))),
    );
    let mut report = Report::new(described)?.fields(fields);
    if !described.inputs.is_empty() || !described.outputs.is_empty() {
        report = report.table(wire_table(described));
    }
    // What the layer reads by name is in the table above already.
    let is_named = |tensor: &&&TensorInfo| described.inputs.iter().any(|wire| wire.name == tensor.name);
    let others: Vec<_> = described.tensors.iter().filter(|tensor| !is_named(tensor)).collect();
    if others.is_empty() {
        return Ok(report);
    }
    let mut table = Table::new([
        Column::text("tensor"),
        Column::text("role").rank(1),
        Column::text("type"),
        Column::number("size").rank(2),
        Column::text("quantization"),
    ]);
    for tensor in others {
        let tone = if tensor.role == TensorRole::Quantization { Tone::Dim } else { Tone::Name };
        table.row([
            Cell::text(tensor.name.clone()).tone(tone),
            Cell::text(tensor.role.to_string()),
            Cell::text(tensor_type(tensor)),
            Cell::bytes(tensor.bytes),
            Cell::option(tensor.quantization.as_ref(), quantization_cell),
        ]);
    }
    Ok(report.table(table))
}

fn wire_table(described: &Described<'_>) -> Table {
    let mut table = Table::new([
        Column::text(""),
        Column::text("name"),
        Column::text("type").rank(1),
        Column::text("from / to"),
        Column::text("quantization").rank(2),
    ]);
    let rows = described
        .inputs
        .iter()
        .map(|wire| ("in", wire))
        .chain(described.outputs.iter().map(|wire| ("out", wire)));
    for (direction, wire) in rows {
        let place = match (wire.kind, wire.layers.is_empty()) {
            (WireKind::Stored, _) => "stored".to_owned(),
            (WireKind::Input, true) => "the model's input".to_owned(),
            (WireKind::Output, true) => "the model's output".to_owned(),
            (_, true) => "–".to_owned(),
            (_, false) => wire.layers.join(", "),
        };
        table.row([
            Cell::text(direction).tone(Tone::Dim),
            Cell::name(wire.name),
            Cell::option(wire.type_text.clone(), Cell::text),
            Cell::text(place),
            Cell::option(wire.quantization, quantization_cell),
        ]);
    }
    table
}

/// `int8 per-tensor, scale 0.0117, zero point 3`.
fn quantization_cell(parameters: &QuantizationParameters) -> Cell {
    let head = format!("{} {}", parameters.dtype, parameters.granularity());
    let text = match (&parameters.scales[..], parameters.is_dynamic) {
        (_, true) => format!("{head}, computed for each input"),
        ([scale], _) => format!(
            "{head}, scale {}, zero point {}",
            number::real(*scale),
            number::real(parameters.zero_point(0))
        ),
        ([], _) => format!("{head}, {} scales", number::count(parameters.scale_count)),
        (scales, _) => {
            let smallest = scales.iter().copied().fold(f64::INFINITY, f64::min);
            let largest = scales.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            format!(
                "{head}, {} scales from {} to {}",
                scales.len(),
                number::real(smallest),
                number::real(largest)
            )
        }
    };
    Cell::text(text)
}

fn attribute_text(value: &AttributeValue) -> String {
    fn list<T>(items: &[T], text: impl Fn(&T) -> String) -> String {
        const MOST: usize = 16;
        let mut texts: Vec<String> = items.iter().take(MOST).map(text).collect();
        if items.len() > MOST {
            texts.push(format!("… ({})", items.len()));
        }
        texts.join(", ")
    }
    match value {
        AttributeValue::Int(number) => number.to_string(),
        AttributeValue::Float(number) => number::real(*number),
        AttributeValue::Text(text) => text.clone(),
        AttributeValue::Ints(numbers) => list(numbers, ToString::to_string),
        AttributeValue::Floats(numbers) => list(numbers, |number| number::real(*number)),
        AttributeValue::Texts(texts) => list(texts, Clone::clone),
        AttributeValue::Tensor { tensor } => format!("tensor {tensor}"),
        AttributeValue::Graphs { graphs } => format!("graph {}", graphs.join(", ")),
        AttributeValue::Other { other } => other.clone(),
    }
}
