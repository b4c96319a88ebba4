//! Operators that move elements: the same ones in another shape, or some of them.

use super::super::composer::Composer;
use super::super::number::index;
use super::super::schema::Arguments;
use super::super::size::Size;
use super::super::value::Shape;
use super::window::fixed;
use super::{Computed, argument};
use qp_abi::sdk::Result;
use qp_pytorch_contract::program::Argument;

impl Composer<'_> {
    /// What such an operator gives.
    pub(super) fn moved(&mut self, name: &str, arguments: &Arguments<'_>) -> Result<Option<Computed>> {
        let Some(input) = self.tensor(arguments, "self") else { return Ok(None) };
        let dims = self.ints_of(arguments, "dims");
        let rank = match name {
            "permute" => dims.as_ref().map(Vec::len),
            "t" => Some(2),
            _ => None,
        };
        let sizes = self.sizes(&input, rank)?;
        let moved = match name {
            "view" => self.viewed(arguments, "size", sizes),
            "reshape" => self.viewed(arguments, "shape", sizes),
            "flatten" => self.flattened(arguments, sizes),
            "unflatten" => self.unflattened(arguments, sizes),
            "permute" => permuted(&sizes, &dims.unwrap_or_default()),
            "transpose" => {
                let one = self.axis(arguments, "dim0", 0, sizes.len());
                let other = self.axis(arguments, "dim1", 0, sizes.len());
                one.zip(other).map(|(one, other)| {
                    let mut sizes = sizes;
                    sizes.swap(one, other);
                    sizes
                })
            }
            "t" => Some(sizes.into_iter().rev().collect()),
            "squeeze" => self.squeezed(arguments, sizes),
            "unsqueeze" => self.axis(arguments, "dim", 0, sizes.len() + 1).map(|axis| {
                let mut sizes = sizes;
                sizes.insert(axis, Size::Fixed(1));
                sizes
            }),
            "expand" => self.expanded(arguments, sizes),
            "repeat" => self.repeated(arguments, sizes),
            "select" => self.axis(arguments, "dim", 0, sizes.len()).map(|axis| {
                let mut sizes = sizes;
                sizes.remove(axis);
                sizes
            }),
            "narrow" => {
                let axis = self.axis(arguments, "dim", 0, sizes.len());
                let length = argument(arguments, "length").and_then(|length| self.number_of(length));
                axis.zip(length).map(|(axis, length)| {
                    let mut sizes = sizes;
                    sizes[axis] = length.size;
                    sizes
                })
            }
            _ => self.sliced(arguments, sizes),
        };
        Ok(moved.map(|sizes| (Shape::Sizes(sizes), input.dtype)))
    }

    /// All elements in the shape that is asked for, of which one size may be -1.
    fn viewed(&mut self, arguments: &Arguments<'_>, name: &str, sizes: Vec<Size>) -> Option<Vec<Size>> {
        let wanted = self.list_of(argument(arguments, name)?)?;
        let wanted: Vec<Size> = wanted.iter().map(|number| self.symbols.resolved(&number.size)).collect();
        self.filled(sizes, wanted)
    }

    /// `wanted` with the size that -1 stands for.
    fn filled(&mut self, sizes: Vec<Size>, mut wanted: Vec<Size>) -> Option<Vec<Size>> {
        let mut open = (0..wanted.len()).filter(|at| wanted[*at] == Size::Fixed(-1));
        let (place, next) = (open.next(), open.next());
        if next.is_some() || wanted.len() > super::super::composer::MAX_RANK {
            return None;
        }
        let Some(place) = place else { return Some(wanted) };
        // What is on both sides is left out.
        let mut rest: Vec<Size> = sizes.iter().map(|size| self.symbols.resolved(size)).collect();
        let mut by = 1_i64;
        let mut is_known = true;
        for size in wanted.iter().enumerate().filter(|(at, _)| *at != place).map(|(_, size)| size) {
            match rest.iter().position(|other| other == size) {
                Some(same) => drop(rest.remove(same)),
                None => match fixed(size) {
                    Some(number) => by = by.checked_mul(number)?,
                    None => is_known = false,
                },
            }
        }
        let total = rest.iter().fold(Size::Fixed(1), |total, size| self.symbols.product(&total, size));
        wanted[place] =
            if is_known && by > 0 { self.symbols.quotient(&total, by) } else { self.symbols.fresh() };
        Some(wanted)
    }

    fn flattened(&mut self, arguments: &Arguments<'_>, sizes: Vec<Size>) -> Option<Vec<Size>> {
        if sizes.is_empty() {
            return Some(vec![Size::Fixed(1)]);
        }
        let start = self.axis(arguments, "start_dim", 0, sizes.len())?;
        let end = self.axis(arguments, "end_dim", -1, sizes.len())?;
        let inner = sizes.get(start..=end)?;
        let total = inner.iter().fold(Size::Fixed(1), |total, size| self.symbols.product(&total, size));
        let mut flat = sizes.get(..start)?.to_vec();
        flat.push(total);
        flat.extend_from_slice(sizes.get(end + 1..)?);
        Some(flat)
    }

    fn unflattened(&mut self, arguments: &Arguments<'_>, sizes: Vec<Size>) -> Option<Vec<Size>> {
        let axis = self.axis(arguments, "dim", 0, sizes.len())?;
        let parts = self.list_of(argument(arguments, "sizes")?)?;
        let parts: Vec<Size> = parts.iter().map(|number| self.symbols.resolved(&number.size)).collect();
        let parts = self.filled(vec![sizes.get(axis)?.clone()], parts)?;
        let mut sizes = sizes;
        sizes.splice(axis..=axis, parts);
        Some(sizes)
    }

    fn squeezed(&mut self, arguments: &Arguments<'_>, sizes: Vec<Size>) -> Option<Vec<Size>> {
        let sizes: Vec<Size> = sizes.iter().map(|size| self.symbols.resolved(size)).collect();
        let chosen: Vec<usize> = match argument(arguments, "dim") {
            None => (0..sizes.len()).collect(),
            Some(_) => {
                let dims = self.ints_of(arguments, "dim")?;
                dims.iter().map(|dim| index(*dim, sizes.len())).collect::<Option<_>>()?
            }
        };
        // Whether a size is one has to be known.
        let is_known = chosen.iter().all(|at| fixed(&sizes[*at]).is_some());
        let left = sizes.into_iter().enumerate();
        let left =
            left.filter(|(at, size)| !chosen.contains(at) || *size != Size::Fixed(1)).map(|(_, size)| size);
        is_known.then(|| left.collect())
    }

    fn expanded(&mut self, arguments: &Arguments<'_>, sizes: Vec<Size>) -> Option<Vec<Size>> {
        let wanted = self.list_of(argument(arguments, "size")?)?;
        let more = wanted.len().checked_sub(sizes.len())?;
        let whole = wanted.iter().enumerate().map(|(at, number)| {
            let size = self.symbols.resolved(&number.size);
            match (size, at.checked_sub(more)) {
                (Size::Fixed(-1), Some(own)) => sizes[own].clone(),
                (size, _) => size,
            }
        });
        Some(whole.collect())
    }

    fn repeated(&mut self, arguments: &Arguments<'_>, sizes: Vec<Size>) -> Option<Vec<Size>> {
        let times = self.list_of(argument(arguments, "repeats")?)?;
        let more = times.len().checked_sub(sizes.len())?;
        let whole = times.iter().enumerate().map(|(at, times)| {
            let own = at.checked_sub(more).map_or(Size::Fixed(1), |own| sizes[own].clone());
            self.symbols.product(&own, &times.size)
        });
        Some(whole.collect())
    }

    fn sliced(&mut self, arguments: &Arguments<'_>, mut sizes: Vec<Size>) -> Option<Vec<Size>> {
        let axis = self.axis(arguments, "dim", 0, sizes.len())?;
        let mut bound = |name: &str| match argument(arguments, name) {
            None | Some(Argument::None) => Some(None),
            Some(argument) => {
                let number = self.number_of(argument)?;
                Some(Some(self.symbols.resolved(&number.size)))
            }
        };
        let (start, end) = (bound("start")?, bound("end")?);
        let step = self.each(arguments, "step", 1, 1)?.first().copied().filter(|step| *step > 0)?;
        let whole = self.symbols.resolved(&sizes[axis]);
        // Beyond any size, as Python's slices have it.
        let is_all = match &end {
            None => true,
            Some(end) => fixed(end).is_some_and(|end| end >= i64::from(i32::MAX)) || *end == whole,
        };
        let start = start.unwrap_or(Size::Fixed(0));
        sizes[axis] = match (&whole, &start, &end) {
            (_, Size::Fixed(0), _) if is_all && step == 1 => whole,
            (Size::Fixed(whole), Size::Fixed(start), end) => {
                let end = match end {
                    Some(end) if !is_all => fixed(end)?,
                    _ => *whole,
                };
                let place = |at: i64| if at < 0 { at.saturating_add(*whole).max(0) } else { at.min(*whole) };
                let count = place(end).saturating_sub(place(*start)).max(0);
                Size::Fixed(count.saturating_add(step - 1) / step)
            }
            // From a place on, or all but the last ones.
            (_, Size::Fixed(start), _) if *start >= 0 && is_all && step == 1 => {
                self.symbols.sum(&whole, &Size::Fixed(start.checked_neg()?))
            }
            (_, Size::Fixed(start), Some(Size::Fixed(end))) if *start < 0 && *end < 0 && step == 1 => {
                Size::Fixed(end.saturating_sub(*start).max(0))
            }
            _ => self.symbols.fresh(),
        };
        Some(sizes)
    }
}

fn permuted(sizes: &[Size], dims: &[i64]) -> Option<Vec<Size>> {
    let places: Option<Vec<usize>> = dims.iter().map(|dim| index(*dim, sizes.len())).collect();
    places
        .filter(|places| places.len() == sizes.len())?
        .into_iter()
        .map(|at| sizes.get(at).cloned())
        .collect()
}
