//! The Python source that pickles of fx modules hold. PyTorch runs it when it loads them: the imports, the
//! definition of `forward`, and `forward` itself, which it traces again. No file with such a source is safe; what
//! the source names decides between unknown and dangerous.

use super::danger;
use super::list::{self, Form};
use super::value::{Global, Object, Pickle, Ref, Value};
use crate::forward::python::{Kind, Token, tokens};
use std::collections::{HashMap, HashSet};

/// What stands for a source that the pickle does not hold as plain text: no traced graph has that.
const COMPUTED_SOURCE: &str = "<computed source>";
/// Bytes of source that are judged; a pickle may have one long source called a million times.
const MAX_SOURCE_BYTES: usize = 8 << 20;

/// The sources of a pickle.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// Whether there is one.
    pub(super) are_there: bool,
    /// Lines that no traced graph has, or that run, write, load or connect.
    pub(super) dangers: Vec<String>,
    /// What they call that is neither a module's own nor one of PyTorch's computing functions.
    pub(super) unknown: Vec<String>,
    /// The functions of PyTorch that run them.
    pub(super) reducers: HashSet<Ref>,
}

/// Judges what `reduce_graph_module(body, import_block)` would run: the imports, then `forward`. Whatever would
/// hide it, a name or a text that is computed or a call by another's hand, is dangerous too.
pub(super) fn sources(pickle: &Pickle) -> Sources {
    let is_reducer = |value: &Value| matches!(value, Value::Global(global) if list::form(global).is_some_and(|form| *form == Form::Source));
    let reducers: HashSet<Ref> =
        pickle.enumerated().filter(|(_, value)| is_reducer(value)).map(|(at, _)| at).collect();
    let mut sources = Sources { reducers, ..Sources::default() };
    if sources.reducers.is_empty() {
        return sources;
    }
    let mut left = MAX_SOURCE_BYTES;
    let mut judgement = Judgement::default();
    for value in pickle.values() {
        if value.mentions(|at| sources.reducers.contains(&at)) {
            judgement.danger(COMPUTED_SOURCE);
        }
        if let Value::Object(object) = value
            && sources.reducers.contains(&object.callable)
        {
            if judge_call(pickle, object, &mut left, &mut judgement).is_none() {
                judgement.danger(COMPUTED_SOURCE);
            }
            sources.are_there = true;
        }
    }
    sources.are_there |= !judgement.dangers.is_empty();
    (sources.dangers, sources.unknown) = (judgement.dangers, judgement.unknown);
    sources
}

/// Judges the sources of one call; `None` when they are not there as texts.
fn judge_call(pickle: &Pickle, object: &Object, left: &mut usize, judgement: &mut Judgement) -> Option<()> {
    let [body, imports @ ..] = pickle.arguments(object) else { return None };
    let imports = imports.iter().map(|&import| pickle.text(import)).collect::<Option<Vec<_>>>()?;
    let mut is_there = false;
    // A name may be set twice, and the first may be the one that counts when the call happens.
    for (name, value) in pickle.entries(*body)? {
        if !matches!(pickle.text(name)?, "_code" | "code" | "_graphmodule_code") {
            continue;
        }
        let code = pickle.text(value)?;
        let length = imports.iter().map(|import| import.len()).sum::<usize>() + code.len();
        *left = left.checked_sub(length)?;
        judgement.add(&format!("{}{code}", imports.concat()));
        is_there = true;
    }
    is_there.then_some(())
}

/// What is wrong with sources, each line and name once.
#[derive(Debug, Default)]
struct Judgement {
    dangers: Vec<String>,
    unknown: Vec<String>,
    seen: HashSet<String>,
}

impl Judgement {
    fn danger(&mut self, line: &str) {
        let line: String = line.trim().chars().take(120).collect();
        if self.seen.insert(line.clone()) {
            self.dangers.push(line);
        }
    }

    fn doubt(&mut self, name: &str) {
        let name: String = name.chars().take(120).collect();
        if self.seen.insert(name.clone()) {
            self.unknown.push(name);
        }
    }

