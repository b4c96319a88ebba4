//! The proof that a pickle does nothing but build: every callable that it reaches is on the list, and is used as
//! the list says; every argument is data, or again such a value.
//!
//! The whole arena is looked at, whether the root reaches a value or not, and in its final state: a container
//! that is filled after it was handed to a call holds at least what it held then. An element that is replaced in
//! a list would break that, and no pickler does it.

use super::call::name;
use super::list::{self, Count, Form, Kind, Parameter, Signature, Sort};
use super::subjects::Subjects;
use super::value::{Creation, Effect, Global, Object, Pickle, Ref, Value};
use super::{danger, rule};
use std::cell::Cell;
use std::collections::HashMap;

/// What is wrong with a use of a listed name, in a few words.
pub(super) type Result<T = ()> = std::result::Result<T, &'static str>;

/// Who would load a pickle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loader {
    /// `torch.load`, or Python's own unpickler.
    Python,
    /// libtorch: the classes of `__torch__` are those of the file.
    TorchScript,
}

/// How far values are settled before the rest counts as anything: honest files need some five rounds.
const MAX_ROUNDS: usize = 32;
/// No listed function takes more.
const MAX_ARGUMENTS: usize = 16;

/// What a value is made of; the higher includes the lower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    /// Numbers, texts, bytes, constants.
    Data,
    /// Tensors and storages too.
    Plain,
    /// Anything.
    Any,
}

