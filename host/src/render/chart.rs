//! One-line drawings made of characters, as wide as their column.

/// What a cell of a chart column shows. Places are shares of the width, from 0 at the left to 1 at the right.
#[derive(Clone, Debug, PartialEq)]
pub enum Chart {
    /// A bar from the left, of this share of the width. Only zero has no bar.
    Bar(f64),
    /// The same with a text after it, for which room is reserved.
    Labelled {
        /// The share of the width that is left for the bar.
        share: f64,
        /// The text.
        label: String,
    },
    /// A stretch of an axis.
    Span(Span),
    /// Labels at their places, without those that would touch an earlier one.
    Axis(Vec<(f64, String)>),
}

/// A thin line from `low` to `high`, thick where most of it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Span {
    /// Where it begins.
    pub low: f64,
    /// Where it ends.
    pub high: f64,
    /// Where it is thick.
    pub core: Option<(f64, f64)>,
    /// Two places marked with square brackets.
    pub bracket: Option<(f64, f64)>,
    /// A place marked with an upright line, where the span does not cover it.
    pub zero: Option<f64>,
}

/// The minimum width of a chart column, given the number of chart columns.
pub const fn min_width(charts: usize) -> usize {
    if charts > 1 { 16 } else { 24 }
}
/// The maximum width of a chart column.
pub const MAX_WIDTH: usize = 100;
/// The width without a terminal to fill.
pub const DEFAULT_WIDTH: usize = 40;

/// The room for a label and the space before it.
const LABEL_WIDTH: usize = 9;

impl Chart {
    /// The drawing, at most `width` columns wide, without spaces at its end.
    pub fn draw(&self, width: usize) -> String {
        match self {
            Self::Bar(share) => bar(share * width as f64),
            Self::Labelled { share, label } => {
                let room = width.saturating_sub(LABEL_WIDTH);
                let bar = bar(share * room as f64);
                if bar.is_empty() { label.clone() } else { format!("{bar} {label}") }
            }
            Self::Span(span) => span.draw(width),
            Self::Axis(labels) => axis(labels, width),
        }
    }
}

/// A bar of this many columns, to an eighth of one.
fn bar(columns: f64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (columns * 8.0).round() as usize;
    let eighths = if columns > 0.0 { eighths.max(1) } else { 0 };
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

impl Span {
    fn draw(&self, width: usize) -> String {
        let Some(last) = width.checked_sub(1) else { return String::new() };
        let mut line = vec![' '; width];
        if let Some(zero) = self.zero.and_then(|zero| place(zero, last)) {
            line[zero] = '│';
        }
        let mut stroke = |low: f64, high: f64, mark: char, crossing: char| {
            if let (Some(low), Some(high)) = (place(low, last), place(high, last)) {
                for letter in &mut line[low..=high.max(low)] {
                    *letter = if matches!(*letter, '│' | '┼') { crossing } else { mark };
                }
            }
        };
        stroke(self.low, self.high, '─', '┼');
        if let Some((low, high)) = self.core {
            stroke(low, high, '━', '┿');
        }
        if let Some((low, high)) = self.bracket {
            for (end, mark) in [(low, '['), (high, ']')] {
                if let Some(end) = place(end, last) {
                    line[end] = mark;
                }
            }
        }
        line.into_iter().collect::<String>().trim_end().to_owned()
    }
}

/// The column of a place; values outside the axis are at its ends, NaN has none.
fn place(share: f64, last: usize) -> Option<usize> {
    (!share.is_nan()).then(|| (share.clamp(0.0, 1.0) * last as f64).round() as usize)
}

fn axis(labels: &[(f64, String)], width: usize) -> String {
    let Some(last) = width.checked_sub(1) else { return String::new() };
    let mut line = vec![' '; width];
    for (share, label) in labels {
        let letters: Vec<char> = label.chars().collect();
        let Some(middle) = place(*share, last).filter(|_| letters.len() <= width) else { continue };
        let start = middle.saturating_sub(letters.len() / 2).min(width - letters.len());
        let around = start.saturating_sub(1)..(start + letters.len() + 1).min(width);
        if line[around].iter().all(|letter| *letter == ' ') {
            line[start..start + letters.len()].copy_from_slice(&letters);
        }
    }
    line.into_iter().collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_drawn_to_an_eighth_and_something_is_never_nothing() {
        let draw = |share: f64| Chart::Bar(share).draw(10);
        assert_eq!([draw(0.25), draw(0.0001), draw(0.0), draw(1.0)], ["██▌", "▏", "", "██████████"]);
    }

    #[test]
    fn a_span_is_thick_at_its_core_and_marks_zero() {
        let span =
            Span { low: 0.1, high: 0.9, core: Some((0.3, 0.6)), bracket: Some((0.0, 1.0)), zero: Some(0.5) };
        assert_eq!(Chart::Span(span.clone()).draw(11), "[──━━┿━───]");
        let zero_outside = Span { low: 0.6, core: None, bracket: None, ..span.clone() };
        assert_eq!(Chart::Span(zero_outside).draw(11), "     │────");
        assert_eq!(Chart::Span(Span { low: f64::NAN, ..Span::default() }).draw(5), "");
        assert_eq!(Chart::Span(span).draw(0), "");
    }

    #[test]
    fn a_labelled_bar_leaves_room_for_its_label() {
        let draw = |share| Chart::Labelled { share, label: "1,234".into() }.draw(13);
        assert_eq!([draw(1.0), draw(0.5), draw(0.0)], ["████ 1,234", "██ 1,234", "1,234"]);
    }

    #[test]
    fn labels_that_would_touch_are_left_out() {
        let labels = vec![(0.0, "-1".to_owned()), (1.0, "1".to_owned()), (0.5, "0".to_owned())];
        assert_eq!(Chart::Axis(labels.clone()).draw(11), "-1   0    1");
        assert_eq!(Chart::Axis(labels).draw(4), "-1 1");
    }
}
