//! The proof that a pickle does nothing but build: every callable that it reaches is on the list, and is used as
//! the list says; every argument is data, or again such a value.
//!
//! The whole arena is looked at, whether the root reaches a value or not, and in its final state: a container
//! that is filled after it was handed to a call holds at least what it held then. An element that is replaced in
//! a list would break that, and no pickler does it.

use super::call::name;
use super::evidence::{Evidence, Result};
use super::list::{self, Form, Signature, Sort};
use super::subjects::Subjects;
use super::value::{Creation, Effect, Global, Object, Pickle, Ref, Value};
use super::{danger, rule, sort};
use std::collections::HashMap;

/// Who would load a pickle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loader {
    /// `torch.load`, or Python's own unpickler.
    Python,
    /// libtorch: the classes of `__torch__` are those of the file.
    TorchScript,
}

/// No listed function takes more.
const MAX_ARGUMENTS: usize = 16;

/// What is said of one pickle.
pub(super) struct Proof<'a> {
    pickle: &'a Pickle,
    loader: Loader,
    evidence: Evidence<'a>,
}

/// What a pickle does that is not proved to be harmless.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    /// Names that are not on the list.
    pub(super) unknown: Subjects,
    /// Names that run, write, load or connect.
    pub(super) dangerous: Subjects,
    /// Uses of listed names, and other doings, that the list does not allow.
    pub(super) uses: Subjects,
}

impl<'a> Proof<'a> {
    /// Looks at what each value is made of.
    pub(super) fn new(pickle: &'a Pickle, loader: Loader) -> Self {
        Self { pickle, loader, evidence: Evidence::new(pickle) }
    }

    /// All that is in doubt, in the order in which loading would come to it.
    pub(super) fn doubts(&self) -> Doubts {
        let mut doubts = Doubts::default();
        if self.pickle.has_replaced_elements() {
            doubts.uses.add("an element of a list is replaced, which no pickler writes".to_owned());
        }
        for value in self.pickle.values() {
            match value {
                Value::Global(global) => self.doubt_name(global, &mut doubts),
                Value::Extension(code) => doubts.unknown.add(format!("copyreg.extension({code})")),
                Value::Persistent(id) if !self.is_storage_id(*id) => {
                    doubts
                        .uses
                        .add("persistent_load: called with an id that PyTorch does not write".to_owned());
                }
                Value::Object(object) => self.doubt_object(object, &mut doubts),
                Value::Dict(entries) => self.doubt_keys(entries.iter().map(|&(key, _)| key), &mut doubts),
                Value::Set(elements) | Value::FrozenSet(elements) => {
                    self.doubt_keys(elements.iter().copied(), &mut doubts);
                }
                _ => {}
            }
            self.doubt_callables(value, &mut doubts);
        }
        for change in self.pickle.changes() {
            if let (Value::Object(object), Effect::State(state)) =
                (self.pickle.get(change.target), &change.effect)
                && let Some(global) = self.pickle.callable(object)
                && let Err(what) = self.state(global, object, *state)
            {
                self.doubt_use(global, what, &mut doubts);
            }
        }
        self.doubt_arrays(&mut doubts);
        if self.evidence.is_exhausted() {
            doubts.uses.add("the pickle repeats its parts absurdly often".to_owned());
        }
        doubts
    }

    /// An array of NumPy's that is given a state again frees the bytes that a tensor may already look at.
    fn doubt_arrays(&self, doubts: &mut Doubts) {
        let mut given: HashMap<Ref, usize> = HashMap::new();
        for change in self.pickle.changes() {
            if self.evidence.sort(change.target) == Some(Sort::Array)
                && given.insert(change.target, change.after).is_some()
            {
                doubts.uses.add("numpy.ndarray: given a state twice".to_owned());
            }
        }
        if given.is_empty() {
            return;
        }
        for (place, (_, value)) in self.pickle.enumerated().enumerate() {
            let Value::Object(object) = value else { continue };
            let arguments = self.evidence.positional(object).unwrap_or_default();
            if arguments.len() <= MAX_ARGUMENTS
                && arguments.iter().any(|at| given.get(at).is_some_and(|after| *after > place))
            {
                doubts.uses.add("numpy.ndarray: used before it was given its state".to_owned());
            }
        }
    }

    fn doubt_name(&self, global: &Global, doubts: &mut Doubts) {
        if list::form(global).is_some() || self.is_script_class(global) {
            return;
        }
        let name = name(global);
        if danger::is_dangerous(global) { doubts.dangerous.add(name) } else { doubts.unknown.add(name) }
    }

    /// A listed name in another form is what it is without the list.
    fn doubt_use(&self, global: &Global, what: &str, doubts: &mut Doubts) {
        if danger::is_dangerous(global) {
            doubts.dangerous.add(name(global));
        } else {
            doubts.uses.add(format!("{}: {what}", name(global)));
        }
    }

    fn doubt_object(&self, object: &Object, doubts: &mut Doubts) {
        // What is not named is a computed call, which is a danger by itself.
        let Some(global) = self.pickle.callable(object) else { return };
        if let Err(what) = self.object(global, object) {
            self.doubt_use(global, what, doubts);
        }
        let takes = sort::of_call(global);
        if !object.items.is_empty() {
            if takes == Some(Sort::Mapping) {
                self.doubt_keys(object.items.iter().map(|&(key, _)| key), doubts);
            } else {
                self.doubt_use(global, "filled as a dictionary", doubts);
            }
        }
        if !object.elements.is_empty() {
            match takes {
                Some(Sort::Sequence) => {}
                Some(Sort::Set) => self.doubt_keys(object.elements.iter().copied(), doubts),
                _ => self.doubt_use(global, "filled as a list", doubts),
            }
        }
        if takes == Some(Sort::Set)
            && let [elements] = self.pickle.arguments(object)
            && let Value::List(elements) | Value::Tuple(elements) = self.pickle.get(*elements)
            && self.evidence.look(elements.len()).is_ok()
        {
            self.doubt_keys(elements.iter().copied(), doubts);
        }
    }

