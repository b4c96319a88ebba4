//! Evaluates TorchScript's code with symbols in place of tensors.

use super::code::{Code, Method, Statement};
use super::entry::{Entry, part_name, place_of};
use super::expression::Expression;
use super::modules::{Field, Modules};
use super::symbol::{Kind, Symbol, elements, has_value, names_of, weight};
use crate::tensor::{Data, StoredTensor, numbers};
use qp_abi::sdk::{RString, ValueInfo};
use std::collections::{HashMap, HashSet};

/// Calls within calls.
const MAX_DEPTH: u32 = 64;
/// Statements that are followed.
const MAX_STEPS: usize = 1 << 20;
/// Symbols that are made, those within others too.
const MAX_SYMBOLS: usize = 1 << 22;
/// Symbols that are kept, in variables and in the description: a line of ten bytes may keep a list of thousands.
const MAX_KEPT: usize = 1 << 19;
/// Bytes of paths in the description, for the same reason.
const MAX_PATH_BYTES: usize = 32 << 20;
/// Expressions and blocks within each other, those of called methods counted on: a bound for the stack.
const MAX_NESTING: u32 = 300;
/// Elements of a list, those of lists in it too: a line of code may double the list of the line before.
const MAX_ELEMENTS: usize = 4096;
/// Bytes of a key of a dictionary.
const MAX_KEY: usize = 1024;

/// Follows the data through methods.
pub(super) struct Tracer<'a> {
    pub(super) modules: &'a Modules,
    pub(super) code: &'a Code,
    constants: &'a HashMap<String, (RString, StoredTensor)>,
    data: &'a Data,
    /// Attributes whose value may change in a run.
    mutable: HashSet<String>,
    /// The layers so far.
    pub(super) entries: Vec<Entry>,
    /// Where in `entries` the layer of each number is.
    pub(super) ids: Vec<usize>,
    pub(super) values: Vec<ValueInfo>,
    /// Where modules that compute nothing so far are in `entries`, by their path.
    pub(super) idle: HashMap<RString, usize>,
    /// The paths of modules that compute something.
    pub(super) computing: HashSet<RString>,
    /// Modules that are in the list of layers.
    pub(super) met: HashSet<usize>,
    steps: usize,
    symbols: usize,
    kept: usize,
    path_bytes: usize,
    /// Layers that may be listed.
    most: usize,
    nesting: u32,
}

pub(super) type Variables = HashMap<String, Symbol>;

/// What of a place is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Every layer.
    Open,
    /// Modules alone, without what they compute: within an `if` or a loop.
    Branch,
    /// Nothing: within a layer.
    Layer,
}

/// Where an expression is evaluated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// The module whose method it is.
    pub(super) module: usize,
    /// What is listed.
    pub(super) mode: Mode,
    /// Calls within calls.
    pub(super) depth: u32,
}

impl Place {
    /// In the methods of the first module.
    pub(super) fn root() -> Self {
        Self { module: 0, mode: Mode::Open, depth: 0 }
    }

    pub(super) fn within(self, module: usize, mode: Mode) -> Self {
        Self { module, mode, depth: self.depth + 1 }
    }
}

impl<'a> Tracer<'a> {
    pub(super) fn new(
        modules: &'a Modules,
        code: &'a Code,
        constants: &'a HashMap<String, (RString, StoredTensor)>,
        data: &'a Data,
        mutable: HashSet<String>,
        most: usize,
    ) -> Self {
        Self {
            modules,
            code,
            constants,
            data,
            mutable,
            entries: Vec::new(),
            ids: Vec::new(),
            values: Vec::new(),
            idle: HashMap::new(),
            computing: HashSet::new(),
            met: HashSet::new(),
            steps: 0,
            symbols: 0,
            kept: 0,
            path_bytes: 0,
            most,
            nesting: 0,
        }
    }

    /// The layers, the modules among them, and the values with quantization parameters.
    pub(super) fn finish(self) -> (Vec<Entry>, HashSet<usize>, Vec<ValueInfo>) {
        (self.entries, self.met, self.values)
    }

