//! The declaration of one value.

use super::{Datum, Direction, Form, Kind, Shape, Spec, Unit};
use crate::render::chart::{self, Chart};
use crate::render::report::{Cell, Column};
use crate::render::style::Tone;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::rc::Rc;

type Get<R, V> = Rc<dyn Fn(&R) -> V>;
type GetAll<R> = Rc<dyn Fn(&[&R]) -> Vec<Value>>;

/// The declaration of one value of a record, or of a group of them.
pub struct Field<R> {
    pub(super) spec: Spec,
    source: Source<R>,
    text: Option<Get<R, Option<String>>>,
    tone: Option<Get<R, Option<Tone>>>,
    chart: Option<Get<R, Option<Chart>>>,
    condition: Option<Get<R, bool>>,
}

/// Where a field's value comes from.
enum Source<R> {
    Value(Get<R, Datum>),
    Group {
        fields: Vec<Field<R>>,
        is_there: Get<R, bool>,
    },
    /// One value for each record.
    Machine(GetAll<R>),
}

impl<R> Clone for Field<R> {
    fn clone(&self) -> Self {
        Self {
            spec: self.spec.clone(),
            source: match &self.source {
                Source::Value(get) => Source::Value(Rc::clone(get)),
                Source::Group { fields, is_there } => {
                    Source::Group { fields: fields.clone(), is_there: Rc::clone(is_there) }
                }
                Source::Machine(get) => Source::Machine(Rc::clone(get)),
            },
            text: self.text.clone(),
            tone: self.tone.clone(),
            chart: self.chart.clone(),
            condition: self.condition.clone(),
        }
    }
}

impl<R> Field<R> {
    fn new(spec: Spec, source: Source<R>) -> Self {
        Self { spec, source, text: None, tone: None, chart: None, condition: None }
    }

    pub(super) fn value(
        key: impl Into<Cow<'static, str>>,
        unit: Unit,
        meaning: &'static str,
        kind: Kind,
        get: impl Fn(&R) -> Datum + 'static,
    ) -> Self {
        Self::new(Spec::new(key, unit, meaning, Form::Value(kind)), Source::Value(Rc::new(get)))
    }

    pub(super) fn machine(
        key: &'static str,
        meaning: &'static str,
        form: Form,
        get: impl Fn(&[&R]) -> Vec<Value> + 'static,
    ) -> Self {
        Self::new(Spec::new(key, Unit::Text, meaning, form), Source::Machine(Rc::new(get)))
    }

