//! The shapes and types of what operators compute, and what they tell of the inputs.

mod combine;
mod moved;
mod window;

use super::composer::{Composer, MAX_RANK};
use super::number::index;
use super::schema::{Arguments, Schema};
use super::size::Size;
use super::unsupported;
use super::value::{Shape, Tensor, Type};
use crate::quant::dtype::from_scalar_type;
use qp_abi::sdk::{DType, Result};
use qp_pytorch_contract::program::Argument;

/// A result: its shape and its type.
pub type Computed = (Shape, Type);

impl Composer<'_> {
    /// What an operator computes; `None` for what cannot be known, such as the number of parts of an unknown size.
    ///
    /// # Errors
    /// `UnsupportedOp` for an input whose number of dimensions is needed and not known.
    pub(super) fn results(
        &mut self,
        schema: &Schema,
        arguments: &Arguments<'_>,
    ) -> Result<Option<Vec<Computed>>> {
        let one = match schema.name {
            "conv1d" | "conv2d" | "conv3d" => self.convolution(arguments)?,
            "conv_transpose1d" | "conv_transpose2d" | "conv_transpose3d" => self.transposed(arguments)?,
            "max_pool1d" | "max_pool2d" | "max_pool3d" | "avg_pool1d" | "avg_pool2d" | "avg_pool3d" => {
                self.pool(arguments)?
            }
            "adaptive_avg_pool1d" | "adaptive_avg_pool2d" | "adaptive_avg_pool3d" => {
                self.adaptive(arguments)?
            }
            name if name.starts_with("upsample_") => self.resized(arguments, name)?,
            "glu" => self.halved(arguments)?,
            "eq" | "ne" | "gt" | "ge" | "lt" | "le" | "logical_not" | "logical_and" | "logical_or" => {
                self.broadcast(schema.name, arguments)?.map(|(shape, _)| (shape, Type::Is(DType::BOOL)))
            }
            "where" | "masked_fill" => self.chosen(schema.name, arguments)?,
            "argmax" => self.reduced(arguments)?.map(|(shape, _)| (shape, Type::Is(DType::INT64))),
            "pixel_shuffle" => self.shuffled(arguments, "upscale_factor", true)?,
            "pixel_unshuffle" => self.shuffled(arguments, "downscale_factor", false)?,
            "pad" | "constant_pad_nd" => self.padded(arguments)?,
            "linear" => self.linear(arguments)?,
            "batch_norm" | "instance_norm" => self.normalized(arguments, true)?,
            "layer_norm" | "rms_norm" => self.normalized(arguments, false)?,
            "group_norm" => self.normalized(arguments, true)?,
            "add" | "sub" | "mul" | "div" | "add_" | "sub_" | "mul_" | "div_" | "rsub" | "maximum"
            | "minimum" | "pow" => self.broadcast(schema.name, arguments)?,
            "matmul" => self.product_of(arguments, ("self", "other"), None)?,
            "mm" => self.product_of(arguments, ("self", "mat2"), Some(2))?,
            "bmm" => self.product_of(arguments, ("self", "mat2"), Some(3))?,
            "addmm" => self.product_of(arguments, ("mat1", "mat2"), Some(2))?,
            "scaled_dot_product_attention" => self.attention(arguments)?,
            "embedding" => self.embedding(arguments)?,
            "mean" | "sum" | "amax" | "amin" => self.reduced(arguments)?,
            "cat" | "stack" => self.joined(schema.name, arguments)?,
            "chunk" | "split" | "split_with_sizes" | "unbind" => return self.parted(schema.name, arguments),
            "flatten" | "view" | "reshape" | "unflatten" | "permute" | "transpose" | "t" | "squeeze"
            | "unsqueeze" | "expand" | "repeat" | "slice" | "select" | "narrow" => {
                self.moved(schema.name, arguments)?
            }
            // All others compute each element from one.
            _ => self.same(arguments),
        };
        Ok(one.map(|one| vec![one]))
    }

    fn same(&self, arguments: &Arguments<'_>) -> Option<Computed> {
        let (_, first) = arguments.first()?;
        let tensor = self.tensor_of(first)?;
        let dtype = match argument(arguments, "dtype") {
            Some(Argument::Code(number)) => Type::Is(from_scalar_type(*number)?.dtype),
            _ => tensor.dtype,
        };
        Some((tensor.shape, dtype))
    }

    /// The tensor that is the argument of that name.
    pub(super) fn tensor(&self, arguments: &Arguments<'_>, name: &str) -> Option<Tensor> {
        self.tensor_of(argument(arguments, name)?)
    }

    /// The sizes of a tensor; of an input whose number of dimensions is not known they are `rank` new ones.
    ///
    /// # Errors
    /// `UnsupportedOp` for such an input if there is no `rank`.
    pub(super) fn sizes(&mut self, tensor: &Tensor, rank: Option<usize>) -> Result<Vec<Size>> {
        if let Some(sizes) = self.known_sizes(tensor) {
            return Ok(sizes);
        }
        let rank = rank.filter(|rank| *rank <= MAX_RANK);
        let (Shape::OfInput(at), Some(rank)) = (&tensor.shape, rank) else {
            return Err(unsupported(format!(
                "nothing in the file says how many dimensions `{}` has",
                tensor.name
            )));
        };
        let sizes: Vec<Size> = (0..rank).map(|_| self.symbols.fresh()).collect();
        if let Some(given) = self.given.get_mut(*at) {
            given.sizes = Some(sizes.clone());
        }
        Ok(sizes)
    }

    /// Takes note that an operator needs a tensor of that type.
    pub(super) fn needs_type(&mut self, tensor: &Tensor, dtype: DType) {
        if let Type::OfInput(at) = tensor.dtype
            && let Some(given) = self.given.get_mut(at)
            && given.dtype.is_none()
        {
            given.dtype = Some(dtype);
        }
    }

    /// The whole numbers of an argument that are known; `None` if one is not.
    pub(super) fn ints_of(&mut self, arguments: &Arguments<'_>, name: &str) -> Option<Vec<i64>> {
        let given = argument(arguments, name)?;
        let numbers = match self.number_of(given) {
            Some(one) => vec![one],
            None => self.list_of(given)?,
        };
        let known = numbers.iter().map(|number| match self.symbols.resolved(&number.size) {
            Size::Fixed(number) => Some(number),
            _ => None,
        });
        known.collect()
    }

    /// Such numbers for `count` dimensions: one counts for all, and without any it is `otherwise`.
    pub(super) fn each(
        &mut self,
        arguments: &Arguments<'_>,
        name: &str,
        count: usize,
        otherwise: i64,
    ) -> Option<Vec<i64>> {
        if argument(arguments, name).is_none() {
            return Some(vec![otherwise; count]);
        }
        let numbers = self.ints_of(arguments, name)?;
        match numbers[..] {
            [one] => Some(vec![one; count]),
            _ => Some(numbers).filter(|numbers| numbers.len() == count),
        }
    }

    /// The place of an axis of a tensor of that rank.
    pub(super) fn axis(
        &mut self,
        arguments: &Arguments<'_>,
        name: &str,
        otherwise: i64,
        rank: usize,
    ) -> Option<usize> {
        let given = match argument(arguments, name) {
            None => otherwise,
            Some(_) => *self.ints_of(arguments, name)?.first()?,
        };
        index(given, rank)
    }
}

/// The argument of that name.
pub(super) fn argument<'a>(arguments: &Arguments<'a>, name: &str) -> Option<&'a Argument> {
    arguments.iter().find(|(parameter, _)| parameter.name == name).map(|(_, argument)| *argument)
}

/// Whether an argument is `true`.
pub(super) fn is_true(arguments: &Arguments<'_>, name: &str) -> bool {
    matches!(argument(arguments, name), Some(Argument::Bool(true)))
}
