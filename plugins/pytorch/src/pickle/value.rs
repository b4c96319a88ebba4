//! What a pickle describes: a graph of inert values in one arena.

use super::renamed::renamed;
use qp_abi::sdk::{BackendError, Result};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// A value in the arena of its [`Pickle`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ref(pub(super) u32);

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// A whole number of up to 64 bits.
    Int(i64),
    /// A longer whole number, little-endian two's complement.
    BigInt(Box<[u8]>),
    /// A real number.
    Float(f64),
    /// A text.
    Text(Box<str>),
    /// Bytes, or a text of Python 2 that is not UTF-8.
    Bytes(Box<[u8]>),
    /// A list.
    List(Vec<Ref>),
    /// A tuple.
    Tuple(Vec<Ref>),
    /// A set.
    Set(Vec<Ref>),
    /// A set that cannot change.
    FrozenSet(Vec<Ref>),
    /// A dictionary in the order of insertion; of equal keys the last one counts.
    Dict(Vec<(Ref, Ref)>),
    /// A class or function by its name; it is never looked up.
    Global(Box<Global>),
    /// What a call would have returned.
    Object(Box<Object>),
    /// What the loader would have found under this persistent id: in PyTorch files, a storage.
    Persistent(Ref),
    /// A code of the extension registry of `copyreg`.
    Extension(i64),
    /// An out-of-band buffer.
    Buffer,
}

impl Value {
    /// Whether it is made with one of the wanted values, other than as a call of it.
    pub fn mentions(&self, is_wanted: impl Fn(Ref) -> bool) -> bool {
        match self {
            Self::List(elements)
            | Self::Tuple(elements)
            | Self::Set(elements)
            | Self::FrozenSet(elements) => elements.iter().any(|&element| is_wanted(element)),
            Self::Dict(entries) => entries.iter().any(|&(key, value)| is_wanted(key) || is_wanted(value)),
            Self::Persistent(id) => is_wanted(*id),
            Self::Object(object) => {
                is_wanted(object.arguments)
                    || object.keywords.is_some_and(&is_wanted)
                    || object.state.is_some_and(&is_wanted)
                    || object.elements.iter().any(|&element| is_wanted(element))
                    || object.items.iter().any(|&(key, value)| is_wanted(key) || is_wanted(value))
            }
            _ => false,
        }
    }
}

/// The name of a class or function.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Global {
    /// The module, by its Python 3 name.
    pub module: String,
    /// The name in the module; may have dots.
    pub name: String,
}

impl Global {
    /// The name, one of Python 2 as Python 3 has it.
    pub fn new(module: &str, name: &str) -> Self {
        let (module, name) = renamed(module, name);
        Self { module: module.to_owned(), name: name.to_owned() }
    }

    /// Whether this is `module.name`.
    pub fn is(&self, module: &str, name: &str) -> bool {
        self.module == module && self.name == name
    }
}

impl std::fmt::Display for Global {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.module.escape_debug(), self.name.escape_debug())
    }
}

/// How a pickle asks for an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Creation {
    /// `callable(*arguments)`.
    Call,
    /// `callable.__new__(callable, *arguments, **keywords)`.
    New,
}

/// What a call would have returned, and what was done to it after.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// How it was asked for.
    pub creation: Creation,
    /// The class or function.
    pub callable: Ref,
    /// The positional arguments, a tuple.
    pub arguments: Ref,
    /// The keyword arguments, a dictionary.
    pub keywords: Option<Ref>,
    /// What it was given with `__setstate__`; the last one counts.
    pub state: Option<Ref>,
    /// What it was given as a mapping.
    pub items: Vec<(Ref, Ref)>,
    /// What it was given as a sequence or set.
    pub elements: Vec<Ref>,
}

/// What a pickle does to a value after it has made it.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// How many values there were when it happened: the order among calls.
    pub after: usize,
    /// What is changed.
    pub target: Ref,
    /// How.
    pub effect: Effect,
}

/// The kinds of [`Change`]. States are recorded of every object, the others of what a pickle does not make
/// itself alone: classes, functions, modules.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// `__setstate__(state)`, or the attributes of a dictionary.
    State(Ref),
    /// `extend(elements)`.
    Elements(Vec<Ref>),
    /// `target[key] = value`.
    Items(Vec<(Ref, Ref)>),
}

