//! What the source of a graph may name, and what it may not.

use crate::pickle::list::{self, Form};
use crate::python::is_builtin;
use qp_pytorch_contract::operator_list::{Standing, standing};
use std::collections::HashMap;

/// Names that a graph's source has without an import.
pub(super) fn implicit() -> HashMap<String, String> {
    ["torch", "math", "operator", "builtins"]
        .iter()
        .map(|name| ((*name).to_owned(), (*name).to_owned()))
        .collect()
}

/// Modules that a graph imports, or takes functions from.
pub(super) const MODULES: &[&str] = &[
    "_operator",
    "builtins",
    "math",
    "operator",
    "torch",
    "torch._C",
    "torch._C._nn",
    "torch._ops",
    "torch.functional",
    "torch.fx",
    "torch.fx._pytree",
    "torch.fx._symbolic_trace",
    "torch.nn",
    "torch.nn.functional",
    "torch.ops",
    "torch.utils._pytree",
    "torchvision",
    "torchvision.ops",
    "typing",
];
/// Functions of `math` and `operator` that do not compute alone.
const NOT_ARITHMETIC: &[&str] =
    &["attrgetter", "call", "delitem", "itemgetter", "methodcaller", "setitem", "concat", "iconcat"];
/// Methods that write files.
pub(super) const WRITING: &[&str] =
    &["dump", "dumps", "save", "tofile", "save_to_buffer", "_save_for_lite_interpreter"];
/// Methods that call what they are given, or reach what is not the graph's.
pub(super) const REACHING: &[&str] = &[
    "apply",
    "apply_",
    "map",
    "map_",
    "map2_",
    "load_state_dict",
    "numpy",
    "share_memory_",
    "add_module",
    "compile",
];
/// Words that no graph has. Where they are, what a name stands for is no longer seen.
pub(super) const HIDING: &[&str] = &["class", "exec", "from", "global", "import", "nonlocal", "print"];
/// Words that no graph has, and that hide nothing.
pub(super) const FOREIGN: &[&str] = &[
    "assert", "async", "await", "break", "continue", "def", "del", "lambda", "raise", "try", "while", "with",
    "yield",
];

/// Words of the language that stand between values.
pub(super) fn is_word(word: &str) -> bool {
    matches!(word, "return" | "in" | "is" | "not" | "and" | "or" | "if" | "else" | "elif" | "as")
}

/// What a graph calls by a name alone without importing it: functions of Python's, the types that values are printed with
/// (`device(type='cpu')`), and words before a bracket.
pub(super) fn is_called_plainly(name: &str) -> bool {
    (is_builtin(name) && name != "getattr") || is_word(name) || matches!(name, "device" | "wrap" | "forward")
}

/// Whether a path is one of PyTorch's or Python's computing functions, or one of their constants.
pub(super) fn is_computing(path: &str) -> bool {
    let Some((module, name)) = path.rsplit_once('.') else { return false };
    let is_listed = |module: &str| {
        list::form_of(module, name).is_some_and(|form| matches!(form, Form::Function | Form::Value))
    };
    match module {
        "torch" => {
            is_listed("torch")
                || is_listed("torch._C._VariableFunctionsClass")
                || is_listed("torch.functional")
                || matches!(
                    name,
                    "device" | "Tensor" | "Size" | "half" | "float" | "double" | "long" | "inf" | "nan"
                )
        }
        "torch.nn.functional" | "torch.functional" | "torch._C._nn" => is_listed(module),
        "math" | "operator" | "_operator" => !NOT_ARITHMETIC.contains(&name) && !name.starts_with("__"),
        "typing" => matches!(name, "Any" | "Dict" | "List" | "Optional" | "Tuple" | "Union"),
        "builtins" => is_builtin(name),
        "torch.fx._symbolic_trace" => name == "wrap",
        "torch.fx._pytree" => name == "tree_flatten_spec",
        "torch.utils._pytree" => matches!(name, "tree_flatten" | "tree_unflatten"),
        _ => {
            let mut parts = path.strip_prefix("torch.ops.").unwrap_or_default().split('.');
            let operator = parts.next().zip(parts.next());
            operator.is_some_and(|(namespace, name)| {
                standing(&format!("{namespace}::{name}")) == Standing::Allowed
            })
        }
    }
}
