use super::*;
use crate::error::Error;
use crate::render::report::Report;
use crate::render::style::{Tone, strip};
use crate::render::{csv, markdown, table};
use clap::builder::TypedValueParser;
use serde_json::json;
use std::cell::Cell;

struct Errors {
    sqnr_db: Option<f64>,
    count: u64,
}

impl Record for Errors {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("count", Unit::Count, "Elements", |errors| errors.count),
            Self::field("sqnr_db", Unit::Decibels, "SQNR", |errors| errors.sqnr_db)
                .title("SQNR dB")
                .sort("sqnr", Direction::Ascending),
        ]
    }
}

struct Row<'a> {
    layer: &'a str,
    through: Vec<&'a str>,
    errors: Option<Errors>,
    local: Option<Errors>,
    engine: Option<&'a str>,
    obstacle: Option<Error>,
}

impl Record for Row<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("layer", Unit::Name, "The layer", |row| row.layer)
                .title("layer")
                .sort("layer", Direction::Ascending),
            Self::field("engine", Unit::Text, "The engine", |row| row.engine)
                .title("engine")
                .hidden_if_missing(),
            Self::field("through", Unit::Text, "Merged layers", |row| row.through.clone()),
            Self::flat(Errors::fields(), |row| row.errors.as_ref()).change("sqnr_db", |sqnr| {
                sqnr.tone(|row| if row.through.is_empty() { Tone::Plain } else { Tone::Bad })
            }),
            Self::nested("local", "Alone", Errors::fields(), |row| row.local.as_ref())
                .for_machines()
                .change("sqnr_db", |sqnr| sqnr.title("alone dB").after("layer")),
            Self::error("obstacle", "Why not", |row| row.obstacle.as_ref()).omitted_if_missing(),
        ]
    }
}

struct Found<'a> {
    rows: Vec<Row<'a>>,
}

impl Record for Found<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![Self::list("rows", "The rows", |found| &found.rows)]
    }
}

fn row(layer: &str, sqnr_db: Option<f64>) -> Row<'_> {
    Row {
        layer,
        through: Vec::new(),
        errors: sqnr_db.map(|sqnr_db| Errors { sqnr_db: Some(sqnr_db), count: 1000 }),
        local: None,
        engine: None,
        obstacle: None,
    }
}

fn found() -> Found<'static> {
    let local = Some(Errors { sqnr_db: Some(f64::INFINITY), count: 1000 });
    let obstacle = Some(Error::not_found("no match"));
    Found {
        rows: vec![
            Row { through: vec!["relu"], local, ..row("conv", Some(31.236)) },
            Row { obstacle, ..row("fc", None) },
        ],
    }
}

#[test]
fn json_follows_the_declarations_and_parts_that_are_missing_are_null() {
    let error = json!({ "kind": "NotFound", "message": "no match", "causes": [], "hints": [] });
    assert_eq!(
        json(&found()),
        json!({ "rows": [
            {
                "layer": "conv", "engine": null, "through": ["relu"], "count": 1000, "sqnr_db": 31.236,
                "local": { "count": 1000, "sqnr_db": "inf" },
            },
            {
                "layer": "fc", "engine": null, "through": [], "count": null, "sqnr_db": null,
                "local": null, "obstacle": error,
            },
        ]})
    );
}

#[test]
fn people_see_titled_columns_in_their_order_and_none_that_is_empty() {
    let text = strip(&table::report(&Report::default().table(Table::of(&found().rows)), None));
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["layer", "alone", "dB", "SQNR", "dB"]);
    assert_eq!(lines[2], ["conv", "inf", "31.24"]);
    assert_eq!(lines[3], ["fc", "–", "–"]);
    let mut found = found();
    found.rows[1].engine = Some("x86");
    let columns = Table::of(&found.rows).columns;
    let shown: Vec<&str> =
        columns.iter().filter(|column| column.is_shown).map(|column| column.name.as_ref()).collect();
    assert_eq!(shown, ["layer", "alone dB", "engine", "SQNR dB"]);
}

#[test]
fn a_tone_of_the_record_colors_a_column_of_its_part() {
    let table = Table::of(&found().rows);
    let place = table.columns.iter().position(|column| column.key == "sqnr_db").unwrap();
    assert_eq!((table.rows[0][place].tone, table.rows[1][place].tone), (Tone::Bad, Tone::Dim));
}

#[test]
fn csv_has_the_keys_and_every_value_and_markdown_what_people_see() {
    let report = Report::default().table(Table::of(&found().rows));
    assert_eq!(
        csv::report(&report),
        "layer,local.sqnr_db,engine,through,count,sqnr_db,local.count,obstacle\n\
         conv,inf,,\"[\"\"relu\"\"]\",1000,31.236,1000,\n\
         fc,,,[],,,,no match\n"
    );
    assert_eq!(
        markdown::report(&report),
        "| layer | alone dB | SQNR dB |\n| --- | ---: | ---: |\n| conv | inf | 31.24 |\n| fc | – | – |\n"
    );
}

