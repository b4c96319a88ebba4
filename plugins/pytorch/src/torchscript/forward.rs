//! Follows the data through `forward`, without computing anything.
//!
//! A module that has no modules of its own is one layer, and so is each function that a module with children
//! calls. The value that a layer computes has the layer's path as its name. Scales and zero points are taken
//! from the arguments of quantized operators, as numbers or as stored tensors.

use super::code::{Class, Expression, Method, Statement};
use super::modules::{Field, Modules};
use super::operator::{self, Operator};
use crate::document::{self, Collector};
use crate::names::Names;
use crate::quant::numbers;
use crate::tensor::{Data, StoredTensor};
use qp_abi::sdk::{LayerInfo, QuantizationParameters, RString, RVec, ValueInfo};
use std::collections::{HashMap, HashSet};

const MAX_DEPTH: u32 = 64;
/// Statements, and elements of what they give: lists, scales, the tensors of a layer.
const MAX_STEPS: usize = 1 << 20;
/// Expressions within expressions, those of called methods counted on: a bound for the stack.
const MAX_NESTING: u32 = 200;
/// Bytes of an operator's name.
const MAX_NAME: usize = 1024;
/// Elements of a list, those of lists in it too: a line of code may double the list of the line before.
const MAX_ELEMENTS: usize = 4096;

/// What a variable stands for.
#[derive(Debug, Clone)]
pub(super) enum Symbol {
    Module(usize),
    Value { name: RString, quantization: Option<QuantizationParameters> },
    Stored(RString, Box<StoredTensor>),
    Number(f64),
    Sequence(Vec<Symbol>),
    Named(Vec<(String, Symbol)>),
    Function(String),
    Other,
}

/// What following `forward` found.
#[derive(Debug, Default)]
pub struct Flow {
    /// The layers in the order of computation.
    pub layers: Vec<LayerInfo>,
    /// The inputs: names and types.
    pub inputs: Vec<(String, String)>,
    /// The outputs.
    pub outputs: Vec<ValueInfo>,
    /// The values with quantization parameters.
    pub values: Vec<ValueInfo>,
}

/// Follows `forward` of the first module.
pub fn follow(
    modules: &Modules,
    classes: &HashMap<String, Class>,
    constants: &HashMap<String, (RString, StoredTensor)>,
    collector: &Collector,
) -> Flow {
    let data = &collector.document.data;
    let mut tracer = Tracer {
        modules,
        classes,
        constants,
        data,
        flow: Flow::default(),
        names: Names::default(),
        met: HashSet::new(),
        steps: 0,
        nesting: 0,
    };
    for module in &modules.all {
        tracer.names.claim(&module.path, '_', 1);
    }
    let forward = modules.all.first().and_then(|root| tracer.method(&root.class.qualified, "forward"));
    if let Some(forward) = forward {
        tracer.flow.inputs.clone_from(&forward.arguments);
        let inputs = forward.arguments.iter().map(|(name, _)| {
            tracer.names.claim(name, '_', 1);
            Symbol::Value { name: name.as_str().into(), quantization: None }
        });
        let inputs: Vec<Symbol> = inputs.collect();
        let result = tracer.call(0, forward, inputs, false, 0);
        tracer.flow.outputs = outputs(&result, &forward.returns);
    }
    let flow = &mut tracer.flow;
    for (index, module) in modules.all.iter().enumerate() {
        let is_listed = !module.path.is_empty() && module.class.name != "LinearPackedParams";
        if is_listed && !tracer.met.contains(&index) {
            flow.layers.push(module.layer.clone());
        }
    }
    tracer.flow
}

