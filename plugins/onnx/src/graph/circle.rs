//! Whether layers read what is computed from their own results.

use super::{Graph, ValueId};

/// How many layers of a circle are named.
const MOST_NAMED: usize = 6;
/// How much of a layer's path is quoted.
const MOST_LETTERS: usize = 80;

/// A circle of layers in the order of computation, in words, if there is one: `a` → `b` → `a`. No runtime can run such a graph, and
/// whoever follows its values would not come to an end.
pub(super) fn circle(graph: &Graph) -> Option<String> {
    let sources = |layer: usize| {
        let of = |value: &ValueId| graph.values[*value].producer.map(|(layer, _)| layer);
        graph.layers[layer].inputs.iter().flatten().filter_map(of)
    };
    // What is left after all layers are taken away whose inputs are known, again and again, is in a circle or behind one.
    let mut missing: Vec<usize> = (0..graph.layers.len()).map(|layer| sources(layer).count()).collect();
    let mut ready: Vec<usize> = (0..missing.len()).filter(|layer| missing[*layer] == 0).collect();
    let mut done = 0;
    while let Some(layer) = ready.pop() {
        done += 1;
        for value in graph.layers[layer].outputs.iter().flatten() {
            if graph.values[*value].producer.is_none_or(|(producer, _)| producer != layer) {
                continue;
            }
            for (reader, _) in &graph.values[*value].readers {
                missing[*reader] -= 1;
                if missing[*reader] == 0 {
                    ready.push(*reader);
                }
            }
        }
    }
    if done == missing.len() {
        return None;
    }
    let mut at = missing.iter().position(|count| *count > 0)?;
    let mut way = Vec::new();
    let mut places = vec![None; missing.len()];
    let begin = loop {
        if let Some(place) = places[at] {
            break place;
        }
        places[at] = Some(way.len());
        way.push(at);
        at = sources(at).find(|source| missing[*source] > 0)?;
    };
    // Backwards it was found; the layer that ends it begins it, too.
    let mut names: Vec<String> = std::iter::once(at)
        .chain(way[begin..].iter().rev().copied())
        .map(|layer| quoted(&graph.layers[layer].path))
        .collect();
    if names.len() > MOST_NAMED {
        names.splice(MOST_NAMED - 1..names.len() - 1, ["…".to_owned()]);
    }
    Some(names.join(" → "))
}

fn quoted(path: &str) -> String {
    let text = path.escape_debug().to_string();
    match text.char_indices().nth(MOST_LETTERS) {
        Some((end, _)) => format!("`{}…`", &text[..end]),
        None => format!("`{text}`"),
    }
}
