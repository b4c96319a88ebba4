//! What the fuzz target of exported programs does with its bytes.

use crate::changes::{change, edit};
use crate::targets;
use qp_abi::sdk::Edit;

/// The graph of an exported program, changed in each way.
pub fn program(bytes: &[u8]) {
    targets::program(bytes);
    let one = [("scales", "0.5"), ("zero-points", "0")];
    let of = |actions: &[&str], target: &str| -> Vec<Edit> {
        actions.iter().map(|action| edit(action, target, &one)).collect()
    };
    let own: Option<serde_json::Value> = serde_json::from_slice(bytes).ok();
    let nodes = own.as_ref().and_then(|own| own.pointer("/graph_module/graph/nodes")?.as_array());
    let first = nodes.and_then(|nodes| nodes.first()?.pointer("/outputs/0/as_tensor/name")?.as_str());
    let lists = [
        vec![edit("prepare", "", &[])],
        of(&["quantize-value"], first.unwrap_or("x")),
        of(&["quantize-value"], "x"),
        vec![edit("unquantize", "linear", &[("if-any", "")]), edit("convert", "", &[("to", "float")])],
    ];
    let lists: Vec<&[Edit]> = lists.iter().map(Vec::as_slice).collect();
    change(&targets::program_file(bytes), ".pt2", &lists);
}
