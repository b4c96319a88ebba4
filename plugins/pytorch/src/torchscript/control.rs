//! `if` and loops: what they yield is one layer where they stand.

use super::code::Statement;
use super::expression::Expression;
use super::symbol::{Symbol, has_value, is_sure, relabelled};
use super::tracer::{Mode, Place, Tracer, Variables};
use qp_abi::sdk::{Attribute, AttributeValue, RString};
use std::collections::HashSet;

impl<'a> Tracer<'a> {
    /// An `if` whose condition is known in a run alone and reads `read`. Both branches assign what it yields.
    pub(super) fn branches(
        &mut self,
        (then, otherwise): (&'a [Statement], &'a [Statement]),
        mut read: Vec<RString>,
        variables: &mut Variables,
        place: Place,
    ) -> Option<Symbol> {
        let inner = hidden(place);
        let start = self.entries.len();
        let (mut first, mut second) = (self.copied(variables)?, self.copied(variables)?);
        let returned = self.block(then, &mut first, inner);
        let returned = returned.or(self.block(otherwise, &mut second, inner));
        let others: HashSet<&str> = assigned(otherwise).collect();
        let mut known = HashSet::new();
        let names: Vec<&str> =
            assigned(then).filter(|name| others.contains(name) && known.insert(*name)).collect();
        let yielded = names.iter().map(|name| {
            let symbols = (first.get(*name), second.get(*name));
            match symbols {
                (Some(symbol), Some(other)) if is_sure(symbol) && is_sure(other) => symbol.clone(),
                // What is none on one side is optional.
                (Some(symbol), _) if has_value(symbol) => symbol.clone().perhaps(),
                (_, Some(symbol)) if has_value(symbol) => symbol.clone().perhaps(),
                (Some(Symbol::Number(one)), Some(Symbol::Number(other))) if one == other => {
                    Symbol::Number(*one)
                }
                _ => Symbol::Other,
            }
        });
        let yielded: Vec<Symbol> = yielded.collect();
        read.extend(self.read(&[then, otherwise], variables, place));
        self.yielded("if", start, &names, yielded, read, variables, place);
        returned
    }

    /// A loop whose rounds depend on `read`. What it assigns and was there before is carried from one round to the next.
    pub(super) fn repeated(
        &mut self,
        target: Option<&'a Expression>,
        mut read: Vec<RString>,
        body: &'a [Statement],
        variables: &mut Variables,
        place: Place,
    ) -> Option<Symbol> {
        let start = self.entries.len();
        let mut known = HashSet::new();
        let names: Vec<&str> =
            assigned(body).filter(|name| variables.contains_key(*name) && known.insert(*name)).collect();
        let mut inner = self.copied(variables)?;
        for name in &names {
            if let Some(symbol) = inner.get_mut(*name) {
                *symbol = relabelled(symbol, &mut 0, &mut |_| RString::new());
                if matches!(symbol, Symbol::Number(_) | Symbol::Flag(_)) {
                    *symbol = Symbol::Other;
                }
            }
        }
        if let Some(Expression::Name(target)) = target {
            inner.insert(target.clone(), Symbol::Other);
        }
        let returned = self.block(body, &mut inner, hidden(place));
        let yielded = names.iter().map(|name| match (inner.get(*name), variables.get(*name)) {
            (Some(symbol), _) if has_value(symbol) => symbol.clone(),
            (_, Some(symbol)) if has_value(symbol) => symbol.clone(),
            _ => Symbol::Other,
        });
        let yielded: Vec<Symbol> = yielded.collect();
        read.extend(self.read(&[body], variables, place));
        read.extend(self.names_in(names.clone(), variables));
        self.yielded("loop", start, &names, yielded, read, variables, place);
        returned
    }

