//! Layers as a tree of their paths.

use super::Row;
use crate::render::record::{Field, Record, Unit};
use crate::render::report::Table;
use crate::render::style::Tone;
use std::collections::HashMap;

/// Deeper paths are cut: everything below counts towards the last part shown.
const MAX_DEPTH: usize = 32;

/// One part of a path, with the totals of its subtree.
pub(super) struct Branch<'a> {
    /// The part of the path.
    name: &'a str,
    /// The layer that ends here.
    path: Option<&'a str>,
    op_type: Option<&'a str>,
    quantization: Option<&'a str>,
    /// Layers here and below, their parameters and bytes.
    layers: usize,
    parameters: u64,
    bytes: u64,
    children: Vec<Branch<'a>>,
    /// The places of the children by name.
    places: HashMap<&'a str, usize>,
}

impl<'a> Branch<'a> {
    fn new(name: &'a str) -> Self {
        Self {
            name,
            path: None,
            op_type: None,
            quantization: None,
            layers: 0,
            parameters: 0,
            bytes: 0,
            children: Vec::new(),
            places: HashMap::new(),
        }
    }

    /// The tree of all layers; a path's parts are between `/` and `.`.
    pub(super) fn of(rows: &[Row<'a>]) -> Self {
        let mut root = Self::new("");
        for row in rows {
            root.count(row);
            let mut branch = &mut root;
            for part in row.path.split(['/', '.']).filter(|part| !part.is_empty()).take(MAX_DEPTH) {
                branch = branch.child(part);
                branch.count(row);
            }
            // A name of only separators, or a repeated one, still counts.
            if branch.path.is_none() {
                branch.path = Some(row.path);
                branch.op_type = Some(row.op_type);
                branch.quantization = row.quantization;
            }
        }
        root
    }

    fn count(&mut self, row: &Row<'_>) {
        self.layers += 1;
        self.parameters = self.parameters.saturating_add(row.new.parameters);
        self.bytes = self.bytes.saturating_add(row.new.bytes);
    }

    fn child(&mut self, name: &'a str) -> &mut Self {
        let next = self.children.len();
        let place = *self.places.entry(name).or_insert(next);
        if place == next {
            self.children.push(Self::new(name));
        }
        &mut self.children[place]
    }

    /// The tree, drawn with lines.
    pub(super) fn table(&self) -> Table {
        let mut lines = Vec::new();
        self.push_children(&mut lines, "");
        Table::of(&lines)
    }

    fn push_children<'b>(&'b self, lines: &mut Vec<Line<'b>>, indent: &str) {
        for (place, child) in self.children.iter().enumerate() {
            let is_last = place + 1 == self.children.len();
            let joint = if is_last { "└─ " } else { "├─ " };
            lines.push(Line { label: format!("{indent}{joint}{}", child.name), branch: child });
            let below = if is_last { "   " } else { "│  " };
            child.push_children(lines, &format!("{indent}{below}"));
        }
    }
}

/// A branch as it is drawn.
pub(super) struct Line<'a> {
    label: String,
    branch: &'a Branch<'a>,
}

impl Record for Branch<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("name", Unit::Name, "This part of the path; empty at the root", |branch| branch.name),
            Self::field("path", Unit::Name, "Path of the layer that ends here", |branch| branch.path),
            Self::field("op_type", Unit::Text, "Operator or class of the layer", |branch| branch.op_type),
            Self::field("quantization", Unit::Text, "How the layer is quantized", |branch| {
                branch.quantization
            }),
            Self::field("layers", Unit::Count, "Layers in this subtree", |branch| branch.layers),
            Self::field("parameters", Unit::Count, "Parameters of this subtree", |branch| branch.parameters),
            Self::field("bytes", Unit::Bytes, "Size of the stored tensors of this subtree", |branch| {
                branch.bytes
            }),
            Self::branches("children", "The parts of paths below", |branch| &branch.children),
        ]
    }
}

impl Record for Line<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("path", Unit::Name, "Part of the path; a layer's own has a color", |line| {
                line.branch.path
            })
            .title("layer")
            .text(|line| line.label.clone())
            .tone(|line| if line.branch.op_type.is_some() { Tone::Name } else { Tone::Heading }),
            Self::field("op_type", Unit::Text, "Operator or class", |line| line.branch.op_type).title("type"),
            Self::field("layers", Unit::Count, "Layers in this subtree", |line| {
                (!line.branch.children.is_empty()).then_some(line.branch.layers)
            })
            .title("layers")
            .rank(2),
            Self::field("parameters", Unit::Count, "Parameters of this subtree", |line| {
                line.branch.parameters
            })
            .title("parameters")
            .rank(1)
            .dash_if_zero(),
            Self::field("bytes", Unit::Bytes, "Size of the stored tensors of this subtree", |line| {
                line.branch.bytes
            })
            .title("bytes")
            .rank(3)
            .dash_if_zero(),
            Self::field("quantization", Unit::Text, "How the layer is quantized", |line| {
                line.branch.quantization
            })
            .title("quantized"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(path: &str, parameters: u64) -> Row<'_> {
        let new = super::super::Size { parameters, bytes: 0 };
        Row {
            path,
            op_type: "Conv",
            output: None,
            parameters,
            bytes: 0,
            quantization: None,
            is_plumbing: false,
            new,
        }
    }

    #[test]
    fn a_branch_counts_what_is_below_it() {
        let tree = Branch::of(&[row("/a/b/Conv", 2), row("/a/c", 3), row("a", 5), row("d", 1)]);
        assert_eq!((tree.layers, tree.parameters, tree.children.len()), (4, 11, 2));
        let a = &tree.children[0];
        assert_eq!((a.name, a.path, a.layers, a.parameters), ("a", Some("a"), 3, 10));
        let names: Vec<_> = tree.table().rows.iter().map(|row| row[0].text.clone()).collect();
        assert_eq!(names, ["├─ a", "│  ├─ b", "│  │  └─ Conv", "│  └─ c", "└─ d"]);
    }

    #[test]
    fn a_path_of_separators_or_of_great_depth_does_no_harm() {
        let deep = "x/".repeat(10_000);
        let tree = Branch::of(&[row("///", 1), row(&deep, 1)]);
        assert_eq!((tree.layers, tree.table().rows.len()), (2, MAX_DEPTH));
    }
}
