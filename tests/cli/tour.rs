//! `tour`: a newcomer presses Enter ten times.

use crate::support::world::{Repl, World};
use qp::render::style::strip;

#[test]
fn ten_times_enter_shows_everything_and_leaves_the_model_as_it_was() {
    let world = World::new();
    let mut repl = Repl::new(world.path(""));
    let mut lines = vec!["open models", "tour"];
    lines.extend([""; 11]);
    lines.extend(["changes --model resnet8_int8.onnx", "quit"]);
    let shown = strip(&repl.lines(&lines, &world.path("home")));
    assert!(!shown.contains("error:"), "{shown}");
    for number in 1..=10 {
        assert_eq!(shown.matches(&format!("{number} of 10: ")).count(), 1, "step {number}: {shown}");
    }
    // What the steps did: the damaged layer is the most sensitive one, and its scale was found again.
    for text in ["scale stem.weight × 16", "best: ", "reset --model resnet8_int8.onnx", "in float", "assert"]
    {
        assert!(shown.contains(text), "no `{text}`: {shown}");
    }
}

#[test]
fn a_tour_needs_a_float_and_a_quantized_model() {
    let world = World::new();
    let ran = world.run("tour");
    assert!(ran.talk.contains("no float model with a quantized form"), "{}", ran.talk);
    let plan = world.json("open models; tour --json");
    assert_eq!(plan["steps"].as_array().unwrap().len(), 10);
    assert_eq!(
        (plan["float"].as_str(), plan["quantized"].as_str()),
        (Some("resnet8.onnx"), Some("resnet8_int8.onnx"))
    );
}