    /// Lists the layer, if it yields a tensor, and gives its values to the variables.
    #[expect(clippy::too_many_arguments, reason = "both forms end with all of it")]
    fn yielded(
        &mut self,
        form: &str,
        start: usize,
        names: &[&str],
        yielded: Vec<Symbol>,
        mut read: Vec<RString>,
        variables: &mut Variables,
        place: Place,
    ) {
        let mut known = HashSet::new();
        read.retain(|name| known.insert(name.clone()));
        let whole = Symbol::Tuple(yielded);
        let whole = if !is_sure(&whole) {
            whole
        } else if place.mode == Mode::Open {
            let layer = self.step(place, form, "prim", read);
            let within = Attribute { name: "computed in".into(), value: AttributeValue::Text(form.into()) };
            for entry in self.entries.iter_mut().skip(start).filter(|entry| entry.id.is_none()) {
                entry.layer.attributes.push(within.clone());
            }
            self.list_as(layer, false, &whole)
        } else {
            relabelled(&whole, &mut 0, &mut |_| RString::new())
        };
        if let Symbol::Tuple(parts) = whole {
            variables.extend(names.iter().map(|name| (*name).to_owned()).zip(parts));
        }
    }

    /// The values outside of the statements that they read.
    fn read(&mut self, blocks: &[&'a [Statement]], variables: &Variables, place: Place) -> Vec<RString> {
        if place.mode != Mode::Open {
            return Vec::new();
        }
        let mut names = Vec::new();
        blocks.iter().for_each(|block| block_names(block, &mut names));
        if !self.may_go_on(names.len()) {
            return Vec::new();
        }
        self.names_in(names, variables)
    }

    /// The values that a condition reads: what it computes last, of the layers from `start` on, or those in it.
    pub(super) fn read_by(
        &mut self,
        condition: &'a Expression,
        start: usize,
        variables: &Variables,
    ) -> Vec<RString> {
        if let Some(last) = self.entries.get(start..).and_then(<[_]>::last) {
            return last.layer.outputs.to_vec();
        }
        let mut names = Vec::new();
        expression_names(condition, &mut names);
        self.names_in(names, variables)
    }
}

fn hidden(place: Place) -> Place {
    Place { mode: if place.mode == Mode::Open { Mode::Branch } else { place.mode }, ..place }
}

/// The variables that the statements themselves assign, those within their branches and loops apart.
fn assigned(statements: &[Statement]) -> impl Iterator<Item = &str> {
    statements.iter().flat_map(|statement| {
        let targets = match statement {
            Statement::Assign(targets, _) => targets.as_slice(),
            _ => &[],
        };
        targets.iter().filter_map(|target| match target {
            Expression::Name(name) => Some(name.as_str()),
            _ => None,
        })
    })
}

fn block_names<'a>(statements: &'a [Statement], names: &mut Vec<&'a str>) {
    for statement in statements {
        match statement {
            Statement::Assign(_, value) | Statement::Return(value) | Statement::Evaluate(value) => {
                expression_names(value, names);
            }
            Statement::If(condition, then, otherwise) => {
                expression_names(condition, names);
                block_names(then, names);
                block_names(otherwise, names);
            }
            Statement::For(_, value, body) | Statement::While(value, body) | Statement::With(value, body) => {
                expression_names(value, names);
                block_names(body, names);
            }
        }
    }
}

fn expression_names<'a>(expression: &'a Expression, names: &mut Vec<&'a str>) {
    match expression {
        Expression::Name(name) => names.push(name),
        Expression::List(elements) | Expression::Tuple(elements) => {
            elements.iter().for_each(|element| expression_names(element, names));
        }
        Expression::Dictionary(entries) => {
            entries.iter().for_each(|(_, value)| expression_names(value, names));
        }
        Expression::Attribute(value, _) | Expression::Keyword(_, value) => expression_names(value, names),
        Expression::Index(value, index) => {
            expression_names(value, names);
            expression_names(index, names);
        }
        Expression::Call(callee, arguments) => {
            expression_names(callee, names);
            arguments.iter().for_each(|argument| expression_names(argument, names));
        }
        Expression::Number(..) | Expression::Text(_) | Expression::Unknown => {}
    }
}
