//! Reports as text for a terminal, within its width.

use crate::render::columns::{self, Chosen, chart_width, natural_width, needed_width};
use crate::render::json;
use crate::render::report::{Block, Cell, Column, Report, Table};
use crate::render::style::{self, Tone};
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, LineStyle, TableStyle, Width};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The whole report, styled; lines end with a newline.
pub fn report(report: &Report, width: Option<u16>) -> String {
    let mut text = String::new();
    let mut previous_was_table = false;
    for block in report.printable().blocks() {
        let is_table = matches!(block, Block::Table(_));
        if !text.is_empty() && (is_table || previous_was_table) && !text.ends_with("\n\n") {
            text.push('\n');
        }
        previous_was_table = is_table;
        match block {
            Block::Line(pieces) => push_line(&mut text, pieces, width),
            Block::Fields(fields) => push_fields(&mut text, fields, width),
            Block::Table(table) => push_table(&mut text, table, width),
            Block::Verbatim(verbatim) => text.push_str(verbatim),
            Block::Document(document) => text.push_str(&json::document(document, true)),
        }
    }
    text
}

/// A line of text, wrapped at spaces if it is too wide; continuation lines are indented further.
fn push_line(text: &mut String, pieces: &[(Tone, String)], width: Option<u16>) {
    let room = width.map_or(usize::MAX, usize::from);
    let whole: usize = pieces.iter().map(|(_, piece)| piece.width()).sum();
    if whole <= room {
        pieces.iter().for_each(|(tone, piece)| text.push_str(&tone.paint(piece)));
        text.push('\n');
        return;
    }
    let first = pieces.first().map_or("", |(_, piece)| piece.as_str());
    let indent = " ".repeat(first.len() - first.trim_start().len() + 2);
    let (mut column, mut spaces) = (0, 0);
    for (tone, piece) in pieces {
        for word in piece.split_inclusive(' ').flat_map(|word| parts(word, room, indent.len())) {
            if column > indent.len() && column + spaces + word.trim_end().width() > room {
                text.push('\n');
                text.push_str(&indent);
                (column, spaces) = (indent.len(), 0);
            }
            // Spaces are written before the next word only: after a full line they would be a line of their own.
            let (before, after) = (spaces, word.len() - word.trim_end_matches(' ').len());
            let word = word.trim_end_matches(' ');
            if word.is_empty() {
                spaces += after;
                continue;
            }
            text.push_str(&tone.paint(&format!("{}{word}", " ".repeat(before))));
            column += before + word.width();
            spaces = after;
        }
    }
    text.push('\n');
}

/// A word, split into parts if it is wider than a line with this indentation.
fn parts(word: &str, room: usize, indent: usize) -> Vec<String> {
    let most = room.saturating_sub(indent).max(1);
    if word.trim_end().width() <= most {
        return vec![word.to_owned()];
    }
    let mut parts = vec![String::new()];
    for letter in word.chars() {
        match parts.last_mut() {
            Some(part) if part.width() + letter.width().unwrap_or(0) <= most => part.push(letter),
            _ => parts.push(letter.to_string()),
        }
    }
    parts
}

/// A value with less room beside its label stands below it.
const LEAST_ROOM: usize = 12;

fn push_fields(text: &mut String, fields: &[(String, Cell)], width: Option<u16>) {
    let label_width = fields.iter().map(|(name, _)| name.width()).max().unwrap_or(0);
    let width = width.map_or(usize::MAX, usize::from);
    let room = width.saturating_sub(label_width + 4);
    for (name, cell) in fields {
        if room < LEAST_ROOM {
            text.push_str(&format!("  {}\n", Tone::Dim.paint(name)));
            for line in wrap(&cell.text, width.saturating_sub(4)) {
                text.push_str(&format!("    {}\n", cell.tone.paint(&line)));
            }
            continue;
        }
        for (index, line) in wrap(&cell.text, room).into_iter().enumerate() {
            let label = if index == 0 { name.as_str() } else { "" };
            let padding = " ".repeat(label_width - label.width());
            text.push_str(&format!("  {}{padding}  {}\n", Tone::Dim.paint(label), cell.tone.paint(&line)));
        }
    }
}

