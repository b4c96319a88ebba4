//! The order of the dimensions of two models' values.

use qp_analysis::concordance;
use serde::Serialize;

/// How a candidate's elements are ordered, compared with the reference's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Like the reference's.
    #[default]
    Same,
    /// With the second of four dimensions last: NHWC, where the reference has NCHW.
    ChannelsLast,
    /// With the last of four dimensions second: NCHW, where the reference has NHWC.
    ChannelsFirst,
    /// With the third last and the second last dimension swapped: heads and positions of attention, time and samples.
    MiddleSwapped,
    /// With the last two dimensions swapped.
    LastSwapped,
}

/// At this concordance no other order needs to be tried.
pub const SURE: f64 = 0.99;

impl Order {
    const ALL: [Self; 5] =
        [Self::Same, Self::ChannelsLast, Self::ChannelsFirst, Self::MiddleSwapped, Self::LastSwapped];

    /// The orders in which a candidate of shape `candidate` has the reference's shape.
    pub fn that_fit<'a>(reference: &'a [u64], candidate: &'a [u64]) -> impl Iterator<Item = Self> + 'a {
        Self::ALL.into_iter().filter(move |order| {
            let Some(permutation) = order.permutation() else {
                return essential(reference) == essential(candidate);
            };
            let (Some(ours), Some(theirs)) = (four(reference), four(candidate)) else { return false };
            // If it makes no difference, nothing is moved.
            let moved = permutation.iter().enumerate().filter(|(to, from)| to != *from);
            let makes_a_difference = moved.filter(|(_, from)| theirs[**from] != 1).count() > 1;
            reference.len() == candidate.len()
                && (reference.len() == 4 || !order.is_of_channels())
                && makes_a_difference
                && permutation.iter().zip(ours).all(|(from, size)| theirs[*from] == size)
        })
    }

    /// The order in which the candidate's values agree best with the reference's, and how well they do, if any order
    /// makes the shapes fit. Another order than the same must halve the disagreement.
    pub fn of_values(
        reference: (&[f64], &[u64]),
        candidate: (&[f64], &[u64]),
    ) -> Option<(Self, Option<f64>)> {
        let agreement = |order: Self| concordance(reference.0, &order.restored(candidate.0, candidate.1));
        let disagreement = |found: Option<f64>| 1.0 - found.unwrap_or(-1.0);
        let mut best: Option<(Self, Option<f64>)> = None;
        for order in Self::that_fit(reference.1, candidate.1) {
            let found = agreement(order);
            // `Same` comes first. In a broken layer every order agrees badly, one of them less so by chance.
            let is_better = |(than, best): (Self, Option<f64>)| match than {
                Self::Same => 2.0 * disagreement(found) < disagreement(best),
                _ => disagreement(found) < disagreement(best),
            };
            if best.is_none_or(is_better) {
                best = Some((order, found));
            }
            if found.is_some_and(|found| found >= SURE) {
                break;
            }
        }
        best
    }

    /// The candidate's values in the reference's order; `shape` is the candidate's.
    pub fn restored(self, values: &[f64], shape: &[u64]) -> Vec<f64> {
        let (Some(permutation), Some(shape)) = (self.permutation(), four(shape)) else {
            return values.to_vec();
        };
        let sizes = shape.map(|size| usize::try_from(size).unwrap_or(usize::MAX));
        let strides = [sizes[1] * sizes[2] * sizes[3], sizes[2] * sizes[3], sizes[3], 1];
        let [first, second, third, fourth] = permutation.map(|from| (sizes[from], strides[from]));
        let mut restored = Vec::with_capacity(values.len());
        for a in 0..first.0 {
            for b in 0..second.0 {
                for c in 0..third.0 {
                    let start = a * first.1 + b * second.1 + c * third.1;
                    restored.extend(
                        (0..fourth.0).map(|d| values.get(start + d * fourth.1).copied().unwrap_or(f64::NAN)),
                    );
                }
            }
        }
        restored
    }

    /// The candidate's dimension for each of the reference's.
    fn permutation(self) -> Option<[usize; 4]> {
        match self {
            Self::Same => None,
            Self::ChannelsLast => Some([0, 3, 1, 2]),
            Self::ChannelsFirst => Some([0, 2, 3, 1]),
            Self::MiddleSwapped => Some([0, 2, 1, 3]),
            Self::LastSwapped => Some([0, 1, 3, 2]),
        }
    }

    fn is_of_channels(self) -> bool {
        matches!(self, Self::ChannelsLast | Self::ChannelsFirst)
    }
}

