//! What loading pickles with Python would do besides building data.

use super::call;
use super::globals::{Standing, standing};
use super::source;
use super::value::{Change, Creation, Effect, Global, Object, Pickle, Ref, Value};
use qp_abi::sdk::{Finding, RString, Severity};
use std::collections::{BTreeMap, HashSet};

/// Subjects that a finding lists at most.
const MAX_SUBJECTS: usize = 64;

/// What is known of the pickles of a file. Everything is in the order in which loading them would meet it.
#[derive(Debug, Default)]
pub struct Verdict {
    has_pickle: bool,
    dangerous: Subjects,
    unknown: Subjects,
    changed: Subjects,
    has_computed_call: bool,
    has_source: bool,
    suspicions: Subjects,
    calls: Vec<String>,
    /// Calls that are not listed.
    more_calls: usize,
}

/// Names, each once.
#[derive(Debug, Default)]
struct Subjects {
    names: Vec<String>,
    seen: HashSet<String>,
    /// Names that are not listed.
    more: usize,
}

impl Subjects {
    fn add(&mut self, name: String) {
        if self.seen.contains(&name) {
            return;
        }
        if self.names.len() >= MAX_SUBJECTS {
            self.more += 1;
            return;
        }
        self.seen.insert(name.clone());
        self.names.push(name);
    }

    fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    fn to_list(&self) -> Vec<String> {
        let more = (self.more > 0).then(|| format!("… and {} more", self.more));
        self.names.iter().cloned().chain(more).collect()
    }
}

impl Verdict {
    /// Adds a pickle. `nested` judges the files that a pickle holds as bytes and has PyTorch or Python load.
    pub fn add(&mut self, pickle: &Pickle, nested: &mut dyn FnMut(&[u8]) -> Self) {
        self.has_pickle = true;
        let nested = Nested::judge(pickle, nested);
        let sources = source::sources(pickle);
        let harmless = Harmless {
            getattr: only_use(pickle, is_getattr, reads_a_torch_function),
            load_from_bytes: only_use(pickle, is_load_from_bytes, |pickle, object| {
                plain_bytes(pickle, object).is_some() && object.creation == Creation::Call
            }) && !nested.verdicts.values().any(Self::is_dangerous),
        };
        for value in pickle.values() {
            match value {
                Value::Global(global) => match harmless.standing(global) {
                    Standing::Known => {}
                    Standing::Unknown => self.unknown.add(name(global)),
                    Standing::Dangerous => self.dangerous.add(name(global)),
                },
                Value::Extension(code) => self.unknown.add(format!("copyreg.extension({code})")),
                Value::Object(object) => self.has_computed_call |= is_computed(pickle, object.callable),
                _ => {}
            }
        }
        for change in pickle.changes() {
            match pickle.get(change.target) {
                Value::Global(global) => self.changed.add(name(global)),
                Value::Extension(code) => self.changed.add(format!("copyreg.extension({code})")),
                Value::Persistent(_) => self.changed.add("persistent_load".to_owned()),
                _ => {}
            }
        }
        self.has_source |= sources.are_there;
        let runs_source =
            |object: &Object| !sources.suspicions.is_empty() && sources.reducers.contains(&object.callable);
        self.list_calls(pickle, &harmless, &nested, &runs_source);
        sources.suspicions.iter().for_each(|line| self.suspicions.add(line.clone()));
        for verdict in nested.verdicts.into_values() {
            self.merge(verdict);
        }
    }

    /// Adds what is no pickle's doing, but as bad: pickles within pickles beyond any use.
    pub fn add_danger(&mut self, what: &str) {
        self.dangerous.add(what.to_owned());
    }

    /// Adds the verdict on another file of the same model.
    pub fn absorb(&mut self, mut other: Self) {
        self.has_pickle |= other.has_pickle;
        self.more_calls += other.more_calls;
        std::mem::take(&mut other.calls).into_iter().for_each(|call| self.list(|| call));
        self.merge(other);
    }