/// Breaks at spaces; a word longer than the room stays whole.
fn wrap(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut width = 0;
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => {
                line.push_str(word);
                width = word.width();
            }
            Some(line) if width + 1 + word.width() <= room => {
                line.push(' ');
                line.push_str(word);
                width += 1 + word.width();
            }
            _ => {
                lines.push(word.to_owned());
                width = word.width();
            }
        }
    }
    lines.iter_mut().for_each(|line| line.truncate(line.trim_end().len()));
    lines
}

fn push_table(text: &mut String, table: &Table, width: Option<u16>) {
    if !table.title.is_empty() {
        text.push_str(&Tone::Heading.paint(&table.title));
        text.push('\n');
    }
    let table = &*table.seen();
    let Chosen { shown, hidden } = columns::choose(table, width);
    let mut drawing = comfy_table::Table::new();
    drawing.load_style(line_style());
    drawing.set_content_arrangement(ContentArrangement::Disabled);
    if let Some(width) = width
        && needed_width(table, &shown) > usize::from(width)
    {
        drawing.set_content_arrangement(ContentArrangement::Dynamic).set_width(width.saturating_sub(2));
    }
    drawing.set_header(shown.iter().map(|&index| {
        let column = &table.columns[index];
        align(Tone::Heading, &column.name, column)
    }));
    let chart_width = chart_width(table, &shown, width);
    for row in &table.rows {
        drawing.add_row(shown.iter().map(|&index| {
            let cell = &row[index];
            let text = match &cell.chart {
                Some(chart) => chart.draw(chart_width),
                None => cell.text.clone(),
            };
            align(cell.tone, &text, &table.columns[index])
        }));
    }
    for (position, &index) in shown.iter().enumerate() {
        if let Some(column) = drawing.column_mut(position) {
            column.set_padding((0, 1));
            if table.columns[index].is_right_aligned {
                let natural = natural_width(table, index) + 1;
                column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(
                    u16::try_from(natural).unwrap_or(u16::MAX),
                )));
            }
        }
    }
    for line in drawing.lines() {
        text.push_str("  ");
        text.push_str(&trim_end(&line));
        text.push('\n');
    }
    if !hidden.is_empty() {
        let note = format!("  hidden columns: {}", hidden.join(", "));
        push_line(text, &[(Tone::Dim, note)], width);
    }
}

/// The line without the spaces at its visible end, which escape sequences may hide.
fn trim_end(line: &str) -> String {
    let visible = style::strip(line).trim_end().len();
    let (mut text, mut seen, mut is_escape) = (String::with_capacity(line.len()), 0, false);
    for letter in line.chars() {
        if is_escape || letter == '\u{1b}' {
            is_escape = !(is_escape && letter.is_ascii_alphabetic());
            text.push(letter);
        } else if seen < visible {
            seen += letter.len_utf8();
            text.push(letter);
        }
    }
    text
}

fn align(tone: Tone, text: &str, column: &Column) -> comfy_table::Cell {
    let alignment = if column.is_right_aligned { CellAlignment::Right } else { CellAlignment::Left };
    comfy_table::Cell::new(tone.paint(text)).set_alignment(alignment)
}

