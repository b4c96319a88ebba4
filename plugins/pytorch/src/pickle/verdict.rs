//! What loading a pickle with Python would do besides building data.

use super::globals::{Standing, standing};
use super::value::{Creation, Global, Object, Pickle, Ref, Value};
use qp_abi::sdk::{Finding, RString, Severity};
use std::collections::BTreeSet;

/// Subjects that a finding lists at most.
const MAX_SUBJECTS: usize = 64;

/// The findings about a pickle, the gravest first; none when it only builds known data.
pub fn findings(pickle: &Pickle) -> Vec<Finding> {
    let mut dangerous = BTreeSet::new();
    let mut unknown = BTreeSet::new();
    let mut changed = BTreeSet::new();
    let mut computed = false;
    let attribute_reads_are_harmless = attribute_reads_are_harmless(pickle);
    for value in pickle.values() {
        match value {
            Value::Global(global) => match standing(global) {
                Standing::Known => {}
                Standing::Dangerous if is_getattr(global) && attribute_reads_are_harmless => {}
                Standing::Unknown => drop(unknown.insert(global.to_string())),
                Standing::Dangerous => drop(dangerous.insert(global.to_string())),
            },
            Value::Extension(code) => drop(unknown.insert(format!("copyreg extension {code}"))),
            Value::Object(object) => computed |= pickle.callable(object).is_none(),
            _ => {}
        }
    }
    for &at in pickle.changed_globals() {
        changed.insert(pickle.global(at).map(Global::to_string).unwrap_or_default());
    }
    let sources: Vec<String> =
        embedded_sources(pickle).into_iter().filter_map(|code| suspicion(&code)).collect();
    let mut findings = Vec::new();
    let mut add = |severity, code: &str, message: &str, subjects: Vec<String>| {
        let subjects = subjects.into_iter().take(MAX_SUBJECTS).map(RString::from).collect();
        findings.push(Finding { severity, code: code.into(), message: message.into(), subjects });
    };
    if !dangerous.is_empty() {
        let message = "loading this file with `torch.load` would run more than PyTorch's own code";
        add(Severity::DANGER, "pickle.dangerous-global", message, dangerous.into_iter().collect());
    }
    if computed {
        let message = "the pickle calls what it has computed itself, which hides what would run";
        add(Severity::DANGER, "pickle.computed-call", message, Vec::new());
    }
    if !changed.is_empty() {
        let message = "the pickle would change classes or modules of the Python that loads it";
        add(Severity::DANGER, "pickle.changed-global", message, changed.into_iter().collect());
    }
    if !sources.is_empty() {
        let message =
            "the file holds Python source that `torch.load` would run, and it is not just a traced graph";
        add(Severity::DANGER, "pickle.embedded-source", message, sources);
    } else if !embedded_sources(pickle).is_empty() {
        let message = "the file holds the Python source of an fx graph, which `torch.load` would run";
        add(Severity::WARNING, "pickle.embedded-source", message, vec!["GraphModule.forward".to_owned()]);
    }
    if !unknown.is_empty() {
        let message =
            "the pickle names classes or functions that are not PyTorch's; Python would import them";
        add(Severity::WARNING, "pickle.unknown-global", message, unknown.into_iter().collect());
    }
    findings
}

/// Whether the findings forbid handing the file to its own tool.
pub fn is_dangerous(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::DANGER)
}

fn is_getattr(global: &Global) -> bool {
    global.is("builtins", "getattr")
}

/// PyTorch pickles `torch.add` and its like as `getattr(torch._C._VariableFunctionsClass, "add")`. That is
/// the one harmless use of `getattr`; any other use, also as a mere argument, is not.
fn attribute_reads_are_harmless(pickle: &Pickle) -> bool {
    let Some(getattr) =
        pickle.values().iter().position(|value| matches!(value, Value::Global(global) if is_getattr(global)))
    else {
        return true;
    };
    let getattr = Ref(getattr as u32);
    pickle.root() != getattr
        && !pickle.changed_globals().contains(&getattr)
        && pickle.values().iter().all(|value| match value {
            Value::Object(object) if object.callable == getattr => reads_a_torch_function(pickle, object),
            other => !mentions(other, getattr),
        })
}

