//! Operators that look at neighbours: convolutions, pooling, resizing, padding.

use super::super::composer::Composer;
use super::super::schema::Arguments;
use super::super::size::Size;
use super::super::value::{Shape, Type};
use super::{Computed, argument, is_true};
use qp_abi::sdk::Result;
use qp_pytorch_contract::program::Argument;

/// What a convolution works on: sizes, those of the kernel, and the type.
type Weighed = (Vec<Size>, Vec<i64>, Type);

impl Composer<'_> {
    /// A convolution: of a weight `[out, in / groups, …]`.
    pub(super) fn convolution(&mut self, arguments: &Arguments<'_>) -> Result<Option<Computed>> {
        let Some((mut sizes, kernel, dtype)) = self.weighed(arguments, false)? else { return Ok(None) };
        let count = kernel.len();
        let (Some(strides), Some(dilations)) =
            (self.each(arguments, "stride", count, 1), self.each(arguments, "dilation", count, 1))
        else {
            return Ok(None);
        };
        let is_same = match argument(arguments, "padding") {
            Some(Argument::Text(text)) => Some(text.as_str() == "same"),
            _ => None,
        };
        let paddings =
            if is_same.is_some() { Some(vec![0; count]) } else { self.each(arguments, "padding", count, 0) };
        let Some(paddings) = paddings else { return Ok(None) };
        let first = sizes.len() - count;
        if is_same != Some(true) {
            for at in 0..count {
                let more = windowed(paddings[at], dilations[at], kernel[at]);
                let Some(more) = more.filter(|_| strides[at] > 0) else { return Ok(None) };
                sizes[first + at] = self.symbols.windows(&sizes[first + at], more, strides[at]);
            }
        }
        Ok(Some((Shape::Sizes(sizes), dtype)))
    }

    /// A transposed convolution: of a weight `[in, out / groups, …]`.
    pub(super) fn transposed(&mut self, arguments: &Arguments<'_>) -> Result<Option<Computed>> {
        let Some((mut sizes, kernel, dtype)) = self.weighed(arguments, true)? else { return Ok(None) };
        let count = kernel.len();
        let mut each = |name: &str, otherwise: i64| self.each(arguments, name, count, otherwise);
        let (Some(strides), Some(dilations), Some(paddings), Some(more)) =
            (each("stride", 1), each("dilation", 1), each("padding", 0), each("output_padding", 0))
        else {
            return Ok(None);
        };
        let first = sizes.len() - count;
        for at in 0..count {
            let rest = windowed(paddings[at], dilations[at], kernel[at])
                .and_then(i64::checked_neg)
                .and_then(|rest| rest.checked_add(more[at]))
                .and_then(|rest| rest.checked_sub(strides[at]));
            let Some(rest) = rest else { return Ok(None) };
            let wide = self.symbols.product(&sizes[first + at], &Size::Fixed(strides[at]));
            sizes[first + at] = self.symbols.sum(&wide, &Size::Fixed(rest));
        }
        Ok(Some((Shape::Sizes(sizes), dtype)))
    }

    /// The sizes of what a convolution reads, with its own number of channels already, its kernel, and the type of its weight.
    fn weighed(&mut self, arguments: &Arguments<'_>, is_transposed: bool) -> Result<Option<Weighed>> {
        let (Some(input), Some(weight)) = (self.tensor(arguments, "input"), self.tensor(arguments, "weight"))
        else {
            return Ok(None);
        };
        let shape = self.known_sizes(&weight);
        let shape: Option<Vec<i64>> = shape.and_then(|sizes| sizes.iter().map(fixed).collect());
        let groups = self.each(arguments, "groups", 1, 1).and_then(|groups| groups.first().copied());
        let (Some([first, second, kernel @ ..]), Some(groups)) = (shape.as_deref(), groups) else {
            return Ok(None);
        };
        let (inputs, outputs) = match is_transposed {
            true => (Some(*first), second.checked_mul(groups)),
            false => (second.checked_mul(groups), Some(*first)),
        };
        let (Some(inputs), Some(outputs)) = (inputs, outputs) else { return Ok(None) };
        let mut sizes = self.sizes(&input, Some(kernel.len() + 2))?;
        // A batch may be missing.
        if sizes.len() != kernel.len() + 2 && sizes.len() != kernel.len() + 1 {
            return Ok(None);
        }
        let channels = sizes.len() - kernel.len() - 1;
        self.symbols.unify(&sizes[channels], &Size::Fixed(inputs));
        sizes[channels] = Size::Fixed(outputs);
        if let Some(dtype) = self.dtype(&weight) {
            self.needs_type(&input, dtype);
        }
        Ok(Some((sizes, kernel.to_vec(), weight.dtype)))
    }

    /// The mean or the maximum of windows.
    pub(super) fn pool(&mut self, arguments: &Arguments<'_>) -> Result<Option<Computed>> {
        let Some(input) = self.tensor(arguments, "self") else { return Ok(None) };
        let count = dimensions(arguments, "kernel_size");
        let Some(kernel) = self.each(arguments, "kernel_size", count, 1) else { return Ok(None) };
        let strides = match self.ints_of(arguments, "stride") {
            Some(none) if none.is_empty() => Some(kernel.clone()),
            _ if argument(arguments, "stride").is_none() => Some(kernel.clone()),
            _ => self.each(arguments, "stride", count, 1),
        };
        let (Some(strides), Some(paddings), Some(dilations)) =
            (strides, self.each(arguments, "padding", count, 0), self.each(arguments, "dilation", count, 1))
        else {
            return Ok(None);
        };
        let mut sizes = self.sizes(&input, Some(count + 2))?;
        let Some(first) = sizes.len().checked_sub(count) else { return Ok(None) };
        for at in 0..count {
            let (stride, padding) = (strides[at], paddings[at]);
            let more = windowed(padding, dilations[at], kernel[at]);
            let Some(more) = more.filter(|_| stride > 0) else { return Ok(None) };
            let size = sizes[first + at].clone();
            sizes[first + at] = if is_true(arguments, "ceil_mode") && stride > 1 {
                self.ceiled(&size, more, stride, padding, kernel[at])
            } else {
                self.symbols.windows(&size, more, stride)
            };
        }
        Ok(Some((Shape::Sizes(sizes), input.dtype)))
    }

    /// How many windows there are if the last may be cut off; it has to begin within what is read.
    fn ceiled(&mut self, size: &Size, more: i64, stride: i64, padding: i64, kernel: i64) -> Size {
        let Some(up) = more.checked_add(stride - 1) else { return self.symbols.fresh() };
        let windows = self.symbols.windows(size, up, stride);
        match (self.symbols.resolved(size), &windows) {
            (Size::Fixed(size), Size::Fixed(count)) => {
                let begins = (count - 1).saturating_mul(stride);
                Size::Fixed(if begins >= size.saturating_add(padding) { count - 1 } else { *count })
            }
            _ if padding == 0 && stride <= kernel => windows,
            _ => self.symbols.fresh(),
        }
    }

    /// Pooling to a given size.
    pub(super) fn adaptive(&mut self, arguments: &Arguments<'_>) -> Result<Option<Computed>> {
        let Some(input) = self.tensor(arguments, "self") else { return Ok(None) };
        let count = dimensions(arguments, "output_size");
        let Some(wanted) = self.wanted(arguments, "output_size", count) else { return Ok(None) };
        let mut sizes = self.sizes(&input, Some(count + 2))?;
        let Some(first) = sizes.len().checked_sub(count) else { return Ok(None) };
        sizes.truncate(first);
        sizes.extend(wanted);
        Ok(Some((Shape::Sizes(sizes), input.dtype)))
    }

    /// Resizing of signals, pictures and volumes, to a size or by a factor.
    pub(super) fn resized(&mut self, arguments: &Arguments<'_>, name: &str) -> Result<Option<Computed>> {
        let Some(input) = self.tensor(arguments, "input") else { return Ok(None) };
        let count = name.trim_end_matches('d').chars().next_back().and_then(|digit| digit.to_digit(10));
        let Some(count) = count.and_then(|count| usize::try_from(count).ok()) else { return Ok(None) };
        let mut sizes = self.sizes(&input, Some(count + 2))?;
        if sizes.len() != count + 2 {
            return Ok(None);
        }
        if let Some(wanted) = self.wanted(arguments, "output_size", count) {
            sizes.truncate(2);
            sizes.extend(wanted);
            return Ok(Some((Shape::Sizes(sizes), input.dtype)));
        }
        let Some(Argument::List(factors)) = argument(arguments, "scale_factors") else { return Ok(None) };
        for (size, factor) in sizes.iter_mut().skip(2).zip(factors) {
            *size = match factor {
                Argument::Int(factor) => self.symbols.product(size, &Size::Fixed(*factor)),
                Argument::Float(factor) if factor.fract() == 0.0 && factor.abs() < 1e6 => {
                    self.symbols.product(size, &Size::Fixed(*factor as i64))
                }
                Argument::Float(factor) => match self.symbols.resolved(size) {
                    Size::Fixed(size) => Size::Fixed((size as f64 * factor) as i64),
                    _ => self.symbols.fresh(),
                },
                _ => return Ok(None),
            };
        }
        Ok(Some((Shape::Sizes(sizes), input.dtype)))
    }

    /// Channels that become neighbours, or the other way round.
    pub(super) fn shuffled(
        &mut self,
        arguments: &Arguments<'_>,
        name: &str,
        is_up: bool,
    ) -> Result<Option<Computed>> {
        let Some(input) = self.tensor(arguments, "self") else { return Ok(None) };
        let factor = self.ints_of(arguments, name).and_then(|factor| factor.first().copied());
        let Some(factor) = factor.filter(|factor| (1..1 << 16).contains(factor)) else { return Ok(None) };
        let mut sizes = self.sizes(&input, Some(4))?;
        let Some(first) = sizes.len().checked_sub(3) else { return Ok(None) };
        let (area, by) = (factor * factor, Size::Fixed(factor));
        for (at, size) in sizes.iter_mut().enumerate().skip(first) {
            *size = match (at == first, is_up) {
                (true, true) => self.symbols.quotient(size, area),
                (true, false) => self.symbols.product(size, &Size::Fixed(area)),
                (false, true) => self.symbols.product(size, &by),
                (false, false) => self.symbols.quotient(size, factor),
            };
        }
        Ok(Some((Shape::Sizes(sizes), input.dtype)))
    }

    /// Padding: pairs of numbers, those of the last dimension first.
    pub(super) fn padded(&mut self, arguments: &Arguments<'_>) -> Result<Option<Computed>> {
        let Some(input) = self.tensor(arguments, "self") else { return Ok(None) };
        let Some(pads) = self.ints_of(arguments, "pad") else { return Ok(None) };
        let mut sizes = self.sizes(&input, None)?;
        if pads.len() > 2 * sizes.len() {
            return Ok(None);
        }
        for (pair, size) in pads.chunks(2).zip(sizes.iter_mut().rev()) {
            let more = pair.iter().copied().fold(0, i64::saturating_add);
            *size = self.symbols.sum(size, &Size::Fixed(more));
        }
        Ok(Some((Shape::Sizes(sizes), input.dtype)))
    }

    /// The sizes that an argument asks for.
    fn wanted(&mut self, arguments: &Arguments<'_>, name: &str, count: usize) -> Option<Vec<Size>> {
        let given = argument(arguments, name)?;
        let sizes: Vec<Size> = match self.number_of(given) {
            Some(one) => vec![one.size; count],
            None => self.list_of(given)?.into_iter().map(|number| number.size).collect(),
        };
        Some(sizes).filter(|sizes| sizes.len() == count)
    }
}

/// A number that is known.
pub(super) fn fixed(size: &Size) -> Option<i64> {
    match size {
        Size::Fixed(number) => Some(*number),
        _ => None,
    }
}

/// How much longer than the room for one window what is read has to be for it to fit; negative for a larger window.
fn windowed(padding: i64, dilation: i64, kernel: i64) -> Option<i64> {
    let reach = kernel.checked_sub(1)?.checked_mul(dilation)?;
    padding.checked_mul(2)?.checked_sub(reach)?.checked_sub(1)
}

/// The number of dimensions that an operator's sizes are for.
fn dimensions(arguments: &Arguments<'_>, name: &str) -> usize {
    use super::super::schema::Kind;
    let kind =
        arguments.iter().find(|(parameter, _)| parameter.name == name).map(|(parameter, _)| parameter.kind);
    match kind {
        Some(Kind::Ints(Some(count))) => count,
        _ => 1,
    }
}