fn line_style() -> TableStyle {
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::chart::Chart;
    use crate::render::record::{Field, Record, Unit};
    use crate::render::style::strip;

    struct Row {
        layer: &'static str,
        notes: Option<&'static str>,
        bytes: u64,
    }

    impl Record for Row {
        fn fields() -> Vec<Field<Self>> {
            vec![
                Self::field("layer", Unit::Name, "The layer", |row| row.layer).title("layer"),
                Self::field("notes", Unit::Text, "What is said of it", |row| row.notes)
                    .title("notes")
                    .rank(1),
                Self::field("bytes", Unit::Bytes, "Its size", |row| row.bytes).title("bytes"),
            ]
        }
    }

    fn sample() -> Report {
        let rows = [
            Row { layer: "conv1", notes: Some("first of all layers"), bytes: 1728 },
            Row { layer: "größe", notes: None, bytes: 7 },
        ];
        Report::default().table(Table::of(&rows))
    }

    struct Bar;

    impl Record for Bar {
        fn fields() -> Vec<Field<Self>> {
            vec![
                Self::field("layer", Unit::Name, "The layer", |_| "conv1").title("layer"),
                Self::chart("A full bar", |_| Some(Chart::Bar(1.0))),
            ]
        }
    }

    #[test]
    fn values_without_room_beside_their_labels_stand_below_them() {
        let fields = [
            ("explanation".to_owned(), Cell::text("a b c d e f g h i j")),
            ("k".to_owned(), Cell::text("v")),
        ];
        let at = |width: u16| {
            let mut text = String::new();
            push_fields(&mut text, &fields, Some(width));
            strip(&text).to_string()
        };
        assert_eq!(at(80), "  explanation  a b c d e f g h i j\n  k            v\n");
        assert_eq!(at(27), "  explanation  a b c d e f\n               g h i j\n  k            v\n");
        assert_eq!(at(20), "  explanation\n    a b c d e f g h\n    i j\n  k\n    v\n");
        assert!(at(20).lines().all(|line| line.len() <= 20));
    }

    /// In time that grows with the text, and not with its square: that would take minutes.
    #[test]
    fn long_texts_are_wrapped_word_by_word() {
        let words = "ab ".repeat(200_000);
        assert_eq!(wrap(&words, usize::MAX), [words.trim_end()]);
        let lines = wrap(&words, 8);
        assert_eq!((lines.len(), lines[0].as_str(), lines[66_666].as_str()), (66_667, "ab ab ab", "ab ab"));
    }

    #[test]
    fn columns_line_up_and_numbers_end_at_the_right() {
        let expected = "  layer  notes                   bytes\n  ─────────────────────────────────────\n  conv1  first of all layers  1.69 KiB\n  größe  –                         7 B\n";
        let text = strip(&report(&sample(), None));
        assert_eq!(
            text.replace("──", "─").replace("──", "─"),
            expected.replace("──", "─").replace("──", "─"),
            "{text}"
        );
    }

    #[test]
    fn a_narrow_terminal_loses_the_least_important_column_and_says_so() {
        let text = strip(&report(&sample(), Some(30)));
        assert!(!text.contains("first of all"), "{text}");
        assert!(text.contains("hidden columns: notes"), "{text}");
    }

    #[test]
    fn a_chart_fills_the_width_that_is_left() {
        let report = Report::default().table(Table::of(&[Bar]));
        let bar = |width: Option<u16>| super::report(&report, width).matches('█').count();
        assert_eq!([bar(Some(80)), bar(Some(20)), bar(Some(500)), bar(None)], [69, 24, 100, 40]);
    }

    #[test]
    fn a_long_line_is_broken_at_spaces() {
        let text = report(&Report::default().line("one two three four"), Some(10));
        assert_eq!(text, "one two\n  three\n  four\n");
    }

    #[test]
    fn no_line_of_any_report_is_wider_than_the_terminal() {
        let wide = Report::default().line("an exactly full line  with more").table(Table::of(&[
            Row { layer: "a_name_without_any_space_in_it", notes: Some("said of it"), bytes: 1 << 40 },
            Row { layer: "b", notes: None, bytes: 7 },
        ]));
        for width in 12..60 {
            let text = strip(&report(&wide, Some(width)));
            for line in text.lines() {
                assert!(line.width() <= usize::from(width) && !line.ends_with(' '), "{width}: {line:?}");
            }
        }
    }

    #[test]
    fn a_name_from_a_file_cannot_move_the_cursor() {
        let text = report(&Report::default().line("a\x1b[2Jb\rc"), None);
        assert_eq!(text, "a\u{fffd}[2Jb\u{fffd}c\n");
    }
}
