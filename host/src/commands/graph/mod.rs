//! `graph`: how layers are connected, as a drawing in the terminal or for Graphviz.

mod dot;
mod rails;

use super::{Command, Example, Group, Scope};
use crate::error::{Error, Result};
use crate::file;
use crate::inspect::graph::{Edge, Graph, Node};
use crate::model::{QuantizationParameters, ValueInfo, find_layer, type_text};
use crate::playground::Playground;
use crate::render::number;
use crate::render::record::{Field, Record, ReportShape, Unit};
use crate::render::report::{Cell, Report, Table};
use crate::render::style::Tone;
use crate::render::text::counted;
use std::collections::BTreeSet;

/// At most this many nodes are drawn in a terminal if no layer is given.
const MOST_NODES: usize = 400;

/// `graph [LAYER]`
pub(super) struct GraphCommand;

/// The arguments of `graph`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The layer in the middle; without it, the current one, or all of a small model
    #[arg(value_name = "LAYER")]
    layer: Option<String>,
    /// The model; without it, the current one
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// How many edges to follow from the layer
    #[arg(long, value_name = "EDGES", default_value_t = 2)]
    depth: usize,
    /// The whole model, whatever layer is current
    #[arg(long, conflicts_with_all = ["layer", "depth"])]
    whole: bool,
    /// Also draw the layers that only quantize and dequantize
    #[arg(long)]
    plumbing: bool,
    /// Write the graph for Graphviz to this file: around the layer given, else of the whole model
    #[arg(long, value_name = "PATH")]
    dot: Option<String>,
    /// Replace the file if it exists
    #[arg(long, requires = "dot")]
    force: bool,
}

struct Drawn<'a> {
    model: &'a str,
    layer: Option<&'a str>,
    nodes: Vec<ShownNode<'a>>,
    edges: Vec<ShownEdge<'a>>,
    hidden: usize,
    dot: Option<String>,
}

struct ShownNode<'a> {
    name: &'a str,
    kind: &'a str,
    output: Option<&'a ValueInfo>,
    quantization: Option<&'a str>,
    before: Vec<&'a str>,
    after: Vec<&'a str>,
}

struct ShownEdge<'a> {
    from: &'a str,
    to: &'a str,
    value: &'a str,
    quantization: Option<&'a QuantizationParameters>,
}

/// A line of the drawing: a node, or rails alone.
struct Line<'a> {
    rails: String,
    node: Option<&'a ShownNode<'a>>,
    is_center: bool,
    rounded: Option<String>,
}

impl Line<'_> {
    fn beyond(&self) -> Option<String> {
        let node = self.node?;
        let list = |arrow: &str, names: &[&str]| match names {
            [] => None,
            names => Some(format!("{arrow} {}", names.join(", "))),
        };
        let parts = [list("←", &node.before), list("→", &node.after)];
        let text = parts.into_iter().flatten().collect::<Vec<_>>().join("  ");
        (!text.is_empty()).then_some(text)
    }
}

impl Record for Line<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("name", Unit::Name, "Layer, input or output; lines lead to what reads it", |line| {
                line.node.map(|node| node.name)
            })
            .title("layer")
            .text(|line| match line.node {
                Some(node) => format!("{} {}", line.rails, node.name),
                None => line.rails.clone(),
            })
            .tone(|line| if line.is_center { Tone::Heading } else { Tone::Name }),
            Self::field("kind", Unit::Text, "Operator or class; ◀ marks the layer asked for", |line| {
                line.node.map(|node| node.kind)
            })
            .title("type")
            .text(|line| {
                let kind = line.node.map_or("", |node| node.kind);
                if line.is_center { format!("{kind} ◀") } else { kind.to_owned() }
            }),
            Self::field("output", Unit::Text, "Element type and shape of its first output", |line| {
                line.node.and_then(|node| node.output).map(type_text)
            })
            .title("output")
            .rank(2),
            Self::field(
                "rounded_to",
                Unit::Text,
                "Codes that the next layers read: type, × scale, + zero point",
                |line| line.rounded.clone(),
            )
            .title("rounded to")
            .rank(1)
            .hidden_if_missing(),
            Self::field(
                "beyond",
                Unit::Text,
                "Connected nodes that are not drawn: ← before it, → after it",
                |line| line.beyond(),
            )
            .title("beyond")
            .rank(3)
            .text(|line| line.beyond().unwrap_or_default())
            .tone(|_| Tone::Dim)
            .hidden_if_missing(),
        ]
    }
}

