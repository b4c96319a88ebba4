//! Declared records: each value of a report is declared once, and everything else is derived from the declaration: the
//! JSON, the table, the CSV, the Markdown, the JSON Schema, the keys of `--sort`, and the columns that `help` explains.
//!
//! To convert a command:
//!
//! 1. Drop `Serialize` from its structs and implement [`Record`] for each, one [`Record::field`] per JSON key, in the
//!    order of the JSON. Give those that people see a [`Field::title`]; add [`Field::rank`], [`Field::sort`],
//!    [`Field::tone`], [`Field::text`], [`Field::shown_if`] where needed. An accessor is a closure, never a path.
//!    A column whose value the JSON has in another form is [`Field::for_tables`]; keys that are known only at run time are
//!    [`Record::names`], and columns that are go to [`Table::with`].
//! 2. Structs inside: [`Record::flat`] or [`Record::nested`] if their fields become columns (`commands/fields/` has
//!    those that several commands share), [`Record::object`] and [`Record::list`] if they are for machines only.
//! 3. Build the report with `Report::of(&found)` and its tables with `Table::of(&found.rows)`; delete the lists of
//!    columns and cells. What a cell needs from outside its row becomes a field of the row.
//! 4. `--sort`: `#[arg(long, value_name = "KEY", value_parser = sort_keys::<Row<'_>>("…"), default_value = NATURAL)] sort:
//!    SortKey`, then `arguments.sort.apply(&mut rows)`.
//! 5. Add `fn reports() -> Vec<ReportShape> { vec![ReportShape::of::<Found<'_>>(1)] }` to `impl Command`, run the tests with
//!    `QP_BLESS=1` to write `tests/cli/schemas/NAME.json`, and read what was written.

mod datum;
mod field;
pub mod schema;
mod shape;
mod sort;
mod unit;

pub use datum::{Datum, IntoDatum, Kind, word};
pub use field::Field;
pub use shape::{Form, ReportShape, Shape, Spec, TableShape, take_durations};
pub use sort::{Direction, NATURAL, SortKey, sort_keys};
pub use unit::Unit;

use crate::error::Error;
use crate::render::chart::Chart;
use crate::render::report::{Cell, Table};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// A struct whose values are declared: a report, a row of one of its tables, or a part of either.
pub trait Record: Sized {
    /// The declarations, in the order of the JSON.
    fn fields() -> Vec<Field<Self>>;

    /// A value. `key` is its JSON key; a key of `""` keeps it from machines.
    fn field<V: IntoDatum>(
        key: impl Into<Cow<'static, str>>,
        unit: Unit,
        meaning: &'static str,
        get: impl Fn(&Self) -> V + 'static,
    ) -> Field<Self> {
        Field::value(key, unit, meaning, V::kind(), move |record| get(record).into_datum())
    }

