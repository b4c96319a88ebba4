//! Batches that are read, decoded and converted while the model runs on the previous one.

use super::batch::Batches;
use crate::error::Result;
use crate::input::Input;
use std::sync::mpsc::sync_channel;

/// At most this many batches wait.
const WAITING: usize = 1;

/// Calls `each` with what `fit` makes of every batch, in order, and the number of its samples. Stops at the first
/// error.
///
/// # Errors
/// Those of `fit` and of `each`.
pub fn fitted_ahead<T: Send>(
    batches: Batches<'_>,
    fit: &(dyn Fn(&Input) -> Result<T> + Sync),
    each: &mut dyn FnMut(u64, T) -> Result<()>,
) -> Result<()> {
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(WAITING);
        scope.spawn(move || {
            for (count, batch) in batches {
                let fitted = fit(&batch);
                let is_last = fitted.is_err();
                if sender.send((count, fitted)).is_err() || is_last {
                    break;
                }
            }
        });
        for (count, fitted) in receiver {
            each(count, fitted?)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::input::{Content, Fitted};
    use crate::model::{DType, Tensor};

    fn batches(input: &Input) -> Batches<'_> {
        Batches::new(input, 5, None, 2).unwrap()
    }

    fn input() -> Input {
        let array = Tensor {
            name: "x".into(),
            dtype: DType::UINT8,
            shape: vec![5],
            bytes: (0..5).collect(),
            quantization: None,
        };
        Input { source: "x.npy".into(), content: Content::Array(array), may_round: false }
    }

    fn fit(batch: &Input) -> Result<Fitted> {
        match &batch.content {
            Content::Array(array) if array.bytes.contains(&4) => Err(Error::invalid_input("four")),
            Content::Array(array) => Ok(Fitted { tensors: vec![array.clone()], steps: Vec::new() }),
            _ => unreachable!("an array was cut"),
        }
    }

    #[test]
    fn batches_come_in_order_until_one_does_not_fit() {
        let (input, mut found) = (input(), Vec::new());
        let outcome = fitted_ahead(batches(&input), &fit, &mut |count, fitted| {
            found.push((count, fitted.tensors[0].bytes.clone()));
            Ok(())
        });
        assert_eq!(outcome.unwrap_err().message(), "four");
        assert_eq!(found, [(2, vec![0, 1]), (2, vec![2, 3])]);
    }

    #[test]
    fn who_has_enough_waits_for_nobody() {
        let input = input();
        let outcome = fitted_ahead(batches(&input), &fit, &mut |_, _| Err(Error::cancelled()));
        assert!(outcome.is_err());
    }
}