    fn add(&mut self, source: &str) {
        let lines: Vec<&str> = source.lines().collect();
        let line = |number: usize| lines.get(number.saturating_sub(1)).copied().unwrap_or_default();
        // Python ends a line, and a comment, at a carriage return too.
        if let Some(hiding) = source.split('\n').find(|line| line.contains(['\r', '\x0c', '\0'])) {
            return self.danger(&hiding.escape_debug().to_string());
        }
        let tokens = match tokens(source) {
            Ok(tokens) => tokens,
            Err((number, _)) => return self.danger(line(number)),
        };
        let mut reader = Reader { aliases: implicit(), parameters: HashSet::new(), judgement: self };
        let mut rest = tokens.as_slice();
        while !rest.is_empty() {
            let end =
                rest.iter().position(|token| token.kind == Kind::Newline).map_or(rest.len(), |end| end + 1);
            let (statement, after) = rest.split_at(end);
            let number = statement.iter().map(|token| token.line).min().unwrap_or(0);
            if reader.statement(statement) == Verdict::Danger {
                reader.judgement.danger(line(number));
            }
            rest = after;
        }
    }
}

/// What a logical line amounts to; names that are merely unknown are noted at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Harmless,
    Danger,
}

/// Names that a graph's source has without an import.
fn implicit() -> HashMap<String, String> {
    ["torch", "math", "operator", "builtins"]
        .iter()
        .map(|name| ((*name).to_owned(), (*name).to_owned()))
        .collect()
}