/// The outputs of the graph under their names.
fn outputs(result: &Symbol, returns: &str) -> Vec<ValueInfo> {
    let named = |symbol: &Symbol, fallback: &str| match symbol {
        Symbol::Value { name, quantization } if !name.is_empty() => {
            document::value(name, quantization.clone())
        }
        _ => document::value(fallback, None),
    };
    let mut outputs = match result {
        Symbol::Sequence(elements) => elements
            .iter()
            .enumerate()
            .map(|(index, element)| named(element, &format!("output_{index}")))
            .collect(),
        Symbol::Named(entries) => entries
            .iter()
            .map(|(key, value)| {
                let mut value = named(value, key);
                value.name = key.as_str().into();
                value
            })
            .collect(),
        symbol => vec![named(symbol, "output")],
    };
    if let [output] = outputs.as_mut_slice()
        && !matches!(returns, "Tensor" | "")
        && !matches!(result, Symbol::Sequence(_) | Symbol::Named(_))
    {
        output.type_name = returns.into();
    }
    let mut taken = HashSet::new();
    for (index, output) in outputs.iter_mut().enumerate() {
        if !taken.insert(output.name.clone()) {
            output.name = format!("output_{index}").into();
        }
    }
    outputs
}

struct Tracer<'a> {
    modules: &'a Modules,
    classes: &'a HashMap<String, Class>,
    constants: &'a HashMap<String, (RString, StoredTensor)>,
    data: &'a Data,
    flow: Flow,
    /// Names of layers and values.
    names: Names,
    /// Modules that are in the list of layers.
    met: HashSet<usize>,
    steps: usize,
    nesting: u32,
}

type Variables = HashMap<String, Symbol>;

/// Where an expression is evaluated.
#[derive(Clone, Copy)]
struct Place {
    module: usize,
    /// Within a layer nothing is listed any more.
    is_within_layer: bool,
    depth: u32,
}

