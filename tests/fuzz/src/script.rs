//! What the fuzz target of the command language does with its bytes: a script is parsed, checked without being run, and, if
//! it does nothing but talk, run.

use qp::backend::{BackendConfig, Backends};
use qp::checking::problems;
use qp::commands::{Prepared, assertion, find, names_of};
use qp::executor::{Executor, Origin, without_file};
use qp::expression::Expression;
use qp::language::block::{For, If};
use qp::language::{Line, Node, Statement, Variables, blocks, is_incomplete, parse};
use qp::playground::Playground;
use qp::render::ui::Ui;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Commands that touch nothing but the session. Not `expect-error`: it runs a line that is not looked at here.
const HARMLESS: [&str; 5] = ["let", "echo", "assert", "section", "param"];
/// A script with more rounds is not run.
const MAX_ROUNDS: u64 = 200;

/// A text of the command language.
pub fn script(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let text = &*text;
    // Names of files are the fuzzer's: none of them exists here.
    let nowhere = Path::new("/nonexistent");
    for problem in problems(text, nowhere, true) {
        assert!(!problem.message().is_empty());
        assert!(problem.span().is_some_and(|span| text.get(span).is_some()), "{problem:?}");
    }
    let nodes = match blocks(text) {
        Ok(nodes) => nodes,
        Err(found) => {
            for problem in found {
                assert!(text.get(problem.span.clone()).is_some(), "{problem:?}");
            }
            return;
        }
    };
    assert!(!is_incomplete(text));
    let flat = parse(text).expect("a text with blocks has statements");
    assert!(flat.len() >= count(&nodes));
    let mut executor = session();
    for statement in &flat {
        look_at(text, statement, &executor.playground);
    }
    if rounds(&nodes, text).is_some_and(|rounds| rounds <= MAX_ROUNDS) {
        executor.keeps_going = bytes.len().is_multiple_of(2);
        executor.execute(text, Origin::Text { name: "fuzzed", is_echoed: true });
        executor.execute(text, Origin::Prompt { width: 4, has_pages: false });
    }
}

fn session() -> Executor {
    let ui = Ui::new(Default::default(), Box::new(std::io::sink()), Box::new(std::io::sink()));
    let backends = Backends::discover(BackendConfig::default());
    let mut playground = Playground::new(Default::default(), backends, PathBuf::new());
    let layers: Vec<Value> =
        (0..4).map(|n| json!({ "layer": format!("l{n}"), "sqnr_db": n, "why": null })).collect();
    playground
        .results
        .insert("compare", json!({ "min_sqnr_db": 20.5, "first_below": null, "layers": layers }));
    let models = json!([{ "model": "a", "accuracy": 0.5 }, { "model": "b", "accuracy": "inf" }]);
    playground.results.insert("evaluate", json!({ "models": models, "samples": 4 }));
    playground.variables.set("n".to_owned(), 3.into());
    playground.variables.set("m".to_owned(), "a b*".into());
    Executor::new(playground, ui, Default::default())
}

/// What is said of a statement before it is run: its words, its expression, and what its names are.
fn look_at(text: &str, statement: &Statement, playground: &Playground) {
    // Each word against the whole text would take the square of its length.
    let start = &text[..text.floor_char_boundary(100)];
    for word in &statement.words {
        if let Ok(Some(pattern)) = playground.variables.pattern(word) {
            pattern.matches(start);
            let own = playground.variables.expand(word).expect("its variables are set");
            // Without a set a pattern matches what it is itself; what is long takes the square of its length here, too.
            assert!(own.len() > 1000 || own.contains('[') || pattern.matches(&own), "{own}");
        }
    }
    let Ok(line) = Line::new(text, statement, &playground.variables) else { return };
    if let Err(error) = Prepared::new(&line) {
        assert!(
            !error.message().is_empty() && error.span().is_some_and(|span| text.get(span).is_some()),
            "{error:?}"
        );
    }
    if let Ok((expression, _)) = assertion(line.rest()) {
        judge(&expression, playground);
    }
}

fn judge(expression: &Expression, playground: &Playground) {
    let reports =
        |name: &str| find(name).map(|entry| (entry.reports)()).filter(|reports| !reports.is_empty());
    for error in expression.unknown_keys(&reports) {
        assert!(!error.message().is_empty());
    }
    if let Err(error) = expression.assert(&names_of(playground)) {
        assert!(!error.message().is_empty());
    }
}

fn count(nodes: &[Node]) -> usize {
    let of = |node: &Node| match node {
        Node::Statement(_) => 1,
        Node::For(For { body, .. }) => 1 + count(body),
        Node::If(If { branches, otherwise, .. }) => {
            branches.iter().map(|(_, body)| 1 + count(body)).sum::<usize>() + count(otherwise)
        }
    };
    nodes.iter().map(of).sum()
}

/// How many statements are executed at most; `None` if one of them does more than talk.
fn rounds(nodes: &[Node], text: &str) -> Option<u64> {
    let plain = Variables::default();
    let mut all: u64 = 0;
    for node in nodes {
        all = all.checked_add(match node {
            Node::Statement(statement) => {
                let name = text.get(statement.words.first()?.span.clone())?;
                let stays_here = without_file(text, statement) == *statement;
                (HARMLESS.contains(&name) && stays_here).then_some(1)?
            }
            Node::For(block) => {
                let is_plain =
                    block.words().iter().all(|word| !matches!(plain.pattern(word), Ok(Some(_)) | Err(_)));
                is_plain.then_some(())?;
                rounds(&block.body, text)?.checked_add(1)?.checked_mul(block.words().len() as u64)?
            }
            Node::If(block) => {
                let bodies = block.branches.iter().map(|(_, body)| body).chain([&block.otherwise]);
                bodies.map(|body| rounds(body, text)).try_fold(1_u64, |sum, one| sum.checked_add(one?))?
            }
        })?;
    }
    Some(all)
}
