//! Layers as the tree that their paths make.

use super::Row;
use crate::render::report::{Cell, Column, Table};
use crate::render::style::Tone;
use serde::Serialize;
use std::collections::HashMap;

/// Deeper paths are cut: what lies below is counted with the last part shown.
const MAX_DEPTH: usize = 32;

/// A part of a path with what is below it.
#[derive(Serialize)]
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
    #[serde(skip)]
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
            // A name of separators alone, or one that is there already, keeps its place in the counts.
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

    /// The tree with lines that join what belongs together.
    pub(super) fn table(&self) -> Table {
        let mut table = Table::new([
            Column::text("layer"),
            Column::text("type"),
            Column::number("layers").rank(2),
            Column::number("parameters").rank(1),
            Column::number("bytes").rank(3),
            Column::text("quantized"),
        ]);
        self.push_children(&mut table, "");
        table
    }

    fn push_children(&self, table: &mut Table, indent: &str) {
        for (place, child) in self.children.iter().enumerate() {
            let is_last = place + 1 == self.children.len();
            let joint = if is_last { "└─ " } else { "├─ " };
            table.row([
                Cell { raw: child.path.into(), ..Cell::text(format!("{indent}{joint}{}", child.name)) }
                    .tone(if child.op_type.is_some() { Tone::Name } else { Tone::Heading }),
                Cell::option(child.op_type, Cell::text),
                if child.children.is_empty() { Cell::missing() } else { Cell::count(child.layers as u64) },
                if child.parameters == 0 { Cell::missing() } else { Cell::count(child.parameters) },
                if child.bytes == 0 { Cell::missing() } else { Cell::bytes(child.bytes) },
                Cell::option(child.quantization, Cell::text),
            ]);
            let below = if is_last { "   " } else { "│  " };
            child.push_children(table, &format!("{indent}{below}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(path: &str, parameters: u64) -> Row<'_> {
        let new = super::super::Size { parameters, bytes: 0 };
        Row { path, op_type: "Conv", output: None, parameters, bytes: 0, quantization: None, new }
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
