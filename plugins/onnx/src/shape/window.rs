//! Convolutions and pools.

use super::Fact;
use super::node::{Node, one, size};
use qp_abi::sdk::{DType, Dimension};

/// What is known about the outputs; `None` for other kinds of operators.
pub(super) fn infer(node: &Node<'_>) -> Option<Vec<Fact>> {
    match node.op {
        "Conv" | "FusedConv" => one(node.dtype(0), convolution(node, 1)),
        "ConvInteger" => one(Some(DType::INT32), convolution(node, 1)),
        "QLinearConv" => one(node.dtype(7).or(node.dtype(0)), convolution(node, 3)),
        "ConvTranspose" => one(node.dtype(0), transposed(node)),
        "MaxPool" => {
            let shape = pool(node);
            Some(vec![Fact::new(node.dtype(0), shape.clone()), Fact::new(Some(DType::INT64), shape)])
        }
        "AveragePool" | "LpPool" => one(node.dtype(0), pool(node)),
        "QLinearAveragePool" if node.int_or("channels_last", 0) == Some(0) => one(node.dtype(0), pool(node)),
        "GlobalAveragePool" | "GlobalMaxPool" | "GlobalLpPool" => one(node.dtype(0), global(node)),
        "QLinearGlobalAveragePool" if node.int_or("channels_last", 0) == Some(0) => {
            one(node.dtype(0), global(node))
        }
        "QLinearGlobalAveragePool" | "QLinearAveragePool" => one(node.dtype(0), None),
        _ => None,
    }
}

fn global(node: &Node<'_>) -> Option<Vec<Dimension>> {
    let shape = node.shape(0).filter(|shape| shape.len() >= 2)?;
    let ones = shape[2..].iter().map(|_| Dimension::fixed(1));
    Some(shape[..2].iter().cloned().chain(ones).collect())
}

/// How a window moves along each spatial dimension.
struct Window {
    kernel: Vec<i64>,
    strides: Vec<i64>,
    dilations: Vec<i64>,
    /// Before and after.
    pads: Vec<(i64, i64)>,
    /// `SAME_UPPER`, `SAME_LOWER`: as many outputs as strides fit.
    is_same: bool,
    is_ceiling: bool,
}

impl Window {
    fn of(node: &Node<'_>, kernel: Vec<i64>) -> Option<Self> {
        let rank = kernel.len();
        let list = |name: &str, default: i64| -> Option<Vec<i64>> {
            let numbers = if node.has_attribute(name) { node.ints(name)? } else { vec![default; rank] };
            (numbers.len() == rank && numbers.iter().all(|number| *number > 0)).then_some(numbers)
        };
        let auto_pad = if node.has_attribute("auto_pad") { node.text("auto_pad")? } else { "NOTSET" };
        let pads = match auto_pad {
            "NOTSET" | "" if node.has_attribute("pads") => {
                node.ints("pads").filter(|pads| pads.len() == 2 * rank)?
            }
            _ => vec![0; 2 * rank],
        };
        Some(Self {
            strides: list("strides", 1)?,
            dilations: list("dilations", 1)?,
            pads: (0..rank).map(|axis| (pads[axis], pads[axis + rank])).collect(),
            is_same: matches!(auto_pad, "SAME_UPPER" | "SAME_LOWER"),
            is_ceiling: node.int_or("ceil_mode", 0)? != 0,
            kernel,
        })
    }

    /// The size of the output along an axis.
    fn output(&self, axis: usize, input: &Dimension) -> Dimension {
        let stride = self.strides[axis];
        let reach =
            self.dilations[axis].checked_mul(self.kernel[axis] - 1).and_then(|reach| reach.checked_add(1));
        let (before, after) = self.pads[axis];
        let padding = before.checked_add(after);
        // A window whose output has as many elements as its input does so for any number.
        let keeps = stride == 1
            && (self.is_same || reach.zip(padding).is_some_and(|(reach, padding)| reach - 1 == padding));
        if keeps {
            return input.clone();
        }
        let outputs = || {
            let input = size(input)?;
            if self.is_same {
                return Some(input.checked_add(stride - 1)? / stride);
            }
            let room = input.checked_add(padding?)?.checked_sub(reach?)?;
            if room < 0 {
                return None;
            }
            let mut count = room / stride + 1;
            if self.is_ceiling && room % stride != 0 {
                // The last window begins inside the input or its leading padding.
                count += i64::from(count.checked_mul(stride)? < input.checked_add(before)?);
            }
            Some(count)
        };
        outputs().map_or_else(Dimension::unknown, Dimension::fixed)
    }

