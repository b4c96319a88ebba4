//! All that a method computes, line by line: calls of modules and functions are replaced by what they compute, and
//! attributes by the path of the module that has them.

use super::code::{Code, Method, Statement};
use super::expression::Expression;
use super::modules::{Field, Modules};
use crate::document::listing::Step;
use qp_abi::sdk::Names;
use std::collections::{HashMap, HashSet};

/// Calls within calls.
const MAX_CALLS: u16 = 64;
/// Expressions and blocks within each other, those of called methods counted on: a bound for the stack.
const MAX_NESTING: u32 = 300;
/// More than the code of any model: a method that calls another twice, which does so too, grows without end.
const MAX_STEPS: usize = 1 << 17;
const MAX_BYTES: usize = 32 << 20;
const MAX_WORK: usize = 1 << 22;
/// Bytes of a path or text that count as one step, and of one that may stand in several lines.
const STEP_BYTES: usize = 16;
const MAX_SHORT: usize = 256;

/// What `method` of a module computes; its arguments keep their names.
pub(super) fn inlined(modules: &Modules, code: &Code, module: usize, method: &Method) -> Vec<Step> {
    let mut inliner =
        Inliner { modules, code, steps: Vec::new(), bytes: 0, work: 0, names: Names::default(), nesting: 0 };
    let arguments = method.arguments.iter().map(|(name, _)| {
        inliner.names.claim(name, '_', 1);
        Bound::Expression(Expression::Name(name.clone()))
    });
    let arguments = arguments.collect();
    let place = Place { module, depth: 0, calls: 0 };
    if let Some(Bound::Expression(result)) = inliner.call(method, arguments, place) {
        inliner.line(place, format!("return {result}"));
    }
    if inliner.is_full() {
        inliner.steps.push(Step { layer: String::new(), depth: 0, text: "…".to_owned() });
    }
    inliner.steps
}

struct Inliner<'a> {
    modules: &'a Modules,
    code: &'a Code,
    steps: Vec<Step>,
    bytes: usize,
    /// Statements, expressions and calls followed so far: some give no line.
    work: usize,
    names: Names,
    nesting: u32,
}

/// What a variable of a method is, seen from outside of it.
#[derive(Clone)]
enum Bound {
    Module(usize),
    Expression(Expression),
}

#[derive(Clone, Copy)]
struct Place {
    module: usize,
    /// Branches and loops around it.
    depth: u16,
    calls: u16,
}

/// The variables of a method.
#[derive(Default)]
struct Scope<'a> {
    bound: HashMap<&'a str, Bound>,
    /// Variables that are assigned more than once: they keep one name.
    shared: HashSet<&'a str>,
}

impl<'a> Inliner<'a> {
    fn is_full(&self) -> bool {
        self.steps.len() >= MAX_STEPS || self.bytes >= MAX_BYTES || self.work >= MAX_WORK
    }

    fn line(&mut self, place: Place, text: String) {
        if !self.is_full() {
            let layer =
                self.modules.all.get(place.module).map(|module| module.path.clone()).unwrap_or_default();
            self.bytes += text.len() + layer.len();
            self.steps.push(Step { layer, depth: place.depth, text });
        }
    }

    /// What a method returns.
    fn call(&mut self, method: &'a Method, arguments: Vec<Bound>, place: Place) -> Option<Bound> {
        let mut scope = Scope::default();
        if !method.receiver.is_empty() {
            scope.bound.insert(&method.receiver, Bound::Module(place.module));
        }
        scope.bound.extend(method.arguments.iter().map(|(name, _)| name.as_str()).zip(arguments));
        shared(&method.body, &mut HashSet::new(), &mut scope.shared);
        self.block(&method.body, &mut scope, place, true)
    }

    fn block(
        &mut self,
        statements: &'a [Statement],
        scope: &mut Scope<'a>,
        place: Place,
        is_outermost: bool,
    ) -> Option<Bound> {
        if self.nesting >= MAX_NESTING {
            return None;
        }
        self.nesting += 1;
        let returned = self.statements(statements, scope, place, is_outermost);
        self.nesting -= 1;
        returned
    }

