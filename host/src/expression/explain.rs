//! Why an expression is false, or has no value: the values in it.

use super::value;
use cel::common::ast::{ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::objects::Key;
use cel::{Context, Value};

/// How many elements of a list are named.
const SHOWN_ELEMENTS: usize = 3;

/// What names an element of a list.
const NAMES: [&str; 5] = ["layer", "model", "name", "tensor", "value"];

/// The subexpressions of an expression.
pub(super) fn parts(expr: &IdedExpr) -> Vec<&IdedExpr> {
    match &expr.expr {
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::Select(select) => vec![&select.operand],
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => entries(map.entries.iter().map(|entry| &entry.expr)),
        Expr::Struct(one) => entries(one.entries.iter().map(|entry| &entry.expr)),
        Expr::Comprehension(one) => {
            vec![&one.iter_range, &one.accu_init, &one.loop_cond, &one.loop_step, &one.result]
        }
        Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => Vec::new(),
    }
}

fn entries<'e>(entries: impl Iterator<Item = &'e EntryExpr>) -> Vec<&'e IdedExpr> {
    entries
        .flat_map(|entry| match entry {
            EntryExpr::StructField(field) => vec![&field.value],
            EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
        })
        .collect()
}

/// The values that make an expression false: those of the false part of a conjunction, and of the elements for which the
/// condition of `all` or `exists` fails.
pub(super) fn reasons(expr: &IdedExpr, context: &Context<'_, '_>) -> Vec<String> {
    match &expr.expr {
        Expr::Call(call) if call.func_name == operators::LOGICAL_AND => {
            let is_false = |part: &&IdedExpr| context.resolve(part) == Ok(Value::Bool(false));
            call.args.iter().filter(is_false).flat_map(|part| reasons(part, context)).collect()
        }
        Expr::Call(call) if call.func_name == operators::LOGICAL_OR => {
            call.args.iter().flat_map(|part| reasons(part, context)).collect()
        }
        Expr::Comprehension(one) => match condition(one) {
            Some(condition) => failing(one, condition, context),
            None => values(&one.iter_range, context),
        },
        _ => values(expr, context),
    }
}

/// The condition of `list.all(name, condition)` and of `list.exists(name, condition)`.
fn condition(one: &ComprehensionExpr) -> Option<&IdedExpr> {
    let Expr::Literal(LiteralValue::Boolean(start)) = &one.accu_init.expr else { return None };
    let joins = if *start.inner() { operators::LOGICAL_AND } else { operators::LOGICAL_OR };
    match &one.loop_step.expr {
        Expr::Call(call) if call.func_name == joins => call.args.get(1),
        _ => None,
    }
}

/// The elements for which the condition does not hold.
fn failing(one: &ComprehensionExpr, condition: &IdedExpr, context: &Context<'_, '_>) -> Vec<String> {
    let elements: Vec<Value> = match context.resolve(&one.iter_range) {
        Ok(Value::List(items)) if items.is_empty() => return values(&one.iter_range, context),
        Ok(Value::List(items)) => items.iter().cloned().collect(),
        Ok(Value::Map(map)) => {
            let mut keys: Vec<&Key> = map.map.keys().collect();
            keys.sort();
            keys.into_iter().map(Value::from).collect()
        }
        _ => return Vec::new(),
    };
    let (mut shown, mut count) = (Vec::new(), 0_usize);
    for element in elements {
        let mut inner = context.new_inner_scope();
        inner.add_variable_from_value(one.iter_var.clone(), element.clone());
        if inner.resolve(condition) != Ok(Value::Bool(false)) {
            continue;
        }
        count += 1;
        if shown.len() < SHOWN_ELEMENTS {
            let why = reasons(condition, &inner).join(", ");
            shown.push(match name_of(&element) {
                Some(name) => format!("{name}: {why}"),
                None => why,
            });
        }
    }
    if count > shown.len() {
        shown.push(format!("and {} more", count - shown.len()));
    }
    shown
}

fn name_of(element: &Value) -> Option<String> {
    match element {
        Value::String(name) => Some(name.to_string()),
        Value::Map(map) => NAMES.iter().find_map(|key| match map.map.get(&Key::from(*key))? {
            Value::String(name) => Some(name.to_string()),
            _ => None,
        }),
        _ => None,
    }
}

