//! Sizes of dimensions, which may depend on those of the inputs: numbers, symbols, and expressions of both.

use std::collections::HashMap;
use std::sync::Arc;

/// Parts of an expression: one that would have more becomes a symbol of its own.
const MAX_PARTS: usize = 48;
/// Sizes that an example is to meet.
const MAX_NEEDED: usize = 1 << 8;
/// Symbols that stand for symbols.
const MAX_BOUND: usize = 64;

/// The size of one dimension.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Size {
    /// A number.
    Fixed(i64),
    /// What only a run knows.
    Symbol(usize),
    /// What is computed from symbols.
    Computed(Arc<Expression>),
}

/// How a size is computed.
#[derive(Debug, PartialEq, Eq, Hash)]
pub enum Expression {
    Sum(Size, Size),
    Product(Size, Size),
    /// Rounded down.
    Quotient(Size, i64),
}

/// The symbols of a program.
#[derive(Debug, Default)]
pub struct Symbols {
    /// What is known of each.
    bound: Vec<Option<Size>>,
    /// Sizes that some operator needs to be a number.
    needed: Vec<(Size, i64)>,
}

impl Size {
    fn parts(&self) -> usize {
        match self {
            Self::Fixed(_) | Self::Symbol(_) => 1,
            Self::Computed(expression) => match &**expression {
                Expression::Sum(left, right) | Expression::Product(left, right) => {
                    1 + left.parts() + right.parts()
                }
                Expression::Quotient(size, _) => 2 + size.parts(),
            },
        }
    }

    /// As `srepr` of SymPy writes it, `name` naming the symbols.
    pub fn text(&self) -> String {
        match self {
            Self::Fixed(number) => format!("Integer({number})"),
            Self::Symbol(symbol) => {
                format!("Symbol('{}', positive=True, integer=True)", symbol_name(*symbol))
            }
            Self::Computed(expression) => match &**expression {
                Expression::Sum(left, right) => format!("Add({}, {})", left.text(), right.text()),
                Expression::Product(left, right) => format!("Mul({}, {})", left.text(), right.text()),
                Expression::Quotient(size, by) => format!("FloorDiv({}, Integer({by}))", size.text()),
            },
        }
    }

    /// The number, where all symbols have one.
    pub fn evaluated(&self, values: &HashMap<usize, i64>) -> Option<i64> {
        match self {
            Self::Fixed(number) => Some(*number),
            Self::Symbol(symbol) => values.get(symbol).copied(),
            Self::Computed(expression) => match &**expression {
                Expression::Sum(left, right) => left.evaluated(values)?.checked_add(right.evaluated(values)?),
                Expression::Product(left, right) => {
                    left.evaluated(values)?.checked_mul(right.evaluated(values)?)
                }
                Expression::Quotient(size, by) => size.evaluated(values)?.checked_div_euclid(*by),
            },
        }
    }

    /// Its symbols.
    pub fn symbols(&self, found: &mut Vec<usize>) {
        match self {
            Self::Fixed(_) => {}
            Self::Symbol(symbol) => {
                if !found.contains(symbol) {
                    found.push(*symbol);
                }
            }
            Self::Computed(expression) => match &**expression {
                Expression::Sum(left, right) | Expression::Product(left, right) => {
                    left.symbols(found);
                    right.symbols(found);
                }
                Expression::Quotient(size, _) => size.symbols(found),
            },
        }
    }
}

/// What a symbol is called in the file.
pub fn symbol_name(symbol: usize) -> String {
    format!("s{symbol}")
}

impl Symbols {
    /// A size of which nothing is known.
    pub fn fresh(&mut self) -> Size {
        self.bound.push(None);
        Size::Symbol(self.bound.len() - 1)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.bound.len()
    }

    fn made(&mut self, expression: Expression) -> Size {
        let size = Size::Computed(Arc::new(expression));
        if size.parts() > MAX_PARTS { self.fresh() } else { size }
    }