    /// Counts work; false when it is too much.
    pub(super) fn may_go_on(&mut self, steps: usize) -> bool {
        self.steps = self.steps.saturating_add(steps);
        self.steps <= MAX_STEPS
            && self.symbols <= MAX_SYMBOLS
            && self.kept <= MAX_KEPT
            && self.path_bytes <= MAX_PATH_BYTES
            && self.entries.len() <= self.most
    }

    /// Counts symbols that are kept; false when they are too many.
    pub(super) fn may_keep(&mut self, symbols: usize) -> bool {
        self.kept = self.kept.saturating_add(symbols);
        self.may_go_on(0)
    }

    /// Counts symbols that are made; false when they are too many.
    pub(super) fn may_copy(&mut self, symbols: usize) -> bool {
        self.symbols = self.symbols.saturating_add(symbols);
        self.may_go_on(0)
    }

    /// Counts bytes of paths in the description.
    pub(super) fn note_path(&mut self, bytes: usize) {
        self.path_bytes = self.path_bytes.saturating_add(bytes);
    }

    /// The variables once more; `None` when that is too much.
    pub(super) fn copied(&mut self, variables: &Variables) -> Option<Variables> {
        self.may_copy(variables.values().map(weight).sum()).then(|| variables.clone())
    }

    /// The names of the values that variables hold, each variable looked at once.
    pub(super) fn names_in(&mut self, names: Vec<&str>, variables: &Variables) -> Vec<RString> {
        let mut known = HashSet::new();
        let mut found = Vec::new();
        for name in names {
            if !known.insert(name) {
                continue;
            }
            let Some(symbol) = variables.get(name) else { continue };
            if !self.may_copy(weight(symbol)) {
                return Vec::new();
            }
            found.extend(names_of(std::slice::from_ref(symbol)));
        }
        found
    }

    /// What a method returns.
    pub(super) fn call(&mut self, method: &'a Method, arguments: Vec<Symbol>, place: Place) -> Symbol {
        if place.depth > MAX_DEPTH {
            return Symbol::Other;
        }
        let mut variables = Variables::new();
        if !method.receiver.is_empty() {
            variables.insert(method.receiver.clone(), Symbol::Module(place.module));
        }
        let typed = method.arguments.iter().zip(&method.kinds).zip(arguments);
        variables.extend(typed.map(|(((name, _), kind), symbol)| {
            (name.clone(), if *kind == Kind::Perhaps { symbol.perhaps() } else { symbol })
        }));
        let result = self.block(&method.body, &mut variables, place).unwrap_or(Symbol::Other);
        if method.returned == Kind::Perhaps && method.returns != "NoneType" {
            return result.perhaps();
        }
        result
    }

    /// Follows statements; what is returned among them.
    pub(super) fn block(
        &mut self,
        statements: &'a [Statement],
        variables: &mut Variables,
        place: Place,
    ) -> Option<Symbol> {
        if self.nesting >= MAX_NESTING {
            return None;
        }
        self.nesting += 1;
        let returned = self.statements(statements, variables, place);
        self.nesting -= 1;
        returned
    }

    fn statements(
        &mut self,
        statements: &'a [Statement],
        variables: &mut Variables,
        place: Place,
    ) -> Option<Symbol> {
        for statement in statements {
            if !self.may_go_on(1) {
                return None;
            }
            let returned = match statement {
                Statement::Return(value) => Some(self.evaluate(value, variables, place)),
                Statement::Evaluate(value) => {
                    self.computed(value, variables, place);
                    None
                }
                Statement::Assign(targets, value) => {
                    let value = self.computed(value, variables, place);
                    self.assign(variables, targets, value);
                    None
                }
                Statement::If(condition, then, otherwise) => {
                    let start = self.entries.len();
                    match self.evaluate(condition, variables, place) {
                        Symbol::Flag(true) => self.block(then, variables, place),
                        Symbol::Flag(false) => self.block(otherwise, variables, place),
                        _ => {
                            let read = self.read_by(condition, start, variables);
                            self.branches((then, otherwise), read, variables, place)
                        }
                    }
                }
                Statement::For(target, values, body) => {
                    let start = self.entries.len();
                    self.evaluate(values, variables, place);
                    let read = self.read_by(values, start, variables);
                    self.repeated(Some(target), read, body, variables, place)
                }
                Statement::While(condition, body) => {
                    let start = self.entries.len();
                    self.evaluate(condition, variables, place);
                    let read = self.read_by(condition, start, variables);
                    self.repeated(None, read, body, variables, place)
                }
                Statement::With(value, body) => {
                    self.evaluate(value, variables, place);
                    self.block(body, variables, place)
                }
            };
            if returned.is_some() {
                return returned;
            }
        }
        None
    }