impl<'a> Tracer<'a> {
    fn method(&self, class: &str, name: &str) -> Option<&'a Method> {
        self.classes.get(class)?.methods.get(name)
    }

    fn call(
        &mut self,
        module: usize,
        method: &Method,
        arguments: Vec<Symbol>,
        is_within_layer: bool,
        depth: u32,
    ) -> Symbol {
        if depth > MAX_DEPTH {
            return Symbol::Other;
        }
        let mut variables: Variables = HashMap::from([(method.receiver.clone(), Symbol::Module(module))]);
        let names = method.arguments.iter().map(|(name, _)| name.clone());
        variables.extend(names.zip(arguments));
        let place = Place { module, is_within_layer, depth };
        let mut result = Symbol::Other;
        for statement in &method.body {
            self.steps += 1;
            if self.steps > MAX_STEPS {
                break;
            }
            match statement {
                Statement::Return(value) => result = self.evaluate(value, &variables, place),
                Statement::Evaluate(value) => drop(self.evaluate(value, &variables, place)),
                Statement::Assign(targets, value) => {
                    let value = self.evaluate(value, &variables, place);
                    assign(&mut variables, targets, value);
                }
            }
        }
        result
    }

    fn evaluate(&mut self, expression: &Expression, variables: &Variables, place: Place) -> Symbol {
        if self.nesting >= MAX_NESTING {
            return Symbol::Other;
        }
        self.nesting += 1;
        let symbol = self.evaluate_nested(expression, variables, place);
        self.nesting -= 1;
        self.steps = self.steps.saturating_add(cost(&symbol));
        if self.steps > MAX_STEPS || elements(&symbol) > MAX_ELEMENTS { Symbol::Other } else { symbol }
    }

    fn evaluate_nested(&mut self, expression: &Expression, variables: &Variables, place: Place) -> Symbol {
        match expression {
            Expression::Name(name) => variables.get(name).cloned().unwrap_or(Symbol::Other),
            Expression::Number(number) => Symbol::Number(*number),
            Expression::Sequence(elements) => Symbol::Sequence(
                elements.iter().map(|element| self.evaluate(element, variables, place)).collect(),
            ),
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
                match (value, &**index) {
                    (Symbol::Sequence(elements), Expression::Number(index)) => {
                        elements.get(*index as usize).cloned().unwrap_or(Symbol::Other)
                    }
                    (value @ Symbol::Value { .. }, _) => value,
                    _ => Symbol::Other,
                }
            }
            Expression::Call(callee, arguments) => self.called(callee, arguments, variables, place),
            Expression::Text(_) | Expression::Unknown => Symbol::Other,
        }
    }

    fn field(&self, module: usize, name: &str) -> Symbol {
        match self.modules.all.get(module).and_then(|module| module.fields.get(name)) {
            Some(Field::Module(child)) => Symbol::Module(*child),
            Some(Field::Tensor(name, tensor)) => Symbol::Stored(name.clone(), tensor.clone()),
            Some(Field::Number(number)) => Symbol::Number(*number),
            _ => Symbol::Other,
        }
    }

    fn called(
        &mut self,
        callee: &Expression,
        arguments: &[Expression],
        variables: &Variables,
        place: Place,
    ) -> Symbol {
        if let Expression::Name(function) = callee {
            return match (function.as_str(), arguments) {
                ("annotate" | "unchecked_cast", [_, value]) => self.evaluate(value, variables, place),
                ("int" | "float" | "bool", [value]) => self.evaluate(value, variables, place),
                ("getattr", [value, Expression::Text(name)]) => {
                    match self.evaluate(value, variables, place) {
                        Symbol::Module(module) => self.field(module, name),
                        _ => Symbol::Other,
                    }
                }
                _ => {
                    let arguments = self.all(arguments, variables, place);
                    let known = match variables.get(function) {
                        Some(Symbol::Function(path)) => Operator::of(path),
                        _ => None,
                    };
                    self.operator(known.unwrap_or_else(|| Operator::unknown(function)), &arguments, place)
                }
            };
        }
        let Expression::Attribute(object, method) = callee else { return Symbol::Other };
        if let Some(path) = callee.dotted()
            && let Some(operator) = Operator::of(&path)
        {
            let arguments = self.all(arguments, variables, place);
            return self.operator(operator, &arguments, place);
        }
        match self.evaluate(object, variables, place) {
            Symbol::Module(module) => {
                let arguments = self.all(arguments, variables, place);
                self.module(module, method, arguments, place)
            }
            _ => Symbol::Other,
        }
    }

    fn all(&mut self, expressions: &[Expression], variables: &Variables, place: Place) -> Vec<Symbol> {
        expressions.iter().map(|expression| self.evaluate(expression, variables, place)).collect()
    }

    /// A call of a module's method.
    fn module(&mut self, module: usize, method: &str, arguments: Vec<Symbol>, place: Place) -> Symbol {
        let Some(called) = self.modules.all.get(module) else { return Symbol::Other };
        let body = self.method(&called.class.qualified, method);
        let is_own_method = module == place.module;
        if place.is_within_layer || is_own_method {
            let body =
                body.map(|body| self.call(module, body, arguments, place.is_within_layer, place.depth + 1));
            return body.unwrap_or(Symbol::Other);
        }
        let is_first = self.met.insert(module);
        if !self.is_layer(module) {
            if is_first {
                self.flow.layers.push(called.layer.clone());
            }
            let body = body.map(|body| self.call(module, body, arguments, false, place.depth + 1));
            return body.unwrap_or(Symbol::Other);
        }
        self.steps += called.layer.tensors.len() + called.layer.attributes.len();
        let inputs = names_of(&arguments);
        // An observer that was traced computes nothing.
        let computes = body.is_none_or(|body| body.returns != "NoneType");
        let result = body.map(|body| self.call(module, body, arguments, true, place.depth + 1));
        let name = if is_first { called.path.clone() } else { self.names.claim(&called.path, '_', 1) };
        let mut layer = called.layer.clone();
        layer.path = name.as_str().into();
        if !computes {
            layer.inputs = inputs.into();
            self.flow.layers.push(layer);
            return Symbol::Other;
        }
        self.list(layer, &name, inputs, result.as_ref().and_then(quantization_of))
    }

    /// Whether a module is one layer: nothing within it is listed.
    fn is_layer(&self, module: usize) -> bool {
        let Some(module) = self.modules.all.get(module) else { return false };
        let has_children = module.fields.values().any(|field| {
            matches!(field, Field::Module(child) if self.modules.all.get(*child).is_some_and(|child| child.class.name != "LinearPackedParams"))
        });
        !has_children || module.class.module.contains("functional_modules")
    }

    /// A call of a function.
    fn operator(&mut self, operator: Operator, arguments: &[Symbol], place: Place) -> Symbol {
        let inputs = names_of(arguments);
        let takes_tensors = arguments.iter().any(has_value);
        if !takes_tensors || !operator.gives_tensor() || operator.name.len() > MAX_NAME {
            return Symbol::Other;
        }
        let numbers = |symbol: &Symbol| self.number(symbol);
        let quantization = operator::quantization(&operator, arguments, &numbers);
        if place.is_within_layer {
            return Symbol::Value { name: RString::new(), quantization };
        }
        let scope = self.modules.all.get(place.module).map(|module| module.path.clone()).unwrap_or_default();
        let stem =
            if scope.is_empty() { operator.name.clone() } else { format!("{scope}.{}", operator.name) };
        let name = self.names.claim(&stem, '_', 1);
        let layer = LayerInfo {
            path: name.as_str().into(),
            op_type: operator.name.as_str().into(),
            domain: operator.namespace.as_str().into(),
            scope: scope.into(),
            inputs: RVec::new(),
            outputs: RVec::new(),
            tensors: arguments
                .iter()
                .filter_map(|argument| match argument {
                    Symbol::Stored(name, _) => Some(name.clone()),
                    _ => None,
                })
                .collect(),
            attributes: RVec::new(),
            quantization: if operator.is_quantized() { "static".into() } else { RString::new() },
        };
        self.list(layer, &name, inputs, quantization)
    }

    fn list(
        &mut self,
        mut layer: LayerInfo,
        name: &str,
        inputs: Vec<RString>,
        quantization: Option<QuantizationParameters>,
    ) -> Symbol {
        layer.inputs = inputs.into();
        layer.outputs = vec![RString::from(name)].into();
        self.flow.layers.push(layer);
        if quantization.is_some() {
            self.flow.values.push(document::value(name, quantization.clone()));
        }
        Symbol::Value { name: name.into(), quantization }
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

fn assign(variables: &mut Variables, targets: &[Expression], value: Symbol) {
    match targets {
        [Expression::Name(name)] => drop(variables.insert(name.clone(), value)),
        [_] => {}
        several => {
            for (index, target) in several.iter().enumerate() {
                let Expression::Name(name) = target else { continue };
                let part = match &value {
                    Symbol::Sequence(elements) => elements.get(index).cloned().unwrap_or(Symbol::Other),
                    Symbol::Value { .. } => value.clone(),
                    _ => Symbol::Other,
                };
                variables.insert(name.clone(), part);
            }
        }
    }
}

/// The names of the values among the arguments, those in lists too.
fn names_of(arguments: &[Symbol]) -> Vec<RString> {
    let mut names = Vec::new();
    for argument in arguments {
        match argument {
            Symbol::Value { name, .. } if !name.is_empty() => names.push(name.clone()),
            Symbol::Sequence(elements) => names.extend(names_of(elements)),
            _ => {}
        }
    }
    names
}

/// What copying a symbol costs, in steps.
fn cost(symbol: &Symbol) -> usize {
    match symbol {
        Symbol::Sequence(all) => all.iter().map(cost).sum::<usize>() + 1,
        Symbol::Named(all) => all.iter().map(|(_, symbol)| cost(symbol)).sum::<usize>() + 1,
        Symbol::Value { name, .. } | Symbol::Stored(name, _) => 1 + name.len() / 64,
        Symbol::Function(path) => 1 + path.len() / 64,
        _ => 1,
    }
}

/// How many symbols a symbol is made of.
fn elements(symbol: &Symbol) -> usize {
    match symbol {
        Symbol::Sequence(all) => all.iter().map(elements).sum::<usize>() + 1,
        Symbol::Named(all) => all.iter().map(|(_, symbol)| elements(symbol)).sum::<usize>() + 1,
        _ => 1,
    }
}

fn has_value(symbol: &Symbol) -> bool {
    match symbol {
        Symbol::Value { .. } => true,
        Symbol::Stored(..) => true,
        Symbol::Sequence(elements) => elements.iter().any(has_value),
        _ => false,
    }
}

/// The parameters of a value, or of the first of several.
pub(super) fn quantization_of(symbol: &Symbol) -> Option<QuantizationParameters> {
    match symbol {
        Symbol::Value { quantization, .. } => quantization.clone(),
        Symbol::Sequence(elements) => elements.iter().find_map(quantization_of),
        _ => None,
    }
}