/// `compare.min_sqnr_db is 18.3`, for each value in an expression.
fn values(expr: &IdedExpr, context: &Context<'_, '_>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for (path, one) in paths(expr) {
        let Ok(value) = context.resolve(one) else { continue };
        let line = format!("{path} is {}", value::text(&value));
        if !found.contains(&line) {
            found.push(line);
        }
    }
    found
}

/// The longest paths in an expression, and their texts.
fn paths(expr: &IdedExpr) -> Vec<(String, &IdedExpr)> {
    match path(expr) {
        Some(text) => vec![(text, expr)],
        None => parts(expr).into_iter().flat_map(paths).collect(),
    }
}

/// The text of a name with its selectors: `evaluate.models["m.onnx"].accuracy`, `compare.layers.size()`.
pub(super) fn path(expr: &IdedExpr) -> Option<String> {
    match &expr.expr {
        Expr::Ident(name) => Some(name.clone()),
        Expr::Select(select) if !select.test => Some(format!("{}.{}", path(&select.operand)?, select.field)),
        Expr::Call(call) if call.func_name == operators::INDEX => {
            let [of, index] = &call.args[..] else { return None };
            let index = match &index.expr {
                Expr::Literal(LiteralValue::String(text)) => format!("\"{}\"", text.inner()),
                Expr::Literal(LiteralValue::Int(index)) => index.inner().to_string(),
                _ => path(index)?,
            };
            Some(format!("{}[{index}]", path(of)?))
        }
        Expr::Call(call) if call.func_name == "size" => match (&call.target, &call.args[..]) {
            (Some(target), []) => Some(format!("{}.size()", path(target)?)),
            (None, [only]) => Some(format!("size({})", path(only)?)),
            _ => None,
        },
        _ => None,
    }
}

/// The paths without a value.
pub(super) fn missing(expr: &IdedExpr, context: &Context<'_, '_>) -> Vec<String> {
    let mut found: Vec<String> = paths(expr)
        .into_iter()
        .filter(|(_, one)| context.resolve(one) == Ok(Value::Null))
        .map(|(path, _)| format!("`{path}`"))
        .collect();
    each_element(expr, context, &mut |condition, inner| {
        if found.is_empty() {
            found = missing(condition, inner);
        }
    });
    found
}

/// The path before a missing key, and the keys that exist.
pub(super) fn lacking(
    expr: &IdedExpr,
    key: &str,
    context: &Context<'_, '_>,
) -> Option<(String, Vec<String>)> {
    let operand = match &expr.expr {
        Expr::Select(select) if select.field == key => Some(&*select.operand),
        Expr::Call(call) if call.func_name == operators::INDEX => match &call.args[..] {
            [of, IdedExpr { expr: Expr::Literal(LiteralValue::String(text)), .. }] if text.inner() == key => {
                Some(of)
            }
            _ => None,
        },
        _ => None,
    };
    if let Some(operand) = operand
        && let Ok(Value::Map(map)) = context.resolve(operand)
        && !map.map.contains_key(&Key::from(key))
    {
        let mut keys: Vec<String> = map.map.keys().map(ToString::to_string).collect();
        keys.sort();
        return Some((path(operand).unwrap_or_default(), keys));
    }
    if let Some(found) = parts(expr).into_iter().find_map(|part| lacking(part, key, context)) {
        return Some(found);
    }
    let mut found = None;
    each_element(expr, context, &mut |condition, inner| {
        if found.is_none() {
            found = lacking(condition, key, inner);
        }
    });
    found
}

/// Calls `each` with what a macro such as `all` computes for each element, and the element bound to its name.
fn each_element(
    expr: &IdedExpr,
    context: &Context<'_, '_>,
    each: &mut dyn FnMut(&IdedExpr, &Context<'_, '_>),
) {
    let Expr::Comprehension(one) = &expr.expr else {
        return parts(expr).into_iter().for_each(|part| each_element(part, context, each));
    };
    let Ok(Value::List(items)) = context.resolve(&one.iter_range) else { return };
    for item in items.iter() {
        let mut inner = context.new_inner_scope();
        inner.add_variable_from_value(one.iter_var.clone(), item.clone());
        each(&one.loop_step, &inner);
    }
}
