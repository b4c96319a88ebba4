//! What loading pickles with Python would do besides building data: *safe* by proof, *dangerous* by what is known,
//! *unknown* otherwise.

use super::call::{self, name};
use super::proof::{Loader, Proof};
use super::subjects::{MAX_SUBJECTS, Subjects};
use super::value::{Change, Effect, Global, Object, Pickle, Ref, Value};
use super::{danger, list, source};
use qp_abi::sdk::{Finding, RString, Severity};
use std::collections::{BTreeMap, HashSet};

/// What is known of the pickles of a file. Everything is in the order in which loading them would meet it.
#[derive(Debug, Default)]
pub struct Verdict {
    has_pickle: bool,
    dangerous: Subjects,
    unknown: Subjects,
    uses: Subjects,
    changed: Subjects,
    ambiguities: Subjects,
    has_computed_call: bool,
    has_source: bool,
    source_dangers: Subjects,
    source_doubts: Subjects,
    calls: Vec<String>,
    /// Calls that are not listed.
    more_calls: usize,
}

impl Verdict {
    /// Adds a pickle that `loader` would load. `nested` judges the files that a pickle holds as bytes and has
    /// PyTorch or Python load.
    pub fn add(&mut self, pickle: &Pickle, loader: Loader, nested: &mut dyn FnMut(&[u8]) -> Self) {
        self.has_pickle = true;
        let nested = Nested::judge(pickle, nested);
        let sources = source::sources(pickle);
        let doubts = Proof::new(pickle, loader).doubts();
        for value in pickle.values() {
            if let Value::Object(object) = value {
                self.has_computed_call |= is_computed(pickle, object.callable);
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
            |object: &Object| !sources.dangers.is_empty() && sources.reducers.contains(&object.callable);
        // A name of both lists is harmless in its one form: what was in doubt is to be seen.
        let misused: HashSet<&String> = doubts.dangerous.names.iter().collect();
        let is_harmless = |global: &Global| {
            list::form(global).is_some() && (misused.is_empty() || !misused.contains(&name(global)))
        };
        self.list_calls(pickle, &is_harmless, &nested, &runs_source);
        self.dangerous.absorb(doubts.dangerous);
        self.unknown.absorb(doubts.unknown);
        self.uses.absorb(doubts.uses);
        self.source_dangers.absorb(sources.dangers);
        self.source_doubts.absorb(sources.unknown);
        for verdict in nested.verdicts.into_values() {
            self.merge(verdict);
        }
    }

    /// Adds what stands in the way of a proof besides the values of a pickle.
    pub fn add_doubt(&mut self, what: &str) {
        self.uses.add(what.to_owned());
    }

    /// Adds a way in which two readers of a file see different pickles.
    pub fn add_ambiguity(&mut self, what: impl Into<String>) {
        self.has_pickle = true;
        self.ambiguities.add(what.into());
    }

    /// Adds what is not a pickle's doing, but as bad: pickles within pickles beyond any use.
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
            (&mut self.uses, other.uses),
            (&mut self.changed, other.changed),
            (&mut self.ambiguities, other.ambiguities),
            (&mut self.source_dangers, other.source_dangers),
            (&mut self.source_doubts, other.source_doubts),
        ] {
            to.absorb(from);
        }
        self.has_computed_call |= other.has_computed_call;
        self.has_source |= other.has_source;
    }

    fn list_calls(
        &mut self,
        pickle: &Pickle,
        is_harmless: &dyn Fn(&Global) -> bool,
        nested: &Nested,
        runs_source: &dyn Fn(&Object) -> bool,
    ) {
        let mut changes = pickle.changes().iter().peekable();
        for (made, (_, value)) in pickle.enumerated().enumerate() {
            while let Some(change) = changes.next_if(|change| change.after <= made) {
                self.list_change(pickle, change, is_harmless);
            }
            let Value::Object(object) = value else { continue };
            let is_quiet = match pickle.get(object.callable) {
                Value::Global(global) => is_harmless(global) && !nested.is_dangerous(pickle, object),
                _ => false,
            };
            if is_quiet && !runs_source(object) {
                continue;
            }
            self.list(|| call::of_object(pickle, object));
            if let Some(inner) = plain_bytes(pickle, object).and_then(|bytes| nested.of(bytes)) {
                inner.calls.iter().for_each(|call| self.list(|| call.clone()));
                self.more_calls += inner.more_calls;
            }
        }
        changes.for_each(|change| self.list_change(pickle, change, is_harmless));
    }

