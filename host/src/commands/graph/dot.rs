//! A graph in the language of Graphviz.

use super::quantization_text;
use crate::inspect::graph::{Graph, Node};
use crate::model::type_text;
use crate::printable::{REPLACEMENT, is_invisible};
use std::collections::BTreeSet;
use std::fmt::Write;

/// The nodes `shown` with the edges between them; the one at `center` has a bold frame, quantized layers are
/// filled.
pub(super) fn text(graph: &Graph<'_>, shown: &[usize], center: Option<usize>) -> String {
    let is_shown: BTreeSet<usize> = shown.iter().copied().collect();
    let mut text = String::from(
        "digraph qp {\n  node [shape=box, style=\"rounded,filled\", fillcolor=white, fontname=\"sans-serif\", fontsize=11];\n  edge [fontname=\"sans-serif\", fontsize=9, color=\"#555555\"];\n",
    );
    for &node in shown {
        let what = &graph.nodes[node];
        let fill = match what {
            Node::Input(_) | Node::Output(_) => "#e0e0e0",
            Node::Layer(layer) if layer.quantization.is_some() => "#cfe8f7",
            Node::Layer(_) => "white",
        };
        let frame = if center == Some(node) { ", penwidth=3" } else { "" };
        let label = format!("{}\\n{}", escape(what.name()), escape(what.kind()));
        // A string takes every write.
        let _ = writeln!(text, "  n{node} [label=\"{label}\", fillcolor=\"{fill}\"{frame}];");
    }
    for edge in
        shown.iter().flat_map(|node| graph.incoming(*node)).filter(|edge| is_shown.contains(&edge.from))
    {
        let kind = edge.info.map(|value| escape(&type_text(value)));
        let codes = edge.quantization.map(|codes| escape(&quantization_text(codes)));
        let label: Vec<String> = kind.into_iter().chain(codes).collect();
        let _ = writeln!(text, "  n{} -> n{} [label=\"{}\"];", edge.from, edge.to, label.join("\\n"));
    }
    text.push_str("}\n");
    text
}

/// Text in quotation marks; backslashes are escaped, invisible characters replaced.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '"' | '\\' => escaped.extend(['\\', letter]),
            letter if is_invisible(letter) => escaped.push(REPLACEMENT),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn a_name_cannot_leave_its_quotation_marks() {
        assert_eq!(escape("a\"]; b [label=\"\\n\u{7}"), "a\\\"]; b [label=\\\"\\\\n\u{fffd}");
    }
}