/// A decoded pickle.
#[derive(Debug, Clone)]
pub struct Pickle {
    pub(super) values: Vec<Value>,
    pub(super) root: Ref,
    pub(super) length: usize,
    pub(super) protocol: u8,
    pub(super) changes: Vec<Change>,
    pub(super) has_replaced_elements: bool,
    pub(super) work: Work,
}

/// How many entries of dictionaries may still be looked at. Files share what they say twice, and one of some
/// kilobytes can make a million modules of one dictionary: whoever walks a pickle sees nothing more when this
/// is used up, and [`Pickle::check_whole`] tells.
#[derive(Debug)]
pub(super) struct Work(AtomicU64);

impl Work {
    /// Honest files are looked at some ten times.
    pub(super) fn new(values: usize) -> Self {
        Self(AtomicU64::new((values as u64).saturating_mul(64).saturating_add(1 << 18)))
    }

    /// Takes so much; false when there is no more.
    fn take(&self, entries: usize) -> bool {
        let less = |left: u64| Some(left.saturating_sub(entries as u64));
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok_and(|before| before > 0)
    }
}

impl Clone for Work {
    fn clone(&self) -> Self {
        Self(AtomicU64::new(self.0.load(Ordering::Relaxed)))
    }
}

impl Pickle {
    /// The value that the pickle is of.
    pub fn root(&self) -> Ref {
        self.root
    }

    /// Bytes from the start to the end of the pickle; other data may follow.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The highest protocol that the pickle names.
    pub fn protocol(&self) -> u8 {
        self.protocol
    }

    /// Every value in the order in which the pickle makes it, those too that the root does not reach.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// Every value with its place.
    pub fn enumerated(&self) -> impl Iterator<Item = (Ref, &Value)> {
        (0_u32..).map(Ref).zip(&self.values)
    }

    /// What happens to values after they are made, in order.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Whether an element of a list gave way to another: what a list held at a time is then not what it holds.
    pub fn has_replaced_elements(&self) -> bool {
        self.has_replaced_elements
    }

    /// Checks that the limit of looks was not reached.
    ///
    /// # Errors
    /// `CorruptFile` when it was: the rest stayed unseen.
    pub fn check_whole(&self) -> Result<()> {
        if self.work.0.load(Ordering::Relaxed) == 0 {
            return Err(BackendError::corrupt_file("the pickle repeats its parts absurdly often"));
        }
        Ok(())
    }

    /// The value at `at`.
    pub fn get(&self, at: Ref) -> &Value {
        self.values.get(at.0 as usize).unwrap_or(&Value::None)
    }

