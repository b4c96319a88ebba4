//! A graph as lines of text: one node per line, values as rails beside it that fork and join.

use crate::inspect::graph::Graph;
use std::collections::{BTreeMap, BTreeSet};

/// One line: rails, and at their end the node whose mark is among them.
pub(super) struct Line {
    /// `│ ●`.
    pub rails: String,
    /// The node; none for a line in which rails only fork or join.
    pub node: Option<usize>,
}

/// What a rail does at a joint.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Joint {
    /// It goes by.
    By,
    /// It goes into the node and on.
    Fork,
    /// It ends in the node.
    End,
}

/// Draws the nodes `shown`, in their order; edges from and to others are left out.
pub(super) fn draw(graph: &Graph<'_>, shown: &[usize]) -> Vec<Line> {
    let mut left = readers(graph, shown);
    let mut rails: Vec<Option<usize>> = Vec::new();
    let mut lines = Vec::new();
    for &node in shown {
        let sources: BTreeSet<usize> = graph.incoming(node).map(|edge| edge.from).collect();
        let mut joints: Vec<Option<Joint>> = rails.iter().map(|rail| rail.map(|_| Joint::By)).collect();
        for (place, rail) in rails.iter().enumerate() {
            let Some(source) = rail.filter(|source| sources.contains(source)) else { continue };
            let readers = left.entry(source).or_default();
            readers.remove(&node);
            joints[place] = Some(if readers.is_empty() { Joint::End } else { Joint::Fork });
        }
        // The node takes the place of a rail that ends in it, else a free one.
        let ends = joints.iter().position(|joint| *joint == Some(Joint::End));
        let free = || {
            let after = joints.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
            joints.iter().position(Option::is_none).unwrap_or(after)
        };
        let place = ends.unwrap_or_else(free);
        if place >= joints.len() {
            joints.resize(place + 1, None);
            rails.resize(place + 1, None);
        }
        let is_joined = |(index, joint): (usize, &Option<Joint>)| {
            index != place && matches!(joint, Some(Joint::Fork | Joint::End))
        };
        if joints.iter().enumerate().any(is_joined) {
            lines.push(Line { rails: joint_line(&joints, place), node: None });
        }
        for (rail, joint) in rails.iter_mut().zip(&joints) {
            if *joint == Some(Joint::End) {
                *rail = None;
            }
        }
        rails[place] = Some(node);
        let marks: Vec<&str> = (0..rails.len())
            .map(|index| match rails[index] {
                _ if index == place => "●",
                Some(_) => "│",
                None => " ",
            })
            .collect();
        lines.push(Line { rails: marks.join(" ").trim_end().to_owned(), node: Some(node) });
        if left.get(&node).is_none_or(BTreeSet::is_empty) {
            rails[place] = None;
        }
        while rails.last() == Some(&None) {
            rails.pop();
        }
    }
    lines
}

/// For each node shown, the nodes shown after it that read it.
fn readers(graph: &Graph<'_>, shown: &[usize]) -> BTreeMap<usize, BTreeSet<usize>> {
    let order: BTreeMap<usize, usize> =
        shown.iter().enumerate().map(|(place, node)| (*node, place)).collect();
    let mut readers: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for (&node, place) in &order {
        let later = graph.outgoing(node).map(|edge| edge.to);
        let later = later.filter(|to| order.get(to).is_some_and(|other| other > place));
        readers.insert(node, later.collect());
    }
    readers
}

/// The line in which rails turn to the node that comes at `place`.
fn joint_line(joints: &[Option<Joint>], place: usize) -> String {
    let joined = |index: usize| matches!(joints[index], Some(Joint::Fork | Joint::End)) && index != place;
    let first = (0..joints.len()).find(|index| joined(*index)).unwrap_or(place).min(place);
    let last = (0..joints.len()).rev().find(|index| joined(*index)).unwrap_or(place).max(place);
    let mut text = String::new();
    for (index, joint) in joints.iter().enumerate() {
        let (is_left, is_right) = (index > first && index <= last, index >= first && index < last);
        text.push(match (index == place, joint) {
            // The node's own rail comes from above, or begins here.
            (true, Some(Joint::End)) => match (is_left, is_right) {
                (true, true) => '┼',
                (true, false) => '┤',
                _ => '├',
            },
            (true, _) => match (is_left, is_right) {
                (true, true) => '┬',
                (true, false) => '╮',
                _ => '╭',
            },
            (false, Some(Joint::Fork)) => match (is_left, is_right) {
                (true, true) => '┼',
                (true, false) => '┤',
                _ => '├',
            },
            (false, Some(Joint::End)) => match (is_left, is_right) {
                (true, true) => '┴',
                (true, false) => '╯',
                _ => '╰',
            },
            (false, Some(Joint::By)) => {
                if is_left && is_right {
                    '┼'
                } else {
                    '│'
                }
            }
            (false, None) => {
                if is_left && is_right {
                    '─'
                } else {
                    ' '
                }
            }
        });
        text.push(if is_right { '─' } else { ' ' });
    }
    text.trim_end().to_owned()
}
