//! A histogram of values whose range is not known in advance.

/// Counts values in bins whose width is a power of two; where the values outgrow the bins, pairs of bins are merged.
/// Bins begin at multiples of their width, so histograms of parts add up to that of the whole, in any order.
#[derive(Clone, Debug)]
pub struct GrowingHistogram {
    /// The width of a bin is 2 to this power.
    exponent: i32,
    /// The first bin begins at `first * width`.
    first: i64,
    counts: Vec<u64>,
    most_bins: usize,
}

/// A histogram does not tell values closer than this apart.
const LEAST_EXPONENT: i32 = -126;

impl GrowingHistogram {
    /// An empty histogram of at most `most_bins` bins; `most_bins` is at least 2.
    pub fn new(most_bins: usize) -> Self {
        Self { exponent: LEAST_EXPONENT, first: 0, counts: Vec::new(), most_bins: most_bins.max(2) }
    }

    /// Adds values; those that are not finite are left out.
    pub fn add(&mut self, values: &[f64]) {
        let mut finite = values.iter().copied().filter(|value| value.is_finite());
        let Some(start) = finite.next() else { return };
        let (low, high) = finite.fold((start, start), |(low, high), value| (low.min(value), high.max(value)));
        self.cover(low, high);
        let width = self.width();
        for value in values.iter().filter(|value| value.is_finite()) {
            let index = ((value / width).floor() as i64).saturating_sub(self.first);
            let last = self.counts.len() as i64 - 1;
            self.counts[index.clamp(0, last) as usize] += 1;
        }
    }

    /// The edges of the bins, one more than there are bins, and the number of values in each.
    pub fn bins(&self) -> (Vec<f64>, &[u64]) {
        let edge = |index: usize| (self.first + index as i64) as f64 * self.width();
        let edges =
            if self.counts.is_empty() { Vec::new() } else { (0..=self.counts.len()).map(edge).collect() };
        (edges, &self.counts)
    }

    /// How many values lie in each of `count` equal parts of the range from `low` to `high`; a bin that spans two
    /// parts is split in proportion to its length.
    pub fn parts(&self, low: f64, high: f64, count: usize) -> Vec<f64> {
        let mut parts = vec![0.0; count];
        let (size, width) = ((high - low) / count.max(1) as f64, self.width());
        for (index, number) in self.counts.iter().enumerate().filter(|(_, number)| **number > 0) {
            let start = (self.first + index as i64) as f64 * width;
            let (from, to) = (start.max(low), (start + width).min(high));
            if size <= 0.0 || to <= from {
                let place = if size > 0.0 { (start - low) / size } else { 0.0 };
                let place = (place.max(0.0) as usize).min(count.saturating_sub(1));
                parts.get_mut(place).into_iter().for_each(|part| *part += *number as f64);
                continue;
            }
            let (first, last) =
                (((from - low) / size) as usize, (((to - low) / size) as usize).min(count - 1));
            for (place, part) in parts.iter_mut().enumerate().take(last + 1).skip(first.min(count - 1)) {
                let (left, right) = (low + place as f64 * size, low + (place + 1) as f64 * size);
                *part += *number as f64 * ((to.min(right) - from.max(left)).max(0.0) / (to - from));
            }
        }
        parts
    }

    fn width(&self) -> f64 {
        2.0_f64.powi(self.exponent)
    }

    /// Makes bins that cover `low` to `high`, wider ones if there would be too many.
    fn cover(&mut self, low: f64, high: f64) {
        let most = self.most_bins as f64;
        if self.counts.is_empty() {
            // As narrow as the bins allow: nothing is lost yet.
            let span = (high - low).max(low.abs().max(high.abs()) * 1e-6);
            self.exponent = ((span / most).log2().ceil().max(f64::from(LEAST_EXPONENT)) as i32).min(1023);
            self.first = (low / self.width()).floor() as i64;
            self.counts.push(0);
        }
        loop {
            let width = self.width();
            let (from, to) = ((low / width).floor(), (high / width).floor());
            let (from, to) =
                (from.min(self.first as f64), to.max((self.first + self.counts.len() as i64 - 1) as f64));
            if to - from < most {
                let (from, to) = (from as i64, to as i64);
                let before = (self.first - from) as usize;
                self.counts.splice(0..0, std::iter::repeat_n(0, before));
                self.first = from;
                self.counts.resize((to - from + 1) as usize, 0);
                return;
            }
            self.halve();
        }
    }

    /// Merges each two neighbouring bins.
    fn halve(&mut self) {
        let first = self.first.div_euclid(2);
        let mut counts = Vec::with_capacity(self.counts.len() / 2 + 1);
        for (index, number) in self.counts.iter().enumerate() {
            let place = ((self.first + index as i64).div_euclid(2) - first) as usize;
            if counts.len() <= place {
                counts.resize(place + 1, 0);
            }
            counts[place] += number;
        }
        (self.first, self.counts, self.exponent) = (first, counts, self.exponent + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::GrowingHistogram;

    /// Each bin holds what `numpy.histogram` counts between its edges.
    #[test]
    fn bins_count_what_lies_between_their_edges() {
        let values: Vec<f64> =
            (0..10_000_i32).map(|index| f64::from(index * 7919 % 10_007) / 100.0 - 30.0).collect();
        let mut histogram = GrowingHistogram::new(64);
        values.chunks(17).for_each(|part| histogram.add(part));
        let (edges, counts) = histogram.bins();
        assert!(counts.len() <= 64 && counts.len() >= 32, "{}", counts.len());
        for (edges, count) in edges.windows(2).zip(counts) {
            let expected = values.iter().filter(|value| (edges[0]..edges[1]).contains(value)).count();
            assert_eq!(*count, expected as u64, "{edges:?}");
        }
        assert_eq!(counts.iter().sum::<u64>(), 10_000);
        let parts = histogram.parts(-30.0, 70.07, 10);
        assert!((parts.iter().sum::<f64>() - 10_000.0).abs() < 1e-6, "{parts:?}");
    }

    #[test]
    fn equal_huge_and_missing_values_are_counted_or_left_out() {
        let mut histogram = GrowingHistogram::new(8);
        histogram.add(&[f64::NAN, f64::INFINITY]);
        assert!(histogram.bins().1.is_empty());
        histogram.add(&[3.0; 5]);
        histogram.add(&[-1e300, 1e300, 0.0]);
        assert_eq!(histogram.bins().1.iter().sum::<u64>(), 8);
        assert_eq!(histogram.parts(3.0, 3.0, 4).iter().sum::<f64>(), 8.0);
    }
}