    fn statements(
        &mut self,
        statements: &'a [Statement],
        scope: &mut Scope<'a>,
        place: Place,
        is_outermost: bool,
    ) -> Option<Bound> {
        let inner = Place { depth: place.depth.saturating_add(1), ..place };
        for statement in statements {
            self.work += 1;
            if self.is_full() {
                return None;
            }
            match statement {
                Statement::Return(value) => {
                    let value = self.bound(value, scope, place);
                    if is_outermost {
                        return Some(value);
                    }
                    let text = self.text(value);
                    self.line(place, format!("return {text}"));
                }
                Statement::Evaluate(value) => {
                    if let Bound::Expression(value @ Expression::Call(..)) = self.bound(value, scope, place) {
                        self.line(place, value.to_string());
                    }
                }
                Statement::Assign(targets, value) => self.assign(targets, value, scope, place),
                Statement::If(condition, then, otherwise) => {
                    let condition = self.plain(condition, scope, place);
                    self.line(place, format!("if {condition}:"));
                    self.block(then, scope, inner, false);
                    if !otherwise.is_empty() {
                        self.line(place, "else:".to_owned());
                        self.block(otherwise, scope, inner, false);
                    }
                }
                Statement::For(target, values, body) => {
                    let values = self.plain(values, scope, place);
                    let target = self.target(target, scope, place);
                    self.line(place, format!("for {target} in {values}:"));
                    self.block(body, scope, inner, false);
                }
                Statement::While(condition, body) => {
                    let condition = self.plain(condition, scope, place);
                    self.line(place, format!("while {condition}:"));
                    self.block(body, scope, inner, false);
                }
                Statement::With(value, body) => {
                    let value = self.plain(value, scope, place);
                    self.line(place, format!("with {value}:"));
                    self.block(body, scope, inner, false);
                }
            }
        }
        None
    }

    fn assign(
        &mut self,
        targets: &'a [Expression],
        value: &'a Expression,
        scope: &mut Scope<'a>,
        place: Place,
    ) {
        let value = self.bound(value, scope, place);
        if let [Expression::Name(name)] = targets
            && !scope.shared.contains(name.as_str())
            && is_short(&value)
        {
            scope.bound.insert(name, value);
            return;
        }
        let targets: Vec<String> =
            targets.iter().map(|target| self.target(target, scope, place).to_string()).collect();
        let value = self.text(value);
        self.line(place, format!("{} = {value}", targets.join(", ")));
    }

    /// A variable that is assigned, under a name that no other method uses.
    fn target(&mut self, target: &'a Expression, scope: &mut Scope<'a>, place: Place) -> Expression {
        match target {
            Expression::Name(name) => match scope.bound.get(name.as_str()) {
                Some(Bound::Expression(known @ Expression::Name(_)))
                    if scope.shared.contains(name.as_str()) =>
                {
                    known.clone()
                }
                _ => {
                    let fresh = Expression::Name(self.names.claim(name, '_', 1));
                    scope.bound.insert(name, Bound::Expression(fresh.clone()));
                    fresh
                }
            },
            target => self.plain(target, scope, place),
        }
    }

    fn plain(&mut self, expression: &'a Expression, scope: &Scope<'a>, place: Place) -> Expression {
        let bound = self.bound(expression, scope, place);
        self.text(bound)
    }

    fn text(&self, bound: Bound) -> Expression {
        match bound {
            Bound::Expression(expression) => expression,
            Bound::Module(module) => {
                let path = self.modules.all.get(module).map(|module| module.path.clone()).unwrap_or_default();
                Expression::Name(if path.is_empty() { "self".to_owned() } else { path })
            }
        }
    }

    fn bound(&mut self, expression: &'a Expression, scope: &Scope<'a>, place: Place) -> Bound {
        if self.nesting >= MAX_NESTING || self.work >= MAX_WORK {
            return Bound::Expression(Expression::Unknown);
        }
        self.nesting += 1;
        let bound = self.bound_nested(expression, scope, place);
        self.nesting -= 1;
        self.work += 1;
        if let Bound::Expression(Expression::Name(text) | Expression::Text(text)) = &bound {
            self.work += text.len() / STEP_BYTES;
        }
        bound
    }

