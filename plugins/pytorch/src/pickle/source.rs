//! The Python source that pickles of fx modules hold, and that PyTorch runs when it loads them.

use super::value::{Object, Pickle, Ref, Value};
use std::collections::HashSet;

/// What stands for a source that the pickle does not hold as plain text: no traced graph has that.
const COMPUTED_SOURCE: &str = "<computed source>";
/// Bytes of source that are judged; a pickle may have one long source called a million times.
const MAX_SOURCE_BYTES: usize = 8 << 20;

/// The sources of a pickle.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// Whether there is one.
    pub(super) are_there: bool,
    /// What is in them that a traced graph does not have.
    pub(super) suspicions: Vec<String>,
    /// The functions of PyTorch that run them.
    pub(super) reducers: HashSet<Ref>,
}

/// Judges what `reduce_graph_module(body, import_block)` would run: the imports, then `forward`. Whatever would
/// hide it, a name or a text that is computed or a call by another's hand, is a suspicious source too.
pub(super) fn sources(pickle: &Pickle) -> Sources {
    let is_reducer = |value: &Value| {
        matches!(value, Value::Global(global)
            if global.module == "torch.fx.graph_module" && global.name.starts_with("reduce_"))
    };
    let reducers: HashSet<Ref> =
        pickle.enumerated().filter(|(_, value)| is_reducer(value)).map(|(at, _)| at).collect();
    let mut sources = Sources { reducers, ..Sources::default() };
    if sources.reducers.is_empty() {
        return sources;
    }
    let mut left = MAX_SOURCE_BYTES;
    let mut suspicions = HashSet::new();
    for value in pickle.values() {
        let mut found = Vec::new();
        if value.mentions(|at| sources.reducers.contains(&at)) {
            found.push(COMPUTED_SOURCE.to_owned());
        }
        if let Value::Object(object) = value
            && sources.reducers.contains(&object.callable)
        {
            match graph_suspicions(pickle, object, &mut left) {
                Some(suspicions) => found.extend(suspicions),
                None => found.push(COMPUTED_SOURCE.to_owned()),
            }
            sources.are_there = true;
        }
        for suspicion in found {
            if suspicions.insert(suspicion.clone()) {
                sources.suspicions.push(suspicion);
            }
        }
    }
    sources.are_there |= !sources.suspicions.is_empty();
    sources
}

/// What is suspicious in the sources of one call; `None` when they are not there as texts.
fn graph_suspicions(pickle: &Pickle, object: &Object, left: &mut usize) -> Option<Vec<String>> {
    let [body, imports @ ..] = pickle.arguments(object) else { return None };
    let imports = imports.iter().map(|&import| pickle.text(import)).collect::<Option<Vec<_>>>()?;
    let mut found = Vec::new();
    let mut is_there = false;
    // A name may be set twice, and the first may be the one that counts when the call happens.
    for (name, value) in pickle.entries(*body)? {
        if !matches!(pickle.text(name)?, "_code" | "code" | "_graphmodule_code") {
            continue;
        }
        let code = pickle.text(value)?;
        let length = imports.iter().map(|import| import.len()).sum::<usize>() + code.len();
        *left = left.checked_sub(length)?;
        found.extend(suspicion(&format!("{}{code}", imports.concat())));
        is_there = true;
    }
    is_there.then_some(found)
}

/// The first line of `source` that a traced graph does not have; `None` when all of it is imports of
/// PyTorch's modules and functions without calls in their signature or names that run things.
pub(super) fn suspicion(source: &str) -> Option<String> {
    const MODULES: &[&str] =
        &["torch", "torchvision", "torchao", "math", "operator", "_operator", "typing", "onnx2torch"];
    /// Functions of Python's own that graphs call, and that every source has without an import.
    const BUILTINS: &[&str] = &[
        "abs",
        "bool",
        "float",
        "getattr",
        "int",
        "isinstance",
        "len",
        "max",
        "min",
        "round",
        "slice",
        "sum",
    ];
    const WRAP: &str = "torch.fx._symbolic_trace.wrap(\"";
    const RUNNING: &[&str] = &[
        "__import__",
        "__builtins__",
        "__globals__",
        "__class__",
        "__subclasses__",
        "__getattribute__",
        "__dict__",
        "eval(",
        "exec(",
        "compile(",
        "open(",
        "os.",
        "sys.",
        "subprocess",
        "globals(",
        "import ",
        "lambda",
    ];
    source.lines().map(str::trim_end).find_map(|line| {
        let is_indented = line.starts_with([' ', '\t']);
        let words: Vec<&str> = line.split_whitespace().collect();
        let root = |module: &str| module.split(['.', ',']).next().unwrap_or_default().to_owned();
        let is_harmless = match words.as_slice() {
            _ if line.ends_with('\\') => false,
            [] | ["NoneType", "=", "type(None)"] => true,
            [first, ..] if first.starts_with('#') => true,
            _ if is_indented => !RUNNING.iter().any(|word| line.contains(word)),
            ["from", "builtins", "import", name, "as", same] => name == same && BUILTINS.contains(name),
            ["import", module]
            | ["import", module, "as", _]
            | ["from", module, "import", _]
            | ["from", module, "import", _, "as", _] => {
                MODULES.contains(&root(module).as_str()) && !line.contains(';')
            }
            // A function of the imports that is not to be followed when the graph is traced again.
            [line] if line.starts_with(WRAP) => {
                let name = line.strip_prefix(WRAP).and_then(|rest| rest.strip_suffix("\")"));
                name.is_some_and(|name| name.chars().all(|c| c.is_alphanumeric() || c == '_'))
            }
            ["def", ..] => {
                line.matches('(').count() == 1
                    && line.ends_with(':')
                    && !RUNNING.iter().any(|word| line.contains(word))
            }
            _ => false,
        };
        (!is_harmless).then(|| line.trim().chars().take(120).collect())
    })
}

#[cfg(test)]
mod tests {
    use super::suspicion;

    #[test]
    fn the_imports_of_a_graph_are_told_from_others() {
        for line in [
            "import torch",
            "from builtins import getattr as getattr",
            "from math import sqrt as math_sqrt",
            "from _operator import abs as _operator_abs",
            "torch.fx._symbolic_trace.wrap(\"math_sqrt\")",
        ] {
            assert_eq!(suspicion(line), None);
        }
        for line in [
            "import os",
            "from builtins import eval as eval",
            "from builtins import exec as getattr",
            "from builtins import getattr",
            "torch.fx._symbolic_trace.wrap(\"a\" + print(\"b\"))",
            "torch.fx._symbolic_trace.wrap(\"a\");print(\"b\")",
            "torch.hub.load(\"a\")",
        ] {
            assert!(suspicion(line).is_some(), "{line}");
        }
    }
}