/// Modules that a graph imports, or takes functions from.
const MODULES: &[&str] = &[
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
/// Namespaces of operators.
const OPERATORS: &[&str] =
    &["aten", "mkldnn", "onednn", "prims", "quantized", "quantized_decomposed", "torchao", "torchvision"];
/// Functions of Python's own that graphs call.
const BUILTINS: &[&str] = &[
    "abs",
    "bool",
    "float",
    "int",
    "isinstance",
    "len",
    "list",
    "max",
    "min",
    "range",
    "round",
    "slice",
    "sum",
    "tuple",
];
/// Functions of `math` and `operator` that do not compute alone.
const NOT_ARITHMETIC: &[&str] =
    &["attrgetter", "call", "delitem", "itemgetter", "methodcaller", "setitem", "concat", "iconcat"];
/// Methods that write files.
const WRITING: &[&str] = &["dump", "dumps", "save", "tofile", "save_to_buffer", "_save_for_lite_interpreter"];
/// Methods that call what they are given, or reach what is not the graph's.
const REACHING: &[&str] = &[
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
const HIDING: &[&str] = &["class", "exec", "from", "global", "import", "nonlocal", "print"];
/// Words that no graph has, and that hide nothing.
const FOREIGN: &[&str] = &[
    "assert", "async", "await", "break", "continue", "def", "del", "lambda", "raise", "try", "while", "with",
    "yield",
];

struct Reader<'a> {
    /// The dotted paths behind imported names.
    aliases: HashMap<String, String>,
    /// Those of the definitions so far, and variables: values, whatever else has their name.
    parameters: HashSet<String>,
    judgement: &'a mut Judgement,
}

impl Reader<'_> {
    fn statement(&mut self, statement: &[Token]) -> Verdict {
        let kinds: Vec<&Kind> = statement
            .iter()
            .map(|token| &token.kind)
            .filter(|kind| !matches!(kind, Kind::Indent | Kind::Dedent | Kind::Newline))
            .collect();
        match kinds.first() {
            Some(Kind::Name(word)) if word == "import" || word == "from" => self.import(&kinds),
            // A decorator.
            Some(Kind::Symbol("@")) => Verdict::Danger,
            Some(Kind::Name(word)) if word == "def" => {
                // Annotations and defaults are evaluated before the parameters are there.
                let (names, rest) = parameters(&kinds);
                let verdict = self.expressions(&rest);
                self.parameters.extend(names);
                verdict
            }
            _ => {
                let verdict = self.expressions(&kinds);
                // A name of Python's own that is set in some branch may still be Python's.
                let set = assigned(&kinds).into_iter();
                let aliases = &self.aliases;
                let set = set.filter(|name| !aliases.contains_key(name) && !danger::is_builtin(name));
                self.parameters.extend(set);
                verdict
            }
        }
    }

    /// `import a.b as c`, `import a, b`, `from a.b import c as d, e`.
    fn import(&mut self, kinds: &[&Kind]) -> Verdict {
        let mut at = 1;
        let is_from = matches!(kinds.first(), Some(Kind::Name(word)) if word == "from");
        let mut module = String::new();
        if is_from {
            let Some(path) = dotted(kinds, &mut at) else { return Verdict::Danger };
            module = path;
            if !matches!(kinds.get(at), Some(Kind::Name(word)) if word == "import") {
                return Verdict::Danger;
            }
            at += 1;
        }
        let mut verdict = Verdict::Harmless;
        loop {
            let Some(path) = dotted(kinds, &mut at) else { return Verdict::Danger };
            let full = if is_from { format!("{module}.{path}") } else { path.clone() };
            let mut alias = path.split('.').next().unwrap_or_default().to_owned();
            let mut target = if is_from { full.clone() } else { alias.clone() };
            if matches!(kinds.get(at), Some(Kind::Name(word)) if word == "as") {
                let Some(Kind::Name(name)) = kinds.get(at + 1) else { return Verdict::Danger };
                (alias, target) = (name.clone(), full.clone());
                at += 2;
            }
            if self.path(&full, true) == Verdict::Danger {
                verdict = Verdict::Danger;
            }
            self.aliases.insert(alias, target);
            match kinds.get(at) {
                None => return verdict,
                Some(Kind::Symbol(",")) => at += 1,
                Some(_) => return Verdict::Danger,
            }
        }
    }

    fn expressions(&mut self, kinds: &[&Kind]) -> Verdict {
        let mut verdict = Verdict::Harmless;
        let mut at = 0;
        while let Some(kind) = kinds.get(at) {
            let is_member = at > 0 && matches!(kinds.get(at - 1), Some(Kind::Symbol(".")));
            let Kind::Name(word) = kind else {
                at += 1;
                continue;
            };
            // A text with a prefix, which may hold expressions.
            let is_prefix = matches!(kinds.get(at + 1), Some(Kind::Text(_)));
            // Python takes letters that look alike for one another.
            if is_prefix && !is_word(word) || HIDING.contains(&word.as_str()) || !word.is_ascii() {
                return Verdict::Danger;
            }
            if FOREIGN.contains(&word.as_str()) {
                self.judgement.doubt(word);
                at += 1;
                continue;
            }
            let Some(path) = dotted(kinds, &mut at) else { return Verdict::Danger };
            let is_called = matches!(kinds.get(at), Some(Kind::Symbol("(")));
            let found = if is_member {
                self.members(path.split('.'))
            } else if is_called && (path == "getattr" || self.is_alias(&path, "builtins.getattr")) {
                match own_member(kinds, at) {
                    Some(_) => Verdict::Harmless,
                    None => Verdict::Danger,
                }
            } else if is_called && path == "type" {
                match kinds.get(at + 1..at + 3) {
                    Some([Kind::Name(none), Kind::Symbol(")")]) if none == "None" => Verdict::Harmless,
                    _ => Verdict::Danger,
                }
            } else {
                self.name(&path, is_called, matches!(kinds.get(at), Some(Kind::Symbol("="))))
            };
            if found == Verdict::Danger {
                verdict = Verdict::Danger;
            }
        }
        verdict
    }

    fn is_alias(&self, name: &str, path: &str) -> bool {
        self.aliases.get(name).is_some_and(|target| target == path)
    }

    /// A dotted path that begins with a name.
    fn name(&mut self, path: &str, is_called: bool, is_given: bool) -> Verdict {
        let (first, rest) = path.split_once('.').unwrap_or((path, ""));
        if self.parameters.contains(first) {
            return self.members(rest.split('.'));
        }
        if let Some(target) = self.aliases.get(first) {
            // `name=value` names a parameter.
            if is_given && rest.is_empty() {
                return Verdict::Harmless;
            }
            let full = if rest.is_empty() { target.clone() } else { format!("{target}.{rest}") };
            return self.path(&full, false);
        }
        if is_called && rest.is_empty() {
            if BUILTINS.contains(&first) || is_local_type(first) {
                return Verdict::Harmless;
            }
            if danger::is_dangerous(&Global::new("builtins", first)) || first.starts_with("__") {
                return Verdict::Danger;
            }
            // What a graph calls by a name alone is imported, or wrapped.
            self.judgement.doubt(first);
            return Verdict::Harmless;
        }
        if first.starts_with("__") || danger::is_dangerous(&Global::new("builtins", first)) && !is_given {
            return Verdict::Danger;
        }
        self.members(rest.split('.'))
    }

    /// Attributes and methods of values.
    fn members<'b>(&mut self, names: impl Iterator<Item = &'b str>) -> Verdict {
        for name in names {
            if name.starts_with("__") || WRITING.contains(&name) {
                return Verdict::Danger;
            }
            if REACHING.contains(&name) || name.starts_with("register_") {
                self.judgement.doubt(name);
            }
        }
        Verdict::Harmless
    }

    /// A path of modules and a function in the last.
    fn path(&mut self, path: &str, is_import: bool) -> Verdict {
        if MODULES.contains(&path) {
            // A module that is handed on is called where it is not seen.
            return if is_import { Verdict::Harmless } else { Verdict::Danger };
        }
        if is_computing(path) {
            return Verdict::Harmless;
        }
        let (module, name) = path.rsplit_once('.').unwrap_or(("", path));
        let is_dunder = path.split('.').any(|part| part.starts_with("__"));
        let writes = path.split('.').any(|part| WRITING.contains(&part));
        if is_dunder || writes || danger::is_dangerous(&Global::new(module, name)) || danger::is_module(path)
        {
            return Verdict::Danger;
        }
        self.judgement.doubt(path);
        Verdict::Harmless
    }
}