    /// Adds the judgement on a pickle within, but for its calls, which have their place among the others.
    fn merge(&mut self, other: Self) {
        for (to, from) in [
            (&mut self.dangerous, other.dangerous),
            (&mut self.unknown, other.unknown),
            (&mut self.changed, other.changed),
            (&mut self.suspicions, other.suspicions),
        ] {
            from.names.into_iter().for_each(|name| to.add(name));
            to.more += from.more;
        }
        self.has_computed_call |= other.has_computed_call;
        self.has_source |= other.has_source;
    }

    fn list_calls(
        &mut self,
        pickle: &Pickle,
        harmless: &Harmless,
        nested: &Nested,
        runs_source: &dyn Fn(&Object) -> bool,
    ) {
        let mut changes = pickle.changes().iter().peekable();
        for (made, (_, value)) in pickle.enumerated().enumerate() {
            while let Some(change) = changes.next_if(|change| change.after <= made) {
                self.list_change(pickle, change, harmless);
            }
            let Value::Object(object) = value else { continue };
            let is_harmless = match pickle.get(object.callable) {
                Value::Global(global) => harmless.standing(global) == Standing::Known,
                _ => false,
            };
            if is_harmless && !runs_source(object) {
                continue;
            }
            self.list(|| call::of_object(pickle, object));
            if let Some(inner) = plain_bytes(pickle, object).and_then(|bytes| nested.of(bytes)) {
                inner.calls.iter().for_each(|call| self.list(|| call.clone()));
                self.more_calls += inner.more_calls;
            }
        }
        changes.for_each(|change| self.list_change(pickle, change, harmless));
    }

    fn list_change(&mut self, pickle: &Pickle, change: &Change, harmless: &Harmless) {
        // What a pickle does to an object of its own is that object's class's business.
        let is_own = match pickle.get(change.target) {
            Value::Object(object) => match pickle.get(object.callable) {
                Value::Global(global) => harmless.standing(global) != Standing::Dangerous,
                _ => false,
            },
            _ => false,
        };
        let is_nothing = matches!(change.effect, Effect::State(state) if *pickle.get(state) == Value::None);
        if !is_own && !is_nothing {
            self.list(|| call::of_change(pickle, change));
        }
    }

    fn list(&mut self, call: impl FnOnce() -> String) {
        if self.calls.len() < MAX_SUBJECTS {
            self.calls.push(call());
        } else {
            self.more_calls += 1;
        }
    }

    /// Whether handing the file to its own tool would run more than that tool's code.
    pub fn is_dangerous(&self) -> bool {
        !self.dangerous.is_empty()
            || self.has_computed_call
            || !self.changed.is_empty()
            || !self.suspicions.is_empty()
    }

    /// The verdict in a word; `None` where there is no pickle.
    pub fn word(&self) -> Option<&'static str> {
        self.has_pickle.then_some(match (self.is_dangerous(), self.unknown.is_empty()) {
            (true, _) => "dangerous",
            (false, false) => "unknown globals",
            (false, true) => "safe",
        })
    }

    /// What it would run, the first few names of it.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        [&self.dangerous, &self.changed, &self.suspicions].into_iter().flat_map(|subjects| &subjects.names)
    }

    /// The findings, the gravest first; none when the pickles only build known data.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut add = |severity, code: &str, message: &str, subjects: Vec<String>| {
            let subjects = subjects.into_iter().map(RString::from).collect();
            findings.push(Finding { severity, code: code.into(), message: message.into(), subjects });
        };
        if !self.dangerous.is_empty() {
            let message = "loading this file with `torch.load` would run more than PyTorch's own code";
            add(Severity::DANGER, "pickle.dangerous-global", message, self.dangerous.to_list());
        }
        if self.has_computed_call {
            let message = "the pickle calls what it has computed itself, which hides what would run";
            add(Severity::DANGER, "pickle.computed-call", message, Vec::new());
        }
        if !self.changed.is_empty() {
            let message = "the pickle would change classes or modules of the Python that loads it";
            add(Severity::DANGER, "pickle.changed-global", message, self.changed.to_list());
        }
        if !self.suspicions.is_empty() {
            let message =
                "the file holds Python source that `torch.load` would run, and it is not just a traced graph";
            add(Severity::DANGER, "pickle.embedded-source", message, self.suspicions.to_list());
        } else if self.has_source {
            let message = "the file holds the Python source of an fx graph, which `torch.load` would run";
            add(Severity::WARNING, "pickle.embedded-source", message, vec!["GraphModule.forward".to_owned()]);
        }
        if self.is_dangerous() && !self.calls.is_empty() {
            let more = (self.more_calls > 0).then(|| format!("… and {} more", self.more_calls));
            let calls = self.calls.iter().cloned().chain(more).collect();
            let message = "loading it would call, in this order";
            add(Severity::DANGER, "pickle.calls", message, calls);
        }
        if !self.unknown.is_empty() {
            let message =
                "the pickle names classes or functions that are not PyTorch's; Python would import them";
            add(Severity::WARNING, "pickle.unknown-global", message, self.unknown.to_list());
        }
        findings
    }
}