    /// The sum of two sizes.
    pub fn sum(&mut self, left: &Size, right: &Size) -> Size {
        let (left, right) = (self.resolved(left), self.resolved(right));
        match (&left, &right) {
            (Size::Fixed(one), Size::Fixed(other)) => self.fixed(one.checked_add(*other)),
            (Size::Fixed(0), other) | (other, Size::Fixed(0)) => other.clone(),
            (Size::Fixed(_), _) => self.sum(&right, &left),
            (Size::Computed(inner), Size::Fixed(more)) => match &**inner {
                Expression::Sum(size, Size::Fixed(number)) => match number.checked_add(*more) {
                    Some(number) => self.sum(size, &Size::Fixed(number)),
                    None => self.fresh(),
                },
                _ => self.made(Expression::Sum(left, right)),
            },
            _ => self.made(Expression::Sum(left, right)),
        }
    }

    /// The product of two sizes.
    pub fn product(&mut self, left: &Size, right: &Size) -> Size {
        let (left, right) = (self.resolved(left), self.resolved(right));
        match (&left, &right) {
            (Size::Fixed(one), Size::Fixed(other)) => self.fixed(one.checked_mul(*other)),
            (Size::Fixed(1), other) | (other, Size::Fixed(1)) => other.clone(),
            (_, Size::Fixed(_)) => self.made(Expression::Product(right, left)),
            _ => self.made(Expression::Product(left, right)),
        }
    }

    /// A size divided by a positive number, rounded down.
    pub fn quotient(&mut self, size: &Size, by: i64) -> Size {
        let size = self.resolved(size);
        if let Size::Computed(inner) = &size
            && let Expression::Quotient(size, before) = &**inner
            && let Some(both) = before.checked_mul(by).filter(|_| by > 0)
        {
            return self.quotient(size, both);
        }
        match size {
            size if by == 1 => size,
            _ if by < 1 => self.fresh(),
            Size::Fixed(number) => self.fixed(number.checked_div_euclid(by)),
            size => self.made(Expression::Quotient(size, by)),
        }
    }

    /// `(size + more) / by + 1`, rounded down: how many windows there are.
    pub fn windows(&mut self, size: &Size, more: i64, by: i64) -> Size {
        let room = self.sum(size, &Size::Fixed(more));
        let last = self.quotient(&room, by);
        self.sum(&last, &Size::Fixed(1))
    }

    fn fixed(&mut self, number: Option<i64>) -> Size {
        number.map_or_else(|| self.fresh(), Size::Fixed)
    }

    /// Takes note that two sizes are the same, where that tells what a symbol is.
    pub fn unify(&mut self, one: &Size, other: &Size) {
        let (one, other) = (self.resolved(one), self.resolved(other));
        match (one, other) {
            (one, other) if one == other => {}
            (Size::Symbol(symbol), Size::Fixed(number)) | (Size::Fixed(number), Size::Symbol(symbol)) => {
                self.bind(symbol, Size::Fixed(number));
            }
            // The later one is the earlier: no circle is possible.
            (Size::Symbol(one), Size::Symbol(other)) => {
                self.bind(one.max(other), Size::Symbol(one.min(other)));
            }
            (size @ Size::Computed(_), Size::Fixed(number))
            | (Size::Fixed(number), size @ Size::Computed(_))
                if self.needed.len() < MAX_NEEDED =>
            {
                self.needed.push((size, number));
            }
            _ => {}
        }
    }

    fn bind(&mut self, symbol: usize, size: Size) {
        if let Some(place) = self.bound.get_mut(symbol) {
            *place = Some(size);
        }
    }

    /// A size with what is known of its symbols by now.
    pub fn resolved(&mut self, size: &Size) -> Size {
        match size {
            Size::Fixed(_) => size.clone(),
            Size::Symbol(symbol) => {
                let mut found = *symbol;
                for _ in 0..MAX_BOUND {
                    match self.bound.get(found).cloned().flatten() {
                        Some(Size::Symbol(next)) => found = next,
                        Some(known) => return known,
                        None => break,
                    }
                }
                Size::Symbol(found)
            }
            Size::Computed(expression) => {
                let mut symbols = Vec::new();
                size.symbols(&mut symbols);
                let is_bound = |symbol: &usize| self.bound.get(*symbol).is_some_and(Option::is_some);
                if !symbols.iter().any(is_bound) {
                    return size.clone();
                }
                match &**expression {
                    Expression::Sum(left, right) => self.sum(left, right),
                    Expression::Product(left, right) => self.product(left, right),
                    Expression::Quotient(size, by) => self.quotient(size, *by),
                }
            }
        }
    }