fn is_word(word: &str) -> bool {
    matches!(
        word,
        "return" | "in" | "is" | "not" | "and" | "or" | "if" | "else" | "elif" | "import" | "from" | "as"
    )
}

/// Names of the types that the printed form of values has: `device(type='cpu')`.
fn is_local_type(name: &str) -> bool {
    matches!(
        name,
        "device"
            | "wrap"
            | "forward"
            | "return"
            | "in"
            | "is"
            | "not"
            | "and"
            | "or"
            | "if"
            | "else"
            | "elif"
    )
}

/// `getattr(self.layer1, "0")`: a submodule whose name is no identifier, also of another such call. `at` is where its
/// arguments begin; gives where they end.
fn own_member(kinds: &[&Kind], at: usize) -> Option<usize> {
    // From the outside in, then the texts from the inside out.
    let mut at = at;
    let mut depth = 0_usize;
    loop {
        if !matches!(kinds.get(at), Some(Kind::Symbol("("))) {
            return None;
        }
        at += 1;
        depth += 1;
        let path = dotted(kinds, &mut at)?;
        match path.as_str() {
            "getattr" => {}
            path if path == "self" || path.starts_with("self.") => break,
            _ => return None,
        }
    }
    for _ in 0..depth {
        match kinds.get(at..at + 3) {
            Some([Kind::Symbol(","), Kind::Text(name), Kind::Symbol(")")]) if !name.starts_with("__") => {
                at += 3
            }
            _ => return None,
        }
        // Attributes of what was found.
        while let Some([Kind::Symbol("."), Kind::Name(_)]) = kinds.get(at..at + 2) {
            at += 2;
        }
    }
    Some(at)
}

/// The variables that a line sets: values, whatever else has their name.
fn assigned(kinds: &[&Kind]) -> Vec<String> {
    let mut depth = 0_usize;
    let mut names = Vec::new();
    for pair in kinds.windows(2) {
        match pair {
            [Kind::Symbol("(" | "[" | "{"), _] => depth += 1,
            [Kind::Symbol(")" | "]" | "}"), _] => depth = depth.saturating_sub(1),
            [Kind::Name(name), Kind::Symbol("=")] if depth == 0 => names.push(name.clone()),
            _ => {}
        }
    }
    names
}

/// The parameters of a definition, and all else of its line.
fn parameters<'a>(kinds: &[&'a Kind]) -> (Vec<String>, Vec<&'a Kind>) {
    let (mut names, mut rest) = (Vec::new(), Vec::new());
    let mut depth = 0_usize;
    let mut may_be_name = false;
    for &kind in kinds.iter().skip(2) {
        match kind {
            Kind::Symbol("(" | "[" | "{") => depth += 1,
            Kind::Symbol(")" | "]" | "}") => depth = depth.saturating_sub(1),
            Kind::Name(name) if may_be_name && depth == 1 && name.is_ascii() => {
                names.push(name.clone());
                may_be_name = false;
                continue;
            }
            _ => {}
        }
        may_be_name = match kind {
            Kind::Symbol("(" | ",") => depth == 1,
            Kind::Symbol("*" | "**") => may_be_name,
            _ => false,
        };
        rest.push(kind);
    }
    (names, rest)
}

