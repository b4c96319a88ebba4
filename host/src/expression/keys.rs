//! Checks an expression's names and keys against the declarations of commands' results, without running anything.

use super::Expression;
use super::explain::{parts, path};
use crate::error::Error;
use crate::render::record::{Form, Kind, ReportShape, Shape};
use cel::common::ast::{Expr, IdedExpr, SelectExpr, operators};

/// What is known of a value before it is computed.
#[derive(Clone, Debug)]
enum Known {
    /// Nothing.
    Any,
    /// A number, a text, a flag.
    One,
    /// An object of one of several declarations.
    Object(Vec<Vec<Shape>>),
    /// A list, or the models by name.
    Many(Box<Self>),
    /// The models by name: iterating over them gives their names.
    ByName(Box<Self>),
}

/// The list of models, which expressions index by name.
const MODELS: &str = "models";

impl Expression {
    /// The keys that no declaration has. `reports` gives a command's declarations; `None` for other names.
    pub fn unknown_keys(&self, reports: &dyn Fn(&str) -> Option<Vec<ReportShape>>) -> Vec<Error> {
        let mut checker = Checker { reports, bound: Vec::new(), problems: Vec::new() };
        checker.known(self.program.expression());
        checker.problems
    }
}

struct Checker<'c> {
    reports: &'c dyn Fn(&str) -> Option<Vec<ReportShape>>,
    bound: Vec<(String, Known)>,
    problems: Vec<Error>,
}

impl Checker<'_> {
    fn known(&mut self, expr: &IdedExpr) -> Known {
        match &expr.expr {
            Expr::Ident(name) => self.name(name),
            Expr::Select(select) => self.select(select),
            Expr::Call(call) if call.func_name == operators::INDEX => match &call.args[..] {
                [of, index] => {
                    let of = self.known(of);
                    self.known(index);
                    match of {
                        Known::Many(element) | Known::ByName(element) => *element,
                        _ => Known::Any,
                    }
                }
                _ => Known::Any,
            },
            Expr::Comprehension(one) => {
                let element = match self.known(&one.iter_range) {
                    Known::Many(element) => *element,
                    Known::ByName(_) => Known::One,
                    _ => Known::Any,
                };
                let before = self.bound.len();
                self.bound.push((one.iter_var.clone(), element));
                self.bound.push((one.accu_var.clone(), Known::Any));
                self.bound.extend(one.iter_var2.iter().map(|name| (name.clone(), Known::Any)));
                for inner in [&one.accu_init, &one.loop_cond, &one.loop_step, &one.result] {
                    self.known(inner);
                }
                self.bound.truncate(before);
                Known::Any
            }
            _ => {
                for part in parts(expr) {
                    self.known(part);
                }
                Known::Any
            }
        }
    }

    fn name(&self, name: &str) -> Known {
        if let Some((_, known)) = self.bound.iter().rev().find(|(bound, _)| bound == name) {
            return known.clone();
        }
        match (self.reports)(name) {
            Some(reports) => Known::Object(reports.into_iter().map(|report| report.fields).collect()),
            None => Known::Any,
        }
    }

    fn select(&mut self, select: &SelectExpr) -> Known {
        let key = select.field.as_str();
        match self.known(&select.operand) {
            Known::Object(alternatives) => {
                if let Some(known) = alternatives.iter().find_map(|fields| field(fields, key)) {
                    return known;
                }
                let holder = path(&select.operand).unwrap_or_default();
                let keys: Vec<&str> = alternatives.iter().flat_map(|fields| keys(fields)).collect();
                let error = Error::usage(format!("`{holder}` has no `{key}`"));
                let otherwise = || format!("It has {}.", keys.join(", "));
                self.problems.push(error.with_nearest(key, keys.iter().copied(), otherwise));
                Known::Any
            }
            Known::One => {
                let holder = path(&select.operand).unwrap_or_default();
                self.problems.push(Error::usage(format!("`{holder}` is a single value and has no `{key}`")));
                Known::Any
            }
            Known::ByName(element) => *element,
            Known::Any | Known::Many(_) => Known::Any,
        }
    }
}

/// What is known of a field; `None` for a key that does not exist.
fn field(fields: &[Shape], key: &str) -> Option<Known> {
    fields.iter().find_map(|shape| match shape.spec.form {
        Form::Flat => field(&shape.fields, key),
        // Any name may be one of them.
        Form::Names(_) => Some(Known::Any),
        _ if shape.spec.key != key => None,
        Form::Value(ref kind) => Some(value(kind)),
        Form::Nested | Form::Object(_) => Some(Known::Object(vec![shape.fields.clone()])),
        Form::List(_) => {
            let element = Box::new(Known::Object(vec![shape.fields.clone()]));
            let is_by_name = key == MODELS && shape.fields.iter().any(|field| field.spec.key == "model");
            Some(if is_by_name { Known::ByName(element) } else { Known::Many(element) })
        }
        Form::Branches => Some(Known::Many(Box::new(Known::Any))),
    })
}

fn value(kind: &Kind) -> Known {
    match kind {
        Kind::Optional(inner) => value(inner),
        Kind::List(inner) => Known::Many(Box::new(value(inner))),
        Kind::Tagged(..) | Kind::Error | Kind::AnyOf(_) | Kind::Any => Known::Any,
        Kind::Flag | Kind::Whole | Kind::Count | Kind::Real | Kind::Text => Known::One,
    }
}

fn keys(fields: &[Shape]) -> Vec<&str> {
    fields
        .iter()
        .flat_map(|shape| match shape.spec.form {
            Form::Flat => keys(&shape.fields),
            _ => vec![&*shape.spec.key],
        })
        .filter(|key| !key.is_empty())
        .collect()
}