    /// The right side of a statement. To append to a list changes a variable.
    fn computed(&mut self, value: &'a Expression, variables: &mut Variables, place: Place) -> Symbol {
        if let Expression::Call(callee, arguments) = value
            && let [Expression::Name(list), element] = arguments.as_slice()
            && callee.dotted().is_some_and(|path| path == "torch.append")
        {
            let element = self.evaluate(element, variables, place);
            if !self.may_keep(weight(&element)) {
                return Symbol::Other;
            }
            if let Some(Symbol::List(found)) = variables.get_mut(list) {
                let is_empty = matches!(found.as_slice(), [Symbol::Value { name, .. }] if name.is_empty());
                if is_empty {
                    found.clear();
                }
                if found.len() < MAX_ELEMENTS {
                    found.push(element);
                }
            }
            return Symbol::Other;
        }
        self.evaluate(value, variables, place)
    }

    fn assign(&mut self, variables: &mut Variables, targets: &[Expression], value: Symbol) {
        match targets {
            [Expression::Name(name)] => {
                if self.may_keep(weight(&value)) {
                    variables.insert(name.clone(), value);
                }
            }
            [_] => {}
            several => {
                for (index, target) in several.iter().enumerate() {
                    let part = self.part(&value, index);
                    let Expression::Name(name) = target else { continue };
                    if !self.may_keep(weight(&part)) {
                        return;
                    }
                    variables.insert(name.clone(), part);
                }
            }
        }
    }

    /// One of several tensors that a layer computes, or of a list or tuple.
    fn part(&mut self, value: &Symbol, index: usize) -> Symbol {
        match value {
            Symbol::List(elements) | Symbol::Tuple(elements) => {
                elements.get(index).cloned().unwrap_or(Symbol::Other)
            }
            Symbol::Perhaps(inner) => self.part(inner, index),
            Symbol::Value { .. } if index == 0 => value.clone(),
            Symbol::Value { name, .. } => {
                let Some((id, 0)) = place_of(name) else { return value.clone() };
                let Some(entry) = self.ids.get(id).and_then(|&at| self.entries.get_mut(at)) else {
                    return value.clone();
                };
                if !entry.is_list || index >= MAX_ELEMENTS {
                    return Symbol::unnamed();
                }
                let outputs = &mut entry.layer.outputs;
                self.kept = self.kept.saturating_add((index + 1).saturating_sub(outputs.len()));
                while outputs.len() <= index {
                    outputs.push(part_name(name, outputs.len()));
                }
                let part = part_name(name, index);
                Symbol::Value { name: part, quantization: None }
            }
            _ => Symbol::Other,
        }
    }

    pub(super) fn evaluate(
        &mut self,
        expression: &'a Expression,
        variables: &Variables,
        place: Place,
    ) -> Symbol {
        if self.nesting >= MAX_NESTING || self.symbols > MAX_SYMBOLS {
            return Symbol::Other;
        }
        self.nesting += 1;
        let symbol = self.evaluate_nested(expression, variables, place);
        self.nesting -= 1;
        self.symbols = self.symbols.saturating_add(weight(&symbol));
        if elements(&symbol) > MAX_ELEMENTS { Symbol::Other } else { symbol }
    }

