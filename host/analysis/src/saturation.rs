//! Sums of two 8-bit products that do not fit 16 bits.
//!
//! x86 processors without VNNI multiply codes with `vpmaddubsw`: unsigned 8-bit activations by signed 8-bit weights,
//! two neighbouring products added into one signed 16-bit number, which saturates. 255 · 127 · 2 is 64,770 and
//! becomes 32,767. Processors with VNNI add into 32 bits, so the same model gives other results there.
//!
//! Source: Intel Intrinsics Guide, `_mm256_maddubs_epi16` and `_mm256_dpbusd_epi32`.

/// The bounds of the sums of pairs.
const LOW: i32 = i16::MIN as i32;
const HIGH: i32 = i16::MAX as i32;

/// The lowest and the highest sum of a pair that any activations from `least` to `most` give with these weights. The
/// first and the second weight form a pair, the third and the fourth, and so on; the last of an odd number stays
/// alone.
pub fn pair_bounds(weights: &[i32], least: i32, most: i32) -> (i32, i32) {
    let ends = |weight: i32| {
        let (one, other) = (weight * least, weight * most);
        (one.min(other), one.max(other))
    };
    let mut bounds = (0, 0);
    for pair in weights.chunks(2) {
        let (low, high) =
            pair.iter().map(|weight| ends(*weight)).fold((0, 0), |sum, end| (sum.0 + end.0, sum.1 + end.1));
        bounds = (bounds.0.min(low), bounds.1.max(high));
    }
    bounds
}

/// Whether sums up to these bounds fit 16 bits.
pub fn fits(bounds: (i32, i32)) -> bool {
    LOW <= bounds.0 && bounds.1 <= HIGH
}

/// Two neighbouring weights whose sum may not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The index of the first.
    pub at: usize,
    /// Both weights; the second is 0 after the last of an odd number.
    pub weights: [i32; 2],
}

/// The pairs whose sum does not fit for some activations from 0 to 255.
pub fn pairs_at_risk(weights: &[i32]) -> Vec<Pair> {
    let pairs = weights.chunks(2).enumerate().filter(|(_, pair)| !fits(pair_bounds(pair, 0, 255)));
    pairs
        .map(|(index, pair)| Pair { at: 2 * index, weights: [pair[0], pair.get(1).copied().unwrap_or(0)] })
        .collect()
}

/// How many of these pairs' sums do not fit 16 bits, and how far that puts the whole product off.
pub fn saturated(activations: &[u8], pairs: &[Pair]) -> (u64, i64) {
    let (mut count, mut error) = (0, 0_i64);
    let activation = |at: usize| i32::from(activations.get(at).copied().unwrap_or(0));
    for Pair { at, weights: [first, second] } in pairs {
        let sum = activation(*at) * first + activation(at + 1) * second;
        let kept = sum.clamp(LOW, HIGH);
        if kept != sum {
            count += 1;
            error += i64::from(kept - sum);
        }
    }
    (count, error)
}

#[cfg(test)]
mod tests {
    use super::{fits, pair_bounds, pairs_at_risk, saturated};

    /// `_mm256_maddubs_epi16` of 255, 255 and 127, 127 is 32767, of 255, 255 and -128, -128 it is -32768; of 255, 1 and
    /// 127, 127 it is 32512.
    #[test]
    fn a_sum_stops_at_the_ends_of_16_bits() {
        let of = |activations: &[u8], weights: &[i32]| saturated(activations, &pairs_at_risk(weights));
        assert_eq!(of(&[255, 255], &[127, 127]), (1, 32_767 - 64_770));
        assert_eq!(of(&[0, 0, 255, 255], &[1, 1, -128, -128]), (1, -32_768 + 65_280));
        assert_eq!(of(&[255, 1, 255], &[127, 127, 127]), (0, 0));
    }

    #[test]
    fn weights_of_seven_bits_never_saturate() {
        // 255 · (64 + 64) = 32,640.
        assert!(fits(pair_bounds(&[64, 64, -64, -64], 0, 255)));
        assert_eq!(pair_bounds(&[64, 65], 0, 255), (0, 32_895));
        assert!(!fits(pair_bounds(&[64, 65], 0, 255)));
        // Neither do weights of opposite signs, nor activations of seven bits.
        assert!(fits(pair_bounds(&[127, -128], 0, 255)));
        assert!(fits(pair_bounds(&[127, 127], 0, 127)));
        assert!(fits(pair_bounds(&[127], 0, 255)));
    }
}
