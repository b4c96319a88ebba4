//! Bias correction: what quantization adds to the mean of each output channel is taken from the biases.
//!
//! Source: M. Nagel, M. van Baalen, T. Blankevoort, M. Welling, "Data-free quantization through weight equalization and
//! bias correction", ICCV 2019, section 4.2 and appendix D.

use super::ParameterError;

/// Collects the mean of a tensor's channels, batch by batch.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelMeans {
    sums: Vec<f64>,
    squares: Vec<f64>,
    /// How many values each channel has.
    count: u64,
}

impl ChannelMeans {
    /// Of this many channels, without values.
    pub fn new(channels: usize) -> Self {
        Self { sums: vec![0.0; channels], squares: vec![0.0; channels], count: 0 }
    }

    /// Adds values of the shape \[any, channels, `inner`\]: \[batch, channels, height · width\] of a convolution,
    /// \[rows, channels, 1\] of a matrix product.
    ///
    /// # Errors
    ///
    /// [`ParameterError::Shape`] if the values are not a multiple of that.
    pub fn add(&mut self, values: &[f32], inner: usize) -> Result<(), ParameterError> {
        const LANES: usize = 8;
        let channels = self.sums.len();
        let size = channels * inner;
        if size == 0 || !values.len().is_multiple_of(size) {
            return Err(ParameterError::Shape);
        }
        for block in values.chunks(size) {
            if inner == 1 {
                for ((value, sum), squares) in block.iter().zip(&mut self.sums).zip(&mut self.squares) {
                    let value = f64::from(*value);
                    *sum += value;
                    *squares += value * value;
                }
                continue;
            }
            for ((values, sum), squares) in block.chunks(inner).zip(&mut self.sums).zip(&mut self.squares) {
                let mut sums = [0.0; LANES];
                let mut powers = [0.0; LANES];
                let (chunks, rest) = values.as_chunks::<LANES>();
                for chunk in chunks {
                    for lane in 0..LANES {
                        let value = f64::from(chunk[lane]);
                        sums[lane] += value;
                        powers[lane] += value * value;
                    }
                }
                let rest = rest.iter().copied().map(f64::from);
                *sum += sums.iter().sum::<f64>() + rest.clone().sum::<f64>();
                *squares += powers.iter().sum::<f64>() + rest.map(|value| value * value).sum::<f64>();
            }
        }
        self.count += (values.len() / channels) as u64;
        Ok(())
    }

    /// The mean of each channel; NaN without values.
    pub fn means(&self) -> Vec<f32> {
        self.sums.iter().map(|sum| (sum / self.count as f64) as f32).collect()
    }

    /// The standard deviation of each channel; NaN without values.
    pub fn deviations(&self) -> Vec<f32> {
        let count = self.count as f64;
        let of =
            |(sum, squares): (&f64, &f64)| (squares / count - (sum / count).powi(2)).max(0.0).sqrt() as f32;
        self.sums.iter().zip(&self.squares).map(of).collect()
    }
}

/// What to add to the biases so that the outputs of the quantized layer have the float layer's means: the difference of
/// the means, reference − candidate (the empirical variant, appendix D). Both are the layer's outputs for the same
/// samples, before the activation function; where the float inputs are used for both, only the layer's own error is
/// corrected. A difference that is not finite counts as 0.
///
/// The variant without outputs, from the means of the inputs, is the negative [`response`](super::response) of
/// quantized weight − weight.
///
/// # Errors
///
/// [`ParameterError::Shape`] for different numbers of channels.
pub fn bias_correction(
    reference: &ChannelMeans,
    candidate: &ChannelMeans,
) -> Result<Vec<f32>, ParameterError> {
    if reference.sums.len() != candidate.sums.len() {
        return Err(ParameterError::Shape);
    }
    let mean = |means: &ChannelMeans, index: usize| means.sums[index] / means.count as f64;
    let shift = |index: usize| (mean(reference, index) - mean(candidate, index)) as f32;
    Ok((0..reference.sums.len())
        .map(shift)
        .map(|shift| if shift.is_finite() { shift } else { 0.0 })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// NumPy: `x.mean((0, 2))` and `x.std((0, 2))`, with `x = np.arange(12.0).reshape(2, 3, 2) ** 2`.
    #[test]
    fn biases_take_over_the_shift_of_the_means() {
        let values: Vec<f32> = (0..12u8).map(|value| f32::from(value).powi(2)).collect();
        let mut reference = ChannelMeans::new(3);
        values.chunks(6).for_each(|batch| reference.add(batch, 2).unwrap());
        assert_eq!(reference.means(), [21.5, 39.5, 65.5]);
        assert_eq!(reference.deviations(), [21.5, 33.589_43, 45.719_254]);
        let mut candidate = ChannelMeans::new(3);
        candidate.add(&[20.0, 40.0, f32::INFINITY], 1).unwrap();
        assert_eq!(bias_correction(&reference, &candidate).unwrap(), [1.5, -0.5, 0.0]);
        assert_eq!(reference.add(&[1.0], 2), Err(ParameterError::Shape));
    }
}
