//! Calls: of operators, functions and modules. Here it is decided what is a layer.

use super::class::is_library;
use super::code::Method;
use super::entry::place_of;
use super::expression::Expression;
use super::operator::{self, Operator};
use super::symbol::{Kind, Symbol, has_value, names_of, quantization_of};
use super::tracer::{Mode, Place, Tracer, Variables};
use qp_abi::sdk::{LayerInfo, RString};
use std::collections::HashSet;

/// Bytes of a text that count as one symbol.
const TEXT_BYTES: usize = 32;

impl<'a> Tracer<'a> {
    pub(super) fn called(
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
        let dotted = callee.dotted();
        self.may_copy(dotted.as_ref().map_or(0, |path| path.len() / TEXT_BYTES));
        if let Some(path) = dotted
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
                match is_empty && self.kind_of(annotation) == Kind::Tensor {
                    true => Symbol::List(vec![Symbol::unnamed()]),
                    false => value,
                }
            }
            ("uninitialized", [annotation]) => match self.kind_of(annotation).has_tensor() {
                true => Symbol::unnamed(),
                false => Symbol::Other,
            },
            ("int" | "float", [value]) => {
                let value = self.evaluate(value, variables, place);
                operator::number(&value, &|symbol| self.stored_numbers(symbol))
                    .map_or(Symbol::Other, Symbol::Number)
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

    /// What an annotation says of tensors. It may be as long as the file, and be read at each call.
    fn kind_of(&mut self, annotation: &Expression) -> Kind {
        let text = annotation.to_string();
        match self.may_copy(text.len() / TEXT_BYTES) {
            true => Kind::of(&text),
            false => Kind::Other,
        }
    }

    pub(super) fn all(
        &mut self,
        expressions: &'a [Expression],
        variables: &Variables,
        place: Place,
    ) -> Vec<Symbol> {
        expressions.iter().map(|expression| self.evaluate(expression, variables, place)).collect()
    }

    /// A call of a function: one of a library is an operator, one of the user's own is part of the module that calls
    /// it. What is not a function makes a tuple.
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
        let quantization = operator::quantization(operator, arguments, &|symbol| self.stored_numbers(symbol));
        if !self.may_keep(quantization.as_ref().map_or(0, |parameters| parameters.scales.len())) {
            return Symbol::Other;
        }
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
        let result = self.list(layer, false, kind, quantization);
        // Real numbers that were rounded: what is computed of them is not, as it is of codes.
        if operator.is_fake_quantizer() { result.quantized(None) } else { result }
    }
}
