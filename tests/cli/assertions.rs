//! Scripts that check: `assert`, `expect-error`.

use crate::support::world::World;

const COMPARE: &str =
    "compare models/resnet8.onnx models/resnet8_int8.onnx --data models/digits.npz --samples 8";

#[test]
fn an_assertion_that_holds_goes_on_and_one_that_fails_ends_with_3() {
    let world = World::new();
    let good = world.run(&format!("{COMPARE}; assert compare.min_sqnr_db > 10; echo done"));
    assert!(
        good.code == 0 && good.output.contains("holds: ") && good.output.contains("done"),
        "{}",
        good.talk
    );
    let bad = world
        .run(&format!("{COMPARE}; assert compare.layers.all(l, l.sqnr_db > 1000) \"too \\$low\"; echo done"));
    assert!(bad.code == 3 && !bad.output.contains("done"), "{} {}", bad.code, bad.talk);
    for part in ["too ", "is false", "l.sqnr_db is "] {
        assert!(bad.talk.contains(part), "{part}: {}", bad.talk);
    }
}

#[test]
fn infinite_and_missing_values_can_be_asked_about() {
    let world = World::new();
    let same = "compare models/resnet8.onnx models/resnet8.onnx --data models/digits.npz --samples 2";
    assert_eq!(world.run(&format!("{same}; assert compare.min_sqnr_db > 1000000")).code, 0);
    assert_eq!(world.run(&format!("{same}; assert compare.first_below == null")).code, 0);
    let ran = world.run(&format!("{same}; assert compare.layers.all(l, l.clipped_share > 0.5)"));
    assert!(ran.code == 2 && ran.talk.contains("has no value"), "{} {}", ran.code, ran.talk);
}

#[test]
fn variables_stand_in_expressions_by_name_and_by_value() {
    let world = World::new();
    let line = "evaluate models/resnet8.onnx --data models/digits.npz --samples 50; let least = 0.9; let m = models/resnet8.onnx; \
                assert evaluate.models[\"$m\"].accuracy > least && evaluate.models[m].accuracy > $least";
    let ran = world.run(line);
    assert_eq!(ran.code, 0, "{}", ran.talk);
}

#[test]
fn an_expected_error_passes_and_any_other_outcome_fails() {
    let world = World::new();
    assert_eq!(world.run("expect-error NotFound load missing.onnx").code, 0);
    assert_eq!(world.run("expect-error Assertion assert 1 > 2").code, 0);
    for (line, said) in [
        ("expect-error NotFound summary", "not with State"),
        ("expect-error NotFound help", "and succeeded"),
        ("expect-error NotFound expect-error NotFound help", "neither `source` nor itself"),
    ] {
        let ran = world.run(line);
        assert!(ran.code == 3 && ran.talk.contains(said), "{line}: {} {}", ran.code, ran.talk);
    }
    assert_eq!(world.run("expect-error Nowhere help").code, 2);
}
