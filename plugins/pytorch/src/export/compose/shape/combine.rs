//! Operators that take several tensors, and those that sum along dimensions.

use super::super::composer::Composer;
use super::super::schema::Arguments;
use super::super::size::Size;
use super::super::value::{Shape, Tensor, Type};
use super::window::fixed;
use super::{Computed, argument, is_true};
use crate::quant::dtype::from_scalar_type;
use qp_abi::sdk::{DType, Result};
use qp_pytorch_contract::program::Argument;

impl Composer<'_> {
    /// A product with a stored matrix `[out, in]`. An input of which nothing else is known is a batch of vectors.
    pub(super) fn linear(&mut self, arguments: &Arguments<'_>) -> Result<Option<Computed>> {
        let (Some(input), Some(weight)) = (self.tensor(arguments, "input"), self.tensor(arguments, "weight"))
        else {
            return Ok(None);
        };
        let Some([outputs, inputs]) =
            self.known_sizes(&weight).and_then(|sizes| <[Size; 2]>::try_from(sizes).ok())
        else {
            return Ok(None);
        };
        let mut sizes = self.sizes(&input, Some(2))?;
        let Some(last) = sizes.last_mut() else { return Ok(None) };
        self.symbols.unify(last, &inputs);
        *last = outputs;
        if let Some(dtype) = self.dtype(&weight) {
            self.needs_type(&input, dtype);
        }
        Ok(Some((Shape::Sizes(sizes), weight.dtype)))
    }

    /// A normalization, which leaves the shape: of channels on the second dimension, or of the last ones.
    pub(super) fn normalized(
        &mut self,
        arguments: &Arguments<'_>,
        has_channels: bool,
    ) -> Result<Option<Computed>> {
        let Some((_, first)) = arguments.first() else { return Ok(None) };
        let Some(input) = self.tensor_of(first) else { return Ok(None) };
        let weight = ["weight", "running_mean"].iter().find_map(|name| self.tensor(arguments, name));
        if let Some(weight) = weight {
            let sizes = self.known_sizes(&input).zip(self.known_sizes(&weight));
            if let Some((sizes, own)) = sizes {
                let first = if has_channels { 1 } else { sizes.len().saturating_sub(own.len()) };
                for (size, own) in sizes.iter().skip(first).zip(&own) {
                    self.symbols.unify(size, own);
                }
            }
            if let Some(dtype) = self.dtype(&weight) {
                self.needs_type(&input, dtype);
            }
        }
        Ok(Some((input.shape, input.dtype)))
    }

    /// An operator on two tensors, or a tensor and a number, element by element.
    pub(super) fn broadcast(&mut self, name: &str, arguments: &Arguments<'_>) -> Result<Option<Computed>> {
        let Some(left) = self.tensor(arguments, "self") else { return Ok(None) };
        if name.starts_with("logical") {
            let operands = [Some(left.clone()), self.tensor(arguments, "other")];
            operands.iter().flatten().for_each(|operand| self.needs_type(operand, DType::BOOL));
        }
        if arguments.len() == 1 {
            return Ok(Some((left.shape, left.dtype)));
        }
        let is_division = name.starts_with("div");
        let second = if name == "pow" { "exponent" } else { "other" };
        let Some(right) = self.tensor(arguments, second) else {
            let is_real = is_division || matches!(argument(arguments, second), Some(Argument::Float(_)));
            let dtype = match self.dtype(&left) {
                Some(dtype) if dtype.is_float() || !is_real => Type::Is(dtype),
                None if !is_real => left.dtype,
                // A whole number becomes a real one; of an input that may be either, only that is known.
                _ => Type::Is(DType::FLOAT32),
            };
            return Ok(Some((left.shape, dtype)));
        };
        let dtype = self.promoted(&left, &right, is_division);
        self.together(&left, &right, dtype, name.ends_with('_')).map(Some)
    }

    /// Two tensors element by element, perhaps in the place of the first.
    fn together(
        &mut self,
        left: &Tensor,
        right: &Tensor,
        dtype: Type,
        is_in_place: bool,
    ) -> Result<Computed> {
        if left.shape == right.shape || is_in_place {
            return Ok((left.shape.clone(), dtype));
        }
        let is_single = |sizes: Option<Vec<Size>>| sizes.is_some_and(|sizes| sizes.is_empty());
        if is_single(self.known_sizes(right)) {
            return Ok((left.shape.clone(), dtype));
        }
        if is_single(self.known_sizes(left)) {
            return Ok((right.shape.clone(), dtype));
        }
        let (one, other) = (self.sizes(left, None)?, self.sizes(right, None)?);
        Ok((Shape::Sizes(self.joint(&one, &other)), dtype))
    }

    /// Elements of one or the other, as a mask says.
    pub(super) fn chosen(&mut self, name: &str, arguments: &Arguments<'_>) -> Result<Option<Computed>> {
        let mask = self.tensor(arguments, if name == "where" { "condition" } else { "mask" });
        let (one, other) = (self.tensor(arguments, "self"), self.tensor(arguments, "other"));
        let (Some(mask), Some(first)) = (mask, one.clone().or(other.clone())) else { return Ok(None) };
        self.needs_type(&mask, DType::BOOL);
        let mut dtype = first.dtype;
        let (mut shape, _) = self.together(&mask, &first, dtype, false)?;
        if let (Some(one), Some(other)) = (one, other) {
            dtype = self.promoted(&one, &other, false);
            let whole = Tensor { shape, ..mask };
            shape = self.together(&whole, &other, dtype, false)?.0;
        }
        Ok(Some((shape, dtype)))
    }

    /// One half of the elements along a dimension, gated by the other.
    pub(super) fn halved(&mut self, arguments: &Arguments<'_>) -> Result<Option<Computed>> {
        let Some(input) = self.tensor(arguments, "self") else { return Ok(None) };
        let mut sizes = self.sizes(&input, None)?;
        let Some(axis) = self.axis(arguments, "dim", -1, sizes.len()) else { return Ok(None) };
        sizes[axis] = self.symbols.quotient(&sizes[axis], 2);
        Ok(Some((Shape::Sizes(sizes), input.dtype)))
    }

    /// The sizes of what is computed from two tensors element by element.
    fn joint(&mut self, one: &[Size], other: &[Size]) -> Vec<Size> {
        let rank = one.len().max(other.len());
        let at = |sizes: &[Size], place: usize| {
            place.checked_sub(rank - sizes.len()).map_or(Size::Fixed(1), |place| sizes[place].clone())
        };
        let mut joint = Vec::with_capacity(rank);
        for place in 0..rank {
            let (one, other) =
                (self.symbols.resolved(&at(one, place)), self.symbols.resolved(&at(other, place)));
            joint.push(match (&one, &other) {
                (Size::Fixed(1), _) => other,
                (_, Size::Fixed(1)) => one,
                (Size::Fixed(_), _) => {
                    self.symbols.unify(&one, &other);
                    one
                }
                _ => {
                    self.symbols.unify(&one, &other);
                    other
                }
            });
        }
        joint
    }

    /// The type of what two tensors give.
    fn promoted(&mut self, left: &Tensor, right: &Tensor, is_real: bool) -> Type {
        match (self.dtype(left), self.dtype(right)) {
            (Some(one), Some(other)) => {
                let wider = |one: DType, other: DType| if one.bits() >= other.bits() { one } else { other };
                let dtype = match (one.is_float(), other.is_float()) {
                    (true, false) => one,
                    (false, true) => other,
                    // Of two halves that are not the same.
                    (true, true) if one != other && one.bits() == other.bits() => DType::FLOAT32,
                    _ => wider(one, other),
                };
                Type::Is(if is_real && !dtype.is_float() { DType::FLOAT32 } else { dtype })
            }
            (Some(known), None) | (None, Some(known)) if known.is_float() => Type::Is(known),
            (None, None) if left.dtype == right.dtype && !is_real => left.dtype,
            _ => Type::Is(DType::FLOAT32),
        }
    }

    /// A product of matrices.
    pub(super) fn product_of(
        &mut self,
        arguments: &Arguments<'_>,
        (left, right): (&str, &str),
        rank: Option<usize>,
    ) -> Result<Option<Computed>> {
        let (Some(left), Some(right)) = (self.tensor(arguments, left), self.tensor(arguments, right)) else {
            return Ok(None);
        };
        let (one, other) = (self.sizes(&left, rank)?, self.sizes(&right, rank)?);
        let ([batch @ .., rows, inner], [other_batch @ .., depth, columns]) = (&one[..], &other[..]) else {
            return Ok(None);
        };
        self.symbols.unify(inner, depth);
        let mut sizes = self.joint(batch, other_batch);
        sizes.extend([rows.clone(), columns.clone()]);
        if let Some(dtype) = self.dtype(&right) {
            self.needs_type(&left, dtype);
        }
        Ok(Some((Shape::Sizes(sizes), self.promoted(&left, &right, false))))
    }

    /// Attention: as many rows as queries, as many columns as values.
    pub(super) fn attention(&mut self, arguments: &Arguments<'_>) -> Result<Option<Computed>> {
        let (Some(query), Some(value)) = (self.tensor(arguments, "query"), self.tensor(arguments, "value"))
        else {
            return Ok(None);
        };
        let (mut sizes, values) = (self.sizes(&query, None)?, self.sizes(&value, None)?);
        let (Some(last), Some(columns)) = (sizes.last_mut(), values.last()) else { return Ok(None) };
        *last = columns.clone();
        Ok(Some((Shape::Sizes(sizes), query.dtype)))
    }

    /// Rows of a table `[words, features]`. An input of which nothing else is known is a batch of texts.
    pub(super) fn embedding(&mut self, arguments: &Arguments<'_>) -> Result<Option<Computed>> {
        let (Some(indices), Some(weight)) =
            (self.tensor(arguments, "indices"), self.tensor(arguments, "weight"))
        else {
            return Ok(None);
        };
        let Some(features) = self.known_sizes(&weight).and_then(|sizes| sizes.into_iter().nth(1)) else {
            return Ok(None);
        };
        let mut sizes = self.sizes(&indices, Some(2))?;
        sizes.push(features);
        self.needs_type(&indices, DType::INT64);
        Ok(Some((Shape::Sizes(sizes), weight.dtype)))
    }

    /// A mean, a sum or a maximum along dimensions; along all without any.
    pub(super) fn reduced(&mut self, arguments: &Arguments<'_>) -> Result<Option<Computed>> {
        let Some(input) = self.tensor(arguments, "self") else { return Ok(None) };
        let dtype = match argument(arguments, "dtype") {
            Some(Argument::Code(number)) => match from_scalar_type(*number) {
                Some(found) => Type::Is(found.dtype),
                None => return Ok(None),
            },
            _ => input.dtype,
        };
        let has_dims = !matches!(argument(arguments, "dim"), None | Some(Argument::None));
        let dims = if has_dims { self.ints_of(arguments, "dim") } else { Some(Vec::new()) };
        let Some(dims) = dims else { return Ok(None) };
        if dims.is_empty() && !is_true(arguments, "keepdim") {
            return Ok(Some((Shape::Sizes(Vec::new()), dtype)));
        }
        let sizes = self.sizes(&input, None)?;
        let all: Vec<i64> = (0..sizes.len()).filter_map(|at| i64::try_from(at).ok()).collect();
        let dims = if dims.is_empty() { all } else { dims };
        let places: Option<Vec<usize>> =
            dims.iter().map(|dim| super::super::number::index(*dim, sizes.len())).collect();
        let Some(places) = places else { return Ok(None) };
        let keeps = is_true(arguments, "keepdim");
        let left = sizes.into_iter().enumerate().filter_map(|(at, size)| match places.contains(&at) {
            true => keeps.then_some(Size::Fixed(1)),
            false => Some(size),
        });
        Ok(Some((Shape::Sizes(left.collect()), dtype)))
    }

    /// Tensors one after the other along a dimension, or along a new one.
    pub(super) fn joined(&mut self, name: &str, arguments: &Arguments<'_>) -> Result<Option<Computed>> {
        let Some(Argument::List(list)) = argument(arguments, "tensors") else { return Ok(None) };
        let tensors: Option<Vec<Tensor>> = list.iter().map(|element| self.tensor_of(element)).collect();
        let Some(tensors) = tensors else { return Ok(None) };
        let rank = tensors.iter().find_map(|tensor| self.known_sizes(tensor)).map(|sizes| sizes.len());
        let mut parts = Vec::with_capacity(tensors.len());
        for tensor in &tensors {
            parts.push(self.sizes(tensor, rank)?);
        }
        let Some(first) = parts.first().cloned() else { return Ok(None) };
        if parts.iter().any(|sizes| sizes.len() != first.len()) {
            return Ok(None);
        }
        let is_new = name == "stack";
        let Some(axis) = self.axis(arguments, "dim", 0, first.len() + usize::from(is_new)) else {
            return Ok(None);
        };
        let mut sizes = first;
        let mut total = Size::Fixed(0);
        for part in &parts {
            for (at, (one, other)) in sizes.iter().zip(part).enumerate() {
                if is_new || at != axis {
                    self.symbols.unify(one, other);
                }
            }
            if let Some(size) = part.get(axis).filter(|_| !is_new) {
                total = self.symbols.sum(&total, size);
            }
        }
        match is_new {
            true => sizes.insert(axis, Size::Fixed(i64::try_from(parts.len()).unwrap_or(i64::MAX))),
            false => sizes[axis] = total,
        }
        let mut dtype = tensors[0].dtype;
        for tensor in &tensors[1..] {
            let so_far = Tensor { dtype, ..tensors[0].clone() };
            dtype = self.promoted(&so_far, tensor, false);
        }
        Ok(Some((Shape::Sizes(sizes), dtype)))
    }

    /// The parts of a tensor along a dimension, which have to be counted.
    pub(super) fn parted(&mut self, name: &str, arguments: &Arguments<'_>) -> Result<Option<Vec<Computed>>> {
        /// Parts of one tensor.
        const MOST: i64 = 1 << 12;
        let Some(input) = self.tensor(arguments, "self") else { return Ok(None) };
        let mut sizes = self.sizes(&input, None)?;
        let Some(axis) = self.axis(arguments, "dim", 0, sizes.len()) else { return Ok(None) };
        let whole = self.symbols.resolved(&sizes[axis]);
        let whole = fixed(&whole);
        let of_size = |whole: i64, part: i64| -> Option<Vec<i64>> {
            let full = whole.checked_div(part).filter(|_| part > 0 && whole > 0 && whole / part < MOST)?;
            let mut parts = vec![part; usize::try_from(full).ok()?];
            parts.extend((whole % part > 0).then_some(whole % part));
            Some(parts)
        };
        let first = |numbers: Option<Vec<i64>>| numbers.and_then(|numbers| numbers.first().copied());
        let parts = match name {
            "unbind" => {
                let count = whole.filter(|count| (1..MOST).contains(count));
                let count = count.and_then(|count| usize::try_from(count).ok());
                sizes.remove(axis);
                let part = (Shape::Sizes(sizes), input.dtype);
                return Ok(count.map(|count| vec![part; count]));
            }
            "chunk" => {
                let chunks = first(self.ints_of(arguments, "chunks")).filter(|chunks| *chunks > 0);
                whole
                    .zip(chunks)
                    .and_then(|(whole, chunks)| of_size(whole, whole.checked_add(chunks - 1)? / chunks))
            }
            "split" => {
                let size = first(self.ints_of(arguments, "split_size"));
                whole.zip(size).and_then(|(whole, size)| of_size(whole, size))
            }
            _ => self.ints_of(arguments, "split_sizes"),
        };
        Ok(parts.map(|parts| {
            let part = |size: i64| {
                let mut sizes = sizes.clone();
                sizes[axis] = Size::Fixed(size);
                (Shape::Sizes(sizes), input.dtype)
            };
            parts.into_iter().map(part).collect()
        }))
    }
}
