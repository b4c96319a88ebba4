//! `layer`: one layer in detail, which becomes the current one.

use super::fields::listing;
use super::{Command, Example, Group, Scope};
use crate::error::{Error, Result};
use crate::model::{
    AttributeValue, LayerInfo, ModelInfo, QuantizationParameters, TensorInfo, TensorRole, find_layer,
    shape_text, type_text,
};
use crate::playground::Playground;
use crate::render::number;
use crate::render::record::{Field, Record, ReportShape, Unit, word};
use crate::render::report::{Cell, Effect, Report, Table};
use crate::render::style::Tone;
use serde::Serialize;

/// `layer [PATH]`
pub(super) struct Layer;

/// The arguments of `layer`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The layer's path, or its end if that is unique; without it, choose from a list
    #[arg(value_name = "LAYER")]
    path: Option<String>,
    /// The model; without it, the current one
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Show the code of the layer: the methods of its class, then everything with every call inlined
    #[arg(long)]
    code: bool,
}

struct Described<'a> {
    model: &'a str,
    layer: &'a LayerInfo,
    inputs: Vec<Wire<'a>>,
    outputs: Vec<Wire<'a>>,
    tensors: Vec<Own<'a>>,
}

/// A stored tensor of the layer.
struct Own<'a>(&'a TensorInfo);

/// A value or stored tensor that a layer reads or computes, with the layers at its other end.
struct Wire<'a> {
    is_input: bool,
    name: &'a str,
    kind: WireKind,
    type_text: Option<String>,
    quantization: Option<&'a QuantizationParameters>,
    /// The layer that computes an input, or the layers that read an output.
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
            shows: "one convolution and its neighbors",
        },
        Example { line: "layer fc --model resnet8.pt", shows: "a module of a pickle" },
        Example {
            line: "layer layer1.conv1 --model resnet8_int8.pt --code",
            shows: "the TorchScript of a quantized convolution",
        },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![
            ReportShape::of::<Described<'_>>(1).when("without `--code`"),
            ReportShape::of::<listing::Shown<'_>>(1).when("with `--code`"),
        ]
    }

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let task = scope.ui.task(scope.cancel);
        let model = playground.model(arguments.model.as_deref(), &task)?;
        drop(task);
        let info = model.info();
        let path = match (&arguments.path, &playground.layer) {
            (Some(text), _) => find_layer(text, info)?.path.clone(),
            (None, _) if scope.ui.appearance().is_interactive => match picked(info, scope)? {
                Some(path) => path,
                None => return Ok(Report::default().effect(Effect::Left)),
            },
            (None, Some(layer)) if info.layer(layer).is_some() => layer.clone(),
            (None, _) => {
                return Err(Error::usage("`layer` needs a path outside of an interactive session")
                    .with_hint("Write `layer PATH`; `layers` lists them."));
            }
        };
        let layer =
            info.layer(&path).ok_or_else(|| Error::internal(format!("`{path}` was found and then lost")))?;
        let report = match arguments.code {
            true => {
                let task = scope.ui.task(scope.cancel);
                listing::report(&model.id, &path, &model.session.listing(Some(&path), &task)?)
            }
            false => report(&describe(&model.id, layer, info)),
        };
        playground.choose(Some(model.path.clone()));
        playground.layer = Some(path);
        Ok(report)
    }
}

