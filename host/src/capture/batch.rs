//! An input of many samples, some at a time.

use crate::error::{Error, Result};
use crate::model::{Tensor, element_count};

/// The tensors of a fitted input, along their first dimension.
pub struct Batches<'a> {
    tensors: &'a [Tensor],
    samples: u64,
    size: u64,
    next: u64,
    can_be_cut: bool,
}

impl<'a> Batches<'a> {
    /// At most `size` samples at a time, of the first `samples` or of all. Inputs that do not have as many
    /// samples as the first one, and those of types below one byte, are handed on whole.
    ///
    /// # Errors
    /// `InvalidInput` for more samples than there are.
    pub fn new(tensors: &'a [Tensor], samples: Option<u64>, size: u64) -> Result<Self> {
        let count = |tensor: &Tensor| tensor.shape.first().copied().unwrap_or(1);
        let available = tensors.first().map_or(1, count);
        let can_be_cut = tensors
            .iter()
            .all(|tensor| !tensor.shape.is_empty() && count(tensor) == available && tensor.dtype.bits() >= 8);
        let wanted = samples.unwrap_or(available);
        if wanted > available || wanted == 0 {
            return Err(Error::invalid_input(format!("the input has {available} samples, not {wanted}"))
                .with_hint("Choose more with `input FILE:KEY[0:N]`."));
        }
        let (samples, size) = if can_be_cut { (wanted, size.max(1)) } else { (available, available) };
        Ok(Self { tensors, samples, size, next: 0, can_be_cut })
    }

    /// How many samples there are in all batches.
    pub fn samples(&self) -> u64 {
        self.samples
    }
}

impl Iterator for Batches<'_> {
    type Item = Vec<Tensor>;

    fn next(&mut self) -> Option<Vec<Tensor>> {
        if self.next >= self.samples {
            return None;
        }
        let (first, end) = (self.next, self.samples.min(self.next.saturating_add(self.size)));
        self.next = end;
        if !self.can_be_cut {
            return Some(self.tensors.to_vec());
        }
        Some(self.tensors.iter().map(|tensor| cut(tensor, first, end)).collect())
    }
}

/// The samples from `first` to before `end`.
fn cut(tensor: &Tensor, first: u64, end: u64) -> Tensor {
    let all = tensor.shape.first().copied().unwrap_or(1);
    if (first, end) == (0, all) {
        return tensor.clone();
    }
    let sample = element_count(tensor.shape.get(1..).unwrap_or_default()).unwrap_or(0);
    let sample_bytes = sample.saturating_mul(u64::from(tensor.dtype.bits()) / 8);
    let place = |index: u64| usize::try_from(index.saturating_mul(sample_bytes)).unwrap_or(usize::MAX);
    let mut shape = tensor.shape.clone();
    if let Some(size) = shape.first_mut() {
        *size = end - first;
    }
    let bytes = tensor.bytes.get(place(first)..place(end)).unwrap_or_default().to_vec();
    Tensor { shape, bytes, ..tensor.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DType;

    fn tensor(shape: &[u64]) -> Tensor {
        let count = element_count(shape).unwrap();
        Tensor {
            name: "x".into(),
            dtype: DType::UINT8,
            shape: shape.to_vec(),
            bytes: (0..count).map(|index| index as u8).collect(),
            quantization: None,
        }
    }

    #[test]
    fn samples_come_in_order_and_the_last_batch_is_what_is_left() {
        let tensors = [tensor(&[5, 2])];
        let batches = Batches::new(&tensors, None, 2).unwrap();
        let found: Vec<_> = batches.map(|batch| (batch[0].shape.clone(), batch[0].bytes.clone())).collect();
        assert_eq!(
            found,
            [(vec![2, 2], vec![0, 1, 2, 3]), (vec![2, 2], vec![4, 5, 6, 7]), (vec![1, 2], vec![8, 9])]
        );
        assert_eq!(Batches::new(&tensors, Some(3), 2).unwrap().count(), 2);
        assert!(Batches::new(&tensors, Some(6), 2).is_err());
    }

    #[test]
    fn inputs_of_different_lengths_stay_whole() {
        let tensors = [tensor(&[4, 2]), tensor(&[3])];
        let batches: Vec<_> = Batches::new(&tensors, None, 1).unwrap().collect();
        assert_eq!((batches.len(), &batches[0][1]), (1, &tensors[1]));
    }
}