/// What a proof needs to know of a pickle.
pub(super) struct Proof<'a> {
    /// What is to be proved harmless.
    pub(super) pickle: &'a Pickle,
    loader: Loader,
    levels: Vec<Level>,
    /// How many parts may still be looked at: what a file shares is looked at again for each use.
    work: Cell<u64>,
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
        let work = (pickle.values().len() as u64).saturating_mul(64).saturating_add(1 << 18);
        let mut proof = Self { pickle, loader, levels: Vec::new(), work: Cell::new(work) };
        proof.levels = pickle.values().iter().map(|value| proof.own_level(value)).collect();
        proof.settle();
        proof
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
        if self.work.get() == 0 {
            doubts.uses.add("the pickle repeats its parts beyond any use".to_owned());
        }
        doubts
    }

    /// An array of NumPy's that is given a state again frees the bytes that a tensor may already look at.
    fn doubt_arrays(&self, doubts: &mut Doubts) {
        let mut given: HashMap<Ref, usize> = HashMap::new();
        for change in self.pickle.changes() {
            if self.sort(change.target) == Some(Sort::Array)
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
            let arguments = self.positional(object).unwrap_or_default();
            if arguments.len() <= MAX_ARGUMENTS
                && arguments.iter().any(|at| given.get(at).is_some_and(|after| *after > place))
            {
                doubts.uses.add("numpy.ndarray: used before it was given its state".to_owned());
            }
        }
    }

    /// Takes so many looks; what is not looked at is not proved.
    fn look(&self, parts: usize) -> Result {
        let left = self.work.get().saturating_sub(parts as u64 + 1);
        self.work.set(left);
        if left == 0 { Err("used beyond any use") } else { Ok(()) }
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
        let takes = self.sort_of(global);
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
            && self.look(elements.len()).is_ok()
        {
            self.doubt_keys(elements.iter().copied(), doubts);
        }
    }

    /// Keys are hashed and compared, by methods of their class.
    fn doubt_keys(&self, keys: impl Iterator<Item = Ref>, doubts: &mut Doubts) {
        for key in keys {
            let is_quiet = match self.pickle.get(key) {
                Value::Object(object) => {
                    matches!(self.object_sort(object), Some(Sort::Data | Sort::Tensor))
                }
                Value::Global(_) | Value::Persistent(_) => true,
                _ => self.level(key) == Level::Data,
            };
            if !is_quiet {
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
                    return Err("built in another way than Python writes it");
                }
                self.fits(signature, self.positional(object)?)
            }
            Form::Enum => match self.positional(object)? {
                [value] if object.creation == Creation::Call && self.level(*value) == Level::Data => Ok(()),
                _ => Err("called with something else than the value of a member"),
            },
            Form::Own => rule::check(self, global, object),
            // Judged as a source.
            Form::Source => Ok(()),
            Form::Value | Form::Type | Form::Function | Form::Storage | Form::Subclass => Err("called"),
        }
    }

    fn is_built_empty(&self, object: &Object) -> Result {
        if object.creation != Creation::New {
            return Err("called");
        }
        if self.positional(object)?.is_empty() { Ok(()) } else { Err("built with arguments") }
    }

    /// Whether `state` may be given to what a call of `global` has built.
    fn state(&self, global: &Global, object: &Object, state: Ref) -> Result {
        if self.is_script_class(global) {
            return Ok(());
        }
        match list::form(global) {
            None | Some(Form::Source) => Ok(()),
            Some(Form::Own) => rule::check_state(self, global, object, state),
            Some(Form::Call(Signature { result: Sort::Mapping, .. })) => self.attributes(state),
            Some(form) => self.built_state(form, state),
        }
    }

    /// The same for a class that is built without arguments.
    pub(super) fn built_state(&self, form: &Form, state: Ref) -> Result {
        match form {
            Form::Class | Form::Module => self.attributes(state),
            Form::Optimizer if self.is_plain(state) => self.attributes(state),
            Form::Optimizer => Err("given attributes that are no data"),
            Form::Plain if self.is_plain(state) => Ok(()),
            Form::Plain => Err("given a state that is no data"),
            _ => Err("given a state"),
        }
    }

    /// Whether a state is a dictionary of attributes none of which Python looks up by itself: one that is called
    /// `__setstate__` would be called with the next state.
    pub(super) fn attributes(&self, state: Ref) -> Result {
        let entries = match self.pickle.get(state) {
            Value::None => return Ok(()),
            Value::Dict(entries) => entries,
            Value::Object(object)
                if self
                    .pickle
                    .callable(object)
                    .is_some_and(|class| class.is("collections", "OrderedDict"))
                    && self.pickle.arguments(object).is_empty()
                    // One with attributes may have an `items` of its own.
                    && object.state.is_none() =>
            {
                &object.items
            }
            // Attributes, and those of slots, of which there are none.
            Value::Tuple(pair) => match pair.as_slice() {
                [attributes, slots] if *self.pickle.get(*slots) == Value::None => {
                    match self.pickle.get(*attributes) {
                        Value::Dict(entries) => entries,
                        Value::None => return Ok(()),
                        _ => return Err("given a state that is no dictionary"),
                    }
                }
                _ => return Err("given a state that is no dictionary"),
            },
            _ => return Err("given a state that is no dictionary"),
        };
        self.look(entries.len())?;
        // What is data cannot be called; `register_parameter` and its like are, by `Module.__setattr__`.
        let is_special = |&(key, value): &(Ref, Ref)| {
            self.level(value) != Level::Data
                && self
                    .pickle
                    .text(key)
                    .is_none_or(|key| key.starts_with("__") || key.starts_with("register_"))
        };
        if entries.iter().any(is_special) {
            Err("given an attribute that Python looks up by itself")
        } else {
            Ok(())
        }
    }

    /// Whether arguments are what a signature takes.
    pub(super) fn fits(&self, signature: &Signature, arguments: &[Ref]) -> Result {
        let wrong = "called with arguments that are not the data it takes";
        self.look(arguments.len())?;
        let mut left = arguments;
        for &Parameter { kind, count } in &signature.parameters {
            match (count, left) {
                (Count::Many, all) => {
                    if !all.iter().all(|&argument| self.is_of(kind, argument)) {
                        return Err(wrong);
                    }
                    left = &[];
                }
                (_, [argument, rest @ ..]) => {
                    // What is left out may also be given as nothing.
                    let is_left_out = count == Count::Optional && *self.pickle.get(*argument) == Value::None;
                    if !is_left_out && !self.is_of(kind, *argument) {
                        return Err(wrong);
                    }
                    left = rest;
                }
                (Count::Optional, []) => {}
                (Count::One, []) => return Err(wrong),
            }
        }
        if left.is_empty() { Ok(()) } else { Err(wrong) }
    }

    fn is_of(&self, kind: Kind, at: Ref) -> bool {
        let value = self.pickle.get(at);
        match kind {
            Kind::Data => self.level(at) == Level::Data,
            Kind::Plain => self.is_plain(at),
            Kind::Any => true,
            Kind::Text => matches!(value, Value::Text(_)),
            Kind::Int => matches!(value, Value::Int(_) | Value::BigInt(_) | Value::Bool(_)),
            Kind::Number => {
                matches!(value, Value::Int(_) | Value::BigInt(_) | Value::Bool(_) | Value::Float(_))
            }
            Kind::Bool => matches!(value, Value::Bool(_) | Value::Int(_)),
            Kind::Ints => {
                let count = self.pickle.sequence(at).map_or(0, <[Ref]>::len);
                self.look(count).is_ok() && self.pickle.ints(at).is_some()
            }
            Kind::Tensor => matches!(self.sort(at), Some(Sort::Tensor | Sort::Loaded)),
            Kind::Storage => matches!(value, Value::Persistent(_)) || self.sort(at) == Some(Sort::Loaded),
            Kind::Array => self.sort(at) == Some(Sort::Array),
            Kind::Subclass => self.pickle.global(at).and_then(list::form) == Some(&Form::Subclass),
            Kind::List => {
                matches!(value, Value::List(_) | Value::Tuple(_) | Value::Set(_) | Value::FrozenSet(_))
            }
            Kind::Pairs => match value {
                Value::Dict(_) => true,
                Value::List(pairs) | Value::Tuple(pairs) => {
                    self.look(pairs.len()).is_ok()
                        && pairs.iter().all(|&pair| {
                            let (Value::List(pair) | Value::Tuple(pair)) = self.pickle.get(pair) else {
                                return false;
                            };
                            let mut keys = Doubts::default();
                            self.doubt_keys(pair.first().copied().into_iter(), &mut keys);
                            pair.len() == 2 && keys.uses.is_empty()
                        })
                }
                _ => false,
            },
            Kind::Attributes => self.attributes(at).is_ok(),
        }
    }

    /// `("storage", type, key, place, count)`, or `("module", class, file, source)` of PyTorch before 1.6; what
    /// is data alone, such as the numbers of the oldest format, PyTorch refuses or looks up.
    fn is_storage_id(&self, id: Ref) -> bool {
        let Value::Tuple(parts) = self.pickle.get(id) else { return self.level(id) == Level::Data };
        match parts.as_slice() {
            [kind, class, rest @ ..] if self.pickle.text(*kind).is_some() => {
                let is_class = match self.pickle.get(*class) {
                    Value::Global(_) => true,
                    _ => self.level(*class) == Level::Data,
                };
                is_class && rest.iter().all(|&part| self.level(part) == Level::Data)
            }
            _ => self.level(id) == Level::Data,
        }
    }

    /// The positional arguments of a call, which the pickle holds as a tuple.
    pub(super) fn positional(&self, object: &Object) -> Result<&'a [Ref]> {
        match self.pickle.get(object.arguments) {
            Value::Tuple(arguments) => Ok(arguments),
            _ => Err("called with computed arguments"),
        }
    }

    /// What the object at `at` is; `None` for what is no object of a listed class or function.
    pub(super) fn sort(&self, at: Ref) -> Option<Sort> {
        self.object_sort(self.pickle.object(at)?)
    }

    fn object_sort(&self, object: &Object) -> Option<Sort> {
        self.sort_of(self.pickle.callable(object)?)
    }

    fn sort_of(&self, global: &Global) -> Option<Sort> {
        Some(match list::form(global)? {
            Form::Call(signature) => signature.result,
            Form::Enum => Sort::Data,
            Form::Own => rule::result(global),
            _ => Sort::Any,
        })
    }

    /// Whether a value is bytes: as they are, or as a text of Latin-1, which is how protocol 2 writes them.
    pub(super) fn is_bytes(&self, at: Ref) -> bool {
        match self.pickle.get(at) {
            Value::Bytes(_) | Value::Text(_) => true,
            Value::Object(object) => {
                self.pickle.callable(object).is_some_and(|callable| callable.is("_codecs", "encode"))
            }
            _ => false,
        }
    }

    /// Whether a value is made of data, tensors and storages.
    pub(super) fn is_plain(&self, at: Ref) -> bool {
        self.level(at) <= Level::Plain
    }

    fn is_script_class(&self, global: &Global) -> bool {
        self.loader == Loader::TorchScript && rule::is_script_class(&global.module, &global.name)
    }

    fn level(&self, at: Ref) -> Level {
        self.levels.get(at.0 as usize).copied().unwrap_or(Level::Any)
    }

    /// The least that a value is, whatever it contains.
    fn own_level(&self, value: &Value) -> Level {
        match value {
            Value::Global(global) => match list::form(global) {
                Some(Form::Value) => Level::Data,
                _ => Level::Any,
            },
            Value::Object(object) => match self.object_sort(object) {
                Some(Sort::Data | Sort::ElementType | Sort::Mapping | Sort::Sequence | Sort::Set) => {
                    Level::Data
                }
                Some(Sort::Tensor | Sort::Array | Sort::Packed) => Level::Plain,
                Some(Sort::Any) if self.gives_back(object) => Level::Data,
                _ => Level::Any,
            },
            Value::Persistent(_) => Level::Plain,
            Value::Extension(_) => Level::Any,
            _ => Level::Data,
        }
    }

    /// Whether a call gives what it is given: `restore_type_tag(value, type)`.
    fn gives_back(&self, object: &Object) -> bool {
        self.pickle.callable(object).is_some_and(|callable| callable.module == "torch.jit._pickle")
    }

    /// Raises containers to what they contain, until nothing changes.
    fn settle(&mut self) {
        let count = self.levels.len();
        for round in 0..MAX_ROUNDS {
            let mut has_changed = false;
            for step in 0..count {
                // Lists come before what they hold, tuples after.
                let at = if round % 2 == 0 { step } else { count - 1 - step };
                let Some(own) = self.levels.get(at).copied().filter(|level| *level < Level::Any) else {
                    continue;
                };
                let raised = self.pickle.values().get(at).map_or(own, |value| self.raised(value, own));
                if raised > own
                    && let Some(level) = self.levels.get_mut(at)
                {
                    *level = raised;
                    has_changed = true;
                }
            }
            if !has_changed {
                return;
            }
        }
        for (level, value) in self.levels.iter_mut().zip(self.pickle.values()) {
            if matches!(
                value,
                Value::List(_)
                    | Value::Tuple(_)
                    | Value::Dict(_)
                    | Value::Set(_)
                    | Value::FrozenSet(_)
                    | Value::Object(_)
            ) {
                *level = Level::Any;
            }
        }
    }

    fn raised(&self, value: &Value, own: Level) -> Level {
        let highest =
            |at: &mut dyn Iterator<Item = Ref>| at.map(|at| self.level(at)).max().unwrap_or(own).max(own);
        match value {
            Value::List(elements)
            | Value::Tuple(elements)
            | Value::Set(elements)
            | Value::FrozenSet(elements) => highest(&mut elements.iter().copied()),
            Value::Dict(entries) => highest(&mut entries.iter().flat_map(|&(key, value)| [key, value])),
            Value::Object(object) => match self.object_sort(object) {
                Some(Sort::Mapping | Sort::Sequence | Sort::Set | Sort::Any) => {
                    let items = object.items.iter().flat_map(|&(key, value)| [key, value]);
                    let elements = object.elements.iter().copied();
                    let is_typed = self
                        .pickle
                        .callable(object)
                        .is_some_and(|class| class.is("collections", "defaultdict"));
                    let arguments = (!is_typed).then_some(object.arguments);
                    highest(&mut arguments.into_iter().chain(object.state).chain(elements).chain(items))
                }
                _ => own,
            },
            _ => own,
        }
    }
}
