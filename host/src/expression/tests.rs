//! Values by hand; the language itself is tested by its crate.

use super::*;
use serde_json::json;

/// Whether `text` holds over these results.
fn asserted(text: &str) -> Result<Outcome> {
    let compare = json!({
        "min_sqnr_db": 18.25,
        "samples": 32,
        "worst": null,
        "broken_db": "-inf",
        "layers": [
            { "layer": "stem", "sqnr_db": 18.25 },
            { "layer": "head", "sqnr_db": "inf" },
            { "layer": "mid", "sqnr_db": 30.0 },
        ],
    });
    let evaluate = json!({ "models": [
        { "model": "a.onnx", "accuracy": 0.99 },
        { "model": "b.onnx", "accuracy": 0.75 },
    ] });
    let limit = json!(20);
    let names = Names::new(
        [("compare", &compare), ("evaluate", &evaluate)].into_iter(),
        [("limit", &limit)].into_iter(),
        vec!["compare", "evaluate", "drift"],
    );
    Expression::parse(text)?.assert(&names)
}

fn outcome(text: &str) -> Outcome {
    asserted(text).unwrap()
}

fn reasons(text: &str) -> Vec<String> {
    match outcome(text) {
        Outcome::Fails(reasons) => reasons,
        Outcome::Holds => panic!("{text} holds"),
    }
}

fn error(text: &str) -> Error {
    asserted(text).unwrap_err()
}

#[test]
fn whole_and_real_numbers_are_compared_with_each_other() {
    for text in [
        "compare.min_sqnr_db > 18",
        "compare.samples == 32 && compare.samples >= 31.5",
        "compare.broken_db < -1000",
        "compare.worst == null",
        "compare.min_sqnr_db < limit",
        "evaluate.models[\"a.onnx\"].accuracy - evaluate.models['b.onnx'].accuracy > 0.2",
        "compare.layers.all(l, l.sqnr_db > 18)",
        "compare.layers.exists(l, l.layer == \"head\") && compare.layers.size() == 3",
    ] {
        assert_eq!(outcome(text), Outcome::Holds, "{text}");
    }
}

#[test]
fn a_failure_shows_the_values_that_made_it_fail() {
    assert_eq!(reasons("compare.min_sqnr_db > limit"), ["compare.min_sqnr_db is 18.25", "limit is 20"]);
    assert_eq!(
        reasons("compare.samples == 32 && compare.min_sqnr_db > 20.0"),
        ["compare.min_sqnr_db is 18.25"]
    );
    assert_eq!(
        reasons("compare.layers.all(l, l.sqnr_db > 25 || l.layer == \"head\")"),
        ["stem: l.sqnr_db is 18.25, l.layer is \"stem\""]
    );
    assert_eq!(
        reasons("evaluate.models.all(m, evaluate.models[m].accuracy > 0.9)"),
        ["b.onnx: evaluate.models[m].accuracy is 0.75"]
    );
    assert_eq!(
        reasons("compare.layers.exists(l, l.sqnr_db < 0)"),
        ["stem: l.sqnr_db is 18.25", "head: l.sqnr_db is inf", "mid: l.sqnr_db is 30"]
    );
}

#[test]
fn what_is_not_there_is_named_with_what_is() {
    let hint = |text: &str| (error(text).message().to_owned(), error(text).hints().join(" "));
    assert_eq!(
        hint("compare.min_sqnr > 20"),
        ("`compare` has no `min_sqnr`".to_owned(), "Did you mean `min_sqnr_db`?".to_owned())
    );
    assert_eq!(
        hint("compare.layers.all(l, l.sqnr > 20)"),
        ("`l` has no `sqnr`".to_owned(), "Did you mean `sqnr_db`?".to_owned())
    );
    assert_eq!(hint("evaluate.models['c.onnx'].accuracy > 0").0, "`evaluate.models` has no `c.onnx`");
    assert_eq!(
        hint("drift.x > 1"),
        ("`drift` has no result yet".to_owned(), "Run `drift` first.".to_owned())
    );
    assert_eq!(hint("comprae.x > 1").1, "Did you mean `compare`?");
    assert_eq!(error("compare.worst > 20").causes(), ["`compare.worst` has no value"]);
    assert!(error("compare.samples").message().ends_with("is 32, neither true nor false"));
    assert!(error("compare.samples >").message().ends_with("is not an expression"));
}