    fn evaluate_nested(&mut self, expression: &'a Expression, variables: &Variables, place: Place) -> Symbol {
        match expression {
            Expression::Name(name) => match (variables.get(name), name.as_str()) {
                (Some(symbol), _) => symbol.clone(),
                (None, "True") => Symbol::Flag(true),
                (None, "False") => Symbol::Flag(false),
                _ => Symbol::Other,
            },
            Expression::Number(number, _) => Symbol::Number(*number),
            Expression::List(elements) => Symbol::List(self.all(elements, variables, place)),
            Expression::Tuple(elements) => Symbol::Tuple(self.all(elements, variables, place)),
            Expression::Dictionary(entries) => {
                let entries = entries.iter().filter_map(|(key, value)| match key {
                    Expression::Text(key) if key.len() <= MAX_KEY => {
                        Some((key.clone(), self.evaluate(value, variables, place)))
                    }
                    _ => None,
                });
                Symbol::Named(entries.collect())
            }
            Expression::Attribute(..) => self.attribute(expression, variables, place),
            Expression::Index(value, index) => {
                let value = self.evaluate(value, variables, place);
                match (&value, &**index) {
                    (Symbol::Named(entries), Expression::Text(key)) => {
                        let found = entries.iter().find(|(name, _)| name == key);
                        found.map_or(Symbol::Other, |(_, symbol)| symbol.clone())
                    }
                    (_, Expression::Number(index, _)) if *index >= 0.0 => self.part(&value, *index as usize),
                    (Symbol::List(elements) | Symbol::Tuple(elements), Expression::Number(index, _)) => {
                        let from_end = (-index) as usize;
                        let index = elements.len().checked_sub(from_end);
                        index.and_then(|index| elements.get(index)).cloned().unwrap_or(Symbol::Other)
                    }
                    _ if has_value(&value) => Symbol::unnamed(),
                    _ => Symbol::Other,
                }
            }
            Expression::Call(callee, arguments) => self.called(callee, arguments, variables, place),
            Expression::Keyword(_, value) => self.evaluate(value, variables, place),
            Expression::Text(_) | Expression::Unknown => Symbol::Other,
        }
    }

    /// `a.b.c`: a constant, what a module has, or a function under a short name: `_0 = __torch__.torch.nn.functional.relu`.
    fn attribute(&mut self, expression: &'a Expression, variables: &Variables, place: Place) -> Symbol {
        let (root, names) = expression.chain();
        let mut names = names.into_iter().rev();
        let mut symbol = match root {
            Expression::Name(root) if root == "CONSTANTS" => {
                let constant = names.next().and_then(|name| self.constants.get(name)).cloned();
                constant.map_or(Symbol::Other, |(name, tensor)| Symbol::Stored(name, Box::new(tensor)))
            }
            Expression::Name(root) if root == "__torch__" && !variables.contains_key(root) => {
                return expression.dotted().map_or(Symbol::Other, Symbol::Function);
            }
            root => self.evaluate(root, variables, place),
        };
        for name in names {
            symbol = match symbol {
                Symbol::Module(module) => self.field(module, name),
                _ => Symbol::Other,
            };
        }
        symbol
    }

    pub(super) fn field(&self, module: usize, name: &str) -> Symbol {
        match self.modules.all.get(module).and_then(|module| module.fields.get(name)) {
            Some(Field::Module(child)) => Symbol::Module(*child),
            Some(Field::Tensor(name, tensor)) => Symbol::Stored(name.clone(), tensor.clone()),
            Some(Field::Number(number)) => Symbol::Number(*number),
            // A run sets the module to evaluation.
            Some(Field::Flag(_)) if name == "training" => Symbol::Flag(false),
            Some(Field::Flag(flag)) if !self.mutable.contains(name) => Symbol::Flag(*flag),
            _ => Symbol::Other,
        }
    }

    /// The numbers of a stored tensor.
    pub(super) fn stored_numbers(&self, symbol: &Symbol) -> Option<Vec<f64>> {
        match symbol {
            Symbol::Stored(_, tensor) => numbers(tensor, self.data).ok(),
            _ => None,
        }
    }
}