fn chosen(word: &str) -> Result<SortKey, clap::Error> {
    let command = clap::Command::new("test");
    sort_keys::<Row<'_>>("As found").parse_ref(&command, None, word.as_ref())
}

#[test]
fn rows_are_sorted_by_a_declared_key_and_missing_values_come_last() {
    let layers = |word: &str| {
        let numbers = [Some(20.0), None, Some(f64::INFINITY), Some(-3.0)];
        let mut rows: Vec<Row<'_>> =
            ["d", "b", "a", "c"].into_iter().zip(numbers).map(|(layer, sqnr)| row(layer, sqnr)).collect();
        chosen(word).unwrap().apply(&mut rows);
        rows.iter().map(|row| row.layer).collect::<String>()
    };
    assert_eq!([layers("graph"), layers("sqnr"), layers("layer")], ["dbac", "cdab", "abcd"]);
    assert!(chosen("local.sqnr_db").is_err());
}

#[test]
fn the_schema_says_what_may_be_missing() {
    let schema = schema::of("test", "Test", &[ReportShape::of::<Found<'_>>(3)]);
    assert_eq!(schema[schema::VERSION], 3);
    let row = &schema["properties"]["rows"]["items"];
    assert_eq!(
        row["properties"]["layer"],
        json!({ "title": "layer", "description": "The layer", "type": "string" })
    );
    assert_eq!(row["properties"]["count"]["type"], json!(["integer", "null"]));
    assert_eq!(
        row["properties"]["sqnr_db"]["anyOf"],
        json!([{ "$ref": "#/$defs/real" }, { "type": "null" }])
    );
    assert_eq!(row["properties"]["sqnr_db"]["qp:unit"], "dB");
    assert_eq!(row["properties"]["local"]["type"], json!(["object", "null"]));
    assert_eq!(row["properties"]["local"]["properties"]["count"]["type"], "integer");
    assert_eq!(row["required"], json!(["layer", "engine", "through", "count", "sqnr_db", "local"]));
    assert_eq!(row["additionalProperties"], false);
}

#[test]
fn tables_are_explained_by_their_titled_columns() {
    let tables = ReportShape::of::<Found<'_>>(1).tables();
    let titles: Vec<_> = tables[0].columns.iter().map(|column| column.title.clone().unwrap()).collect();
    assert_eq!(
        (tables[0].key.as_str(), titles),
        ("rows", vec!["layer".into(), "alone dB".into(), "engine".into(), "SQNR dB".into()])
    );
}

thread_local! {
    /// How often the declarations of [`Leaf`] were built.
    static BUILT: Cell<usize> = const { Cell::new(0) };
}

struct Leaf(u64);

impl Record for Leaf {
    fn fields() -> Vec<Field<Self>> {
        BUILT.set(BUILT.get() + 1);
        vec![Self::field("n", Unit::Count, "A number", |leaf| leaf.0)]
    }
}

struct Branch {
    leaves: Vec<Leaf>,
    first: Option<Leaf>,
}

impl Record for Branch {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::list("leaves", "The leaves", |branch| &branch.leaves),
            Self::object("first", "One of them", |branch| branch.first.as_ref()),
            Self::field("count", Unit::Count, "Number of leaves", |branch| branch.leaves.len())
                .title("leaves")
                .for_tables(),
            Self::names("Numbers by name", Kind::Count, |branch| {
                branch.leaves.iter().map(|leaf| (format!("leaf{}", leaf.0), leaf.0.into())).collect()
            }),
        ]
    }
}

struct Tree(Vec<Branch>);

impl Record for Tree {
    fn fields() -> Vec<Field<Self>> {
        vec![Self::list("branches", "The branches", |tree| &tree.0)]
    }
}

fn tree() -> Tree {
    Tree(vec![
        Branch { leaves: vec![Leaf(1), Leaf(2)], first: None },
        Branch { leaves: Vec::new(), first: Some(Leaf(3)) },
        Branch { leaves: vec![Leaf(4)], first: Some(Leaf(5)) },
    ])
}

#[test]
fn what_many_records_hold_is_in_its_place_and_declared_once() {
    assert_eq!(
        json(&tree()),
        json!({ "branches": [
            { "leaves": [{ "n": 1 }, { "n": 2 }], "first": null, "leaf1": 1, "leaf2": 2 },
            { "leaves": [], "first": { "n": 3 } },
            { "leaves": [{ "n": 4 }], "first": { "n": 5 }, "leaf4": 4 },
        ]})
    );
    assert_eq!(BUILT.get(), 2, "once for the lists, once for the objects");
}

#[test]
fn a_column_for_tables_has_no_key_in_the_json_and_names_are_additional_properties() {
    let table = Table::of(&tree().0);
    assert_eq!(csv::report(&Report::default().table(table)), "count\n2\n0\n1\n");
    let schema = schema::of("test", "Test", &[ReportShape::of::<Branch>(1)]);
    assert_eq!(schema["required"], json!(["leaves", "first"]));
    let names = json!({ "type": "integer", "minimum": 0, "description": "Numbers by name" });
    assert_eq!(schema["additionalProperties"], names);
}
