//! What a line of a graph's source names, by its tokens.

use super::judgement::Judgement;
use super::known::{
    self, FOREIGN, HIDING, MODULES, REACHING, WRITING, is_called_plainly, is_computing, is_word,
};
use crate::pickle::danger;
use crate::pickle::value::Global;
use crate::python::{Kind, Token};
use std::collections::{HashMap, HashSet};

/// What a line or a part of it amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing, or a name that is merely unknown.
    Harmless,
    /// It runs, writes or hides.
    Danger,
}

/// Reads statements one after the other.
pub(super) struct Reader<'a> {
    /// The dotted paths after imported names.
    aliases: HashMap<String, String>,
    /// Those of the definitions so far, and variables: values, whatever else has their name.
    parameters: HashSet<String>,
    judgement: &'a mut Judgement,
}

impl<'a> Reader<'a> {
    /// A reader of a source that has imported nothing yet.
    pub(super) fn new(judgement: &'a mut Judgement) -> Self {
        Self { aliases: known::implicit(), parameters: HashSet::new(), judgement }
    }

    /// Judges a logical line. Names that are merely unknown are noted.
    pub(super) fn statement(&mut self, statement: &[Token<'_>]) -> Verdict {
        let kinds: Vec<&Kind<'_>> = statement
            .iter()
            .map(|token| &token.kind)
            .filter(|kind| !matches!(kind, Kind::Indent | Kind::Dedent | Kind::Newline))
            .collect();
        match kinds.first() {
            Some(Kind::Name("import" | "from")) => self.import(&kinds),
            // A decorator.
            Some(Kind::Symbol("@")) => Verdict::Danger,
            Some(Kind::Name("def")) => {
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

    /// Notes a line that is a danger.
    pub(super) fn danger(&mut self, line: &str) {
        self.judgement.danger(line);
    }

    /// `import a.b as c`, `import a, b`, `from a.b import c as d, e`.
    fn import(&mut self, kinds: &[&Kind<'_>]) -> Verdict {
        let mut at = 1;
        let is_from = matches!(kinds.first(), Some(Kind::Name("from")));
        let mut module = String::new();
        if is_from {
            let Some(path) = dotted(kinds, &mut at) else { return Verdict::Danger };
            module = path;
            if !matches!(kinds.get(at), Some(Kind::Name("import"))) {
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
            if matches!(kinds.get(at), Some(Kind::Name("as"))) {
                let Some(Kind::Name(name)) = kinds.get(at + 1) else { return Verdict::Danger };
                (alias, target) = ((*name).to_owned(), full.clone());
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

    fn expressions(&mut self, kinds: &[&Kind<'_>]) -> Verdict {
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
            if is_prefix && !is_word(word) || HIDING.contains(word) || !word.is_ascii() {
                return Verdict::Danger;
            }
            if FOREIGN.contains(word) {
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
                    Some([Kind::Name("None"), Kind::Symbol(")")]) => Verdict::Harmless,
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
            if is_called_plainly(first) {
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

/// `getattr(self.layer1, "0")`: a submodule whose name is not an identifier, also of another such call. `at` is where its
/// arguments begin; gives where they end.
fn own_member(kinds: &[&Kind<'_>], at: usize) -> Option<usize> {
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
fn assigned(kinds: &[&Kind<'_>]) -> Vec<String> {
    let mut depth = 0_usize;
    let mut names = Vec::new();
    for pair in kinds.windows(2) {
        match pair {
            [Kind::Symbol("(" | "[" | "{"), _] => depth += 1,
            [Kind::Symbol(")" | "]" | "}"), _] => depth = depth.saturating_sub(1),
            [Kind::Name(name), Kind::Symbol("=")] if depth == 0 => names.push((*name).to_owned()),
            _ => {}
        }
    }
    names
}

/// The parameters of a definition, and all else of its line.
fn parameters<'a>(kinds: &[&'a Kind<'a>]) -> (Vec<String>, Vec<&'a Kind<'a>>) {
    let (mut names, mut rest) = (Vec::new(), Vec::new());
    let mut depth = 0_usize;
    let mut may_be_name = false;
    for &kind in kinds.iter().skip(2) {
        match kind {
            Kind::Symbol("(" | "[" | "{") => depth += 1,
            Kind::Symbol(")" | "]" | "}") => depth = depth.saturating_sub(1),
            Kind::Name(name) if may_be_name && depth == 1 && name.is_ascii() => {
                names.push((*name).to_owned());
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

/// The dotted path at `at`, which moves after it.
fn dotted(kinds: &[&Kind<'_>], at: &mut usize) -> Option<String> {
    let Some(Kind::Name(first)) = kinds.get(*at) else { return None };
    let mut path = (*first).to_owned();
    *at += 1;
    while let (Some(Kind::Symbol(".")), Some(Kind::Name(name))) = (kinds.get(*at), kinds.get(*at + 1)) {
        path.push('.');
        path.push_str(name);
        *at += 2;
    }
    Some(path)
}