fn picked(info: &ModelInfo, scope: &Scope<'_>) -> Result<Option<String>> {
    // What only quantizes is seldom meant.
    let mut layers: Vec<&LayerInfo> = info.layers.iter().collect();
    layers.sort_by_key(|layer| layer.kind.is_plumbing());
    let paths: Vec<String> = layers.iter().map(|layer| layer.path.clone()).collect();
    let shown = layers.iter().map(|layer| format!("{}  {}", layer.path, layer.op_type)).collect();
    Ok(scope.ui.pick("Which layer?", shown)?.and_then(|index| paths.get(index).cloned()))
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
        tensors: layer.tensors.iter().filter_map(|name| info.tensor(name)).map(Own).collect(),
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
        is_input,
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

fn report(described: &Described<'_>) -> Report {
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
    let mut report = Report::of(described).fields(fields);
    if !described.inputs.is_empty() || !described.outputs.is_empty() {
        report = report.table(Table::of(described.inputs.iter().chain(&described.outputs)));
    }
    // The table above already lists what the layer reads by name.
    let is_named = |tensor: &&Own<'_>| described.inputs.iter().any(|wire| wire.name == tensor.0.name);
    let others: Vec<&Own<'_>> = described.tensors.iter().filter(|tensor| !is_named(tensor)).collect();
    if others.is_empty() {
        return report;
    }
    report.table(Table::of(others))
}

impl Record for Described<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("model", Unit::Name, "The model", |described| described.model),
            Self::object("layer", "The layer", |described| Some(described.layer)).always(),
            Self::list("inputs", "Values and stored tensors that it reads", |described| &described.inputs),
            Self::list("outputs", "Values that it computes", |described| &described.outputs),
            Self::list("tensors", "Its stored tensors", |described| &described.tensors),
        ]
    }
}

impl Record for Wire<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("", Unit::Text, "Whether the layer reads it (in) or computes it (out)", |wire| {
                if wire.is_input { "in" } else { "out" }
            })
            .title("")
            .tone(|_| Tone::Dim),
            Self::field("name", Unit::Name, "Name of the value or stored tensor", |wire| wire.name)
                .title("name"),
            Self::field(
                "kind",
                Unit::Text,
                "stored tensor, input or output of the model, or activation",
                |wire| word(wire.kind),
            )
            .choices(&["stored", "input", "output", "activation"]),
            Self::field("type", Unit::Text, "Element type and shape", |wire| wire.type_text.clone())
                .title("type")
                .rank(1),
            Self::nested(
                "quantization",
                "How its codes map to real values",
                QuantizationParameters::fields(),
                |wire| wire.quantization,
            )
            .change("dtype", |dtype| {
                dtype
                    .title("quantization")
                    .means("Type of the codes, granularity, scales and zero points")
                    .rank(2)
                    .text(|wire| wire.quantization.map_or_else(|| "–".to_owned(), quantization_text))
                    .after("layers")
            }),
            Self::field(
                "layers",
                Unit::Text,
                "Layer that computes an input; layers that read an output",
                |wire| wire.layers.clone(),
            )
            .title("from / to")
            .text(place),
        ]
    }
}

impl Record for Own<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::flat(TensorInfo::fields(), |own| Some(own.0))
                .always()
                .change("name", |name| {
                    name.title("tensor").tone(|own| match own.0.role {
                        TensorRole::Quantization => Tone::Dim,
                        _ => Tone::Name,
                    })
                })
                .change("role", |role| role.title("role").rank(1))
                .change("dtype", |dtype| {
                    dtype.title("type").means("Element type and shape").text(|own| tensor_type(own.0))
                })
                .change("bytes", |bytes| bytes.title("size").rank(2)),
            Self::field("", Unit::Text, "Type of the codes, granularity, scales and zero points", |own| {
                own.0.quantization.as_ref().map(quantization_text)
            })
            .title("quantization"),
        ]
    }
}

/// Where a value comes from or goes to.
fn place(wire: &Wire<'_>) -> String {
    match (wire.kind, wire.layers.is_empty()) {
        (WireKind::Stored, _) => "stored".to_owned(),
        (WireKind::Input, true) => "input of the model".to_owned(),
        (WireKind::Output, true) => "output of the model".to_owned(),
        (_, true) => "–".to_owned(),
        (_, false) => wire.layers.join(", "),
    }
}

/// `int8 per-tensor, scale 0.0117, zero point 3`.
fn quantization_text(parameters: &QuantizationParameters) -> String {
    let head = format!("{} {}", parameters.dtype, parameters.granularity());
    match (&parameters.scales[..], parameters.is_dynamic) {
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
    }
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
