//! `graph`: how layers are connected, as a drawing in the terminal or for Graphviz.

mod dot;
mod rails;

use super::inspection::find_layer;
use super::listing::counted;
use super::{Command, Example, Group, Scope};
use crate::error::{Error, Result};
use crate::file;
use crate::input::type_text;
use crate::inspect::graph::{Edge, Graph, Node};
use crate::model::{QuantizationParameters, ValueInfo};
use crate::playground::Playground;
use crate::render::number;
use crate::render::report::{Cell, Column, Report, Table};
use crate::render::style::Tone;
use serde::Serialize;
use std::collections::BTreeSet;

/// The most nodes that are drawn in a terminal when no layer is given.
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
    /// How many edges around the layer
    #[arg(long, value_name = "EDGES", default_value_t = 2)]
    depth: usize,
    /// The whole model, whatever layer is current
    #[arg(long, conflicts_with_all = ["layer", "depth"])]
    whole: bool,
    /// The layers that only quantize and dequantize too
    #[arg(long)]
    plumbing: bool,
    /// Write the graph for Graphviz into this file: of the layer given, else of the whole model
    #[arg(long, value_name = "PATH")]
    dot: Option<String>,
    /// Replace the file if it exists
    #[arg(long, requires = "dot")]
    force: bool,
}

#[derive(Serialize)]
struct Drawn<'a> {
    model: &'a str,
    layer: Option<&'a str>,
    nodes: Vec<ShownNode<'a>>,
    edges: Vec<ShownEdge<'a>>,
    /// Layers that only quantize and dequantize and are not among the nodes.
    hidden: usize,
    dot: Option<String>,
}

#[derive(Serialize)]
struct ShownNode<'a> {
    name: &'a str,
    kind: &'a str,
    output: Option<&'a ValueInfo>,
    quantization: Option<&'a str>,
    /// Nodes that are connected with it and not shown.
    before: Vec<&'a str>,
    after: Vec<&'a str>,
}

#[derive(Serialize)]
struct ShownEdge<'a> {
    from: &'a str,
    to: &'a str,
    value: &'a str,
    quantization: Option<&'a QuantizationParameters>,
}

impl Command for GraphCommand {
    type Arguments = Arguments;
    const NAME: &'static str = "graph";
    const SUMMARY: &'static str = "Draw how layers are connected";
    const GROUP: Group = Group::Inspect;
    const EXAMPLES: &'static [Example] = &[
        Example {
            line: "graph layer2.conv2 --model resnet8_int8.onnx",
            shows: "what is around a convolution",
        },
        Example { line: "graph --model resnet8.onnx", shows: "the whole model" },
    ];

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
        // A layer that would not be drawn is what the user asks for.
        is_whole |= layer.is_some_and(|layer| layer.kind.is_plumbing());
        let graph = Graph::of(info, is_whole);
        if graph.edges.is_empty() {
            return Err(Error::not_found(format!(
                "the file does not say how the layers of `{}` are connected",
                model.id
            ))
            .with_hint("See `layers --tree` for what there is; a traced or exported file says more."));
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
        report(&drawn, &graph, &shown, center)
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

/// `int8 ×0.0117 +3`: to which codes an edge is rounded.
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

fn report(drawn: &Drawn<'_>, graph: &Graph<'_>, shown: &[usize], center: Option<usize>) -> Result<Report> {
    let mut report = Report::new(drawn)?;
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
        return Ok(report.toned_line([
            (Tone::Plain, "written to ".to_owned()),
            (Tone::Name, path.clone()),
            (Tone::Dim, " (draw it with `dot -Tsvg`)".to_owned()),
        ]));
    }
    let has_outside = drawn.nodes.iter().any(|node| !node.before.is_empty() || !node.after.is_empty());
    let has_codes = drawn.edges.iter().any(|edge| edge.quantization.is_some());
    let mut columns = vec![Column::text("layer"), Column::text("type"), Column::text("output").rank(2)];
    columns.extend(has_codes.then(|| Column::text("rounded to").rank(1)));
    columns.extend(has_outside.then(|| Column::text("beyond").rank(3)));
    let mut table = Table::new(columns);
    for line in rails::draw(graph, shown) {
        let Some(node) = line.node else {
            let mut cells = vec![Cell::default(); table.columns.len()];
            cells[0] = Cell { text: line.rails, ..Cell::default() };
            table.row(cells);
            continue;
        };
        let Some(shown_node) = shown.iter().position(|other| *other == node).map(|place| &drawn.nodes[place])
        else {
            continue;
        };
        let is_center = center == Some(node);
        let name = Cell {
            text: format!("{} {}", line.rails, shown_node.name),
            raw: shown_node.name.into(),
            ..Cell::default()
        };
        let rounded = graph.outgoing(node).find_map(|edge| edge.quantization);
        let mut cells = vec![
            name.tone(if is_center { Tone::Heading } else { Tone::Name }),
            Cell::text(if is_center {
                format!("{} ◀", shown_node.kind)
            } else {
                shown_node.kind.to_owned()
            }),
            Cell::option(shown_node.output, |value| Cell::text(type_text(value))),
        ];
        cells.extend(has_codes.then(|| Cell::option(rounded, |codes| Cell::text(quantization_text(codes)))));
        cells.extend(has_outside.then(|| {
            let list = |arrow: &str, names: &[&str]| match names {
                [] => None,
                names => Some(format!("{arrow} {}", names.join(", "))),
            };
            let parts = [list("←", &shown_node.before), list("→", &shown_node.after)];
            Cell::text(parts.into_iter().flatten().collect::<Vec<_>>().join("  ")).tone(Tone::Dim)
        }));
        table.row(cells);
    }
    Ok(report.table(table))
}
