//! A report's tables and labelled values as comma-separated values (RFC 4180), unrounded. The headings are the keys of
//! the JSON, and what only machines see has a column, too.

use crate::render::json;
use crate::render::report::{Block, Cell, Column, Report};
use serde_json::Value;

/// All tables of the report, an empty line between them; labelled values become `name,value` rows. Lines of
/// text are left out: they are for people.
pub fn report(report: &Report) -> String {
    let parts: Vec<String> = report.printable().blocks().iter().filter_map(block).collect();
    parts.join("\n")
}

fn block(block: &Block) -> Option<String> {
    match block {
        Block::Line(_) => None,
        Block::Verbatim(text) => Some(text.clone()),
        Block::Document(document) => Some(json::document(document, true)),
        Block::Fields(fields) => {
            let rows = fields.iter().map(|(name, cell)| vec![name.clone(), raw_text(cell)]);
            Some(write(vec!["name".to_owned(), "value".to_owned()], rows))
        }
        Block::Table(table) => {
            let is_declared = table.columns.iter().any(|column| !column.key.is_empty());
            // Some charts have a number beneath, others are nothing to a machine.
            let has_data = |index: usize, column: &Column| {
                if is_declared {
                    return !column.key.is_empty();
                }
                let says = |row: &Vec<Cell>| row.get(index).is_some_and(|cell| !cell.raw.is_null());
                !column.is_chart || table.rows.iter().any(says)
            };
            let kept: Vec<usize> =
                (0..table.columns.len()).filter(|index| has_data(*index, &table.columns[*index])).collect();
            let data = |row: &[Cell]| {
                kept.iter().map(|index| row.get(*index).map(raw_text).unwrap_or_default()).collect()
            };
            let name =
                |column: &Column| if is_declared { column.key.to_string() } else { column.name.to_string() };
            let names = kept.iter().map(|index| name(&table.columns[*index])).collect();
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
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::chart::Chart;
    use crate::render::report::Table;

    #[test]
    fn a_chart_is_data_only_where_a_number_is_beneath() {
        let columns = [Column::text("layer"), Column::chart("bar"), Column::chart("count")];
        let mut table = Table::new(columns);
        let bar = Cell::chart(Chart::Bar(0.5));
        table.row([Cell::text("a"), bar.clone(), Cell { raw: 7.into(), ..bar }]);
        assert_eq!(report(&Report::default().table(table)), "layer,count\na,7\n");
    }

    #[test]
    fn values_are_unrounded_and_quoted_where_needed() {
        let mut table = Table::new([Column::text("layer"), Column::number("bytes")]);
        table.row([Cell::text("a,\"b\""), Cell::bytes(319_752)]);
        table.row([Cell::text("c"), Cell::missing()]);
        table.row([Cell::default(), Cell::default()]);
        let text = report(&Report::default().line("not data").table(table));
        assert_eq!(text, "layer,bytes\n\"a,\"\"b\"\"\",319752\nc,\n");
    }
}
