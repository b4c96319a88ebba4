//! A report's tables and labelled values as comma-separated values (RFC 4180), unrounded.

use crate::render::report::{Block, Cell, Report};
use serde_json::Value;

/// All tables of the report, an empty line between them; labelled values become `name,value` rows. Lines of
/// text are left out: they are for people.
pub fn report(report: &Report) -> String {
    let parts: Vec<String> = report.blocks().iter().filter_map(block).collect();
    parts.join("\n")
}

fn block(block: &Block) -> Option<String> {
    match block {
        Block::Line(_) => None,
        Block::Fields(fields) => {
            let rows = fields.iter().map(|(name, cell)| vec![name.clone(), raw_text(cell)]);
            Some(write(vec!["name".to_owned(), "value".to_owned()], rows))
        }
        Block::Table(table) => {
            let data = |row: &[Cell]| {
                let cells = table.columns.iter().zip(row).filter(|(column, _)| !column.is_chart);
                cells.map(|(_, cell)| raw_text(cell)).collect()
            };
            let columns = table.columns.iter().filter(|column| !column.is_chart);
            let names = columns.map(|column| column.name.to_owned()).collect();
            // A row that only serves a chart, such as its axis, has nothing to say here.
            let rows = table.rows.iter().filter(|row| row.iter().any(|cell| !cell.raw.is_null()));
            Some(write(names, rows.map(|row| data(row))))
        }
    }
}

fn write(header: Vec<String>, rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in std::iter::once(header).chain(rows) {
        // A vector takes every write.
        let _ = writer.write_record(row);
    }
    let bytes = writer.into_inner().unwrap_or_default();
    String::from_utf8(bytes).unwrap_or_default()
}

fn raw_text(cell: &Cell) -> String {
    match &cell.raw {
        Value::Null => String::new(),
        Value::String(text) => without_escapes(text),
        other => other.to_string(),
    }
}

/// A name out of a file, without what would change a terminal that it is printed on.
fn without_escapes(text: &str) -> String {
    let is_harmful = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\t');
    text.chars().map(|letter| if is_harmful(letter) { '\u{fffd}' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::report::{Column, Table};

    #[test]
    fn values_are_unrounded_and_quoted_where_needed() {
        let mut table = Table::new([Column::text("layer"), Column::number("bytes")]);
        table.row([Cell::text("a,\"b\""), Cell::bytes(319_752)]);
        table.row([Cell::text("c"), Cell::missing()]);
        let text = report(&Report::default().line("not data").table(table));
        assert_eq!(text, "layer,bytes\n\"a,\"\"b\"\"\",319752\nc,\n");
    }
}
