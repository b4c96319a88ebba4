//! Expressions, the operators that bind loosest first.

use super::lexer::Kind;
use super::parser::{MAX_DEPTH, Parsed, Parser};
use super::syntax::{Argument, Binary, Expression, Unary};

/// Operators in a row: each is one level of the tree.
const MAX_CHAIN: u32 = 200;

impl Parser<'_> {
    /// One expression, or a tuple without parentheses.
    pub(super) fn sequence(&mut self) -> Parsed<Expression> {
        let first = self.expression()?;
        if !self.is(",") {
            return Ok(first);
        }
        let mut elements = vec![first];
        while self.eat(",") {
            let is_end = matches!(self.peek(), None | Some(Kind::Newline))
                || [")", "]", "=", ";"].iter().any(|end| self.is(end));
            if is_end {
                break;
            }
            elements.push(self.expression()?);
        }
        Ok(Expression::Tuple(elements))
    }

    pub(super) fn expression(&mut self) -> Parsed<Expression> {
        self.nested(|parser| {
            let value = parser.disjunction()?;
            if !parser.eat_word("if") {
                return Ok(value);
            }
            let condition = parser.disjunction()?;
            if !parser.eat_word("else") {
                return parser.wrong("`else` is missing");
            }
            let other = parser.expression()?;
            Ok(Expression::Conditional(Box::new([condition, value, other])))
        })
    }

    /// Counts an operator of a chain of `links`.
    fn link(&self, links: &mut u32) -> Parsed<()> {
        *links += 1;
        if *links > MAX_CHAIN { self.wrong("the expression is too long") } else { Ok(()) }
    }

    pub(super) fn disjunction(&mut self) -> Parsed<Expression> {
        let mut left = self.conjunction()?;
        let mut links = 0;
        while self.eat_word("or") {
            self.link(&mut links)?;
            left = Expression::Or(Box::new(left), Box::new(self.conjunction()?));
        }
        Ok(left)
    }

    fn conjunction(&mut self) -> Parsed<Expression> {
        let mut left = self.negation()?;
        let mut links = 0;
        while self.eat_word("and") {
            self.link(&mut links)?;
            left = Expression::And(Box::new(left), Box::new(self.negation()?));
        }
        Ok(left)
    }

    fn negation(&mut self) -> Parsed<Expression> {
        if self.eat_word("not") {
            let operand = self.nested(Self::negation)?;
            return Ok(Expression::Unary(Unary::Not, Box::new(operand)));
        }
        let mut left = self.binary(0)?;
        let mut links = 0;
        while let Some(operator) = self.comparison() {
            self.link(&mut links)?;
            left = Expression::Binary(operator, Box::new(left), Box::new(self.binary(0)?));
        }
        Ok(left)
    }

    /// A comparison, which is passed.
    fn comparison(&mut self) -> Option<Binary> {
        let operator = match self.peek()? {
            Kind::Symbol("==") => Binary::Equal,
            Kind::Symbol("!=") => Binary::NotEqual,
            Kind::Symbol("<=") => Binary::LessEqual,
            Kind::Symbol(">=") => Binary::GreaterEqual,
            Kind::Symbol("<") => Binary::Less,
            Kind::Symbol(">") => Binary::Greater,
            Kind::Name(word) if word == "is" => Binary::Is,
            Kind::Name(word) if word == "in" => Binary::In,
            Kind::Name(word) if word == "not" => Binary::NotIn,
            _ => return None,
        };
        self.advance();
        if operator == Binary::NotIn {
            self.eat_word("in");
        }
        Some(if operator == Binary::Is && self.eat_word("not") { Binary::IsNot } else { operator })
    }

    /// Operators of the level `level` and those that bind closer.
    fn binary(&mut self, level: usize) -> Parsed<Expression> {
        const LEVELS: [&[(&str, Binary)]; 6] = [
            &[("|", Binary::BitOr)],
            &[("^", Binary::BitXor)],
            &[("&", Binary::BitAnd)],
            &[("<<", Binary::ShiftLeft), (">>", Binary::ShiftRight)],
            &[("+", Binary::Add), ("-", Binary::Subtract)],
            &[
                ("*", Binary::Multiply),
                ("/", Binary::Divide),
                ("//", Binary::FloorDivide),
                ("%", Binary::Remainder),
                ("@", Binary::MatrixMultiply),
            ],
        ];
        let Some(operators) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        let mut links = 0;
        while let Some((_, operator)) = operators.iter().find(|(symbol, _)| self.is(symbol)) {
            self.link(&mut links)?;
            self.advance();
            left = Expression::Binary(*operator, Box::new(left), Box::new(self.binary(level + 1)?));
        }
        Ok(left)
    }

    fn unary(&mut self) -> Parsed<Expression> {
        let operator = match self.peek() {
            Some(Kind::Symbol("-")) => Unary::Negate,
            Some(Kind::Symbol("+")) => Unary::Plus,
            Some(Kind::Symbol("~")) => Unary::Invert,
            _ => return self.power(),
        };
        self.advance();
        let operand = self.nested(Self::unary)?;
        Ok(match (operator, operand) {
            (Unary::Negate, Expression::Int(number)) => Expression::Int(number.wrapping_neg()),
            (Unary::Negate, Expression::Float(number)) => Expression::Float(-number),
            (operator, operand) => Expression::Unary(operator, Box::new(operand)),
        })
    }

    fn power(&mut self) -> Parsed<Expression> {
        let base = self.postfix()?;
        if !self.eat("**") {
            return Ok(base);
        }
        let exponent = self.nested(Self::unary)?;
        Ok(Expression::Binary(Binary::Power, Box::new(base), Box::new(exponent)))
    }

    fn postfix(&mut self) -> Parsed<Expression> {
        let mut value = self.primary()?;
        // A chain is as deep a tree as brackets within brackets are.
        for _ in 0..MAX_DEPTH {
            if self.eat(".") {
                value = Expression::Attribute(Box::new(value), self.name()?);
            } else if self.eat("(") {
                let arguments = self.arguments()?;
                value = Expression::Call(Box::new(value), arguments);
            } else if self.eat("[") {
                let index = self.index()?;
                self.expect("]")?;
                value = Expression::Index(Box::new(value), Box::new(index));
            } else {
                return Ok(value);
            }
        }
        self.wrong("the code is nested too deep")
    }

    fn arguments(&mut self) -> Parsed<Vec<Argument>> {
        let mut arguments = Vec::new();
        while !self.is(")") {
            if self.eat("*") {
                arguments.push(Argument::Spread(self.expression()?));
            } else {
                let value = self.expression()?;
                arguments.push(match value {
                    Expression::Name(name) if self.eat("=") => Argument::Keyword(name, self.expression()?),
                    value => Argument::Positional(value),
                });
            }
            if !self.eat(",") {
                break;
            }
        }
        self.expect(")")?;
        Ok(arguments)
    }

    fn index(&mut self) -> Parsed<Expression> {
        let mut elements = vec![self.slice()?];
        let mut is_tuple = false;
        while self.eat(",") {
            is_tuple = true;
            if self.is("]") {
                break;
            }
            elements.push(self.slice()?);
        }
        Ok(if is_tuple { Expression::Tuple(elements) } else { elements.remove(0) })
    }

    fn slice(&mut self) -> Parsed<Expression> {
        let mut parts = [const { None }; 3];
        let mut at = 0;
        loop {
            if !self.is(":") && !self.is("]") && !self.is(",") {
                parts[at] = Some(self.expression()?);
            }
            if at == 2 || !self.eat(":") {
                break;
            }
            at += 1;
        }
        if at > 0 {
            return Ok(Expression::Slice(Box::new(parts)));
        }
        let [first, ..] = parts;
        first.map_or_else(|| self.wrong("an index is missing"), Ok)
    }

    fn primary(&mut self) -> Parsed<Expression> {
        let Some(kind) = self.peek().cloned() else { return self.wrong("the code ends too early") };
        match kind {
            Kind::Name(name) => {
                const WORDS: [&str; 8] =
                    ["lambda", "else", "elif", "yield", "await", "def", "class", "return"];
                if WORDS.contains(&name.as_str()) {
                    return self.wrong(format!("`{name}` is not known here"));
                }
                self.advance();
                Ok(match name.as_str() {
                    "None" => Expression::None,
                    "True" => Expression::Bool(true),
                    "False" => Expression::Bool(false),
                    _ => Expression::Name(name),
                })
            }
            Kind::Int(number) => {
                self.advance();
                Ok(Expression::Int(number))
            }
            Kind::Float(number) => {
                self.advance();
                Ok(Expression::Float(number))
            }
            Kind::Text(text) => {
                self.advance();
                let mut whole = text;
                // Texts beside each other are one.
                while let Some(Kind::Text(more)) = self.peek() {
                    whole.push_str(&more.clone());
                    self.advance();
                }
                Ok(Expression::Text(whole))
            }
            Kind::Symbol("...") => {
                self.advance();
                Ok(Expression::Ellipsis)
            }
            Kind::Symbol("(") => {
                self.advance();
                if self.eat(")") {
                    return Ok(Expression::Tuple(Vec::new()));
                }
                let inner = self.sequence()?;
                self.expect(")")?;
                Ok(inner)
            }
            Kind::Symbol("[") => {
                self.advance();
                self.list()
            }
            Kind::Symbol("{") => {
                self.advance();
                let mut entries = Vec::new();
                while !self.is("}") {
                    let key = self.expression()?;
                    self.expect(":")?;
                    entries.push((key, self.expression()?));
                    if !self.eat(",") {
                        break;
                    }
                }
                self.expect("}")?;
                Ok(Expression::Dictionary(entries))
            }
            Kind::Symbol(symbol) => self.wrong(format!("`{symbol}` is not expected")),
            Kind::Newline | Kind::Indent | Kind::Dedent => self.wrong("the line ends too early"),
        }
    }

    fn list(&mut self) -> Parsed<Expression> {
        let mut elements = Vec::new();
        while !self.is("]") {
            elements.push(self.expression()?);
            if elements.len() == 1 && self.eat_word("for") {
                let names = self.loop_names()?;
                let values = Box::new(self.disjunction()?);
                let condition = if self.eat_word("if") { Some(Box::new(self.disjunction()?)) } else { None };
                self.expect("]")?;
                return Ok(Expression::Comprehension(Box::new(elements.remove(0)), names, values, condition));
            }
            if !self.eat(",") {
                break;
            }
        }
        self.expect("]")?;
        Ok(Expression::List(elements))
    }
}
