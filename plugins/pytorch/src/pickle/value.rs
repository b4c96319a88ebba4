//! What a pickle describes: a graph of inert values in one arena.

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
    /// Bytes, or a text of Python 2 that is no UTF-8.
    Bytes(Box<[u8]>),
    /// A list.
    List(Vec<Ref>),
    /// A tuple.
    Tuple(Vec<Ref>),
    /// A set or frozen set.
    Set(Vec<Ref>),
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

/// The name of a class or function.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Global {
    /// The module, by its Python 3 name.
    pub module: String,
    /// The name in the module; may have dots.
    pub name: String,
}

impl Global {
    /// The name with Python 2's modules renamed as Python 3 does.
    pub fn new(module: &str, name: &str) -> Self {
        let module = match module {
            "__builtin__" => "builtins",
            "copy_reg" => "copyreg",
            "commands" => "subprocess",
            other => other,
        };
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

/// A decoded pickle.
#[derive(Debug, Clone)]
pub struct Pickle {
    pub(super) values: Vec<Value>,
    pub(super) root: Ref,
    pub(super) length: usize,
    pub(super) protocol: u8,
    pub(super) changed_globals: Vec<Ref>,
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

    /// Every value, those too that the root does not reach.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// Classes, functions and modules whose content the pickle would have changed.
    pub fn changed_globals(&self) -> &[Ref] {
        &self.changed_globals
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

    /// The entries of a dictionary or `OrderedDict`, in order; `None` for anything else.
    pub fn entries(&self, at: Ref) -> Option<Vec<(Ref, Ref)>> {
        match self.get(at) {
            Value::Dict(entries) => Some(entries.clone()),
            Value::Object(object) => {
                let global = self.callable(object)?;
                let is_mapping = global.is("collections", "OrderedDict")
                    || global.is("collections", "defaultdict")
                    || global.is("collections", "Counter");
                if !is_mapping {
                    return None;
                }
                let mut entries = Vec::new();
                // `OrderedDict([[key, value], …])` is how protocols 0 and 1 write it.
                for &argument in self.arguments(object) {
                    for &pair in self.sequence(argument).unwrap_or_default() {
                        if let Some(&[key, value]) = self.sequence(pair) {
                            entries.push((key, value));
                        }
                    }
                    if let Value::Dict(more) = self.get(argument) {
                        entries.extend_from_slice(more);
                    }
                }
                entries.extend_from_slice(&object.items);
                Some(entries)
            }
            _ => None,
        }
    }

    /// The entries of a dictionary whose keys are texts; others are left out.
    pub fn named_entries(&self, at: Ref) -> Vec<(&str, Ref)> {
        let entries = self.entries(at).unwrap_or_default();
        entries.into_iter().filter_map(|(key, value)| Some((self.text(key)?, value))).collect()
    }

    /// What a dictionary holds under `name`.
    pub fn entry(&self, at: Ref, name: &str) -> Option<Ref> {
        self.named_entries(at).into_iter().rev().find(|(key, _)| *key == name).map(|(_, value)| value)
    }
}
