//! Which columns of a table fit into a width, and how wide they are.

use crate::render::chart;
use crate::render::report::Table;
use unicode_width::UnicodeWidthStr;

/// Texts can be broken to this width.
const LEAST_TEXT: usize = 8;
/// What all rows of a hidden column say is told if it is not longer.
const MOST_TOLD: usize = 16;

/// The columns of a table in a terminal.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// Those shown, by index.
    pub shown: Vec<usize>,
    /// The names of those left out, with what all their rows say.
    pub hidden: Vec<String>,
}

/// What the cells of a column tell together; what tells less is left out first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Content {
    Different,
    Same,
    Missing,
}

/// The columns to show so that the table fits. Left out first are those without any value, then those whose rows all
/// say the same, then by rank. Columns of rank 0 go only if even broken texts do not fit; the first one stays.
pub fn choose(table: &Table, width: Option<u16>) -> Chosen {
    let mut shown: Vec<usize> =
        (0..table.columns.len()).filter(|index| table.columns[*index].is_shown).collect();
    let Some(width) = width.map(usize::from) else { return Chosen { shown, hidden: Vec::new() } };
    let contents: Vec<Content> = (0..table.columns.len()).map(|index| content(table, index)).collect();
    let mut left_out = Vec::new();
    while needed_width(table, &shown) > width {
        let is_hopeless = least_width(table, &shown) > width;
        let worst = (1..shown.len()).filter_map(|place| {
            let index = shown[place];
            let (rank, content) = (table.columns[index].rank, contents[index]);
            let is_optional = rank > 0 || content == Content::Missing;
            (is_optional || is_hopeless).then_some((is_optional, content, rank, place))
        });
        let Some((_, _, _, place)) = worst.max() else { break };
        left_out.push(shown.remove(place));
    }
    left_out.reverse();
    Chosen {
        hidden: left_out.into_iter().filter_map(|index| told(table, index, contents[index])).collect(),
        shown,
    }
}

/// A chart has no heading, and is not missed.
fn told(table: &Table, index: usize, content: Content) -> Option<String> {
    let name = &table.columns[index].name;
    let text = table.rows.first().and_then(|row| row.get(index)).map_or("", |cell| cell.text.as_str());
    (!name.is_empty()).then(|| match content {
        Content::Same if text.width() <= MOST_TOLD => format!("{name} (all {text})"),
        _ => name.to_string(),
    })
}

fn content(table: &Table, index: usize) -> Content {
    if table.columns[index].is_chart {
        return Content::Different;
    }
    let mut texts = table.rows.iter().filter_map(|row| row.get(index)).map(|cell| cell.text.as_str());
    let Some(first) = texts.next() else { return Content::Different };
    match texts.all(|text| text == first) {
        true if matches!(first, "" | "–") => Content::Missing,
        true if table.rows.len() > 1 => Content::Same,
        _ => Content::Different,
    }
}

/// The width with these columns, no text broken.
pub fn needed_width(table: &Table, shown: &[usize]) -> usize {
    2 + shown.iter().map(|&index| natural_width(table, index) + 2).sum::<usize>()
}

/// The width with these columns and texts broken. Numbers are not broken.
fn least_width(table: &Table, shown: &[usize]) -> usize {
    let least = |index: usize| {
        let natural = natural_width(table, index);
        if table.columns[index].is_right_aligned { natural } else { natural.min(LEAST_TEXT) }
    };
    2 + shown.iter().map(|&index| least(index) + 2).sum::<usize>()
}

/// The width that the other columns leave for a chart, within limits.
pub fn chart_width(table: &Table, shown: &[usize], width: Option<u16>) -> usize {
    let Some(width) = width else { return chart::DEFAULT_WIDTH };
    let charts = shown.iter().filter(|index| table.columns[**index].is_chart).count().max(1);
    let left = usize::from(width).saturating_sub(needed_width(table, shown));
    // The minimum width depends on all charts, including those left out.
    let all = chart_count(table);
    (chart::min_width(all) + left / charts).min(chart::MAX_WIDTH)
}

fn chart_count(table: &Table) -> usize {
    table.columns.iter().filter(|column| column.is_chart && column.is_shown).count()
}

/// The width of the widest line of a column.
pub fn natural_width(table: &Table, index: usize) -> usize {
    if table.columns[index].is_chart {
        return chart::min_width(chart_count(table)).max(table.columns[index].name.width());
    }
    let widest_line = |text: &str| text.lines().map(UnicodeWidthStr::width).max().unwrap_or(0);
    let cells = table.rows.iter().filter_map(|row| row.get(index)).map(|cell| widest_line(&cell.text));
    cells.max().unwrap_or(0).max(table.columns[index].name.width())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::report::{Cell, Column};

    fn table(columns: &[(&'static str, u8)], rows: &[&[&str]]) -> Table {
        Table {
            columns: columns
                .iter()
                .map(|(name, rank)| Column {
                    name: (*name).into(),
                    rank: *rank,
                    is_shown: true,
                    ..Column::default()
                })
                .collect(),
            rows: rows.iter().map(|row| row.iter().map(|text| Cell::text(*text)).collect()).collect(),
            ..Table::default()
        }
    }

    #[test]
    fn columns_that_say_nothing_go_first_then_those_that_say_the_same() {
        let table = table(
            &[("layer", 0), ("why", 0), ("backend", 1), ("bytes", 3)],
            &[&["conv1", "–", "onnx", "1 KiB"], &["conv2", "–", "onnx", "2 KiB"]],
        );
        let chosen = |width| choose(&table, Some(width)).hidden;
        assert_eq!(chosen(40), [""; 0]);
        assert_eq!(chosen(28), ["why"]);
        assert_eq!(chosen(20), ["backend (all onnx)", "why"]);
        assert_eq!(chosen(14), ["bytes", "backend (all onnx)", "why"]);
    }

    #[test]
    fn the_first_column_stays_even_if_nothing_fits() {
        let table =
            table(&[("layer", 0), ("type", 0), ("output", 0)], &[&["a_long_name", "Conv", "float32 1×2×3"]]);
        assert_eq!(choose(&table, Some(10)).shown, [0]);
        assert_eq!(choose(&table, Some(28)).shown, [0, 1, 2]);
    }
}