/// The dotted path at `at`, which moves behind it.
fn dotted(kinds: &[&Kind], at: &mut usize) -> Option<String> {
    let Some(Kind::Name(first)) = kinds.get(*at) else { return None };
    let mut path = first.clone();
    *at += 1;
    while let (Some(Kind::Symbol(".")), Some(Kind::Name(name))) = (kinds.get(*at), kinds.get(*at + 1)) {
        path.push('.');
        path.push_str(name);
        *at += 2;
    }
    Some(path)
}

/// Whether a path is one of PyTorch's or Python's computing functions, or one of their constants.
fn is_computing(path: &str) -> bool {
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
        "builtins" => BUILTINS.contains(&name) || name == "getattr",
        "torch.fx._symbolic_trace" => name == "wrap",
        "torch.fx._pytree" => name == "tree_flatten_spec",
        "torch.utils._pytree" => matches!(name, "tree_flatten" | "tree_unflatten"),
        _ => {
            let mut parts = path.split('.');
            let is_operator = parts.next() == Some("torch") && parts.next() == Some("ops");
            let is_known = parts.next().is_some_and(|namespace| OPERATORS.contains(&namespace));
            is_operator && is_known && !matches!(parts.next(), Some("from_file" | "save" | "_print") | None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Judgement;

    fn judged(source: &str) -> Judgement {
        let mut judgement = Judgement::default();
        judgement.add(source);
        judgement
    }

    #[test]
    fn what_a_traced_graph_has_is_harmless() {
        for source in [
            "import torch\nfrom builtins import getattr as getattr\nfrom math import sqrt as math_sqrt\n",
            "from _operator import abs as _operator_abs\ntorch.fx._symbolic_trace.wrap(\"math_sqrt\")\n",
            "NoneType = type(None)\n",
            "import torch\ndef forward(self, x : torch.Tensor, y = None) -> torch.Tensor:\n    conv = self.conv(x);  x = None\n    add = torch.add(conv, 1);  conv = None\n    getattr_1 = getattr(getattr(self.layer1, \"0\").conv, \"1\")(add)\n    size = add.size(0)\n    relu = torch.nn.functional.relu(getattr_1, inplace = False)\n    return torch.flatten(relu, 1)\n",
            "def forward(self, input, max = None):\n    input_1 = input\n    return input_1 + max\n",
            "import torch\ndef forward(self, x):\n    a = torch.ops.aten.add.Tensor(x, 1)\n    return a\n",
        ] {
            let judgement = judged(source);
            assert!(judgement.dangers.is_empty() && judgement.unknown.is_empty(), "{judgement:?}");
        }
    }

    #[test]
    fn what_runs_or_hides_is_a_danger() {
        for line in [
            "import os",
            "import torch.utils.collect_env",
            "from builtins import eval as eval",
            "from builtins import exec as getattr",
            "torch.fx._symbolic_trace.wrap(\"a\" + print(\"b\"))",
            "torch.hub.load(\"a\")",
            "torch.save(x, \"a\")",
            "y = torch",
            "y = torch.nn",
            "y = getattr(torch, \"save\")",
            "y = x.__class__",
            "y = x.numpy().tofile(\"a\")",
            "y = f\"{x}\"",
            "open(\"a\", \"w\")",
            "y = operator.attrgetter(\"a\")",
            "y = (lambda: eval)()",
            "import \\",
            "@torch.jit.script",
            "def forward(self, x : exec(\"a\")):",
            "y = torch.ops.load_library(\"a\")",
            "y = torch.classes.load_library(\"a\")",
            "y = __builtins__",
            "y = eval",
            "y = x; import os",
            "# a comment\rimport os",
            "y = ｏｓ.system(x)",
            "def forward(self, x, y = eval):\n    y(x)",
            "def forward(self, x): import os",
        ] {
            assert!(!judged(line).dangers.is_empty(), "{line}: {:?}", judged(line));
        }
    }

    #[test]
    fn what_is_neither_is_named() {
        let judgement =
            judged("import onnx2torch.utils\ny = onnx2torch.utils.f(x)\nz = torch.jit.script(y)\ng(x)\n");
        assert_eq!(judgement.dangers, Vec::<String>::new());
        assert_eq!(judgement.unknown, ["onnx2torch.utils", "onnx2torch.utils.f", "torch.jit.script", "g"]);
    }
}