    pub(super) fn group<P: 'static>(
        key: &'static str,
        meaning: &'static str,
        fields: Vec<Field<P>>,
        get: impl for<'r> Fn(&'r R) -> Option<&'r P> + Clone + 'static,
    ) -> Self {
        let is_there = get.clone();
        let fields: Vec<Self> = fields.into_iter().map(|field| field.lifted(get.clone())).collect();
        let form = if key.is_empty() { Form::Flat } else { Form::Nested };
        Self::new(
            Spec::new(key, Unit::Text, meaning, form),
            Source::Group { fields, is_there: Rc::new(move |record| is_there(record).is_some()) },
        )
    }

    /// The same declaration for a record that holds one of these.
    fn lifted<S>(self, get: impl for<'r> Fn(&'r S) -> Option<&'r R> + Clone + 'static) -> Field<S>
    where
        R: 'static,
    {
        fn through<S, R: 'static, V: 'static>(
            get: impl for<'r> Fn(&'r S) -> Option<&'r R> + 'static,
            inner: Get<R, V>,
            otherwise: fn() -> V,
        ) -> Get<S, V> {
            Rc::new(move |record| get(record).map_or_else(otherwise, |part| inner(part)))
        }
        let source = match self.source {
            Source::Value(inner) => Source::Value(through(get.clone(), inner, || Datum::Missing)),
            Source::Machine(inner) => {
                let get = get.clone();
                Source::Machine(Rc::new(move |records| {
                    scattered(records.iter().map(|record| get(record)), |parts| inner(parts))
                }))
            }
            Source::Group { fields, is_there } => Source::Group {
                fields: fields.into_iter().map(|field| field.lifted(get.clone())).collect(),
                is_there: through(get.clone(), is_there, || false),
            },
        };
        Field {
            spec: self.spec,
            source,
            text: self.text.map(|inner| through(get.clone(), inner, || None)),
            tone: self.tone.map(|inner| through(get.clone(), inner, || None)),
            chart: self.chart.map(|inner| through(get.clone(), inner, || None)),
            condition: self.condition.map(|inner| through(get.clone(), inner, || false)),
        }
    }

    /// The same, shown to people under this heading.
    #[must_use]
    pub fn title(mut self, title: impl Into<Cow<'static, str>>) -> Self {
        self.spec.title = Some(title.into());
        self
    }

    /// The same with another description.
    #[must_use]
    pub fn means(mut self, meaning: &'static str) -> Self {
        self.spec.meaning = meaning;
        self
    }

    /// The same, hidden in a narrow terminal before columns of a lower rank; rank 0 always stays.
    #[must_use]
    pub fn rank(mut self, rank: u8) -> Self {
        self.spec.rank = rank;
        self
    }

    /// The same, as a key of `--sort`.
    #[must_use]
    pub fn sort(mut self, word: &'static str, direction: Direction) -> Self {
        self.spec.sort = Some((word, direction));
        self
    }

    /// The same with the symbol of a unit that [`Unit`] does not know.
    #[must_use]
    pub fn symbol(mut self, symbol: &'static str) -> Self {
        self.spec.symbol = symbol;
        self
    }

    /// The same, limited to these texts.
    #[must_use]
    pub fn choices(mut self, choices: &'static [&'static str]) -> Self {
        self.spec.choices = choices;
        self
    }

    /// The same, to the right of the column with this key (`local.sqnr_db`) instead of where it is declared.
    #[must_use]
    pub fn after(mut self, key: &'static str) -> Self {
        self.spec.after = Some(key);
        self
    }

    /// The same as a column only, without a key in the JSON, which has the value in another form.
    #[must_use]
    pub fn for_tables(mut self) -> Self {
        self.spec.is_for_tables = true;
        self
    }

    /// The same; without a value, the JSON leaves its key out.
    #[must_use]
    pub fn omitted_if_missing(mut self) -> Self {
        self.spec.is_omitted = true;
        self
    }

    /// The same part or object, always present: the schema does not allow `null`.
    #[must_use]
    pub fn always(mut self) -> Self {
        self.spec.is_always = true;
        self
    }

    /// The same, with this text for people instead of the value.
    #[must_use]
    pub fn text(mut self, text: impl Fn(&R) -> String + 'static) -> Self {
        self.text = Some(Rc::new(move |record| Some(text(record))));
        self
    }

    /// The same, with a dash for people if it is zero.
    #[must_use]
    pub fn dash_if_zero(mut self) -> Self {
        self.spec.is_dash_if_zero = true;
        self
    }

    /// The same in a color.
    #[must_use]
    pub fn tone(mut self, tone: impl Fn(&R) -> Tone + 'static) -> Self {
        self.tone = Some(Rc::new(move |record| Some(tone(record))));
        self
    }

    /// The same, drawn for people.
    #[must_use]
    pub fn chart(mut self, chart: impl Fn(&R) -> Option<Chart> + 'static) -> Self {
        self.chart = Some(Rc::new(chart));
        self
    }

    /// The same; people see the column only if this holds for one of the rows.
    #[must_use]
    pub fn shown_if(mut self, condition: impl Fn(&R) -> bool + 'static) -> Self {
        self.condition = Some(Rc::new(condition));
        self
    }

    /// The same; people see the column only if one of the rows has a value.
    #[must_use]
    pub fn hidden_if_missing(mut self) -> Self {
        self.spec.is_hidden_if_missing = true;
        self
    }

    /// The same group, with the field of this key changed; `accuracy.top1` is a field of a nested group.
    #[must_use]
    pub fn change(mut self, key: &str, change: impl FnOnce(Self) -> Self) -> Self {
        match self.inner(key) {
            Some(field) => *field = change(field.clone()),
            None => debug_assert!(false, "no field `{key}`"),
        }
        self
    }

    fn inner(&mut self, key: &str) -> Option<&mut Self> {
        let Source::Group { fields, .. } = &mut self.source else { return None };
        fields.iter_mut().find_map(|field| match field.spec.form {
            Form::Flat => field.inner(key),
            _ if field.spec.key == key => Some(field),
            Form::Nested => field.inner(key.strip_prefix(&*field.spec.key)?.strip_prefix('.')?),
            _ => None,
        })
    }

    /// The same group for machines only: its fields lose titles and keys of `--sort`; [`Field::change`] gives some back.
    #[must_use]
    pub fn for_machines(mut self) -> Self {
        (self.spec.title, self.spec.sort) = (None, None);
        if let Source::Group { fields, .. } = &mut self.source {
            *fields = std::mem::take(fields).into_iter().map(Self::for_machines).collect();
        }
        self
    }

    /// Without accessors, for `help` and the schema.
    pub(super) fn shape(&self) -> Shape {
        let fields = match &self.source {
            Source::Group { fields, .. } => fields.iter().map(Self::shape).collect(),
            Source::Value(_) | Source::Machine(_) => Vec::new(),
        };
        Shape::with(self.spec.clone(), fields)
    }

    pub(super) fn datum(&self, record: &R) -> Datum {
        match &self.source {
            Source::Value(get) => get(record),
            Source::Group { .. } | Source::Machine(_) => Datum::Missing,
        }
    }

    pub(super) fn is_for_machines(&self) -> bool {
        !self.spec.key.is_empty()
    }

    /// Whether people see this column over these rows.
    pub(super) fn is_shown(&self, rows: &[&R]) -> bool {
        self.spec.title.is_some()
            && self.condition.as_ref().is_none_or(|condition| rows.iter().any(|row| condition(row)))
            && (!self.spec.is_hidden_if_missing || rows.iter().any(|row| !self.datum(row).is_missing()))
    }

    pub(super) fn head(&self, is_shown: bool) -> Column {
        let title = self.spec.title.clone().unwrap_or_default();
        Column {
            name: title,
            is_right_aligned: self.chart.is_none() && self.spec.unit.is_right_aligned(),
            rank: self.spec.rank,
            is_chart: self.chart.is_some(),
            key: self.spec.key.clone(),
            is_shown,
        }
    }

    pub(super) fn cell(&self, record: &R) -> Cell {
        let datum = self.datum(record);
        if self.spec.title.is_none() {
            return Cell { raw: datum.into_raw(), ..Cell::default() };
        }
        let is_zero = matches!(datum, Datum::Count(0)) && self.spec.is_dash_if_zero;
        let text = self.text.as_ref().and_then(|text| text(record));
        let drawn = self.chart.as_ref().map(|chart| chart(record));
        let is_missing = datum.is_missing() && text.is_none();
        let tone = self.tone.as_ref().and_then(|tone| tone(record));
        let (tone, text) = match (&drawn, text) {
            (Some(chart), _) => {
                let text = chart.as_ref().map(|chart| chart.draw(chart::DEFAULT_WIDTH)).unwrap_or_default();
                (tone.unwrap_or_default(), text)
            }
            (None, _) if is_missing || is_zero => (Tone::Dim, Unit::Text.text(&Datum::Missing)),
            (None, Some(text)) => (tone.unwrap_or_else(|| self.spec.unit.tone()), text),
            (None, None) => (tone.unwrap_or_else(|| self.spec.unit.tone()), self.spec.unit.text(&datum)),
        };
        Cell { text, raw: datum.into_raw(), tone, chart: drawn.flatten().map(Box::new) }
    }
}

