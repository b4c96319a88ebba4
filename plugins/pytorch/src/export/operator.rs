//! What operators of a graph do when they are quantized, as PyTorch's quantizer for XNNPACK has it.

use super::json;
use super::layers::target;
use serde_json::Value;

/// What a node does with codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A product of an input with a weight, whose channels are on this axis, counted from the end if negative.
    Weighted { input: usize, weight: usize, axis: i64 },
    /// Real numbers in all operands: additions, products of two values, concatenations.
    All,
    /// Averages of neighbours, with the codes of the input.
    Pool,
    /// Means along dimensions.
    Mean,
    /// Moves values: the result has the codes of the input, if that has any.
    Move,
    /// A clamp: what it reads gets no codes if nothing else reads it.
    Clamp,
}

/// The name of an operator without what in-place forms add; empty for operators that are not PyTorch's own.
pub fn stem(node: &Value) -> &str {
    match target(node) {
        ("aten", name) => name.strip_suffix('_').filter(|stem| !stem.ends_with('_')).unwrap_or(name),
        _ => "",
    }
}

/// Whether a node writes its result into its first operand.
pub fn is_in_place(node: &Value) -> bool {
    let (domain, name) = target(node);
    domain == "aten" && name.ends_with('_') && !name.ends_with("__")
}

/// Whether the result of a node may share memory with its first operand.
pub fn is_view(node: &Value) -> bool {
    is_in_place(node) || is_no_op(node) || rule(node) == Some(Rule::Move) && stem(node) != "max_pool2d"
}

/// `None` for operators that stay as they are.
pub fn rule(node: &Value) -> Option<Rule> {
    Some(match stem(node) {
        "conv1d" | "conv2d" | "conv3d" | "linear" => Rule::Weighted { input: 0, weight: 1, axis: 0 },
        "conv_transpose1d" | "conv_transpose2d" | "conv_transpose3d" => {
            Rule::Weighted { input: 0, weight: 1, axis: 1 }
        }
        "convolution" => {
            let is_transposed = json::inputs(node).nth(6).and_then(|flag| flag.get("as_bool")?.as_bool());
            Rule::Weighted { input: 0, weight: 1, axis: i64::from(is_transposed == Some(true)) }
        }
        "addmm" => Rule::Weighted { input: 1, weight: 2, axis: 1 },
        // With a stored matrix; otherwise all operands are values.
        "mm" | "matmul" => Rule::Weighted { input: 0, weight: 1, axis: -1 },
        "bmm" | "add" | "mul" | "cat" => Rule::All,
        "adaptive_avg_pool1d" | "adaptive_avg_pool2d" | "avg_pool1d" | "avg_pool2d" => Rule::Pool,
        "mean" => Rule::Mean,
        "max_pool1d" | "max_pool2d" | "max_pool3d" | "flatten" | "view" | "reshape" | "permute"
        | "transpose" | "t" | "squeeze" | "unsqueeze" | "unflatten" | "contiguous" | "slice" | "select"
        | "expand" | "chunk" | "split" | "split_with_sizes" | "unbind" | "pixel_shuffle"
        | "pixel_unshuffle" | "channel_shuffle" | "clone" | "dropout" => Rule::Move,
        "relu" | "relu6" | "hardtanh" | "clamp" => Rule::Clamp,
        _ => return None,
    })
}

/// Whether a node passes its first operand on unchanged, as `Dropout` does after training.
pub fn is_no_op(node: &Value) -> bool {
    match stem(node) {
        "alias" | "detach" => true,
        "dropout" | "feature_dropout" | "alpha_dropout" => {
            json::argument(node, "train").and_then(|flag| flag.get("as_bool")?.as_bool()) == Some(false)
        }
        _ => false,
    }
}

/// Whether a node exchanges the two dimensions of a matrix of that rank.
pub fn is_transposition(node: &Value, rank: usize) -> bool {
    let number = |at: usize| json::inputs(node).nth(at)?.get("as_int")?.as_i64();
    rank == 2
        && match stem(node) {
            "t" => true,
            "transpose" => {
                matches!((number(1), number(2)), (Some(0 | -2), Some(1 | -1)) | (Some(1 | -1), Some(0 | -2)))
            }
            "permute" => {
                let order = json::inputs(node).nth(1).and_then(|order| order.get("as_ints")?.as_array());
                let order: Option<Vec<i64>> =
                    order.map(|order| order.iter().filter_map(Value::as_i64).collect());
                matches!(order.as_deref(), Some([1 | -1, 0 | -2]))
            }
            _ => false,
        }
}

/// Whether a node takes codes for the stored tensor of that name in the graph: as a weight, or as an operand.
pub fn takes_codes(node: &Value, name: &str, rank: usize) -> bool {
    let is_it =
        |at: usize| json::inputs(node).nth(at).is_some_and(|input| json::tensor_names(input) == [name]);
    match rule(node) {
        Some(Rule::Weighted { weight, .. }) => is_it(weight),
        Some(Rule::All) => true,
        Some(Rule::Move) => is_transposition(node, rank) && is_it(0),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(target: &str, arguments: &[Value]) -> Value {
        let inputs: Vec<Value> = arguments.iter().map(|arg| json!({"name": "", "arg": arg})).collect();
        json!({"target": target, "inputs": inputs})
    }

    #[test]
    fn in_place_forms_do_what_the_others_do() {
        let relu = node("torch.ops.aten.relu_.default", &[]);
        assert_eq!((stem(&relu), rule(&relu), is_in_place(&relu)), ("relu", Some(Rule::Clamp), true));
        let and = node("torch.ops.aten.__and__.Tensor", &[]);
        assert_eq!((stem(&and), is_in_place(&and)), ("__and__", false));
        assert_eq!(rule(&node("torch.ops.mine.relu.default", &[])), None);
    }

    #[test]
    fn a_matrix_is_transposed_by_three_operators() {
        let tensor = json!({"as_tensor": {"name": "w"}});
        let of = |target: &str, rest: &[Value]| node(target, &[std::slice::from_ref(&tensor), rest].concat());
        assert!(is_transposition(&of("torch.ops.aten.t.default", &[]), 2));
        let permute = |order: &[i64]| of("torch.ops.aten.permute.default", &[json!({"as_ints": order})]);
        assert!(is_transposition(&permute(&[1, 0]), 2) && !is_transposition(&permute(&[0, 1]), 2));
        let transpose = of("torch.ops.aten.transpose.int", &[json!({"as_int": -1}), json!({"as_int": 0})]);
        assert!(is_transposition(&transpose, 2) && !is_transposition(&transpose, 3));
    }
}
