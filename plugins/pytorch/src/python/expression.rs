//! Expressions, the operators that bind loosest first.

use super::lexer::Kind;
use super::parser::{Parsed, Parser};
use super::syntax::{Argument, Binary, Expression, Unary};

impl Parser<'_> {
    /// One expression, or a tuple without parentheses.
    pub(super) fn sequence(&mut self) -> Parsed<Expression> {
        let first = self.expression()?;
        if !self.is(",") {
            return Ok(first);
        }
        let mut elements = vec![first];
        let mut height = self.height;
        while self.eat(",") {
            let is_end = matches!(self.peek(), None | Some(Kind::Newline))
                || [")", "]", "=", ";"].iter().any(|end| self.is(end));
            if is_end {
                break;
            }
            elements.push(self.expression()?);
            height = height.max(self.height);
        }
        self.grow(height)?;
        Ok(Expression::Tuple(elements))
    }

    pub(super) fn expression(&mut self) -> Parsed<Expression> {
        self.nested(|parser| {
            let value = parser.disjunction()?;
            if !parser.eat_word("if") {
                return Ok(value);
            }
            let height = parser.height;
            let condition = parser.disjunction()?;
            let height = height.max(parser.height);
            if !parser.eat_word("else") {
                return parser.wrong("`else` is missing");
            }
            let other = parser.expression()?;
            parser.grow(height.max(parser.height))?;
            Ok(Expression::Conditional(Box::new([condition, value, other])))
        })
    }

    pub(super) fn disjunction(&mut self) -> Parsed<Expression> {
        let mut left = self.conjunction()?;
        while self.eat_word("or") {
            let height = self.height;
            left = Expression::Or(Box::new(left), Box::new(self.conjunction()?));
            self.grow(height.max(self.height))?;
        }
        Ok(left)
    }

    fn conjunction(&mut self) -> Parsed<Expression> {
        let mut left = self.negation()?;
        while self.eat_word("and") {
            let height = self.height;
            left = Expression::And(Box::new(left), Box::new(self.negation()?));
            self.grow(height.max(self.height))?;
        }
        Ok(left)
    }

    fn negation(&mut self) -> Parsed<Expression> {
        if self.eat_word("not") {
            let operand = self.nested(Self::negation)?;
            self.grow(self.height)?;
            return Ok(Expression::Unary(Unary::Not, Box::new(operand)));
        }
        let mut left = self.binary(0)?;
        while let Some(operator) = self.comparison() {
            let height = self.height;
            left = Expression::Binary(operator, Box::new(left), Box::new(self.binary(0)?));
            self.grow(height.max(self.height))?;
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
            Kind::Name("is") => Binary::Is,
            Kind::Name("in") => Binary::In,
            Kind::Name("not") => Binary::NotIn,
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
        while let Some((_, operator)) = operators.iter().find(|(symbol, _)| self.is(symbol)) {
            let height = self.height;
            self.advance();
            left = Expression::Binary(*operator, Box::new(left), Box::new(self.binary(level + 1)?));
            self.grow(height.max(self.height))?;
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
        self.grow(self.height)?;
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
        let height = self.height;
        let exponent = self.nested(Self::unary)?;
        self.grow(height.max(self.height))?;
        Ok(Expression::Binary(Binary::Power, Box::new(base), Box::new(exponent)))
    }

    fn postfix(&mut self) -> Parsed<Expression> {
        let mut value = self.primary()?;
        loop {
            let height = self.height;
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
            self.grow(height.max(self.height))?;
        }
    }

    /// Arguments up to the bracket; the height is that of the highest.
    fn arguments(&mut self) -> Parsed<Vec<Argument>> {
        let mut arguments = Vec::new();
        let mut height = 0;
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
            height = height.max(self.height);
            if !self.eat(",") {
                break;
            }
        }
        self.height = height;
        self.expect(")")?;
        Ok(arguments)
    }

    fn index(&mut self) -> Parsed<Expression> {
        let mut elements = vec![self.slice()?];
        let mut is_tuple = false;
        let mut height = self.height;
        while self.eat(",") {
            is_tuple = true;
            if self.is("]") {
                break;
            }
            elements.push(self.slice()?);
            height = height.max(self.height);
        }
        if !is_tuple {
            return Ok(elements.remove(0));
        }
        self.grow(height)?;
        Ok(Expression::Tuple(elements))
    }

    fn slice(&mut self) -> Parsed<Expression> {
        let mut parts = [const { None }; 3];
        let mut at = 0;
        let mut height = 0;
        loop {
            if !self.is(":") && !self.is("]") && !self.is(",") {
                parts[at] = Some(self.expression()?);
                height = height.max(self.height);
            }
            if at == 2 || !self.eat(":") {
                break;
            }
            at += 1;
        }
        if at > 0 {
            self.grow(height)?;
            return Ok(Expression::Slice(Box::new(parts)));
        }
        let [first, ..] = parts;
        first.map_or_else(|| self.wrong("an index is missing"), Ok)
    }

    fn primary(&mut self) -> Parsed<Expression> {
        self.height = 0;
        let Some(kind) = self.peek() else { return self.wrong("the code ends too early") };
        match kind {
            Kind::Name(name) => {
                const WORDS: [&str; 8] =
                    ["lambda", "else", "elif", "yield", "await", "def", "class", "return"];
                if WORDS.contains(name) {
                    return self.wrong(format!("`{name}` is unknown here"));
                }
                self.advance();
                Ok(match *name {
                    "None" => Expression::None,
                    "True" => Expression::Bool(true),
                    "False" => Expression::Bool(false),
                    name => Expression::Name(name.to_owned()),
                })
            }
            Kind::Int(number) => {
                self.advance();
                Ok(Expression::Int(*number))
            }
            Kind::Float(number) => {
                self.advance();
                Ok(Expression::Float(*number))
            }
            Kind::Text(text) => {
                self.advance();
                let mut whole = text.clone();
                // Texts beside each other are one.
                while let Some(Kind::Text(more)) = self.peek() {
                    whole.push_str(more);
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
                let mut height = 0;
                while !self.is("}") {
                    let key = self.expression()?;
                    height = height.max(self.height);
                    self.expect(":")?;
                    entries.push((key, self.expression()?));
                    height = height.max(self.height);
                    if !self.eat(",") {
                        break;
                    }
                }
                self.expect("}")?;
                self.grow(height)?;
                Ok(Expression::Dictionary(entries))
            }
            Kind::Symbol(symbol) => self.wrong(format!("unexpected `{symbol}`")),
            Kind::Newline | Kind::Indent | Kind::Dedent => self.wrong("the line ends too early"),
        }
    }

    fn list(&mut self) -> Parsed<Expression> {
        let mut elements = Vec::new();
        let mut height = 0;
        while !self.is("]") {
            elements.push(self.expression()?);
            height = height.max(self.height);
            if elements.len() == 1 && self.eat_word("for") {
                let names = self.loop_names()?;
                let values = Box::new(self.disjunction()?);
                height = height.max(self.height);
                let condition = if self.eat_word("if") { Some(Box::new(self.disjunction()?)) } else { None };
                self.grow(height.max(self.height))?;
                self.expect("]")?;
                return Ok(Expression::Comprehension(Box::new(elements.remove(0)), names, values, condition));
            }
            if !self.eat(",") {
                break;
            }
        }
        self.grow(height)?;
        self.expect("]")?;
        Ok(Expression::List(elements))
    }
}