/// Three or four dimensions as four; of more, those other than 1.
fn four(shape: &[u64]) -> Option<[u64; 4]> {
    match *shape {
        [first, second, third] => Some([1, first, second, third]),
        [first, second, third, fourth] => Some([first, second, third, fourth]),
        [_, _, _, _, _, ..] => {
            Some(essential(shape)).filter(|left| left.len() < 5).and_then(|left| four(&left))
        }
        _ => None,
    }
}

/// Shapes whose elements lie in the same order are equal except for dimensions of 1.
fn essential(shape: &[u64]) -> Vec<u64> {
    shape.iter().copied().filter(|size| *size != 1).collect()
}

#[cfg(test)]
mod tests {
    use super::{Order, concordance};

    /// NumPy: `np.arange(12).reshape(1, 2, 2, 3)` as NHWC, and its `.transpose(0, 3, 1, 2)`.
    #[test]
    fn channels_come_back_to_their_place() {
        let values: Vec<f64> = (0..12).map(f64::from).collect();
        let restored = Order::ChannelsLast.restored(&values, &[1, 2, 2, 3]);
        assert_eq!(restored, [0.0, 3.0, 6.0, 9.0, 1.0, 4.0, 7.0, 10.0, 2.0, 5.0, 8.0, 11.0]);
        assert_eq!(Order::ChannelsFirst.restored(&restored, &[1, 3, 2, 2]), values);
        // `np.arange(12).reshape(2, 3, 2).transpose(1, 0, 2)`
        let swapped = Order::MiddleSwapped.restored(&values, &[2, 3, 2]);
        assert_eq!(swapped, [0.0, 1.0, 6.0, 7.0, 2.0, 3.0, 8.0, 9.0, 4.0, 5.0, 10.0, 11.0]);
    }

    #[test]
    fn the_shapes_say_which_orders_there_may_be() {
        let fit = |reference: &[u64], candidate: &[u64]| -> Vec<Order> {
            Order::that_fit(reference, candidate).collect()
        };
        assert_eq!(fit(&[8, 3, 32, 32], &[8, 32, 32, 3]), [Order::ChannelsLast]);
        assert_eq!(
            fit(&[8, 4, 4, 4], &[8, 4, 4, 4]),
            [
                Order::Same,
                Order::ChannelsLast,
                Order::ChannelsFirst,
                Order::MiddleSwapped,
                Order::LastSwapped
            ]
        );
        assert_eq!(fit(&[8, 64, 1, 1], &[8, 64]), [Order::Same]);
        assert_eq!(fit(&[8, 64], &[8, 32]), []);
        assert_eq!(fit(&[2, 3, 49, 32], &[2, 49, 3, 32]), [Order::MiddleSwapped]);
        assert_eq!(fit(&[5, 2, 7], &[2, 5, 7]), [Order::MiddleSwapped]);
        assert_eq!(fit(&[5, 2, 7], &[5, 7, 2]), [Order::LastSwapped]);
        assert_eq!(fit(&[2, 1, 49, 32], &[2, 49, 1, 32]), [Order::Same]);
        // `np.arange(2 * 24 * 8 * 15).reshape(2, 24, 1, 8, 15).transpose(2, 0, 3, 1, 4)`: heads before positions
        assert_eq!(fit(&[1, 2, 8, 24, 15], &[2, 24, 1, 8, 15]), [Order::MiddleSwapped]);
        assert_eq!(fit(&[3, 2, 8, 24, 15], &[2, 24, 3, 8, 15]), []);
    }

    /// A candidate that is noise, of which a transposition by chance agrees a little better: it is the layer that is broken, not
    /// the order that is another.
    #[test]
    fn a_broken_layer_keeps_its_order() {
        let noise = |seed: u32| -> Vec<f64> {
            let mut state = seed;
            let mut next = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                f64::from(state >> 16) - 32_768.0
            };
            (0..128).map(|_| next()).collect()
        };
        let shape = [2, 4, 4, 4];
        let mut swapped = 0;
        for seed in 0..50 {
            let (reference, candidate) = (noise(seed), noise(seed + 1_000));
            let found = Order::of_values((&reference, &shape), (&candidate, &shape)).unwrap();
            assert_eq!(found.0, Order::Same, "{found:?}");
            let restored = Order::LastSwapped.restored(&candidate, &shape);
            swapped += usize::from(concordance(&reference, &restored) > concordance(&reference, &candidate));
        }
        // By the higher value alone, about half of them would be moved.
        assert!(swapped > 10, "{swapped}");
    }

    #[test]
    fn of_several_orders_the_values_decide() {
        let reference: Vec<f64> = (0..16).map(|index| f64::from(index * index)).collect();
        let shape = [2, 2, 2, 2];
        let moved = Order::ChannelsFirst.restored(&reference, &shape);
        let found = Order::of_values((&reference, &shape), (&moved, &shape));
        assert_eq!(found, Some((Order::ChannelsLast, Some(1.0))));
    }
}
