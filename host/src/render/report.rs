//! What a command returns: one value, and how to lay it out for people.

use crate::error::{Error, ErrorKind};
use crate::printable;
use crate::render::chart::{self, Chart};
use crate::render::number;
use crate::render::record::{self, Record};
use crate::render::style::Tone;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// The result of a command.
#[derive(Clone, Debug, Default)]
pub struct Report {
    value: Value,
    blocks: Vec<Block>,
    effect: Effect,
    is_preparation: bool,
}

/// What the session does after a command's result has been shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Effect {
    /// Goes on.
    #[default]
    None,
    /// Goes on as if the line had not been given: the user chose nothing.
    Left,
    /// Ends.
    Quit,
    /// Runs a script.
    Source(PathBuf),
    /// Fails after the result was shown.
    Fail(Error),
    /// Runs a line that must fail.
    ExpectError {
        /// With an error of this kind.
        kind: ErrorKind,
        /// The line.
        line: String,
    },
    /// Runs a line again and again.
    Watch {
        /// This many times; `None` for until Ctrl-C.
        times: Option<u64>,
        /// The line.
        line: String,
    },
}

/// A part of a report's layout.
#[derive(Clone, Debug)]
pub enum Block {
    /// A line of text.
    Line(Vec<(Tone, String)>),
    /// Labelled values, one a line.
    Fields(Vec<(String, Cell)>),
    /// A table.
    Table(Table),
    /// A JSON document, as it is.
    Document(Value),
    /// A text of lines, as it is.
    Verbatim(String),
}

impl Block {
    fn is_printable(&self) -> bool {
        let cell =
            |cell: &Cell| printable::is_line(&cell.text) && cell.raw.as_str().is_none_or(printable::is_line);
        match self {
            Self::Line(pieces) => pieces.iter().all(|(_, text)| printable::is_line(text)),
            Self::Fields(fields) => {
                fields.iter().all(|(name, value)| printable::is_line(name) && cell(value))
            }
            Self::Table(table) => {
                printable::is_line(&table.title)
                    && table
                        .columns
                        .iter()
                        .all(|column| printable::is_line(&column.name) && printable::is_line(&column.key))
                    && table.rows.iter().flatten().all(cell)
            }
            Self::Document(_) => true,
            Self::Verbatim(text) => text.lines().all(printable::is_line),
        }
    }

    fn printable(&self) -> Self {
        let line = |text: &str| printable::line(text).into_owned();
        let cell = |cell: &Cell| Cell {
            text: line(&cell.text),
            raw: match &cell.raw {
                // A newline is harmless in a quoted CSV field.
                Value::String(text) => Value::String(printable::lines(text).into_owned()),
                other => other.clone(),
            },
            ..cell.clone()
        };
        match self {
            Self::Line(pieces) => Self::Line(pieces.iter().map(|(tone, text)| (*tone, line(text))).collect()),
            Self::Fields(fields) => {
                Self::Fields(fields.iter().map(|(name, value)| (line(name), cell(value))).collect())
            }
            Self::Table(table) => {
                // Columns for one model each have file names as keys.
                let named = |column: &Column| Column {
                    name: line(&column.name).into(),
                    key: line(&column.key).into(),
                    ..column.clone()
                };
                Self::Table(Table {
                    title: line(&table.title),
                    columns: table.columns.iter().map(named).collect(),
                    rows: table.rows.iter().map(|row| row.iter().map(cell).collect()).collect(),
                    left_out: table.left_out.clone(),
                })
            }
            // Escaped where it is written, as all JSON is.
            Self::Document(document) => Self::Document(document.clone()),
            Self::Verbatim(text) => Self::Verbatim(printable::lines(text).into_owned()),
        }
    }
}

/// Rows under named columns.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// A line above it; empty for none.
    pub title: String,
    /// The columns.
    pub columns: Vec<Column>,
    /// The rows, each with one cell a column.
    pub rows: Vec<Vec<Cell>>,
    /// The rows that people do not see, by index.
    pub left_out: BTreeSet<usize>,
}

/// One column of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Column {
    /// The heading.
    pub name: Cow<'static, str>,
    /// Whether its cells end at the right, as numbers do.
    pub is_right_aligned: bool,
    /// Columns of a higher rank are left out first when the terminal is too narrow, see [`crate::render::columns`].
    pub rank: u8,
    /// Whether its cells are charts, which fill the width that the other columns leave, and are for people only.
    pub is_chart: bool,
    /// Its heading in CSV: the path of its JSON key; empty for people only.
    pub key: Cow<'static, str>,
    /// Whether people see it.
    pub is_shown: bool,
}

/// One value with its text and its meaning.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cell {
    /// For people.
    pub text: String,
    /// For machines: unrounded, without units.
    pub raw: Value,
    /// What it means.
    pub tone: Tone,
    /// What is drawn instead of the text in a chart column; boxed, because few cells have one.
    pub chart: Option<Box<Chart>>,
}