    /// Why something failed or was left out: an object for machines, a line in CSV.
    fn error(
        key: &'static str,
        meaning: &'static str,
        get: impl for<'r> Fn(&'r Self) -> Option<&'r Error> + 'static,
    ) -> Field<Self> {
        Field::value(key, Unit::Text, meaning, Kind::Optional(Box::new(Kind::Error)), move |record| {
            get(record).map_or(Datum::Missing, |error| Datum::Error(error.clone()))
        })
    }

    /// A column of charts without a number of its own, for people only.
    fn chart(meaning: &'static str, get: impl Fn(&Self) -> Option<Chart> + 'static) -> Field<Self> {
        Field::value("", Unit::Text, meaning, Kind::Text, |_| Datum::Missing).chart(get).title("")
    }

    /// The fields of a part, as if they were this record's own; all are missing if the part is.
    fn flat<P: 'static>(
        fields: Vec<Field<P>>,
        get: impl for<'r> Fn(&'r Self) -> Option<&'r P> + Clone + 'static,
    ) -> Field<Self> {
        Field::group("", "", fields, get)
    }

    /// The fields of a part, in an object of their own; `null` if the part is missing.
    fn nested<P: 'static>(
        key: &'static str,
        meaning: &'static str,
        fields: Vec<Field<P>>,
        get: impl for<'r> Fn(&'r Self) -> Option<&'r P> + Clone + 'static,
    ) -> Field<Self> {
        Field::group(key, meaning, fields, get)
    }

    /// An object for machines only; `null` if it is missing.
    fn object<P: Record>(
        key: &'static str,
        meaning: &'static str,
        get: impl for<'r> Fn(&'r Self) -> Option<&'r P> + 'static,
    ) -> Field<Self> {
        Field::machine(key, meaning, Form::Object(Shape::all::<P>), move |records| {
            field::scattered(records.iter().map(|record| get(record)), all_json)
        })
    }

    /// A list of records for machines; [`Table::of`] shows them to people.
    fn list<P: Record>(
        key: &'static str,
        meaning: &'static str,
        get: impl for<'r> Fn(&'r Self) -> &'r [P] + 'static,
    ) -> Field<Self> {
        Field::machine(key, meaning, Form::List(Shape::all::<P>), move |records| lists(records, &get))
    }

    /// A list of records of this same type, such as the branches of a tree.
    fn branches(
        key: &'static str,
        meaning: &'static str,
        get: impl for<'r> Fn(&'r Self) -> &'r [Self] + 'static,
    ) -> Field<Self> {
        Field::machine(key, meaning, Form::Branches, move |records| lists(records, &get))
    }

    /// Values under names known only at run time, in the object itself. `kind` is their type.
    fn names(
        meaning: &'static str,
        kind: Kind,
        get: impl Fn(&Self) -> Map<String, Value> + 'static,
    ) -> Field<Self> {
        Field::machine("", meaning, Form::Names(kind), move |records| {
            records.iter().map(|record| Value::Object(get(record))).collect()
        })
    }
}

/// The record as machines see it.
pub fn json<R: Record>(record: &R) -> Value {
    all_json(&[record]).pop().unwrap_or_default()
}

fn all_json<R: Record>(records: &[&R]) -> Vec<Value> {
    field::json(&R::fields(), records)
}

/// The list that each record holds.
fn lists<R, P: Record>(records: &[&R], get: &impl for<'r> Fn(&'r R) -> &'r [P]) -> Vec<Value> {
    let lists: Vec<&[P]> = records.iter().map(|record| get(record)).collect();
    let rows: Vec<&P> = lists.iter().copied().flatten().collect();
    let mut values = if rows.is_empty() { Vec::new() } else { all_json(&rows) }.into_iter();
    lists.iter().map(|list| Value::Array(values.by_ref().take(list.len()).collect())).collect()
}

/// The titled values of one record, for a list of labelled values.
pub fn labelled<R: Record>(record: &R) -> Vec<(String, Cell)> {
    let mut labelled = Vec::new();
    for field in &field::columns(&R::fields()) {
        if let (Some(title), true) = (&field.spec.title, field.is_shown(&[record])) {
            labelled.push((title.to_string(), field.cell(record)));
        }
    }
    labelled
}

impl Table {
    /// A table of these rows with all their declared columns.
    pub fn of<'r, R: Record + 'r>(rows: impl IntoIterator<Item = &'r R>) -> Self {
        Self::with(&R::fields(), rows)
    }

    /// A table of these rows with columns known only at run time, such as one for each model.
    pub fn with<'r, R: 'r>(fields: &[Field<R>], rows: impl IntoIterator<Item = &'r R>) -> Self {
        let rows: Vec<&R> = rows.into_iter().collect();
        let mut columns = Vec::new();
        for field in field::columns(fields) {
            let is_shown = field.is_shown(&rows);
            if is_shown || field.is_for_machines() {
                columns.push((field.head(is_shown), field));
            }
        }
        let cells = |row: &R| columns.iter().map(|(_, field)| field.cell(row)).collect();
        let rows = rows.into_iter().map(cells).collect();
        Self {
            title: String::new(),
            columns: columns.into_iter().map(|(head, _)| head).collect(),
            rows,
            left_out: std::collections::BTreeSet::new(),
        }
    }
}

#[cfg(test)]
mod tests;
