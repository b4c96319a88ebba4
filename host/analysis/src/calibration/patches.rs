//! A convolution's inputs as those of a linear layer.

use super::{Hessian, RoundingError};

/// The geometry of a convolution of images; signals are images of height 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convolution {
    /// Channels of the input.
    pub channels: usize,
    /// Height and width of the input.
    pub input: [usize; 2],
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// From one position of the output to the next.
    pub strides: [usize; 2],
    /// Zeros before the first row and column, and after the last.
    pub padding: [[usize; 2]; 2],
    /// From one element of the kernel to the next, 1 if they are next to each other.
    pub dilations: [usize; 2],
    /// How many parts the channels are in.
    pub groups: usize,
}

impl Convolution {
    /// How many inputs an output has: those of its group, times the kernel's elements.
    pub fn columns(&self) -> usize {
        self.channels / self.groups.max(1) * self.kernel[0] * self.kernel[1]
    }

    /// Height and width of the output; `None` if the kernel does not fit.
    pub fn output(&self) -> Option<[usize; 2]> {
        let size = |axis: usize| {
            let reach =
                self.dilations[axis].checked_mul(self.kernel[axis].checked_sub(1)?)?.checked_add(1)?;
            let padded =
                self.input[axis].checked_add(self.padding[0][axis])?.checked_add(self.padding[1][axis])?;
            padded.checked_sub(reach)?.checked_div(self.strides[axis])?.checked_add(1)
        };
        Some([size(0)?, size(1)?])
    }
}

/// Adds to `hessian` what a convolution reads in `images` of the shape \[images, channels, height, width\] for the
/// outputs of one group: a sample for each position, its inputs in the order of the weight, \[channel of the group, row,
/// column of the kernel\]. Only every `step`-th position is read: neighbours say nearly the same.
///
/// # Errors
///
/// [`RoundingError::Shape`] if anything does not fit.
pub fn add_patches(
    hessian: &mut Hessian,
    images: &[f32],
    convolution: &Convolution,
    group: usize,
    step: usize,
) -> Result<(), RoundingError> {
    /// Samples that are passed on together.
    const SAMPLES: usize = 256;
    let Convolution { channels, input: [height, width], kernel, groups, .. } = *convolution;
    let image_size = channels.checked_mul(height).and_then(|size| size.checked_mul(width));
    let (Some([rows, columns]), Some(image_size)) = (convolution.output(), image_size) else {
        return Err(RoundingError::Shape);
    };
    let is_whole = image_size > 0 && images.len().is_multiple_of(image_size);
    let is_divided = group < groups && channels.is_multiple_of(groups);
    if !is_whole || !is_divided || step == 0 || hessian.columns() != convolution.columns() {
        return Err(RoundingError::Shape);
    }
    let group_channels = channels / groups;
    let mut samples = Vec::with_capacity(SAMPLES * convolution.columns());
    for image in images.chunks(image_size) {
        let planes = &image[group * group_channels * height * width..][..group_channels * height * width];
        for position in (0..rows * columns).step_by(step) {
            let at = [position / columns, position % columns];
            let place = |axis: usize, element: usize| {
                let padded = at[axis] * convolution.strides[axis] + element * convolution.dilations[axis];
                padded
                    .checked_sub(convolution.padding[0][axis])
                    .filter(|place| *place < convolution.input[axis])
            };
            for plane in planes.chunks(height * width) {
                for row in 0..kernel[0] {
                    let line = place(0, row).map(|row| &plane[row * width..][..width]);
                    samples.extend((0..kernel[1]).map(|column| match (line, place(1, column)) {
                        (Some(line), Some(column)) => line[column],
                        _ => 0.0,
                    }));
                }
            }
            if samples.len() >= SAMPLES * hessian.columns() {
                hessian.add(&samples)?;
                samples.clear();
            }
        }
    }
    hessian.add(&samples)
}
