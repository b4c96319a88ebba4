//! What is known of the values of a pickle; the proof and the rules of single names both rely on it.

use super::level::{Level, Levels};
use super::list::{self, Count, Form, Kind, Parameter, Signature, Sort};
use super::sort;
use super::value::{Object, Pickle, Ref, Value};
use std::cell::Cell;

/// What is wrong with a use of a listed name, in a few words.
pub(super) type Result<T = ()> = std::result::Result<T, &'static str>;

/// A pickle, and what is known of its values.
pub(super) struct Evidence<'a> {
    /// What is to be proved harmless.
    pub(super) pickle: &'a Pickle,
    levels: Levels<'a>,
    /// How many parts may still be looked at: what a file shares is looked at again for each use.
    work: Cell<u64>,
}

impl<'a> Evidence<'a> {
    /// Looks at what each value is made of.
    pub(super) fn new(pickle: &'a Pickle) -> Self {
        let work = (pickle.values().len() as u64).saturating_mul(64).saturating_add(1 << 18);
        Self { pickle, levels: Levels::of(pickle), work: Cell::new(work) }
    }

    /// Whether the limit of looks was reached, so that the rest stayed unseen.
    pub(super) fn is_exhausted(&self) -> bool {
        self.work.get() == 0
    }

    /// Takes so many looks; what is not looked at is not proved.
    pub(super) fn look(&self, parts: usize) -> Result {
        let left = self.work.get().saturating_sub(parts as u64 + 1);
        self.work.set(left);
        if left == 0 { Err("used absurdly often") } else { Ok(()) }
    }

    /// The positional arguments of a call, which the pickle holds as a tuple.
    pub(super) fn positional(&self, object: &Object) -> Result<&'a [Ref]> {
        match self.pickle.get(object.arguments) {
            Value::Tuple(arguments) => Ok(arguments),
            _ => Err("called with computed arguments"),
        }
    }

    /// What the object at `at` is; `None` for what is not an object of a listed class or function.
    pub(super) fn sort(&self, at: Ref) -> Option<Sort> {
        sort::of_object(self.pickle, self.pickle.object(at)?)
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
        self.levels.level(at) <= Level::Plain
    }

    /// Whether a value is data alone: numbers, texts, bytes, constants.
    pub(super) fn is_data(&self, at: Ref) -> bool {
        self.levels.level(at) == Level::Data
    }

    /// Whether hashing and comparing a key runs nothing: its class has the methods for that.
    pub(super) fn is_quiet(&self, key: Ref) -> bool {
        match self.pickle.get(key) {
            Value::Object(object) => {
                matches!(sort::of_object(self.pickle, object), Some(Sort::Data | Sort::Tensor))
            }
            Value::Global(_) | Value::Persistent(_) => true,
            _ => self.is_data(key),
        }
    }

    /// Whether `state` may be given to a class of that form, which is built without arguments.
    pub(super) fn built_state(&self, form: &Form, state: Ref) -> Result {
        match form {
            Form::Class | Form::Module => self.attributes(state),
            Form::Optimizer if self.is_plain(state) => self.attributes(state),
            Form::Optimizer => Err("given attributes that are not data"),
            Form::Plain if self.is_plain(state) => Ok(()),
            Form::Plain => Err("given a state that is not data"),
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
                        _ => return Err("given a state that is not a dictionary"),
                    }
                }
                _ => return Err("given a state that is not a dictionary"),
            },
            _ => return Err("given a state that is not a dictionary"),
        };
        self.look(entries.len())?;
        // What is data cannot be called; `register_parameter` and its like are, by `Module.__setattr__`.
        let is_special = |&(key, value): &(Ref, Ref)| {
            !self.is_data(value)
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
            Kind::Data => self.is_data(at),
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
                            matches!(pair.as_slice(), [key, _] if self.is_quiet(*key))
                        })
                }
                _ => false,
            },
            Kind::Attributes => self.attributes(at).is_ok(),
        }
    }
}
