//! Evaluates TorchScript's code with symbols in place of tensors.

use super::code::{Code, Method, Statement};
use super::expression::Expression;
use super::forward::{Listed, part_name, place_of};
use super::modules::{Field, Modules};
use super::symbol::{Kind, Symbol, elements, has_value};
use crate::quant::numbers;
use crate::tensor::{Data, StoredTensor};
use qp_abi::sdk::{RString, ValueInfo};
use std::collections::{HashMap, HashSet};

const MAX_DEPTH: u32 = 64;
const MAX_STEPS: usize = 1 << 20;
/// Expressions within expressions, those of called methods counted on: a bound for the stack.
const MAX_NESTING: u32 = 200;
/// Elements of a list, those of lists in it too: a line of code may double the list of the line before.
const MAX_ELEMENTS: usize = 4096;

/// Follows the data through methods.
pub(super) struct Tracer<'a> {
    pub(super) modules: &'a Modules,
    pub(super) code: &'a Code,
    constants: &'a HashMap<String, (RString, StoredTensor)>,
    data: &'a Data,
    /// Attributes whose value may change in a run.
    mutable: HashSet<String>,
    /// The layers so far.
    pub(super) entries: Vec<Listed>,
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
            nesting: 0,
        }
    }

    /// The layers, the modules among them, and the values with quantization parameters.
    pub(super) fn finish(self) -> (Vec<Listed>, HashSet<usize>, Vec<ValueInfo>) {
        (self.entries, self.met, self.values)
    }

    /// Counts work; false when it is too much.
    pub(super) fn may_go_on(&mut self, steps: usize) -> bool {
        self.steps = self.steps.saturating_add(steps);
        self.steps <= MAX_STEPS
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
            [Expression::Name(name)] => drop(variables.insert(name.clone(), value)),
            [_] => {}
            several => {
                for (index, target) in several.iter().enumerate() {
                    let part = self.part(&value, index);
                    let Expression::Name(name) = target else { continue };
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
        if self.nesting >= MAX_NESTING {
            return Symbol::Other;
        }
        self.nesting += 1;
        let symbol = self.evaluate_nested(expression, variables, place);
        self.nesting -= 1;
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
                    Expression::Text(key) => Some((key.clone(), self.evaluate(value, variables, place))),
                    _ => None,
                });
                Symbol::Named(entries.collect())
            }
            Expression::Attribute(value, name) => {
                if matches!(&**value, Expression::Name(root) if root == "CONSTANTS") {
                    let constant = self.constants.get(name).cloned();
                    return constant
                        .map_or(Symbol::Other, |(name, tensor)| Symbol::Stored(name, Box::new(tensor)));
                }
                match self.evaluate(value, variables, place) {
                    Symbol::Module(module) => self.field(module, name),
                    // A function under a short name: `_0 = __torch__.torch.nn.functional.relu`.
                    _ => match expression.dotted().filter(|path| path.starts_with("__torch__.")) {
                        Some(path) => Symbol::Function(path),
                        None => Symbol::Other,
                    },
                }
            }
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

    /// The number that a symbol is, also when it is stored as a tensor of one element.
    pub(super) fn number(&self, symbol: &Symbol) -> Option<f64> {
        match symbol {
            Symbol::Number(number) => Some(*number),
            Symbol::Stored(_, tensor) if tensor.element_count() == Some(1) => {
                numbers(tensor, self.data).ok()?.first().copied()
            }
            _ => None,
        }
    }
}
