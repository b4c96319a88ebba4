//! Cross-layer equalization: scaling the channels between layers so that one scale fits all of them.
//!
//! Source: M. Nagel, M. van Baalen, T. Blankevoort, M. Welling, "Data-free quantization through weight equalization and
//! bias correction", ICCV 2019.

use super::weights::extremes;
use super::{Extremes, ParameterError};
use crate::granularity::ParameterMap;

/// The largest magnitude of each channel of a weight; 0 for one without elements. NaN counts as infinite, so that the
/// channel is left alone.
///
/// # Errors
///
/// [`ParameterError::Shape`] if `map` is of another number of elements.
pub fn channel_magnitudes(values: &[f32], map: &ParameterMap) -> Result<Vec<f32>, ParameterError> {
    let magnitude = |extremes: &Extremes| match extremes.nan_count() {
        0 => extremes.magnitude().unwrap_or(0.0),
        _ => f32::INFINITY,
    };
    Ok(extremes(values, map)?.iter().map(magnitude).collect())
}

/// Multiplies each element of a weight by its channel's factor; for the layer before the channels, give it the
/// reciprocals. A bias is a weight whose only axis is that of the channels.
///
/// # Errors
///
/// [`ParameterError::Shape`] if `map` is of another number of elements or channels.
pub fn scale_channels(values: &mut [f32], map: &ParameterMap, factors: &[f32]) -> Result<(), ParameterError> {
    if map.element_count() != values.len() as u64 || map.parameter_count() != factors.len() as u64 {
        return Err(ParameterError::Shape);
    }
    for run in map.runs(0, values.len()) {
        let values = &mut values[run.first_element as usize..][..run.len];
        let factors = &factors[run.first_parameter..];
        if run.advances {
            values.iter_mut().zip(factors).for_each(|(value, factor)| *value *= factor);
        } else {
            values.iter_mut().for_each(|value| *value *= factors[0]);
        }
    }
    Ok(())
}

/// Factors `s` for the channels between two layers: `first[i]` is the largest magnitude of the weights that produce
/// channel i, `second[i]` that of those that read it. Divide the former, and their biases, by `s[i]` and multiply the
/// latter by it; with only a ReLU or nothing between the layers, what they compute stays the same.
///
/// s = √(r₁·r₂) / r₂, equation 11: then both magnitudes of a channel are √(r₁·r₂). A channel that one of the layers
/// does not use, or whose magnitudes are not finite, has the factor 1. As many factors as the shorter list has channels.
pub fn equalization_factors(first: &[f32], second: &[f32]) -> Vec<f32> {
    let factor = |(first, second): (&f32, &f32)| {
        let (first, second) = (f64::from(*first), f64::from(*second));
        usable((first * second).sqrt() / second).unwrap_or(1.0)
    };
    first.iter().zip(second).map(factor).collect()
}

/// Factors for the channels before and after a depthwise layer: `first` produces them, `depthwise` maps each one to
/// one, `last` reads them. Divide the first weights and biases by the first factor; multiply the depthwise weights by
/// the first and divide them by the second; divide the depthwise biases by the second; multiply the last weights by
/// the second. Then all three magnitudes of a channel are ∛(r₁·r₂·r₃).
///
/// Otherwise as [`equalization_factors`].
pub fn depthwise_equalization_factors(
    first: &[f32],
    depthwise: &[f32],
    last: &[f32],
) -> (Vec<f32>, Vec<f32>) {
    let factors = |((first, depthwise), last): ((&f32, &f32), &f32)| {
        let (first, last) = (f64::from(*first), f64::from(*last));
        let middle = (first * f64::from(*depthwise) * last).cbrt();
        usable(first / middle).zip(usable(middle / last)).unwrap_or((1.0, 1.0))
    };
    first.iter().zip(depthwise).zip(last).map(factors).unzip()
}

/// A factor that weights can be multiplied with and divided by.
fn usable(factor: f64) -> Option<f32> {
    let factor = factor as f32;
    (factor.is_normal() && factor > 0.0 && (1.0 / factor).is_normal()).then_some(factor)
}

/// What may move from the biases before a ReLU to the next layer, for each channel: max(0, mean − 3 · deviation) of the
/// values before the ReLU, below which hardly any of them falls (section 4.1.3). Subtract it from the first layer's
/// biases, and add its [`response`] to the second's.
pub fn high_biases(means: &[f32], deviations: &[f32]) -> Vec<f32> {
    let high = |(mean, deviation): (&f32, &f32)| {
        let bias = mean - 3.0 * deviation;
        if bias > 0.0 && bias.is_finite() { bias } else { 0.0 }
    };
    means.iter().zip(deviations).map(high).collect()
}

