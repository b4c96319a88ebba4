//! A report's tables and labelled values as comma-separated values (RFC 4180), unrounded. The headings are the keys of
//! the JSON, and what only machines see has a column, too.

use crate::render::json;
use crate::render::report::{Block, Cell, Report};
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
            let kept: Vec<usize> =
                (0..table.columns.len()).filter(|index| !table.columns[*index].key.is_empty()).collect();
            let data = |row: &[Cell]| {
                kept.iter().map(|index| row.get(*index).map(raw_text).unwrap_or_default()).collect()
            };
            let names = kept.iter().map(|index| table.columns[*index].key.to_string()).collect();
            // A row that only serves a chart, such as its axis, has no values.
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
    use crate::render::record::{Field, Record, Unit};
    use crate::render::report::Table;

    struct Row {
        layer: &'static str,
        bytes: Option<u64>,
    }

    impl Record for Row {
        fn fields() -> Vec<Field<Self>> {
            vec![
                Self::field("layer", Unit::Name, "The layer", |row| row.layer).title("layer"),
                Self::chart("A bar", |_| None),
                Self::field("bytes", Unit::Bytes, "Its size", |row| row.bytes).title("size"),
            ]
        }
    }

    #[test]
    fn values_are_unrounded_and_quoted_where_needed_and_charts_are_no_data() {
        let rows = [Row { layer: "a,\"b\"", bytes: Some(319_752) }, Row { layer: "c", bytes: None }];
        let mut table = Table::of(&rows);
        table.rows.push(vec![Cell::default(); 3]);
        let text = report(&Report::default().line("not data").table(table));
        assert_eq!(text, "layer,bytes\n\"a,\"\"b\"\"\",319752\nc,\n");
    }
}