impl Record for Drawn<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("model", Unit::Name, "The model", |drawn| drawn.model),
            Self::field("layer", Unit::Name, "The layer in the middle; null for the whole model", |drawn| {
                drawn.layer
            }),
            Self::list("nodes", "The nodes that are drawn", |drawn| &drawn.nodes),
            Self::list("edges", "The edges between them", |drawn| &drawn.edges),
            Self::field(
                "hidden",
                Unit::Count,
                "Layers that are not drawn because they only quantize or dequantize",
                |drawn| drawn.hidden,
            ),
            Self::field("dot", Unit::Text, "File that the graph was written to", |drawn| drawn.dot.clone()),
        ]
    }
}

impl Record for ShownNode<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("name", Unit::Name, "Layer, input or output", |node| node.name),
            Self::field("kind", Unit::Text, "Operator or class; input or output of the model", |node| {
                node.kind
            }),
            Self::object("output", "Its first output", |node| node.output),
            Self::field("quantization", Unit::Text, "How the layer is quantized", |node| node.quantization),
            Self::field("before", Unit::Name, "Nodes before it that are not drawn", |node| {
                node.before.clone()
            }),
            Self::field("after", Unit::Name, "Nodes after it that are not drawn", |node| node.after.clone()),
        ]
    }
}

impl Record for ShownEdge<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("from", Unit::Name, "Node that computes the value", |edge| edge.from),
            Self::field("to", Unit::Name, "Node that reads it", |edge| edge.to),
            Self::field("value", Unit::Name, "Name of the value", |edge| edge.value),
            Self::object("quantization", "Codes to which it is rounded", |edge| edge.quantization),
        ]
    }
}

impl Command for GraphCommand {
    type Arguments = Arguments;
    const NAME: &'static str = "graph";
    const SUMMARY: &'static str = "Draw how layers are connected";
    const GROUP: Group = Group::Inspect;
    const EXAMPLES: &'static [Example] = &[
        Example {
            line: "graph layer2.conv2 --model resnet8_int8.onnx",
            shows: "the surroundings of a convolution",
        },
        Example { line: "graph --model resnet8.onnx", shows: "the whole model" },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<Drawn<'_>>(1).draws::<Line<'_>>("nodes", "The drawing")]
    }

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let task = scope.ui.task(scope.cancel);
        let model = playground.model(arguments.model.as_deref(), &task)?;
        drop(task);
        let info = model.info();
        let mut is_whole = arguments.plumbing;
        let layer = match (&arguments.layer, &playground.layer) {
            (Some(text), _) => Some(find_layer(text, info)?),
            (None, Some(current)) if !arguments.whole && arguments.dot.is_none() => info.layer(current),
            _ => None,
        };
        // The user asked for a layer that would be hidden.
        is_whole |= layer.is_some_and(|layer| layer.kind.is_plumbing());
        let graph = Graph::of(info, is_whole);
        if graph.edges.is_empty() {
            return Err(Error::not_found(format!(
                "the file does not say how the layers of `{}` are connected",
                model.id
            ))
            .with_hint("`layers --tree` lists the layers; a traced or exported file has the connections."));
        }
        let center = layer.and_then(|layer| graph.layer(&layer.path));
        let shown: Vec<usize> = match center {
            Some(center) => graph.around(center, arguments.depth),
            None => (0..graph.nodes.len()).collect(),
        };
        let path = match &arguments.dot {
            Some(text) => {
                let path = playground.path(text);
                file::write(&path, dot::text(&graph, &shown, center).as_bytes(), arguments.force)?;
                Some(path)
            }
            None if shown.len() > MOST_NODES => {
                return Err(Error::usage(format!("{} are too many to draw", counted(shown.len(), "node")))
                    .with_hint(
                        "Name a layer: `graph LAYER`; or write all of it to a file: `graph --dot FILE`.",
                    ));
            }
            None => None,
        };
        let drawn = drawn(&model.id, &graph, &shown, center, path.map(|path| path.display().to_string()));
        Ok(report(&drawn, &graph, &shown, center))
    }
}

