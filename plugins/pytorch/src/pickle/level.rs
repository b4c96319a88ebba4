//! What each value of a pickle is made of.

use super::list::{self, Form, Sort};
use super::sort;
use super::value::{Object, Pickle, Ref, Value};

/// Rounds before what is not settled counts as [`Level::Any`]; honest files need about five.
const MAX_ROUNDS: usize = 32;

/// What a value is made of; the higher includes the lower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Numbers, texts, bytes, constants.
    Data,
    /// Tensors and storages too.
    Plain,
    /// Anything.
    Any,
}

/// The levels of all values.
pub(super) struct Levels<'a> {
    pickle: &'a Pickle,
    levels: Vec<Level>,
}

impl<'a> Levels<'a> {
    /// Looks at what each value is made of.
    pub(super) fn of(pickle: &'a Pickle) -> Self {
        let mut levels = Self { pickle, levels: Vec::new() };
        levels.levels = pickle.values().iter().map(|value| levels.own_level(value)).collect();
        levels.settle();
        levels
    }

    /// The level of the value at `at`.
    pub(super) fn level(&self, at: Ref) -> Level {
        self.levels.get(at.0 as usize).copied().unwrap_or(Level::Any)
    }

    /// The least that a value is, whatever it contains.
    fn own_level(&self, value: &Value) -> Level {
        match value {
            Value::Global(global) => match list::form(global) {
                Some(Form::Value) => Level::Data,
                _ => Level::Any,
            },
            Value::Object(object) => match sort::of_object(self.pickle, object) {
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
            Value::Object(object) => match sort::of_object(self.pickle, object) {
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