/// The records as machines see them. Lists and objects within are made for all records together, so that each
/// declaration is built once and not for every record.
pub(super) fn json<R>(fields: &[Field<R>], records: &[&R]) -> Vec<Value> {
    let mut objects = vec![Map::new(); records.len()];
    push_json(&mut objects, fields, records);
    objects.into_iter().map(Value::Object).collect()
}

fn push_json<R>(objects: &mut [Map<String, Value>], fields: &[Field<R>], records: &[&R]) {
    for field in fields {
        let values = match &field.source {
            Source::Group { fields, .. } if matches!(field.spec.form, Form::Flat) => {
                push_json(objects, fields, records);
                continue;
            }
            Source::Group { fields, is_there } => {
                let parts = records.iter().map(|record| is_there(record).then_some(*record));
                scattered(parts, |there| json(fields, there))
            }
            Source::Value(_) if field.spec.key.is_empty() || field.spec.is_for_tables => continue,
            Source::Value(get) => records.iter().map(|record| get(record).into_json()).collect(),
            Source::Machine(get) => get(records),
        };
        for (object, value) in objects.iter_mut().zip(values) {
            match value {
                Value::Null if field.spec.is_omitted => {}
                Value::Object(names) if matches!(field.spec.form, Form::Names(_)) => object.extend(names),
                value => {
                    object.insert(field.spec.key.clone().into_owned(), value);
                }
            }
        }
    }
}