fn drawn<'a>(
    model: &'a str,
    graph: &Graph<'a>,
    shown: &[usize],
    center: Option<usize>,
    dot: Option<String>,
) -> Drawn<'a> {
    let is_shown: BTreeSet<usize> = shown.iter().copied().collect();
    let name = |node: usize| graph.nodes[node].name();
    let node = |index: &usize| {
        let outside = |nodes: &mut dyn Iterator<Item = usize>| -> Vec<&'a str> {
            let nodes: BTreeSet<usize> = nodes.filter(|node| !is_shown.contains(node)).collect();
            nodes.into_iter().map(name).collect()
        };
        ShownNode {
            name: name(*index),
            kind: graph.nodes[*index].kind(),
            output: graph.output(*index),
            quantization: match graph.nodes[*index] {
                Node::Layer(layer) => layer.quantization.as_deref(),
                Node::Input(_) | Node::Output(_) => None,
            },
            before: outside(&mut graph.incoming(*index).map(|edge| edge.from)),
            after: outside(&mut graph.outgoing(*index).map(|edge| edge.to)),
        }
    };
    let edge = |edge: &Edge<'a>| ShownEdge {
        from: name(edge.from),
        to: name(edge.to),
        value: edge.value,
        quantization: edge.quantization,
    };
    Drawn {
        model,
        layer: center.map(name),
        nodes: shown.iter().map(node).collect(),
        edges: shown
            .iter()
            .flat_map(|node| graph.incoming(*node))
            .filter(|edge| is_shown.contains(&edge.from))
            .map(edge)
            .collect(),
        hidden: graph.hidden,
        dot,
    }
}

/// `int8 ×0.0117 +3`: the codes to which an edge is rounded.
fn quantization_text(parameters: &QuantizationParameters) -> String {
    match (&parameters.scales[..], parameters.is_dynamic) {
        (_, true) => format!("{} dynamic", parameters.dtype),
        ([scale], _) => {
            let zero_point = parameters.zero_point(0);
            let sign = if zero_point < 0.0 { '−' } else { '+' };
            format!("{} ×{} {sign}{}", parameters.dtype, number::real(*scale), number::real(zero_point.abs()))
        }
        (scales, _) => {
            format!("{} {} scales", parameters.dtype, scales.len().max(parameters.scale_count as usize))
        }
    }
}

fn report(drawn: &Drawn<'_>, graph: &Graph<'_>, shown: &[usize], center: Option<usize>) -> Report {
    let mut report = Report::of(drawn);
    let hidden = match drawn.hidden {
        0 => String::new(),
        count => format!(", {} of quantizing and dequantizing not drawn", counted(count, "layer")),
    };
    let head = match drawn.layer {
        Some(_) => format!("{} around it in ", counted(shown.len() - 1, "node")),
        None => format!("{} in ", counted(shown.len(), "node")),
    };
    let mut pieces = Vec::new();
    if let Some(layer) = drawn.layer {
        pieces.extend([(Tone::Name, layer.to_owned()), (Tone::Plain, ": ".to_owned())]);
    }
    pieces.extend([(Tone::Plain, head), (Tone::Name, drawn.model.to_owned()), (Tone::Dim, hidden)]);
    report = report.toned_line(pieces);
    if let Some(path) = &drawn.dot {
        return report.toned_line([
            (Tone::Plain, "written to ".to_owned()),
            (Tone::Name, path.clone()),
            (Tone::Dim, " (draw it with `dot -Tsvg`)".to_owned()),
        ]);
    }
    let lines: Vec<Line<'_>> = rails::draw(graph, shown)
        .into_iter()
        .filter_map(|line| {
            let node = match line.node {
                Some(node) => Some((node, shown.iter().position(|other| *other == node)?)),
                None => None,
            };
            Some(Line {
                rails: line.rails,
                node: node.map(|(_, place)| &drawn.nodes[place]),
                is_center: node.is_some_and(|(node, _)| center == Some(node)),
                rounded: node
                    .and_then(|(node, _)| graph.outgoing(node).find_map(|edge| edge.quantization))
                    .map(quantization_text),
            })
        })
        .collect();
    let mut table = Table::of(&lines);
    // A line with only rails has nothing else to show.
    for (line, cells) in lines.iter().zip(&mut table.rows) {
        if line.node.is_none() {
            cells.fill(Cell::default());
            cells[0].text.clone_from(&line.rails);
        }
    }
    report.table(table)
}