    fn list_change(&mut self, pickle: &Pickle, change: &Change, is_harmless: &dyn Fn(&Global) -> bool) {
        // What a pickle does to an object of its own is that object's class's business.
        let is_own = match pickle.get(change.target) {
            Value::Object(object) => match pickle.get(object.callable) {
                Value::Global(global) => is_harmless(global) || !danger::is_dangerous(global),
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

    /// Whether handing the file to its own tool would run more than that tool's code, or something else than is
    /// described.
    pub fn is_dangerous(&self) -> bool {
        !self.dangerous.is_empty()
            || self.has_computed_call
            || !self.changed.is_empty()
            || !self.ambiguities.is_empty()
            || !self.source_dangers.is_empty()
    }

    /// The verdict in a word; `None` where there is no pickle.
    pub fn word(&self) -> Option<&'static str> {
        let is_proved = self.unknown.is_empty() && self.uses.is_empty() && !self.has_source;
        self.has_pickle.then_some(match (self.is_dangerous(), is_proved) {
            (true, _) => "dangerous",
            (false, false) => "unknown",
            (false, true) => "safe",
        })
    }

    /// What it would run, the first few names of it.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        [&self.dangerous, &self.changed, &self.source_dangers]
            .into_iter()
            .flat_map(|subjects| &subjects.names)
    }

    /// What two readers would see differently.
    pub fn ambiguities(&self) -> impl Iterator<Item = &String> {
        self.ambiguities.names.iter()
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
        if !self.ambiguities.is_empty() {
            let message = "PyTorch and other readers see different things in this file";
            add(Severity::DANGER, "archive.ambiguous", message, self.ambiguities.to_list());
        }
        if !self.source_dangers.is_empty() {
            let message =
                "the file holds Python source that `torch.load` would run, and it is not just a traced graph";
            add(Severity::DANGER, "pickle.embedded-source", message, self.source_dangers.to_list());
        } else if self.has_source {
            let message = "the file holds the Python source of an fx graph, which `torch.load` would run";
            add(Severity::WARNING, "pickle.embedded-source", message, vec!["GraphModule.forward".to_owned()]);
        }
        if !self.source_doubts.is_empty() {
            let message = "the Python source in the file calls what qp does not know";
            add(Severity::WARNING, "pickle.unknown-source", message, self.source_doubts.to_list());
        }
        if self.is_dangerous() && !self.calls.is_empty() {
            let more = (self.more_calls > 0).then(|| format!("… and {} more", self.more_calls));
            let calls = self.calls.iter().cloned().chain(more).collect();
            let message = "loading it would call, in this order";
            add(Severity::DANGER, "pickle.calls", message, calls);
        }
        if !self.unknown.is_empty() {
            let message =
                "the pickle names what is not on the list of harmless names; Python would import it";
            add(Severity::WARNING, "pickle.unknown-global", message, self.unknown.to_list());
        }
        if !self.uses.is_empty() {
            let message = "the pickle uses harmless names in a way that is not known to be harmless";
            add(Severity::WARNING, "pickle.unknown-use", message, self.uses.to_list());
        }
        findings
    }
}

/// Whether PyTorch's loader that takes weights alone (`weights_only=True`) takes a pickle.
pub fn is_plain(pickle: &Pickle) -> bool {
    let mut verdict = Verdict::default();
    verdict.add(pickle, Loader::Python, &mut |_| {
        let mut nested = Verdict::default();
        nested.add_danger("<a file within>");
        nested
    });
    let is_weight = |value: &Value| match value {
        Value::Global(global) => match global.module.as_str() {
            "collections" => matches!(global.name.as_str(), "OrderedDict" | "Counter"),
            "builtins" => matches!(global.name.as_str(), "set" | "bytearray" | "complex"),
            "torch" => global.name != "ScriptObject",
            "torch._tensor" => global.name == "_rebuild_from_type_v2",
            "torch.storage" => global.name != "_load_from_bytes",
            "torch.nn.parameter" => global.name == "Parameter",
            "_codecs" | "torch._utils" | "torch.serialization" => true,
            _ => false,
        },
        _ => true,
    };
    verdict.findings().is_empty() && pickle.values().iter().all(is_weight)
}

/// Whether what is called is neither named nor registered, but made by the pickle.
fn is_computed(pickle: &Pickle, callable: Ref) -> bool {
    !matches!(pickle.get(callable), Value::Global(_) | Value::Extension(_))
}

/// With it, a pickle of tensors that `torch.save` did not write has PyTorch load what each tensor is.
fn is_load_from_bytes(global: &Global) -> bool {
    global.is("torch.storage", "_load_from_bytes")
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

    /// Whether a call loads bytes that are dangerous.
    fn is_dangerous(&self, pickle: &Pickle, object: &Object) -> bool {
        plain_bytes(pickle, object).and_then(|bytes| self.of(bytes)).is_some_and(Verdict::is_dangerous)
    }

    fn of(&self, bytes: Ref) -> Option<&Verdict> {
        self.verdicts.get(&bytes)
    }
}