impl Cell {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { raw: Value::String(text.clone()), text, ..Self::default() }
    }

    /// The name of something.
    pub fn name(text: impl Into<String>) -> Self {
        Self::text(text).tone(Tone::Name)
    }

    /// No value.
    pub fn missing() -> Self {
        Self { text: "–".to_owned(), raw: Value::Null, tone: Tone::Dim, chart: None }
    }

    /// A count.
    pub fn count(value: u64) -> Self {
        Self { text: number::count(value), raw: value.into(), ..Self::default() }
    }

    /// A share, 0 to 1.
    pub fn percent(share: f64) -> Self {
        Self { text: number::percent(share), raw: share.into(), ..Self::default() }
    }

    /// A real number.
    pub fn real(value: f64) -> Self {
        let text = number::real(value);
        let raw = if value.is_finite() { value.into() } else { Value::String(text.clone()) };
        Self { text, raw, ..Self::default() }
    }

    /// A drawing, for a chart column.
    pub fn chart(chart: Chart) -> Self {
        Self { text: chart.draw(chart::DEFAULT_WIDTH), chart: Some(Box::new(chart)), ..Self::default() }
    }

    /// `some` as a cell, or [`Cell::missing`].
    pub fn option<T>(some: Option<T>, cell: impl FnOnce(T) -> Self) -> Self {
        some.map_or_else(Self::missing, cell)
    }

    /// The same value with a meaning.
    #[must_use]
    pub fn tone(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }
}

impl Table {
    /// The same table under a title.
    #[must_use]
    pub fn titled(self, title: impl Into<String>) -> Self {
        Self { title: title.into(), ..self }
    }

    /// The table as people see it.
    pub fn seen(&self) -> Cow<'_, Self> {
        if self.left_out.is_empty() {
            return Cow::Borrowed(self);
        }
        let seen = self.rows.iter().enumerate().filter(|(index, _)| !self.left_out.contains(index));
        Cow::Owned(Self {
            title: self.title.clone(),
            columns: self.columns.clone(),
            rows: seen.map(|(_, row)| row.clone()).collect(),
            left_out: BTreeSet::new(),
        })
    }
}

impl Report {
    /// A report of a record, as it is declared; nothing laid out yet.
    pub fn of<R: Record>(record: &R) -> Self {
        Self { value: record::json(record), ..Self::default() }
    }

    /// A report that is a JSON document in every format.
    pub fn document(document: Value) -> Self {
        Self { value: document.clone(), blocks: vec![Block::Document(document)], ..Self::default() }
    }

    /// A report that is a text in every format but JSON, where it is a string.
    pub fn verbatim(text: String) -> Self {
        let value = Value::String(text.clone());
        Self { value, blocks: vec![Block::Verbatim(text)], ..Self::default() }
    }

    /// The same report with a line of text.
    #[must_use]
    pub fn line(self, text: impl Into<String>) -> Self {
        self.toned_line([(Tone::Plain, text.into())])
    }

    /// The same report with a line made of pieces.
    #[must_use]
    pub fn toned_line(mut self, pieces: impl Into<Vec<(Tone, String)>>) -> Self {
        self.blocks.push(Block::Line(pieces.into()));
        self
    }

    /// The same report with labelled values.
    #[must_use]
    pub fn fields(mut self, fields: Vec<(impl Into<String>, Cell)>) -> Self {
        self.blocks.push(Block::Fields(fields.into_iter().map(|(name, cell)| (name.into(), cell)).collect()));
        self
    }

    /// The same report with a table.
    #[must_use]
    pub fn table(mut self, table: Table) -> Self {
        self.blocks.push(Block::Table(table));
        self
    }

    /// The same report, shown to people as another one is.
    #[must_use]
    pub fn laid_out_as(mut self, other: &Self) -> Self {
        self.blocks.clone_from(&other.blocks);
        self
    }

    /// The same report with something to do afterwards.
    #[must_use]
    pub fn effect(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }

    /// The same report, marked if `is_so` as only setting something for later commands: with `-q`, it counts as the last
    /// result only if there is no other.
    #[must_use]
    pub fn preparation(mut self, is_so: bool) -> Self {
        self.is_preparation = is_so;
        self
    }

    /// Whether it only says what was set.
    pub fn is_preparation(&self) -> bool {
        self.is_preparation
    }

    /// The value, as JSON and `assert` see it.
    pub fn into_value(self) -> Value {
        self.value
    }

    /// The result as machines see it.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The layout.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The report for people: invisible characters in its texts are replaced (see [`printable`]). Call it before laying
    /// anything out.
    pub fn printable(&self) -> Cow<'_, Self> {
        if self.blocks.iter().all(Block::is_printable) {
            return Cow::Borrowed(self);
        }
        Cow::Owned(Self { blocks: self.blocks.iter().map(Block::printable).collect(), ..self.clone() })
    }

    /// What to do afterwards.
    pub fn pending_effect(&self) -> &Effect {
        &self.effect
    }
}
