//! A drawing surface measured in SVG units, and the few shapes that the pictures are made of.

use crate::printable;
use crate::render::number;
use plotters::backend::DrawingBackend;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind};
use plotters::element::{PathElement, Polygon, Rectangle};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontStyle, IntoFont, RGBColor, ShapeStyle, TextStyle};

/// The font family of text: an SVG viewer may use any sans-serif.
pub(super) const FONT: &str = "sans-serif";
/// The size of text.
pub(super) const TEXT: f64 = 12.0;

pub(super) const INK: RGBColor = RGBColor(40, 40, 40);
pub(super) const PALE: RGBColor = RGBColor(120, 120, 120);
pub(super) const GRID: RGBColor = RGBColor(226, 226, 226);

/// The colors of Okabe and Ito, the most distinct first.
pub(super) const SERIES: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(0, 0, 0),
];

/// The color of the series at this index.
pub(super) fn series_color(index: usize) -> RGBColor {
    SERIES[index % SERIES.len()]
}

/// The result of drawing.
pub(super) type Drawn<B> = Result<(), DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>>;

/// A rectangle of the canvas.
#[derive(Clone, Copy, Debug)]
pub(super) struct Area {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

impl Area {
    pub(super) fn width(&self) -> f64 {
        self.right - self.left
    }

    /// How many numbers fit below it.
    pub(super) fn tick_count(&self) -> usize {
        (self.width() / 90.0) as usize
    }
}

/// Where text stands relative to its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Left,
    Middle,
    Right,
}

/// The surface.
pub(super) struct Canvas<B: DrawingBackend> {
    area: DrawingArea<B, Shift>,
    scale: f64,
}

impl<B: DrawingBackend> Canvas<B> {
    /// With `scale` pixels per unit.
    pub(super) fn new(area: DrawingArea<B, Shift>, scale: f64) -> Self {
        Self { area, scale }
    }

    pub(super) fn width(&self) -> f64 {
        f64::from(self.area.dim_in_pixel().0) / self.scale
    }

    pub(super) fn height(&self) -> f64 {
        f64::from(self.area.dim_in_pixel().1) / self.scale
    }

    pub(super) fn clear(&self) -> Drawn<B> {
        self.area.fill(&plotters::style::WHITE)
    }

    pub(super) fn finish(&self) -> Drawn<B> {
        self.area.present()
    }

    fn point(&self, x: f64, y: f64) -> (i32, i32) {
        ((x * self.scale).round() as i32, (y * self.scale).round() as i32)
    }

    fn stroke(&self, color: RGBColor, width: f64) -> ShapeStyle {
        ShapeStyle {
            color: color.to_rgba(),
            filled: false,
            stroke_width: (width * self.scale).round() as u32,
        }
    }

    /// A line through points.
    pub(super) fn line(&self, points: &[(f64, f64)], color: RGBColor, width: f64) -> Drawn<B> {
        let points: Vec<_> = points.iter().map(|(x, y)| self.point(*x, *y)).collect();
        self.area.draw(&PathElement::new(points, self.stroke(color, width)))
    }

    /// A filled rectangle between two corners.
    pub(super) fn fill(&self, area: Area, color: RGBColor, opacity: f64) -> Drawn<B> {
        let corners = [self.point(area.left, area.top), self.point(area.right, area.bottom)];
        self.area.draw(&Rectangle::new(corners, color.mix(opacity).filled()))
    }

    /// A filled polygon.
    pub(super) fn polygon(&self, points: &[(f64, f64)], color: RGBColor, opacity: f64) -> Drawn<B> {
        let points: Vec<_> = points.iter().map(|(x, y)| self.point(*x, *y)).collect();
        self.area.draw(&Polygon::new(points, color.mix(opacity).filled()))
    }

    /// A line of text, its middle at height `y`.
    pub(super) fn text(&self, text: &str, (x, y): (f64, f64), anchor: Anchor, color: RGBColor) -> Drawn<B> {
        self.text_of(text, (x, y), anchor, color, TEXT, FontStyle::Normal)
    }

    /// A line of text with this size and style.
    pub(super) fn text_of(
        &self,
        text: &str,
        (x, y): (f64, f64),
        anchor: Anchor,
        color: RGBColor,
        size: f64,
        style: FontStyle,
    ) -> Drawn<B> {
        let across = match anchor {
            Anchor::Left => HPos::Left,
            Anchor::Middle => HPos::Center,
            Anchor::Right => HPos::Right,
        };
        let style = (FONT, size * self.scale).into_font().style(style);
        let style = TextStyle::from(style).color(&color).pos(Pos::new(across, VPos::Center));
        self.area.draw_text(&printable::line(text), &style, self.point(x, y))
    }

    /// How wide a line of text is.
    pub(super) fn text_width(&self, text: &str) -> f64 {
        let style = TextStyle::from((FONT, TEXT * self.scale).into_font());
        let width =
            self.area.estimate_text_size(&printable::line(text), &style).map_or(0, |(width, _)| width);
        f64::from(width) / self.scale
    }

    /// `text`, or its beginning and end if it is wider than `room`.
    pub(super) fn fitted(&self, text: &str, room: f64) -> String {
        if self.text_width(text) <= room {
            return text.to_owned();
        }
        let letters: Vec<char> = text.chars().collect();
        let mut kept = letters.len().min(400);
        loop {
            kept = kept.saturating_sub(1);
            let (head, tail) = (kept.div_ceil(2), kept / 2);
            let short: String =
                letters[..head].iter().chain(&['…']).chain(&letters[letters.len() - tail..]).collect();
            if kept == 0 || self.text_width(&short) <= room {
                return short;
            }
        }
    }

