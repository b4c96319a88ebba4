//! Statements and expressions.

/// A statement.
#[derive(Debug, Clone, PartialEq)]
pub enum Statement {
    /// `target = value`; several targets take a sequence apart.
    Assign(Vec<Expression>, Expression),
    /// `target += value` and its like, which change a tensor in its place.
    Augment(Expression, Binary, Expression),
    /// An expression for its effect.
    Evaluate(Expression),
    /// `return value`.
    Return(Expression),
    /// `if`, its branch, and what `else` and `elif` lead to.
    If(Expression, Vec<Statement>, Vec<Statement>),
    /// `for name in value`; several names take each value apart.
    For(Vec<String>, Expression, Vec<Statement>),
    /// `def`.
    Function(Function),
    /// `class`.
    Class(Class),
    /// `import a.b as name` and `from a import b as name`: the name, and the dotted path after it.
    Import(String, String),
    /// `raise`, with the text after it.
    Raise(String),
}

/// A function.
#[derive(Debug, Clone, PartialEq)]
pub struct Function {
    /// Its name; in our own library dotted.
    pub name: String,
    /// Its parameters, a receiver first.
    pub parameters: Vec<Parameter>,
    /// Its body.
    pub body: Vec<Statement>,
}

/// A parameter of a function.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// What it is when it is not given.
    pub default: Option<Expression>,
    /// Whether it takes all further arguments, as `*name` does.
    pub is_rest: bool,
}

/// A class.
#[derive(Debug, Clone, PartialEq)]
pub struct Class {
    /// Its name; in our own library dotted.
    pub name: String,
    /// The names of the classes it takes over from.
    pub bases: Vec<String>,
    /// Its methods and attributes.
    pub body: Vec<Statement>,
}

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Expression {
    /// `None`.
    None,
    /// `...`.
    Ellipsis,
    /// `True` or `False`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A real number.
    Float(f64),
    /// A text.
    Text(String),
    /// A variable, or the first part of a dotted path.
    Name(String),
    /// `[…]`.
    List(Vec<Expression>),
    /// `(…)` with commas, or commas alone.
    Tuple(Vec<Expression>),
    /// `{key: value, …}`.
    Dictionary(Vec<(Expression, Expression)>),
    /// `[element for names in values if condition]`.
    Comprehension(Box<Expression>, Vec<String>, Box<Expression>, Option<Box<Expression>>),
    /// `value.name`.
    Attribute(Box<Expression>, String),
    /// `value[index]`.
    Index(Box<Expression>, Box<Expression>),
    /// `start:stop:step` within an index.
    Slice(Box<[Option<Expression>; 3]>),
    /// `callee(arguments)`.
    Call(Box<Expression>, Vec<Argument>),
    /// An operator before its operand.
    Unary(Unary, Box<Expression>),
    /// An operator between its operands.
    Binary(Binary, Box<Expression>, Box<Expression>),
    /// `left and right`.
    And(Box<Expression>, Box<Expression>),
    /// `left or right`.
    Or(Box<Expression>, Box<Expression>),
    /// `value if condition else other`: condition, value, other.
    Conditional(Box<[Expression; 3]>),
}

/// An argument of a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Argument {
    /// By position.
    Positional(Expression),
    /// By name.
    Keyword(String, Expression),
    /// `*values`.
    Spread(Expression),
}

/// Operators before an operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unary {
    /// `-`
    Negate,
    /// `+`
    Plus,
    /// `~`
    Invert,
    /// `not`
    Not,
}

/// Operators between two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `//`
    FloorDivide,
    /// `%`
    Remainder,
    /// `**`
    Power,
    /// `@`
    MatrixMultiply,
    /// `<<`
    ShiftLeft,
    /// `>>`
    ShiftRight,
    /// `&`
    BitAnd,
    /// `|`
    BitOr,
    /// `^`
    BitXor,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
    /// `is`
    Is,
    /// `is not`
    IsNot,
    /// `in`
    In,
    /// `not in`
    NotIn,
}