    /// An example for each of these symbols, with which all of `sizes` are positive and what had to be a number is that one;
    /// that of `samples` where there are any.
    pub fn example(
        &mut self,
        symbols: &[usize],
        batch: &[usize],
        sizes: &[Size],
        samples: &[(Size, i64)],
    ) -> HashMap<usize, i64> {
        /// The batch of an example; one would be taken for fixed.
        const BATCH: i64 = 2;
        /// Sizes of pictures and texts, the usual ones first.
        const USUAL: [i64; 8] = [224, 32, 28, 64, 96, 128, 256, 299];
        const MOST: i64 = 512;
        let needed: Vec<(Size, i64)> = std::mem::take(&mut self.needed);
        let needed: Vec<(Size, i64)> =
            needed.iter().map(|(size, number)| (self.resolved(size), *number)).collect();
        let sampled = samples.iter().map(|(size, number)| (self.resolved(size), *number));
        let sampled: HashMap<usize, i64> = sampled
            .filter_map(|(size, number)| match size {
                Size::Symbol(symbol) => Some((symbol, number)),
                _ => None,
            })
            .collect();
        let with = |number: i64| -> HashMap<usize, i64> {
            let value = |symbol: &usize| match sampled.get(symbol) {
                _ if batch.contains(symbol) => BATCH,
                Some(sampled) => *sampled,
                None => number,
            };
            symbols.iter().map(|symbol| (*symbol, value(symbol))).collect()
        };
        let fits = |values: &HashMap<usize, i64>| {
            sizes.iter().all(|size| size.evaluated(values).is_some_and(|number| number > 0))
        };
        let is_met = |values: &HashMap<usize, i64>| {
            needed.iter().all(|(size, number)| size.evaluated(values) == Some(*number))
        };
        let candidates = || USUAL.into_iter().chain(1..=MOST).map(with);
        let best = candidates().find(|values| is_met(values) && fits(values));
        best.or_else(|| candidates().find(fits)).unwrap_or_else(|| with(USUAL[0]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_sympy_has_them() {
        // A convolution with a kernel of 3, a padding of 1 and a stride of 2, as PyTorch 2.13 writes it.
        let mut symbols = Symbols::default();
        let height = symbols.fresh();
        let size = symbols.windows(&height, -1, 2);
        let expected = "Add(FloorDiv(Add(Symbol('s0', positive=True, integer=True), Integer(-1)), Integer(2)), Integer(1))";
        assert_eq!(size.text(), expected);
        assert_eq!(symbols.windows(&height, -1, 1), height);
        symbols.unify(&height, &Size::Fixed(32));
        assert_eq!(symbols.resolved(&size), Size::Fixed(16));
    }

    #[test]
    fn an_example_has_the_sizes_that_operators_need() {
        let mut symbols = Symbols::default();
        let (batch, height) = (symbols.fresh(), symbols.fresh());
        let side = symbols.quotient(&height, 4);
        let area = symbols.product(&side, &side);
        symbols.unify(&area, &Size::Fixed(49));
        let values = symbols.example(&[0, 1], &[0], &[batch, height, side], &[]);
        assert_eq!((values[&0], values[&1]), (2, 28));
    }

    #[test]
    fn expressions_do_not_grow_without_end() {
        let mut symbols = Symbols::default();
        let mut size = symbols.fresh();
        for _ in 0..100 {
            size = symbols.sum(&size.clone(), &size.clone());
            assert!(size.parts() <= MAX_PARTS);
        }
        let (one, other) = (symbols.fresh(), symbols.fresh());
        symbols.unify(&one, &other);
        symbols.unify(&other, &one);
        assert_eq!(symbols.resolved(&other), one);
    }
}
