//! Allocations against an integer program and against all there are.

use proptest::collection::vec;
use proptest::prelude::*;
use qp_analysis::{Allocation, Choice, allocate, convex_front};

/// As in `rounding.rs`, from 0 to 1.
fn mixed(index: u64) -> f64 {
    let mut x = (index * 2_654_435_761 + 12345) % (1 << 32);
    x = (x ^ (x >> 15)) * 2_246_822_519 % (1 << 32);
    x = (x ^ (x >> 13)) * 3_266_489_917 % (1 << 32);
    (x ^ (x >> 16)) as f64 / 2f64.powi(32)
}

/// Layers in float, 16, 8 and 4 bits:
///
/// ```python
/// size = np.floor((mixed(L, seed) + 0.5)**3 * 1e6) + 100
/// sensitivity = (mixed(L, seed + 5000) + 0.5)**2 + 1e-3
/// noise = mixed(L * 4, seed + 9000).reshape(L, 4)
/// cost = np.stack([size * 4, size * 2, size, np.floor(size / 2)], 1)
/// loss = np.stack([0 * sensitivity] + [sensitivity * l * (1 + noise[:, i]) for i, l in [(1, 1e-3), (2, 0.02), (3, 0.3)]], 1)
/// ```
fn layers(count: u64, seed: u64) -> Vec<Vec<Choice>> {
    let layer = |index: u64| {
        let size = (mixed(seed + index).powi(3) * 1e6).floor() + 100.0;
        let sensitivity = mixed(seed + 5000 + index).powi(2) + 1e-3;
        let costs = [size * 4.0, size * 2.0, size, (size / 2.0).floor()];
        let option = |(option, (cost, loss)): (u64, (f64, f64))| {
            let noise = mixed(seed + 9000 + 4 * index + option) - 0.5;
            Choice { cost, loss: sensitivity * loss * (1.0 + noise) }
        };
        (0..).zip(costs.into_iter().zip([0.0, 1e-3, 0.02, 0.3])).map(option).collect()
    };
    (0..count).map(layer).collect()
}

/// Layers, seed, share of the cost in float, budget; the least loss that SciPy 1.17.1's `milp` (HiGHS) proves.
#[rustfmt::skip]
const CASES: &[(u64, u64, f64, f64, f64)] = &[
(8, 1, 0.15, 1328395.0, 0.10125607328433638),
    (8, 1, 0.2, 1771193.0, 0.04308984138975785),
    (8, 1, 0.3, 2656790.0, 0.009063316460068227),
    (8, 1, 0.6, 5313580.0, 0.00022574236513254027),
    (20, 2, 0.15, 3158952.0, 0.16965058039900527),
    (20, 2, 0.2, 4211936.0, 0.03528096925286354),
    (20, 2, 0.3, 6317904.0, 0.00863294804384645),
    (20, 2, 0.6, 12635808.0, 0.00033518672351642403),
    (60, 3, 0.15, 7300129.0, 1.2634073936530765),
    (60, 3, 0.2, 9733505.0, 0.3676993008284467),
    (60, 3, 0.3, 14600258.0, 0.05573827009599846),
    (60, 3, 0.6, 29200516.0, 0.002481507054668439),
    (200, 4, 0.15, 26831748.0, 4.8095834744024435),
    (200, 4, 0.2, 35775664.0, 1.363093216822527),
    (200, 4, 0.3, 53663497.0, 0.2845193003447781),
    (200, 4, 0.6, 107326994.0, 0.012318254178324356),
];

#[test]
fn allocations_are_those_of_an_integer_program() {
    for (count, seed, share, budget, loss) in CASES {
        let layers = layers(*count, *seed);
        let total: f64 = layers.iter().map(|options| options[0].cost).sum();
        assert_eq!((total * share).floor(), *budget);
        let found = allocate(&layers, *budget).unwrap();
        let allocation = &found.allocation;
        assert!(allocation.cost <= *budget, "{count} {share}");
        assert!((allocation.loss - loss).abs() <= 1e-9 * loss, "{count} {share}: {} {loss}", allocation.loss);
        assert_eq!(found.loss_bound, allocation.loss);
        check(&layers, allocation);
    }
}

fn check(layers: &[Vec<Choice>], allocation: &Allocation) {
    assert_eq!(allocation.choices.len(), layers.len());
    let sum = |of: fn(&Choice) -> f64| {
        layers.iter().zip(&allocation.choices).map(|(options, index)| of(&options[*index])).sum::<f64>()
    };
    assert_eq!((sum(|choice| choice.cost), sum(|choice| choice.loss)), (allocation.cost, allocation.loss));
}

#[test]
fn the_front_begins_at_the_cheapest_and_ends_at_the_best() {
    let layers = layers(20, 2);
    let front = convex_front(&layers);
    front.iter().for_each(|allocation| check(&layers, allocation));
    assert!(front.iter().all(|allocation| {
        let best = allocate(&layers, allocation.cost).unwrap().allocation.loss;
        (best - allocation.loss).abs() <= 1e-12
    }));
    assert_eq!(front.first().unwrap().choices, [3; 20]);
    assert_eq!(
        (front.last().unwrap().choices.as_slice(), front.last().unwrap().loss),
        ([0; 20].as_slice(), 0.0)
    );
    let slopes: Vec<f64> =
        front.windows(2).map(|pair| (pair[1].loss - pair[0].loss) / (pair[1].cost - pair[0].cost)).collect();
    assert!(slopes.windows(2).all(|pair| pair[0] <= pair[1] + 1e-12));
}

#[test]
fn there_may_be_no_allocation() {
    let layers = [vec![Choice { cost: 2.0, loss: 1.0 }], vec![Choice { cost: f64::NAN, loss: 1.0 }]];
    assert_eq!(allocate(&layers, 10.0), None);
    assert_eq!(allocate(&layers[..1], 1.0), None);
    assert_eq!(allocate(&layers[..1], 2.0).unwrap().allocation.choices, [0]);
    assert_eq!(allocate(&[], 0.0).unwrap().allocation.choices, [0; 0]);
    assert!(convex_front(&layers).is_empty());
}

proptest! {
    #[test]
    fn no_combination_is_better(
        layers in vec(vec((0u8..20, 0u8..20), 1..4), 1..6),
        budget in 0u8..90,
    ) {
        let choice = |(cost, loss): &(u8, u8)| Choice { cost: (*cost).into(), loss: (*loss).into() };
        let layers: Vec<Vec<Choice>> =
            layers.iter().map(|options| options.iter().map(choice).collect()).collect();
        let mut sums = vec![(0.0, 0.0)];
        for options in &layers {
            sums = sums
                .iter()
                .flat_map(|sum| options.iter().map(move |option| (sum.0 + option.cost, sum.1 + option.loss)))
                .collect();
        }
        let within = sums.iter().filter(|sum| sum.0 <= f64::from(budget)).map(|sum| sum.1);
        let least = within.reduce(f64::min);
        let found = allocate(&layers, budget.into());
        prop_assert_eq!(found.as_ref().map(|found| found.allocation.loss), least);
        if let Some(found) = found {
            prop_assert!(found.allocation.cost <= f64::from(budget));
            prop_assert_eq!(found.loss_bound, found.allocation.loss);
        }
    }
}