#[test]
fn expressions_that_go_too_deep_are_refused() {
    for text in [
        "!".repeat(3_000) + "true",
        "(".repeat(3_000),
        "[".repeat(200) + &"]".repeat(200),
        "1".to_owned() + &"+1".repeat(2_000),
        "a".to_owned() + &".b".repeat(2_000),
        "- ".repeat(500) + "1",
        "x".repeat(10_000),
    ] {
        assert_eq!(error(&text).kind(), crate::error::ErrorKind::Usage, "{}", &text[..20]);
    }
}

proptest::proptest! {
    /// Whatever is written, the answer is an outcome or an error.
    #[test]
    fn no_expression_ends_the_program(text in expression()) {
        let _ = asserted(&text);
        let _ = Expression::parse(&text).map(|expression| expression.unknown_keys(&|_| None));
    }

    #[test]
    fn no_row_of_words_ends_the_program(words in proptest::collection::vec(proptest::sample::select(WORDS), 0..40)) {
        let text = words.join("");
        let _ = asserted(&text);
        let _ = Expression::parse(&text).map(|expression| expression.unknown_keys(&|_| None));
    }
}

/// Well-formed text, of values that hardly go together.
fn expression() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    let leaf = proptest::sample::select(
        &[
            "compare",
            "compare.layers",
            "compare.min_sqnr_db",
            "compare.worst",
            "evaluate.models",
            "limit",
            "l",
            "[]",
            "{}",
            "{'a': 1}",
            "0",
            "1",
            "-1",
            "9223372036854775807",
            "(-9223372036854775807 - 1)",
            "1e308",
            "-1e308",
            "18446744073709551615u",
            "1u",
            "0u",
            "'a'",
            "'\\u00e9\\U0001F600'",
            "b'\\xff'",
            "true",
            "null",
            "[1, 'a', null]",
            "0.0",
        ][..],
    );
    let leaf = leaf.prop_map(str::to_owned);
    leaf.prop_recursive(5, 40, 3, |inner| {
        let binary = &["&&", "||", "==", "!=", "<", ">=", "in", "+", "-", "*", "/", "%"][..];
        let macros = &["all", "exists", "exists_one", "map", "filter"][..];
        let unary =
            &["size", "double", "int", "uint", "string", "type", "dyn", "-", "!", "bytes", "bool"][..];
        let methods = &["contains", "startsWith", "endsWith", "matches", "max", "min"][..];
        prop_oneof![
            (inner.clone(), proptest::sample::select(binary), inner.clone())
                .prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            (inner.clone(), proptest::sample::select(macros), inner.clone())
                .prop_map(|(a, name, b)| format!("{a}.{name}(l, {b})")),
            (proptest::sample::select(unary), inner.clone()).prop_map(|(name, a)| format!("{name}({a})")),
            (inner.clone(), proptest::sample::select(methods), inner.clone())
                .prop_map(|(a, name, b)| format!("{a}.{name}({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}[{b}]")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[{a}, {b}]")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("{{{a}: {b}}}")),
        ]
    })
}

const WORDS: &[&str] = &[
    "compare",
    ".",
    "layers",
    "evaluate",
    "models",
    "min_sqnr_db",
    "limit",
    "l",
    "m",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "?",
    "all",
    "exists",
    "exists_one",
    "map",
    "filter",
    "has",
    "size",
    "matches",
    "contains",
    "startsWith",
    "double",
    "int",
    "uint",
    "string",
    "type",
    "duration",
    "timestamp",
    "dyn",
    "true",
    "false",
    "null",
    "0",
    "1",
    "-1",
    "9223372036854775807",
    "1e308",
    "1u",
    "0x10",
    "\"a\"",
    "'b'",
    "b'c'",
    "r'('",
    " ",
    " && ",
    " || ",
    "!",
    " == ",
    " != ",
    " < ",
    " >= ",
    " in ",
    " + ",
    " - ",
    " * ",
    " / ",
    " % ",
];