fn reads_a_torch_function(pickle: &Pickle, object: &Object) -> bool {
    let [class, name] = pickle.arguments(object) else { return false };
    let is_class = pickle.global(*class).is_some_and(|class| class.is("torch._C", "_VariableFunctionsClass"));
    let is_plain_name = pickle.text(*name).is_some_and(|name| {
        !name.starts_with('_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && name != "from_file"
    });
    let is_left_alone = object.state.is_none() && object.items.is_empty() && object.elements.is_empty();
    object.creation == Creation::Call && is_class && is_plain_name && is_left_alone
}

fn mentions(value: &Value, wanted: Ref) -> bool {
    match value {
        Value::List(elements) | Value::Tuple(elements) | Value::Set(elements) => elements.contains(&wanted),
        Value::Dict(entries) => entries.iter().any(|&(key, value)| key == wanted || value == wanted),
        Value::Persistent(id) => *id == wanted,
        Value::Object(object) => {
            object.arguments == wanted
                || object.keywords == Some(wanted)
                || object.state == Some(wanted)
                || object.elements.contains(&wanted)
                || object.items.iter().any(|&(key, value)| key == wanted || value == wanted)
        }
        _ => false,
    }
}

/// What stands for a source that the pickle does not hold as plain text: no traced graph has that.
const COMPUTED_SOURCE: &str = "<computed source>";

/// The Python sources that `reduce_graph_module(body, import_block)` would run: the imports, then `forward`.
/// Whatever would hide them, a name or a text that is computed or a call by another's hand, is a source too.
fn embedded_sources(pickle: &Pickle) -> Vec<String> {
    let is_reducer = |value: &Value| {
        matches!(value, Value::Global(global)
            if global.module == "torch.fx.graph_module" && global.name.starts_with("reduce_"))
    };
    let reducers: Vec<Ref> = (0_u32..)
        .map(Ref)
        .zip(pickle.values())
        .filter(|(_, value)| is_reducer(value))
        .map(|(at, _)| at)
        .collect();
    let mut sources = Vec::new();
    for value in pickle.values() {
        if reducers.iter().any(|&reducer| mentions(value, reducer)) {
            sources.push(COMPUTED_SOURCE.to_owned());
        }
        if let Value::Object(object) = value
            && reducers.contains(&object.callable)
        {
            sources.extend(graph_sources(pickle, object));
        }
    }
    sources
}

fn graph_sources(pickle: &Pickle, object: &Object) -> Vec<String> {
    let computed = || vec![COMPUTED_SOURCE.to_owned()];
    let [body, imports @ ..] = pickle.arguments(object) else { return computed() };
    let Some(imports) = imports.iter().map(|&import| pickle.text(import)).collect::<Option<Vec<_>>>() else {
        return computed();
    };
    let Some(entries) = pickle.entries(*body) else { return computed() };
    let mut sources = Vec::new();
    // A name may be set twice, and the first may be the one that counts when the call happens.
    for (name, value) in entries {
        match (pickle.text(name), pickle.text(value)) {
            (None, _) | (Some("_code" | "code" | "_graphmodule_code"), None) => return computed(),
            (Some("_code" | "code" | "_graphmodule_code"), Some(code)) => {
                sources.push(format!("{}{code}", imports.concat()));
            }
            _ => {}
        }
    }
    if sources.is_empty() { computed() } else { sources }
}

/// The first line of `source` that a traced graph does not have; `None` when all of it is imports of
/// PyTorch's modules and functions without calls in their signature or names that run things.
fn suspicion(source: &str) -> Option<String> {
    const MODULES: &[&str] = &["torch", "torchvision", "torchao", "math", "operator", "typing", "onnx2torch"];
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
            ["import", module]
            | ["import", module, "as", _]
            | ["from", module, "import", _]
            | ["from", module, "import", _, "as", _] => {
                MODULES.contains(&root(module).as_str()) && !line.contains(';')
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
