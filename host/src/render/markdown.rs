//! A report in Markdown, for pull requests and notebooks.

use crate::render::json;
use crate::render::report::{Block, Cell, Report, Table};
use std::fmt::Write;

/// The whole report.
pub fn report(report: &Report) -> String {
    let parts: Vec<String> = report.printable().blocks().iter().map(block).collect();
    parts.join("\n")
}

fn block(block: &Block) -> String {
    match block {
        Block::Line(pieces) => {
            let text: String = pieces.iter().map(|(_, text)| text.as_str()).collect();
            format!("{}\n", escape(&text))
        }
        Block::Fields(fields) => fields.iter().fold(String::new(), |mut text, (name, cell)| {
            let _ = writeln!(text, "- **{}**: {}", escape(name), escape(&cell.text));
            text
        }),
        Block::Table(table) => pipe_table(table),
        Block::Verbatim(text) => text.clone(),
        Block::Document(document) => format!("```json\n{}```\n", json::document(document, true)),
    }
}

fn pipe_table(table: &Table) -> String {
    let mut text = String::new();
    if !table.title.is_empty() {
        let _ = writeln!(text, "**{}**\n", escape(&table.title));
    }
    let shown = || table.columns.iter().filter(|column| column.is_shown);
    let names: Vec<String> = shown().map(|column| escape(&column.name)).collect();
    let marks: Vec<&str> =
        shown().map(|column| if column.is_right_aligned { "---:" } else { "---" }).collect();
    let _ = writeln!(text, "| {} |", names.join(" | "));
    let _ = writeln!(text, "| {} |", marks.join(" | "));
    for row in &table.seen().rows {
        let cells = row.iter().zip(&table.columns).filter(|(_, column)| column.is_shown);
        let cells: Vec<String> = cells.map(|(cell, _)| cell_text(cell)).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text
}

/// A chart is code, in which spaces count.
fn cell_text(cell: &Cell) -> String {
    match &cell.chart {
        Some(_) if cell.text.is_empty() => String::new(),
        Some(_) => format!("`{}`", cell.text),
        None => escape(&cell.text),
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '|' | '*' | '_' | '<' | '`' | '\\' => {
                escaped.push('\\');
                escaped.push(letter);
            }
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::record::{Field, Record, Unit};

    struct Row;

    impl Record for Row {
        fn fields() -> Vec<Field<Self>> {
            vec![
                Self::field("layer", Unit::Name, "The layer", |_| "a|b").title("layer"),
                Self::field("n", Unit::Count, "A number", |_| 1000u64).title("n"),
            ]
        }
    }

    #[test]
    fn a_pipe_in_a_name_does_not_end_the_cell() {
        assert_eq!(
            report(&Report::default().table(Table::of(&[Row]))),
            "| layer | n |\n| --- | ---: |\n| a\\|b | 1,000 |\n"
        );
    }
}