/// What a layer computes, without its bias, from inputs that are constant in each channel:
/// Σ weight\[output, i, k\] · input\[i\] over the inputs of the output's group. `weight` has the shape
/// \[outputs, inputs of a group, elements of the kernel\], `inputs` one number for each channel of all groups. A
/// convolution computes it where it does not read its padding. `None` if the sizes do not fit.
pub fn response(weight: &[f32], outputs: usize, groups: usize, inputs: &[f32]) -> Option<Vec<f32>> {
    let fits = |whole: usize, part: usize| part > 0 && whole > 0 && whole.is_multiple_of(part);
    if !fits(outputs, groups) || !fits(inputs.len(), groups) {
        return None;
    }
    let (group_outputs, group_inputs) = (outputs / groups, inputs.len() / groups);
    if !fits(weight.len(), outputs * group_inputs) {
        return None;
    }
    let kernel = weight.len() / (outputs * group_inputs);
    let rows = weight.chunks(group_inputs * kernel).enumerate();
    Some(
        rows.map(|(output, row)| {
            let inputs = &inputs[output / group_outputs * group_inputs..][..group_inputs];
            let sums = row.chunks(kernel).map(|kernel| kernel.iter().copied().map(f64::from).sum::<f64>());
            sums.zip(inputs).map(|(sum, input)| sum * f64::from(*input)).sum::<f64>() as f32
        })
        .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// NumPy: `np.sqrt(r1 * r2) / r2` and, of three, `r1 / np.cbrt(r1 * r2 * r3)`, `np.cbrt(r1 * r2 * r3) / r3`.
    #[test]
    fn channels_have_equal_magnitudes_afterwards() {
        let (first, second) = ([8.0, 0.5, 0.0, 3.0], [2.0, 0.125, 1.0, f32::INFINITY]);
        assert_eq!(equalization_factors(&first, &second), [2.0, 2.0, 1.0, 1.0]);
        let (before, after) = depthwise_equalization_factors(&[8.0, 1.0], &[1.0, 0.0], &[0.125, 1.0]);
        assert_eq!((before, after), (vec![8.0, 1.0], vec![8.0, 1.0]));
        assert_eq!(equalization_factors(&[0.3], &[0.7]), [0.654_653_67]);
    }

    /// A layer with 3 outputs, ReLU, and one that reads them.
    #[test]
    fn two_layers_compute_the_same_afterwards() {
        use crate::granularity::Granularity::PerChannel;
        let mut first = [4.0, -8.0, 0.25, 0.5, 1.0, -3.0];
        let mut bias = [1.0, 0.5, -2.0];
        let mut second = [0.5, 2.0, 1.0, -0.25, -1.0, 3.0];
        let output = |first: &[f32], bias: &[f32], second: &[f32], input: [f32; 2]| {
            let hidden: Vec<f32> = first
                .chunks(2)
                .zip(bias)
                .map(|(row, bias)| (row[0] * input[0] + row[1] * input[1] + bias).max(0.0))
                .collect();
            let sum = |row: &[f32]| row.iter().zip(&hidden).map(|(weight, value)| weight * value).sum();
            second.chunks(3).map(sum).collect::<Vec<f32>>()
        };
        let inputs = [[1.0, -1.0], [0.5, 2.0], [-2.0, 1.5], [3.0, 0.0]];
        let before = inputs.map(|input| output(&first, &bias, &second, input));
        let rows = ParameterMap::new(&[3, 2], PerChannel { axis: 0 }).unwrap();
        let columns = ParameterMap::new(&[2, 3], PerChannel { axis: 1 }).unwrap();
        let elements = ParameterMap::new(&[3], PerChannel { axis: 0 }).unwrap();
        let magnitudes = (channel_magnitudes(&first, &rows), channel_magnitudes(&second, &columns));
        assert_eq!(magnitudes, (Ok(vec![8.0, 0.5, 3.0]), Ok(vec![0.5, 2.0, 3.0])));
        let factors = equalization_factors(&magnitudes.0.unwrap(), &magnitudes.1.unwrap());
        assert_eq!(factors, [4.0, 0.5, 1.0]);
        let reciprocals: Vec<f32> = factors.iter().map(|factor| 1.0 / factor).collect();
        scale_channels(&mut first, &rows, &reciprocals).unwrap();
        scale_channels(&mut bias, &elements, &reciprocals).unwrap();
        scale_channels(&mut second, &columns, &factors).unwrap();
        assert_eq!(channel_magnitudes(&first, &rows), channel_magnitudes(&second, &columns));
        assert_eq!(inputs.map(|input| output(&first, &bias, &second, input)), before);
        assert_eq!(scale_channels(&mut bias, &rows, &factors), Err(ParameterError::Shape));
    }

    /// NumPy: `w.sum(2) @ x`, with `w = np.arange(12.0).reshape(2, 3, 2)` and `x = [1, -1, 2]`, and by groups.
    #[test]
    fn a_constant_moves_through_a_layer() {
        let weight: Vec<f32> = (0..12u8).map(f32::from).collect();
        assert_eq!(response(&weight, 2, 1, &[1.0, -1.0, 2.0]), Some(vec![14.0, 38.0]));
        assert_eq!(response(&weight, 2, 2, &[1.0, 1.0]), Some(vec![15.0, 51.0]));
        assert_eq!(response(&weight, 2, 1, &[1.0; 5]), None);
        assert_eq!(high_biases(&[5.0, 1.0], &[1.0, 1.0]), [2.0, 0.0]);
    }
}
