//! Evaluates TorchScript's code with symbols in place of tensors.

use super::class::is_library;
use super::code::{Code, Method, Statement};
use super::expression::Expression;
use super::forward::{Listed, part_name, place_of};
use super::modules::{Field, Modules};
use super::operator::{self, Operator};
use super::symbol::{Kind, Symbol, elements, has_value, is_sure, names_of, quantization_of};
use crate::document;
use crate::quant::numbers;
use crate::tensor::{Data, StoredTensor};
use qp_abi::sdk::{LayerInfo, QuantizationParameters, RString, RVec, ValueInfo};
use std::collections::{HashMap, HashSet};

const MAX_DEPTH: u32 = 64;
const MAX_STEPS: usize = 1 << 20;
/// Expressions within expressions, those of called methods counted on: a bound for the stack.
const MAX_NESTING: u32 = 200;
/// Elements of a list, those of lists in it too: a line of code may double the list of the line before.
const MAX_ELEMENTS: usize = 4096;

/// Follows the data through methods.
pub(super) struct Tracer<'a> {
    modules: &'a Modules,
    code: &'a Code,
    constants: &'a HashMap<String, (RString, StoredTensor)>,
    data: &'a Data,
    /// Attributes whose value may change in a run.
    mutable: HashSet<String>,
    /// The layers so far.
    pub(super) entries: Vec<Listed>,
    /// Where in `entries` the layer of each number is.
    ids: Vec<usize>,
    values: Vec<ValueInfo>,
    /// Where modules that compute nothing so far are in `entries`, by their path.
    idle: HashMap<RString, usize>,
    /// The paths of modules that compute something.
    computing: HashSet<RString>,
    /// Modules that are in the list of layers.
    met: HashSet<usize>,
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

    fn within(self, module: usize, mode: Mode) -> Self {
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

    fn field(&self, module: usize, name: &str) -> Symbol {
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

    fn called(
        &mut self,
        callee: &'a Expression,
        arguments: &'a [Expression],
        variables: &Variables,
        place: Place,
    ) -> Symbol {
        if let Expression::Name(function) = callee {
            return self.builtin(function, arguments, variables, place);
        }
        let Expression::Attribute(object, method) = callee else { return Symbol::Other };
        if let Some(path) = callee.dotted()
            && let Some(operator) = Operator::of(&path)
        {
            let arguments = self.all(arguments, variables, place);
            return match path.starts_with("__torch__.") {
                true => self.function(&path, arguments, place),
                false => self.operator(&operator, &arguments, &Kind::Tensor, place),
            };
        }
        let object = self.evaluate(object, variables, place);
        let arguments = self.all(arguments, variables, place);
        match object {
            Symbol::Module(module) => self.module(module, method, arguments, place),
            _ => Symbol::Other,
        }
    }

    /// A call by a name without dots: what TorchScript has built in, or a function under a short name.
    fn builtin(
        &mut self,
        function: &str,
        arguments: &'a [Expression],
        variables: &Variables,
        place: Place,
    ) -> Symbol {
        match (function, arguments) {
            ("annotate" | "unchecked_cast", [annotation, value]) => {
                let value = self.evaluate(value, variables, place).surely();
                let is_empty = matches!(&value, Symbol::List(elements) if elements.is_empty());
                // An empty list of tensors is one of tensors all the same.
                match is_empty && Kind::of(&annotation.to_string()) == Kind::Tensor {
                    true => Symbol::List(vec![Symbol::unnamed()]),
                    false => value,
                }
            }
            ("uninitialized", [annotation]) => match Kind::of(&annotation.to_string()).has_tensor() {
                true => Symbol::unnamed(),
                false => Symbol::Other,
            },
            ("int" | "float", [value]) => {
                let value = self.evaluate(value, variables, place);
                self.number(&value).map_or(Symbol::Other, Symbol::Number)
            }
            ("bool", [value]) => match self.evaluate(value, variables, place) {
                flag @ Symbol::Flag(_) => flag,
                _ => Symbol::Other,
            },
            ("getattr", [value, Expression::Text(name)]) => match self.evaluate(value, variables, place) {
                Symbol::Module(module) => self.field(module, name),
                _ => Symbol::Other,
            },
            _ => {
                let arguments = self.all(arguments, variables, place);
                match variables.get(function) {
                    Some(Symbol::Function(path)) => self.function(&path.clone(), arguments, place),
                    _ => Symbol::Other,
                }
            }
        }
    }

    fn all(&mut self, expressions: &'a [Expression], variables: &Variables, place: Place) -> Vec<Symbol> {
        expressions.iter().map(|expression| self.evaluate(expression, variables, place)).collect()
    }

    /// A call of a function: one of a library is an operator, one of the user's own is part of the module that calls
    /// it. What is no function makes a tuple.
    fn function(&mut self, path: &str, arguments: Vec<Symbol>, place: Place) -> Symbol {
        let known = self.code.functions.get(path);
        if is_library(path.trim_start_matches("__torch__.")) {
            let kind = known.map_or(Kind::Tensor, |function| function.returned.clone());
            return match Operator::of(path) {
                Some(operator) => self.operator(&operator, &arguments, &kind, place),
                None => Symbol::Other,
            };
        }
        match known {
            Some(function) => self.call(function, arguments, place.within(place.module, place.mode)),
            None => Symbol::Tuple(arguments),
        }
    }

    /// A call of a module's method.
    fn module(&mut self, module: usize, method: &str, arguments: Vec<Symbol>, place: Place) -> Symbol {
        let modules = self.modules;
        let Some(called) = modules.all.get(module) else { return Symbol::Other };
        let body = self.code.method(&called.class.qualified, method);
        if module == place.module {
            let body = body.map(|body| self.call(body, arguments, place.within(module, place.mode)));
            return body.unwrap_or(Symbol::Other);
        }
        let is_layer = body.is_none() || modules.is_layer(module);
        match (place.mode, body) {
            (Mode::Layer, body) => {
                let body = body.map(|body| self.call(body, arguments, place.within(module, Mode::Layer)));
                body.unwrap_or(Symbol::Other)
            }
            (Mode::Branch, body) => {
                if self.met.insert(module) {
                    self.push(called.layer.clone(), true, false);
                }
                let mode = if is_layer { Mode::Layer } else { Mode::Branch };
                let body = body.map(|body| self.call(body, arguments, place.within(module, mode)));
                body.unwrap_or_else(Symbol::unnamed)
            }
            (Mode::Open, Some(body)) if !is_layer => {
                let is_first = self.met.insert(module);
                if modules.has_children(module) {
                    if is_first {
                        self.push(called.layer.clone(), true, false);
                    }
                    return self.call(body, arguments, place.within(module, Mode::Open));
                }
                let start = self.entries.len();
                let result = self.call(body, arguments, place.within(module, Mode::Open));
                self.returned(&called.layer, start, result)
            }
            (Mode::Open, body) => self.one_layer(module, body, arguments, place),
        }
    }

    /// A module that is one layer.
    fn one_layer(
        &mut self,
        module: usize,
        body: Option<&'a Method>,
        arguments: Vec<Symbol>,
        place: Place,
    ) -> Symbol {
        let modules = self.modules;
        let Some(called) = modules.all.get(module) else { return Symbol::Other };
        let mut layer = called.layer.clone();
        layer.inputs = names_of(&arguments).into();
        self.met.insert(module);
        let result = body.map(|body| self.call(body, arguments, place.within(module, Mode::Layer)));
        let kind = match body {
            // An observer that was traced computes nothing.
            Some(body) if body.returns == "NoneType" => Kind::Other,
            Some(body) => body.returned.clone(),
            None => Kind::Tensor,
        };
        let quantization = result.as_ref().and_then(quantization_of);
        self.list(layer, true, &kind, quantization)
    }

    /// What a module of the user's own returns, of which the layers from `start` on are known. The operator that
    /// computes it is the module; if there is no such one, the module hands on what others compute.
    fn returned(&mut self, module: &LayerInfo, start: usize, result: Symbol) -> Symbol {
        if let Symbol::Value { name, .. } = &result
            && let Some((id, 0)) = place_of(name)
            && let Some(&at) = self.ids.get(id)
            && at >= start
            && let Some(entry) = self.entries.get_mut(at)
            && !entry.is_module
            && entry.layer.scope == module.path
            && entry.layer.outputs.len() == 1
        {
            let operator = std::mem::replace(&mut entry.layer, module.clone());
            entry.is_module = true;
            let own: HashSet<RString> = entry.layer.tensors.iter().cloned().collect();
            entry.layer.tensors.extend(operator.tensors.into_iter().filter(|name| !own.contains(name)));
            entry.layer.inputs = operator.inputs;
            entry.layer.outputs = operator.outputs;
            if entry.layer.quantization.is_empty() {
                entry.layer.quantization = operator.quantization;
            }
            return result;
        }
        let mut layer = module.clone();
        layer.inputs = names_of(std::slice::from_ref(&result)).into();
        self.list_as(layer, true, &result)
    }

    /// A call of an operator.
    fn operator(&mut self, operator: &Operator, arguments: &[Symbol], kind: &Kind, place: Place) -> Symbol {
        if let Some(result) = operator::without_computing(operator, arguments) {
            return result;
        }
        let inputs = names_of(arguments);
        if !arguments.iter().any(has_value) || !operator.gives_tensor() || !kind.has_tensor() {
            return Symbol::Other;
        }
        let quantization = operator::quantization(operator, arguments, &|symbol| self.number(symbol));
        if place.mode != Mode::Open || !kind.is_sure() {
            let mut unnamed = |_| RString::new();
            return kind.to_symbol(&mut 0, &mut unnamed).quantized(quantization);
        }
        let mut layer = self.step(place, &operator.name, &operator.namespace, inputs);
        layer.tensors = arguments
            .iter()
            .filter_map(|argument| match argument {
                Symbol::Stored(name, _) => Some(name.clone()),
                _ => None,
            })
            .collect();
        layer.quantization = if operator.is_quantized() { "static".into() } else { RString::new() };
        self.list(layer, false, kind, quantization)
    }

    /// The layer that something is which the module at `place` computes itself.
    pub(super) fn step(&self, place: Place, op_type: &str, domain: &str, inputs: Vec<RString>) -> LayerInfo {
        let scope = self.modules.all.get(place.module).map(|module| module.path.as_str()).unwrap_or_default();
        let path = if scope.is_empty() { op_type.to_owned() } else { format!("{scope}.{op_type}") };
        LayerInfo {
            path: path.into(),
            op_type: op_type.into(),
            domain: domain.into(),
            scope: scope.into(),
            inputs: inputs.into(),
            outputs: RVec::new(),
            tensors: RVec::new(),
            attributes: RVec::new(),
            quantization: RString::new(),
        }
    }

    /// Lists a layer that computes a value of that kind.
    fn list(
        &mut self,
        layer: LayerInfo,
        is_module: bool,
        kind: &Kind,
        quantization: Option<QuantizationParameters>,
    ) -> Symbol {
        if !kind.is_sure() {
            if self.met_idle(&layer) {
                self.push(layer, is_module, false);
            }
            return kind.to_symbol(&mut 0, &mut |_| RString::new());
        }
        let id = self.push(layer, is_module, true);
        let mut outputs = Vec::new();
        let symbol = kind.to_symbol(&mut 0, &mut |part| {
            let name = part_name(&format!("%{id}"), part);
            outputs.push(name.clone());
            name
        });
        let symbol = symbol.quantized(quantization);
        self.finish_entry(outputs, quantization_of(&symbol), *kind == Kind::Tensor);
        symbol
    }

    /// Lists a layer whose result is like `symbol`.
    pub(super) fn list_as(&mut self, layer: LayerInfo, is_module: bool, symbol: &Symbol) -> Symbol {
        if !is_sure(symbol) {
            if self.met_idle(&layer) {
                self.push(layer, is_module, false);
            }
            return symbol.clone();
        }
        let id = self.push(layer, is_module, true);
        let mut outputs = Vec::new();
        let listed = super::forward::relabelled(symbol, &mut 0, &mut |part| {
            let name = part_name(&format!("%{id}"), part);
            outputs.push(name.clone());
            name
        });
        self.finish_entry(outputs, quantization_of(&listed), matches!(symbol, Symbol::Value { .. }));
        listed
    }

    /// Whether a module that computes nothing is to be listed: once.
    fn met_idle(&self, layer: &LayerInfo) -> bool {
        !self.idle.contains_key(&layer.path) && !self.computing.contains(&layer.path)
    }

    /// Gives the last layer its outputs; the parameters are those of the first.
    fn finish_entry(
        &mut self,
        outputs: Vec<RString>,
        quantization: Option<QuantizationParameters>,
        is_list: bool,
    ) {
        if let (Some(first), true) = (outputs.first(), quantization.is_some()) {
            self.values.push(document::value(first, quantization));
        }
        if let Some(entry) = self.entries.last_mut() {
            entry.layer.outputs = outputs.into();
            entry.is_list = is_list;
        }
    }

    /// Adds a layer, and gives it a number if it computes something. It then stands for the same module where that was
    /// listed without computing anything.
    fn push(&mut self, layer: LayerInfo, is_module: bool, computes: bool) -> usize {
        let (id, at) = (self.ids.len(), self.entries.len());
        if computes {
            if is_module {
                self.computing.insert(layer.path.clone());
            }
            let idle = if is_module { self.idle.remove(&layer.path) } else { None };
            if let Some(entry) = idle.and_then(|idle| self.entries.get_mut(idle)) {
                entry.is_dropped = true;
            }
            self.ids.push(at);
        } else {
            self.idle.insert(layer.path.clone(), at);
        }
        self.entries.push(Listed {
            layer,
            is_module,
            id: computes.then_some(id),
            is_list: false,
            is_dropped: false,
        });
        id
    }

    /// The number that a symbol is, also when it is stored as a tensor of one element.
    fn number(&self, symbol: &Symbol) -> Option<f64> {
        match symbol {
            Symbol::Number(number) => Some(*number),
            Symbol::Stored(_, tensor) if tensor.element_count() == Some(1) => {
                numbers(tensor, self.data).ok()?.first().copied()
            }
            _ => None,
        }
    }
}