    fn shape(&self, head: [Dimension; 2], input: &[Dimension]) -> Option<Vec<Dimension>> {
        let spatial = input.get(2..).filter(|spatial| spatial.len() == self.kernel.len())?;
        let spatial = spatial.iter().enumerate().map(|(axis, dimension)| self.output(axis, dimension));
        Some(head.into_iter().chain(spatial).collect())
    }
}

fn convolution(node: &Node<'_>, weight: usize) -> Option<Vec<Dimension>> {
    let (input, weight) = (node.shape(0)?, node.shape(weight)?);
    let kernel = match node.ints("kernel_shape") {
        Some(kernel) => kernel,
        None => weight.get(2..)?.iter().map(size).collect::<Option<_>>()?,
    };
    if kernel.iter().any(|size| *size < 1) || input.len() != kernel.len() + 2 {
        return None;
    }
    Window::of(node, kernel)?.shape([input[0].clone(), weight.first()?.clone()], input)
}

fn pool(node: &Node<'_>) -> Option<Vec<Dimension>> {
    let input = node.shape(0)?;
    let kernel = node.ints("kernel_shape")?;
    if kernel.iter().any(|size| *size < 1) || input.len() != kernel.len() + 2 {
        return None;
    }
    Window::of(node, kernel)?.shape([input[0].clone(), input[1].clone()], input)
}

/// stride · (input − 1) + output_padding + dilation · (kernel − 1) + 1 − padding, or input · stride, or the size
/// given in the file.
fn transposed(node: &Node<'_>) -> Option<Vec<Dimension>> {
    let (input, weight) = (node.shape(0)?, node.shape(1)?);
    let kernel: Vec<i64> = match node.ints("kernel_shape") {
        Some(kernel) => kernel,
        None => weight.get(2..)?.iter().map(size).collect::<Option<_>>()?,
    };
    let rank = kernel.len();
    if input.len() != rank + 2 || kernel.iter().any(|size| *size < 1) {
        return None;
    }
    let groups = node.int_or("group", 1)?;
    let channels = size(weight.get(1)?).and_then(|channels| channels.checked_mul(groups));
    let head = [input[0].clone(), channels.map_or_else(Dimension::unknown, Dimension::fixed)];
    let spatial: Vec<Dimension> = if node.has_attribute("output_shape") {
        let given = node.ints("output_shape")?;
        // Some files give the whole shape.
        given[given.len().checked_sub(rank)?..].iter().map(|&size| Dimension::fixed(size)).collect()
    } else {
        let window = Window::of(node, kernel)?;
        let extra = match node.has_attribute("output_padding") {
            true => node.ints("output_padding").filter(|extra| extra.len() == rank)?,
            false => vec![0; rank],
        };
        (0..rank)
            .map(|axis| {
                let output = || {
                    let input = size(&input[axis + 2])?;
                    if window.is_same {
                        return input.checked_mul(window.strides[axis]);
                    }
                    let spread = window.strides[axis].checked_mul(input.checked_sub(1)?)?;
                    let reach =
                        window.dilations[axis].checked_mul(window.kernel[axis] - 1)?.checked_add(1)?;
                    let (before, after) = window.pads[axis];
                    spread
                        .checked_add(extra[axis])?
                        .checked_add(reach)?
                        .checked_sub(before.checked_add(after)?)
                };
                output().filter(|size| *size >= 0).map_or_else(Dimension::unknown, Dimension::fixed)
            })
            .collect()
    };
    Some(head.into_iter().chain(spatial).collect())
}