    /// The title and the line below it; returns where the picture continues.
    pub(super) fn head(
        &self,
        title: &str,
        subtitle: &str,
    ) -> Result<f64, DrawingAreaErrorKind<B::ErrorType>> {
        let room = self.width() - 40.0;
        // Bold and larger letters are about a third wider.
        let title = self.fitted(title, room / 1.45);
        self.text_of(&title, (20.0, 24.0), Anchor::Left, INK, 16.0, FontStyle::Bold)?;
        self.text(&self.fitted(subtitle, room), (20.0, 46.0), Anchor::Left, PALE)?;
        Ok(62.0)
    }

    /// Colored squares with names, on as many lines as needed; returns where the picture continues.
    pub(super) fn legend(
        &self,
        entries: &[(String, RGBColor)],
        top: f64,
    ) -> Result<f64, DrawingAreaErrorKind<B::ErrorType>> {
        let (left, right) = (20.0, self.width() - 20.0);
        let (mut x, mut y) = (left, top + 8.0);
        for (name, color) in entries {
            let name = self.fitted(name, right - left - 16.0);
            let width = 16.0 + self.text_width(&name) + 18.0;
            if x > left && x + width > right {
                (x, y) = (left, y + 18.0);
            }
            self.fill(Area { left: x, top: y - 5.0, right: x + 10.0, bottom: y + 5.0 }, *color, 1.0)?;
            self.text(&name, (x + 16.0, y), Anchor::Left, INK)?;
            x += width;
        }
        Ok(y + 14.0)
    }

    /// Vertical lines with numbers below at `values`; `place` gives their positions.
    pub(super) fn axis_below(
        &self,
        plot: Area,
        values: &[f64],
        label: &str,
        place: &dyn Fn(f64) -> f64,
    ) -> Drawn<B> {
        let mut last_end = f64::NEG_INFINITY;
        for &value in values {
            let x = place(value);
            let color = if value == 0.0 { PALE } else { GRID };
            self.line(&[(x, plot.top), (x, plot.bottom)], color, 1.0)?;
            let text = number::real(value);
            let half = self.text_width(&text) / 2.0;
            // On a non-linear axis, labels may come close.
            if x - half > last_end + 6.0 {
                self.text(&text, (x, plot.bottom + 14.0), Anchor::Middle, INK)?;
                last_end = x + half;
            }
        }
        self.line(&[(plot.left, plot.bottom), (plot.right, plot.bottom)], PALE, 1.0)?;
        self.text(label, ((plot.left + plot.right) / 2.0, plot.bottom + 34.0), Anchor::Middle, INK)
    }

    /// Horizontal lines with numbers at the left.
    pub(super) fn axis_left(
        &self,
        plot: Area,
        low: f64,
        high: f64,
        label: &str,
        place: &dyn Fn(f64) -> f64,
    ) -> Drawn<B> {
        for value in ticks(low, high, 6) {
            let y = place(value);
            self.line(&[(plot.left, y), (plot.right, y)], if value == 0.0 { PALE } else { GRID }, 1.0)?;
            self.text(&number::real(value), (plot.left - 8.0, y), Anchor::Right, INK)?;
        }
        self.text(label, (20.0, plot.top - 12.0), Anchor::Left, INK)
    }
}

/// Round values from `low` to `high`, about `count` of them: multiples of 1, 2 or 5 times a power of ten.
pub(super) fn ticks(low: f64, high: f64, count: usize) -> Vec<f64> {
    let width = high - low;
    if !width.is_finite() || width <= 0.0 {
        return vec![low];
    }
    let rough = width / count.max(2) as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(10.0 * power);
    let first = (low / step).ceil();
    // Multiples, not sums: 0.3, and not 0.30000000000000004.
    let values = (0..=100).map(|index| (first + f64::from(index)) * step);
    values
        .take_while(|value| *value <= high + step * 1e-9)
        .map(|value| if value == 0.0 { 0.0 } else { value })
        .collect()
}

/// Zero and the powers of ten on both sides of it, starting at `unit`.
pub(super) fn decades(low: f64, high: f64, unit: f64) -> Vec<f64> {
    let first = unit.abs().log10().ceil();
    if !first.is_finite() {
        return vec![0.0];
    }
    let side = |end: f64| {
        (0..40).map(move |power| 10f64.powf(first + f64::from(power))).take_while(move |value| *value <= end)
    };
    let mut values: Vec<f64> = side(-low).map(|value| -value).collect();
    values.reverse();
    values.push(0.0);
    values.extend(side(high));
    values
}

#[cfg(test)]
mod tests {
    use super::{decades, ticks};

    #[test]
    fn decades_are_powers_of_ten_on_both_sides() {
        assert_eq!(decades(-12.0, 0.5, 0.05), [-10.0, -1.0, -0.1, 0.0, 0.1]);
        assert_eq!(decades(0.0, 0.0, 0.0), [0.0]);
    }

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(ticks(-0.34, 0.29, 6), [-0.2, 0.0, 0.2]);
        assert_eq!(ticks(0.0, 10.0, 5), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(3.0, 3.0, 5), [3.0]);
        assert_eq!(ticks(f64::NAN, 1.0, 5).len(), 1);
        assert!(ticks(1e-300, 1e300, 5).len() <= 101);
    }
}
