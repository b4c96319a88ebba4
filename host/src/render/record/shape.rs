//! A declaration without its accessors: what `help`, the schema and the reference are made from.

use super::field::{in_order, joined};
use super::{Direction, Field, Kind, Record, Unit};
use serde_json::Value;
use std::borrow::Cow;

/// The declaration of one value, without its accessor.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The JSON key; empty for people only.
    pub key: Cow<'static, str>,
    /// The heading of its column; `None` for machines only, empty for a chart beside its number.
    pub title: Option<Cow<'static, str>>,
    /// What it is measured in.
    pub unit: Unit,
    /// The unit's symbol.
    pub symbol: &'static str,
    /// One sentence without a full stop.
    pub meaning: &'static str,
    /// Columns of a higher rank are hidden first.
    pub rank: u8,
    /// The key of `--sort`, and which rows come first.
    pub sort: Option<(&'static str, Direction)>,
    /// The texts that it can be; empty if not known beforehand.
    pub choices: &'static [&'static str],
    /// The type for machines.
    pub form: Form,
    pub(super) after: Option<&'static str>,
    pub(super) is_for_tables: bool,
    pub(super) is_omitted: bool,
    pub(super) is_always: bool,
    pub(super) is_dash_if_zero: bool,
    pub(super) is_hidden_if_missing: bool,
}

impl Spec {
    /// Which rows `--sort` puts first, in words.
    pub fn sort_text(&self) -> Option<String> {
        let (word, direction) = self.sort?;
        let first = match (self.unit, direction) {
            (Unit::Name | Unit::Text, Direction::Ascending) => "A to Z",
            (Unit::Name | Unit::Text, Direction::Descending) => "Z to A",
            (_, Direction::Ascending) => "lowest first",
            (_, Direction::Descending) => "highest first",
        };
        Some(format!("--sort {word}: {first}"))
    }

    pub(super) fn new(
        key: impl Into<Cow<'static, str>>,
        unit: Unit,
        meaning: &'static str,
        form: Form,
    ) -> Self {
        Self {
            key: key.into(),
            title: None,
            unit,
            symbol: unit.symbol(),
            meaning,
            rank: 0,
            sort: None,
            choices: &[],
            form,
            after: None,
            is_for_tables: false,
            is_omitted: false,
            is_always: false,
            is_dash_if_zero: false,
            is_hidden_if_missing: false,
        }
    }
}

/// What a field is in JSON.
#[derive(Clone, Debug)]
pub enum Form {
    /// One value.
    Value(Kind),
    /// The fields of a part, in the object itself.
    Flat,
    /// The fields of a part, in an object of their own.
    Nested,
    /// An object that has no columns.
    Object(fn() -> Vec<Shape>),
    /// An array of objects.
    List(fn() -> Vec<Shape>),
    /// An array of objects of the same declaration as the one that holds it.
    Branches,
    /// Values under names that are not declared, in the object itself.
    Names(Kind),
}

/// A field and those within it.
#[derive(Clone, Debug)]
pub struct Shape {
    /// What is declared of it.
    pub spec: Spec,
    /// The fields of a part, or of each element of a list.
    pub fields: Vec<Self>,
}

/// A report of a command.
#[derive(Clone, Debug)]
pub struct ReportShape {
    /// Raised whenever more than a description of the schema changes.
    pub version: u32,
    /// When the command prints this report; empty if it is the only one.
    pub when: &'static str,
    /// Its fields.
    pub fields: Vec<Shape>,
    /// Tables that are not a list of the JSON, such as a tree drawn with lines.
    pub drawn: Vec<TableShape>,
}

/// Columns of one table, under the key of its array.
#[derive(Clone, Debug)]
pub struct TableShape {
    /// The key of the array in the report.
    pub key: String,
    /// What its rows are.
    pub meaning: &'static str,
    /// The columns that people may see, in their order.
    pub columns: Vec<Spec>,
}

impl Shape {
    pub(super) fn with(spec: Spec, parts: Vec<Self>) -> Self {
        let fields = match spec.form {
            Form::Object(fields) | Form::List(fields) => fields(),
            Form::Value(_) | Form::Flat | Form::Nested | Form::Branches | Form::Names(_) => parts,
        };
        Self { spec, fields }
    }

    /// The fields of a record.
    pub fn all<R: Record>() -> Vec<Self> {
        R::fields().iter().map(Field::shape).collect()
    }
}

impl ReportShape {
    /// The report that this record makes.
    pub fn of<R: Record>(version: u32) -> Self {
        Self { version, when: "", fields: Shape::all::<R>(), drawn: Vec::new() }
    }

    /// The same, one of several reports of the command: `with --tree`.
    #[must_use]
    pub fn when(self, when: &'static str) -> Self {
        Self { when, ..self }
    }

    /// The same with a table for people whose rows are not a list of the JSON.
    #[must_use]
    pub fn draws<R: Record>(mut self, key: &str, meaning: &'static str) -> Self {
        self.drawn.push(TableShape { key: key.to_owned(), meaning, columns: titled(&Shape::all::<R>()) });
        self
    }

    /// Its tables, as people see them.
    pub fn tables(&self) -> Vec<TableShape> {
        let mut tables = Vec::new();
        push_tables(&mut tables, "", &self.fields);
        tables.extend(self.drawn.iter().cloned());
        tables
    }
}

/// Removes durations from a record's JSON, so that it is the same each time.
pub fn take_durations(fields: &[Shape], value: &mut Value) {
    for field in fields {
        match field.spec.form {
            Form::Flat => take_durations(&field.fields, value),
            Form::Value(_) if field.spec.unit == Unit::Duration => {
                if let Some(own) = value.get_mut(&*field.spec.key) {
                    *own = Value::Null;
                }
            }
            Form::Nested | Form::Object(_) => {
                if let Some(own) = value.get_mut(&*field.spec.key) {
                    take_durations(&field.fields, own);
                }
            }
            Form::List(_) | Form::Branches => {
                let inner = if matches!(field.spec.form, Form::Branches) { fields } else { &field.fields };
                let rows = value.get_mut(&*field.spec.key).and_then(Value::as_array_mut);
                rows.into_iter().flatten().for_each(|row| take_durations(inner, row));
            }
            Form::Value(_) | Form::Names(_) => {}
        }
    }
}

fn push_tables(tables: &mut Vec<TableShape>, path: &str, fields: &[Shape]) {
    for field in fields {
        let key = joined(path, &field.spec.key);
        if matches!(field.spec.form, Form::List(_)) {
            let columns = titled(&field.fields);
            if !columns.is_empty() {
                tables.push(TableShape { key: key.clone(), meaning: field.spec.meaning, columns });
            }
        }
        push_tables(tables, &key, &field.fields);
    }
}

/// The columns that people may see, in their order.
fn titled(fields: &[Shape]) -> Vec<Spec> {
    let columns = in_order(specs("", fields), |spec| spec);
    columns.into_iter().filter(|spec| spec.title.is_some()).collect()
}

/// What has one value each, their keys the whole paths.
fn specs(path: &str, fields: &[Shape]) -> Vec<Spec> {
    let mut specs_of = Vec::new();
    for field in fields {
        let key = joined(path, &field.spec.key);
        match field.spec.form {
            Form::Value(_) if field.spec.key.is_empty() => specs_of.push(field.spec.clone()),
            Form::Value(_) => specs_of.push(Spec { key: key.into(), ..field.spec.clone() }),
            Form::Flat | Form::Nested => specs_of.extend(specs(&key, &field.fields)),
            Form::Object(_) | Form::List(_) | Form::Branches | Form::Names(_) => {}
        }
    }
    specs_of
}
