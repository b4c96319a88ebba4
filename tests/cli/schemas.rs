//! The schemas of the reports: what a command prints follows its own, and a change raises its version. And the reference of
//! commands, which is made from the same declarations.

use crate::support::is_blessing;
use crate::support::schema::violations;
use crate::support::world::World;
use qp::commands::{Entry, TABLE, find};
use qp::language::{Line, Variables, parse};
use serde_json::Value;
use std::path::{Path, PathBuf};

fn recorded(entry: &Entry) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/cli/schemas/{}.json", entry.name))
}

#[test]
fn a_schema_changes_only_with_its_version() {
    let mut problems = Vec::new();
    for (entry, schema) in TABLE.iter().filter_map(|entry| Some((entry, entry.schema()?))) {
        let path = recorded(entry);
        let old: Option<Value> =
            std::fs::read_to_string(&path).ok().map(|text| serde_json::from_str(&text).unwrap());
        if old.as_ref() == Some(&schema) {
            continue;
        }
        let version = |schema: &Value| schema["qp:version"].as_u64().unwrap();
        let is_raised = old.as_ref().is_none_or(|old| version(old) < version(&schema));
        if is_raised && is_blessing() {
            std::fs::write(&path, format!("{schema:#}\n")).unwrap();
        } else if is_raised {
            problems.push(format!("`{}`: run this test with QP_BLESS=1 and read what it writes", entry.name));
        } else {
            problems.push(format!(
                "`{}`: raise the version of its report ({} is recorded), then run this test with QP_BLESS=1",
                entry.name,
                version(&schema)
            ));
        }
    }
    assert!(problems.is_empty(), "the schemas changed:\n{}", problems.join("\n"));
}

#[test]
fn the_program_prints_the_schemas_that_are_recorded() {
    let world = World::new();
    for entry in TABLE.iter().filter(|entry| entry.schema().is_some()) {
        let ran = world.run(&format!("help {} --schema", entry.name));
        assert_eq!(ran.output, std::fs::read_to_string(recorded(entry)).unwrap());
    }
    let ran = world.run("help --schema");
    assert_eq!(ran.code, 2, "{}", ran.talk);
}

#[test]
fn the_reference_of_commands_is_what_the_program_prints() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../COMMANDS.md");
    let ran = World::new().run("help --markdown");
    assert_eq!(ran.code, 0, "{}", ran.talk);
    for entry in TABLE {
        assert!(ran.output.contains(&format!("\n## {}\n", entry.name)), "{}", entry.name);
    }
    if is_blessing() {
        std::fs::write(&path, &ran.output).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), ran.output, "run this test with QP_BLESS=1");
}

#[test]
fn what_every_example_prints_follows_its_schema() {
    let world = World::new();
    let mut checked = std::collections::BTreeSet::new();
    for entry in TABLE {
        for example in entry.examples {
            let line = format!("open .; {}", example.line);
            let mut variables = Variables::default();
            for name in ["net", "n", "model"] {
                variables.set(name.to_owned(), "x".into());
            }
            let statements = parse(&line).unwrap();
            let lines: Vec<Line> =
                statements.iter().map(|statement| Line::new(&line, statement, &variables).unwrap()).collect();
            let is_declared =
                |line: &Line| find(line.command()).is_some_and(|entry| entry.schema().is_some());
            let changes_the_format =
                lines.iter().any(|line| line.command() == "format" && line.words().count() > 1);
            // The first one is the test's own.
            if changes_the_format || !lines[1..].iter().any(is_declared) {
                continue;
            }
            let mut command = world.qp();
            let output = command
                .current_dir(world.path("models"))
                .args(["--format", "json", "-c", &line])
                .output()
                .unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let documents: Vec<Value> =
                text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(documents.len(), lines.len(), "{line}");
            for (said, document) in lines.iter().zip(&documents) {
                let Some(schema) = find(said.command()).and_then(Entry::schema) else { continue };
                let found = violations(&schema, document);
                assert!(found.is_empty(), "`{}` in `{line}`:\n{}", said.command(), found.join("\n"));
                checked.insert(said.command().to_owned());
            }
        }
    }
    for entry in TABLE.iter().filter(|entry| entry.schema().is_some()) {
        assert!(checked.contains(entry.name), "no example of `{}` was checked", entry.name);
    }
}

/// A validator that finds nothing would let every report pass.
#[test]
fn a_document_that_does_not_follow_is_found() {
    let schema = find("compare").and_then(Entry::schema).unwrap();
    let world = World::new();
    let line = "input models/digits.npz:images[0:2]; compare models/resnet8.onnx models/resnet8_int8.onnx";
    let mut found = world.json(line);
    assert_eq!(violations(&schema, &found), Vec::<String>::new());
    found["layers"][0]["sqnr_db"] = "high".into();
    found["samples"] = Value::Null;
    found["extra"] = 1.into();
    found.as_object_mut().unwrap().remove("total");
    let violations = violations(&schema, &found).join("\n");
    for place in ["/layers/0/sqnr_db", "/samples", "`extra`", "`total`"] {
        assert!(violations.contains(place), "{place}: {violations}");
    }
}