    /// The text at `at`.
    pub fn text(&self, at: Ref) -> Option<&str> {
        match self.get(at) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The whole number at `at`; a boolean is one.
    pub fn int(&self, at: Ref) -> Option<i64> {
        match self.get(at) {
            Value::Int(number) => Some(*number),
            Value::Bool(flag) => Some(i64::from(*flag)),
            _ => None,
        }
    }

    /// The number at `at`.
    pub fn float(&self, at: Ref) -> Option<f64> {
        match self.get(at) {
            Value::Float(number) => Some(*number),
            Value::Int(number) => Some(*number as f64),
            _ => None,
        }
    }

    /// The elements of the tuple or list at `at`; `torch.Size` is a tuple.
    pub fn sequence(&self, at: Ref) -> Option<&[Ref]> {
        match self.get(at) {
            Value::Tuple(elements) | Value::List(elements) => Some(elements),
            Value::Object(object)
                if self.callable(object).is_some_and(|global| global.is("torch", "Size")) =>
            {
                match self.get(object.arguments) {
                    Value::Tuple(arguments) => match self.get(*arguments.first()?) {
                        Value::Tuple(elements) | Value::List(elements) => Some(elements),
                        _ => None,
                    },
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The whole numbers of the tuple or list at `at`.
    pub fn ints(&self, at: Ref) -> Option<Vec<i64>> {
        self.sequence(at)?.iter().map(|&element| self.int(element)).collect()
    }

    /// The global at `at`.
    pub fn global(&self, at: Ref) -> Option<&Global> {
        match self.get(at) {
            Value::Global(global) => Some(global),
            _ => None,
        }
    }

    /// The object at `at`.
    pub fn object(&self, at: Ref) -> Option<&Object> {
        match self.get(at) {
            Value::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The class or function of an object, where it has a name.
    pub fn callable(&self, object: &Object) -> Option<&Global> {
        self.global(object.callable)
    }

    /// The positional arguments of an object.
    pub fn arguments(&self, object: &Object) -> &[Ref] {
        match self.get(object.arguments) {
            Value::Tuple(elements) => elements,
            _ => &[],
        }
    }

    /// The state of an object that is a dictionary of attributes: with one of slots beside it, the pair that
    /// `copyreg` makes of them, that is the first.
    pub fn attributes(&self, object: &Object) -> Option<Ref> {
        let state = object.state?;
        match self.get(state) {
            Value::Tuple(pair) => match pair.as_slice() {
                [attributes, slots] if matches!(self.get(*slots), Value::Dict(_)) => Some(*attributes),
                _ => None,
            },
            _ => Some(state),
        }
        .filter(|&attributes| matches!(self.get(attributes), Value::Dict(_)))
    }

    /// The entries of a dictionary or `OrderedDict`, in order; `None` for anything else.
    pub fn entries(&self, at: Ref) -> Option<Vec<(Ref, Ref)>> {
        self.borrowed_entries(at).map(Cow::into_owned)
    }

    fn borrowed_entries(&self, at: Ref) -> Option<Cow<'_, [(Ref, Ref)]>> {
        let entries = match self.get(at) {
            Value::Dict(entries) => Cow::Borrowed(entries.as_slice()),
            Value::Object(object) => {
                let global = self.callable(object)?;
                let is_mapping = global.is("collections", "OrderedDict")
                    || global.is("collections", "defaultdict")
                    || global.is("collections", "Counter");
                if !is_mapping {
                    return None;
                }
                self.mapping_entries(object)
            }
            _ => return None,
        };
        Some(if self.work.take(entries.len() + 1) { entries } else { Cow::Borrowed(&[]) })
    }

    fn mapping_entries(&self, object: &Object) -> Cow<'_, [(Ref, Ref)]> {
        let mut entries = Vec::new();
        // `OrderedDict([[key, value], …])` is how protocols 0 and 1 write it.
        for &argument in self.arguments(object) {
            let pairs = self.sequence(argument).unwrap_or_default();
            let given = if let Value::Dict(given) = self.get(argument) { given.as_slice() } else { &[] };
            if !self.work.take(pairs.len() + given.len()) {
                break;
            }
            for &pair in pairs {
                if let Some(&[key, value]) = self.sequence(pair) {
                    entries.push((key, value));
                }
            }
            entries.extend_from_slice(given);
        }
        entries.extend_from_slice(&object.items);
        Cow::Owned(entries)
    }

    /// The entries of a dictionary whose keys are texts, each key once, as Python keeps them: where it was set
    /// first, with what it was set to last. Keys that are too long for a name are left out.
    pub fn named_entries(&self, at: Ref) -> Vec<(&str, Ref)> {
        const MAX_NAME: usize = 1024;
        let entries = self.borrowed_entries(at).unwrap_or_default();
        let mut places: HashMap<&str, usize> = HashMap::with_capacity(entries.len());
        let mut named: Vec<(&str, Ref)> = Vec::with_capacity(entries.len());
        for &(key, value) in entries.iter() {
            let Some(key) = self.text(key).filter(|key| key.len() <= MAX_NAME) else { continue };
            let place = *places.entry(key).or_insert(named.len());
            match named.get_mut(place) {
                Some(entry) => entry.1 = value,
                None => named.push((key, value)),
            }
        }
        named
    }

    /// What a dictionary holds under `name`.
    pub fn entry(&self, at: Ref, name: &str) -> Option<Ref> {
        let entries = self.borrowed_entries(at)?;
        entries.iter().rev().find(|&&(key, _)| self.text(key) == Some(name)).map(|&(_, value)| value)
    }
}