    fn bound_nested(&mut self, expression: &'a Expression, scope: &Scope<'a>, place: Place) -> Bound {
        let result = match expression {
            Expression::Name(name) => match scope.bound.get(name.as_str()) {
                Some(bound) => return bound.clone(),
                None => expression.clone(),
            },
            Expression::List(elements) => Expression::List(self.all(elements, scope, place)),
            Expression::Tuple(elements) => Expression::Tuple(self.all(elements, scope, place)),
            Expression::Dictionary(entries) => {
                let entries = entries
                    .iter()
                    .map(|(key, value)| (self.plain(key, scope, place), self.plain(value, scope, place)));
                Expression::Dictionary(entries.collect())
            }
            Expression::Attribute(value, name) => match self.bound(value, scope, place) {
                Bound::Module(module) => return self.field(module, name),
                Bound::Expression(value) => Expression::Attribute(Box::new(value), name.clone()),
            },
            Expression::Index(value, index) => Expression::Index(
                Box::new(self.plain(value, scope, place)),
                Box::new(self.plain(index, scope, place)),
            ),
            Expression::Keyword(name, value) => {
                Expression::Keyword(name.clone(), Box::new(self.plain(value, scope, place)))
            }
            Expression::Call(callee, arguments) => return self.called(callee, arguments, scope, place),
            Expression::Number(..) | Expression::Text(_) | Expression::Unknown => expression.clone(),
        };
        Bound::Expression(result)
    }

    fn all(&mut self, elements: &'a [Expression], scope: &Scope<'a>, place: Place) -> Vec<Expression> {
        elements.iter().map(|element| self.plain(element, scope, place)).collect()
    }

    fn field(&self, module: usize, name: &str) -> Bound {
        let module = self.modules.all.get(module);
        if let Some(Field::Module(child)) = module.and_then(|module| module.fields.get(name)) {
            return Bound::Module(*child);
        }
        let path = module.map(|module| module.path.as_str()).unwrap_or_default();
        let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        Bound::Expression(Expression::Name(path))
    }

    fn called(
        &mut self,
        callee: &'a Expression,
        arguments: &'a [Expression],
        scope: &Scope<'a>,
        place: Place,
    ) -> Bound {
        if let (Expression::Name(function), [value, Expression::Text(name)]) = (callee, arguments)
            && function == "getattr"
        {
            return match self.bound(value, scope, place) {
                Bound::Module(module) => self.field(module, name),
                Bound::Expression(value) => {
                    let arguments = vec![value, Expression::Text(name.clone())];
                    Bound::Expression(Expression::Call(Box::new(callee.clone()), arguments))
                }
            };
        }
        let (code, modules) = (self.code, self.modules);
        let dotted = callee.dotted();
        if let Some(function) = dotted.as_ref().and_then(|path| code.functions.get(path)) {
            return self.inline(function, arguments, scope, place, place.module);
        }
        let callee = match callee {
            Expression::Attribute(object, method) => match self.bound(object, scope, place) {
                Bound::Module(module) => {
                    let class = modules.all.get(module).map(|module| module.class.qualified.as_str());
                    if let Some(method) = class.and_then(|class| code.method(class, method)) {
                        return self.inline(method, arguments, scope, place, module);
                    }
                    let field = self.field(module, method);
                    self.text(field)
                }
                Bound::Expression(object) => Expression::Attribute(Box::new(object), method.clone()),
            },
            callee => self.plain(callee, scope, place),
        };
        Bound::Expression(Expression::Call(Box::new(callee), self.all(arguments, scope, place)))
    }