/// Whether there is nothing to say of a pickle: PyTorch's loader that takes weights alone takes it.
pub fn is_plain(pickle: &Pickle) -> bool {
    let mut verdict = Verdict::default();
    verdict.add(pickle, &mut |_| {
        let mut nested = Verdict::default();
        nested.add_danger("<a file within>");
        nested
    });
    verdict.findings().is_empty()
}

fn name(global: &Global) -> String {
    call::shortened(&global.to_string(), 200)
}

/// Whether what is called is neither named nor registered, but made by the pickle.
fn is_computed(pickle: &Pickle, callable: Ref) -> bool {
    !matches!(pickle.get(callable), Value::Global(_) | Value::Extension(_))
}

/// Which of the dangerous names are used in the one way that does no harm.
struct Harmless {
    getattr: bool,
    load_from_bytes: bool,
}

impl Harmless {
    fn standing(&self, global: &Global) -> Standing {
        let is_harmless =
            (self.getattr && is_getattr(global)) || (self.load_from_bytes && is_load_from_bytes(global));
        if is_harmless { Standing::Known } else { standing(global) }
    }
}

fn is_getattr(global: &Global) -> bool {
    global.is("builtins", "getattr")
}

/// With it, a pickle of tensors that `torch.save` did not write has PyTorch load what each tensor is.
fn is_load_from_bytes(global: &Global) -> bool {
    global.is("torch.storage", "_load_from_bytes")
}

/// Whether all that a pickle does with a global are calls in this one form.
fn only_use(
    pickle: &Pickle,
    is_it: impl Fn(&Global) -> bool,
    is_the_form: impl Fn(&Pickle, &Object) -> bool,
) -> bool {
    let found =
        pickle.enumerated().find(|(_, value)| matches!(value, Value::Global(global) if is_it(global)));
    let Some((it, _)) = found else { return true };
    pickle.root() != it
        && pickle.changes().iter().all(|change| change.target != it)
        && pickle.values().iter().all(|value| match value {
            Value::Object(object) if object.callable == it => is_the_form(pickle, object),
            other => !other.mentions(|at| at == it),
        })
}

/// PyTorch pickles `torch.add` and its like as `getattr(torch._C._VariableFunctionsClass, "add")`.
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

/// The place of the bytes that are the one argument of a call.
fn plain_bytes(pickle: &Pickle, object: &Object) -> Option<Ref> {
    let [bytes] = pickle.arguments(object) else { return None };
    matches!(pickle.get(*bytes), Value::Bytes(_)).then_some(*bytes)
}

/// The judgements on pickles within a pickle, by where their bytes are.
struct Nested {
    verdicts: BTreeMap<Ref, Verdict>,
}

impl Nested {
    fn judge(pickle: &Pickle, nested: &mut dyn FnMut(&[u8]) -> Verdict) -> Self {
        let mut verdicts = BTreeMap::new();
        for value in pickle.values() {
            let Value::Object(object) = value else { continue };
            let loads = pickle.callable(object).is_some_and(|global| {
                is_load_from_bytes(global) || global.is("pickle", "loads") || global.is("_pickle", "loads")
            });
            let Some(at) = plain_bytes(pickle, object).filter(|_| loads) else { continue };
            if let Value::Bytes(bytes) = pickle.get(at) {
                verdicts.entry(at).or_insert_with(|| nested(bytes));
            }
        }
        Self { verdicts }
    }

    fn of(&self, bytes: Ref) -> Option<&Verdict> {
        self.verdicts.get(&bytes)
    }
}
