//! Values by hand; the language itself is tested by its crate.

use super::*;
use serde_json::json;

fn names() -> Names {
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
    Names::new(
        [("compare", &compare), ("evaluate", &evaluate)].into_iter(),
        [("limit", &limit)].into_iter(),
        vec!["compare", "evaluate", "drift"],
    )
}

fn outcome(text: &str) -> Outcome {
    Expression::parse(text).unwrap().assert(&names()).unwrap()
}

fn reasons(text: &str) -> Vec<String> {
    match outcome(text) {
        Outcome::Fails(reasons) => reasons,
        Outcome::Holds => panic!("{text} holds"),
    }
}

fn error(text: &str) -> Error {
    Expression::parse(text).and_then(|expression| expression.assert(&names())).unwrap_err()
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
        ("there is no result of `drift` yet".to_owned(), "Run `drift` before it.".to_owned())
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