    /// The lines of a call; what it returns has a name.
    fn inline(
        &mut self,
        method: &'a Method,
        arguments: &'a [Expression],
        scope: &Scope<'a>,
        place: Place,
        module: usize,
    ) -> Bound {
        if place.calls >= MAX_CALLS || self.is_full() {
            return Bound::Expression(Expression::Unknown);
        }
        self.work += 1;
        let inner = Place { module, calls: place.calls + 1, ..place };
        let arguments: Vec<Bound> = arguments
            .iter()
            .zip(method.arguments.iter().map(|(name, _)| name.as_str()).chain(std::iter::repeat("argument")))
            .map(|(argument, name)| {
                let bound = self.bound(argument, scope, place);
                self.short(bound, name, place)
            })
            .collect();
        let result = self.call(method, arguments, inner);
        let path = self.modules.all.get(module).map(|module| module.path.as_str()).unwrap_or_default();
        let name = path.rsplit('.').next().unwrap_or_default();
        let is_name = name.starts_with(|letter: char| letter.is_alphabetic() || letter == '_');
        let name = if is_name { name } else { "result" };
        match result {
            Some(result) => self.short(result, name, inner),
            None => Bound::Expression(Expression::Name("None".to_owned())),
        }
    }

    /// A value that may be written many times: a name for what is long.
    fn short(&mut self, bound: Bound, name: &str, place: Place) -> Bound {
        if is_short(&bound) {
            return bound;
        }
        let value = self.text(bound);
        let fresh = self.names.claim(name, '_', 1);
        self.line(place, format!("{fresh} = {value}"));
        Bound::Expression(Expression::Name(fresh))
    }
}

fn is_short(bound: &Bound) -> bool {
    match bound {
        Bound::Module(_) => true,
        Bound::Expression(Expression::Attribute(value, _)) => matches!(**value, Expression::Name(_)),
        Bound::Expression(Expression::Text(text)) => text.len() <= MAX_SHORT,
        Bound::Expression(expression) => {
            matches!(expression, Expression::Name(_) | Expression::Number(..) | Expression::Unknown)
        }
    }
}

/// The variables that the statements assign more than once.
fn shared<'a>(statements: &'a [Statement], once: &mut HashSet<&'a str>, shared: &mut HashSet<&'a str>) {
    for statement in statements {
        match statement {
            Statement::Assign(targets, _) => {
                for target in targets {
                    if let Expression::Name(name) = target
                        && !once.insert(name)
                    {
                        shared.insert(name);
                    }
                }
            }
            Statement::If(_, then, otherwise) => {
                self::shared(then, once, shared);
                self::shared(otherwise, once, shared);
            }
            Statement::For(_, _, body) | Statement::While(_, body) | Statement::With(_, body) => {
                self::shared(body, once, shared);
            }
            Statement::Return(_) | Statement::Evaluate(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::code::Code;
    use super::super::modules::Modules;
    use super::{MAX_STEPS, inlined};
    use std::fmt::Write;

    fn steps(source: &str) -> Vec<String> {
        let mut code = Code::default();
        code.add("__torch__", source).unwrap();
        let method = code.functions.get("__torch__.f0").unwrap();
        let steps = inlined(&Modules::default(), &code, 0, method);
        steps.into_iter().map(|step| format!("{}{}", "  ".repeat(step.depth.into()), step.text)).collect()
    }

    #[test]
    fn names_of_one_method_are_not_those_of_another() {
        let source = "def f0(x: Tensor) -> Tensor:\n  y = torch.relu(x)\n  if c:\n    z = __torch__.f1(y)\n  else:\n    z = \
                      y\n  return z\ndef f1(x: Tensor) -> Tensor:\n  y = torch.neg(x)\n  return torch.add(y, x, alpha=2)\n";
        let expected = [
            "y = torch.relu(x)",
            "if c:",
            "  y_1 = torch.neg(y)",
            "  result = torch.add(y_1, y, alpha=2)",
            "  z = result",
            "else:",
            "  z = y",
            "return z",
        ];
        assert_eq!(steps(source), expected);
    }

    #[test]
    fn calls_that_double_end_in_time() {
        for line in ["x = torch.relu(x)\n", ""] {
            let mut source = String::new();
            for function in 0..64 {
                let call = format!("  a{function} = __torch__.f{}(x)\n", function + 1);
                let _ = write!(source, "def f{function}(x: Tensor):\n  {line}{call}{call}");
            }
            assert!(steps(&source.replace("  a63", "  b")).len() <= MAX_STEPS + 1);
        }
    }
}