/// The values of those parts that are there, each in its place; `null` for the others.
pub(super) fn scattered<'r, P: 'r>(
    parts: impl Iterator<Item = Option<&'r P>>,
    values: impl FnOnce(&[&'r P]) -> Vec<Value>,
) -> Vec<Value> {
    let parts: Vec<Option<&P>> = parts.collect();
    let there: Vec<&P> = parts.iter().copied().flatten().collect();
    let mut values = if there.is_empty() { Vec::new() } else { values(&there) }.into_iter();
    parts.iter().map(|part| part.and_then(|_| values.next()).unwrap_or_default()).collect()
}

/// The fields that have one value each, in the order of the columns; their keys are the whole paths.
pub(super) fn columns<R>(fields: &[Field<R>]) -> Vec<Field<R>> {
    let mut columns = Vec::new();
    push_columns(&mut columns, "", fields);
    in_order(columns, |column| &column.spec)
}

fn push_columns<R>(columns: &mut Vec<Field<R>>, path: &str, fields: &[Field<R>]) {
    for field in fields {
        match &field.source {
            Source::Value(_) if field.spec.key.is_empty() => columns.push(field.clone()),
            Source::Value(_) => {
                let mut column = field.clone();
                column.spec.key = joined(path, &field.spec.key).into();
                columns.push(column);
            }
            Source::Group { fields, .. } => push_columns(columns, &joined(path, &field.spec.key), fields),
            Source::Machine(_) => {}
        }
    }
}

/// A key within the object at a path.
pub(super) fn joined(path: &str, key: &str) -> String {
    match (path, key) {
        (path, "") => path.to_owned(),
        ("", key) => key.to_owned(),
        (path, key) => format!("{path}.{key}"),
    }
}

/// Moves the fields that are declared to be to the right of another.
pub(super) fn in_order<T>(columns: Vec<T>, spec: fn(&T) -> &Spec) -> Vec<T> {
    let (moved, mut columns): (Vec<T>, Vec<T>) =
        columns.into_iter().partition(|column| spec(column).after.is_some());
    for column in moved {
        let place = columns.iter().position(|other| spec(&column).after == Some(&*spec(other).key));
        columns.insert(place.map_or(columns.len(), |place| place + 1), column);
    }
    columns
}