    /// Keys are hashed and compared, by methods of their class.
    fn doubt_keys(&self, keys: impl Iterator<Item = Ref>, doubts: &mut Doubts) {
        for key in keys {
            if !self.evidence.is_quiet(key) {
                let of = self.pickle.object(key).and_then(|object| self.pickle.callable(object)).map(name);
                doubts
                    .uses
                    .add(format!("{}: a key of a dictionary or set", of.as_deref().unwrap_or("an object")));
            }
        }
    }

    /// A listed name that is to be called may not be handed on.
    fn doubt_callables(&self, value: &Value, doubts: &mut Doubts) {
        let mut note = |at: Ref| {
            if let Value::Global(global) = self.pickle.get(at)
                && let Some(Form::Call(_) | Form::Own | Form::Source) = list::form(global)
            {
                self.doubt_use(global, "handed on as a value", doubts);
            }
        };
        match value {
            Value::List(elements) | Value::Set(elements) | Value::FrozenSet(elements) => {
                elements.iter().copied().for_each(note)
            }
            // The arguments of a call are looked at with the call.
            Value::Tuple(elements) => {
                elements.iter().copied().filter(|&at| !self.is_allowed_argument(at)).for_each(note);
            }
            Value::Dict(entries) => entries.iter().for_each(|&(key, value)| {
                note(key);
                note(value);
            }),
            Value::Object(object) => {
                object.elements.iter().copied().for_each(&mut note);
                object.items.iter().for_each(|&(key, value)| {
                    note(key);
                    note(value);
                });
                object.keywords.into_iter().chain(object.state).for_each(note);
            }
            _ => {}
        }
    }

    /// Types among the names to be called, and the functions that `_rebuild_from_type` is given.
    fn is_allowed_argument(&self, at: Ref) -> bool {
        self.pickle.global(at).is_some_and(|global| {
            global.is("collections", "OrderedDict")
                || global.is("torch.nn.parameter", "Parameter")
                || matches!(list::form(global), Some(Form::Call(Signature { result: Sort::Tensor, .. })))
        })
    }

    /// Whether building `object` is what the list allows for `global`.
    fn object(&self, global: &Global, object: &Object) -> Result {
        if self.is_script_class(global) {
            return self.is_built_empty(object);
        }
        let Some(form) = list::form(global) else {
            // The name is in doubt already.
            return Ok(());
        };
        if object.keywords.is_some_and(
            |keywords| !matches!(self.pickle.get(keywords), Value::Dict(entries) if entries.is_empty()),
        ) {
            return Err("called with keyword arguments");
        }
        match form {
            Form::Class | Form::Module | Form::Optimizer | Form::Plain => self.is_built_empty(object),
            Form::Call(signature) => {
                if object.creation != Creation::Call {
                    return Err("built differently from what Python writes");
                }
                self.evidence.fits(signature, self.evidence.positional(object)?)
            }
            Form::Enum => match self.evidence.positional(object)? {
                [value] if object.creation == Creation::Call && self.evidence.is_data(*value) => Ok(()),
                _ => Err("called with something other than the value of a member"),
            },
            Form::Own => rule::check(&self.evidence, global, object),
            // Judged as a source.
            Form::Source => Ok(()),
            Form::Value | Form::Type | Form::Function | Form::Storage | Form::Subclass => Err("called"),
        }
    }

    fn is_built_empty(&self, object: &Object) -> Result {
        if object.creation != Creation::New {
            return Err("called");
        }
        if self.evidence.positional(object)?.is_empty() { Ok(()) } else { Err("built with arguments") }
    }

    /// Whether `state` may be given to what a call of `global` has built.
    fn state(&self, global: &Global, object: &Object, state: Ref) -> Result {
        if self.is_script_class(global) {
            return Ok(());
        }
        match list::form(global) {
            None | Some(Form::Source) => Ok(()),
            Some(Form::Own) => rule::check_state(&self.evidence, global, object, state),
            Some(Form::Call(Signature { result: Sort::Mapping, .. })) => self.evidence.attributes(state),
            Some(form) => self.evidence.built_state(form, state),
        }
    }

    /// `("storage", type, key, place, count)`, or `("module", class, file, source)` of PyTorch before 1.6; what
    /// is data alone, such as the numbers of the oldest format, PyTorch refuses or looks up.
    fn is_storage_id(&self, id: Ref) -> bool {
        let Value::Tuple(parts) = self.pickle.get(id) else { return self.evidence.is_data(id) };
        match parts.as_slice() {
            [kind, class, rest @ ..] if self.pickle.text(*kind).is_some() => {
                let is_class = match self.pickle.get(*class) {
                    Value::Global(_) => true,
                    _ => self.evidence.is_data(*class),
                };
                is_class && rest.iter().all(|&part| self.evidence.is_data(part))
            }
            _ => self.evidence.is_data(id),
        }
    }

    fn is_script_class(&self, global: &Global) -> bool {
        self.loader == Loader::TorchScript && rule::is_script_class(&global.module, &global.name)
    }
}
