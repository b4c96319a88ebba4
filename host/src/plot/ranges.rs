//! The ranges of tensors, one line each, variants side by side.

use super::canvas::{Anchor, Area, Canvas, Drawn, GRID, INK, decades, series_color, ticks};
use plotters::backend::DrawingBackend;
use serde::Deserialize;

/// At most this many lines; the rest is counted in the subtitle.
const MOST_LINES: usize = 400;
const LINE_HEIGHT: f64 = 14.0;
const ROW_GAP: f64 = 8.0;

/// The value of `ranges`.
#[derive(Debug, Deserialize)]
pub struct Ranges {
    models: Vec<String>,
    low: f64,
    high: f64,
    is_logarithmic: bool,
    rows: Vec<Row>,
}

#[derive(Debug, Deserialize)]
struct Row {
    name: String,
    variants: Vec<Variant>,
}

#[derive(Debug, Deserialize)]
struct Variant {
    model: usize,
    min: Option<f64>,
    max: Option<f64>,
    core: Option<(f64, f64)>,
    representable: Option<(f64, f64)>,
    is_outlier: bool,
}

impl Ranges {
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn shown(&self) -> &[Row] {
        let mut lines = 0;
        let fits = |row: &&Row| {
            lines += row.variants.len();
            lines <= MOST_LINES
        };
        let count = self.rows.iter().take_while(fits).count().max(1);
        &self.rows[..count.min(self.rows.len())]
    }

    pub(super) fn natural_height(&self) -> u32 {
        let rows = self.shown();
        let lines: usize = rows.iter().map(|row| row.variants.len()).sum();
        let legend = if self.models.len() > 1 { 22.0 * self.models.len().div_ceil(2) as f64 } else { 0.0 };
        (62.0 + legend + lines as f64 * LINE_HEIGHT + rows.len() as f64 * ROW_GAP + 80.0) as u32
    }

    pub(super) fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Drawn<B> {
        let rows = self.shown();
        let title = match &self.models[..] {
            [one] => format!("ranges of {one}"),
            several => format!("ranges of {} variants", several.len()),
        };
        let more = match self.rows.len() - rows.len() {
            0 => String::new(),
            count => format!("; {count} more not drawn"),
        };
        let axis = if self.is_logarithmic { "; logarithmic on both sides of zero" } else { "" };
        let subtitle = format!(
            "thin: from min to max; thick: within 3 σ of the mean; brackets: what the codes can represent; triangle: outlier{axis}{more}"
        );
        let mut top = canvas.head(&title, &subtitle)?;
        if self.models.len() > 1 {
            let entries: Vec<_> = self
                .models
                .iter()
                .enumerate()
                .map(|(index, name)| (name.clone(), series_color(index)))
                .collect();
            top = canvas.legend(&entries, top)?;
        }
        let names = rows.iter().map(|row| canvas.text_width(&row.name)).fold(40.0, f64::max);
        let left = (32.0 + names).min(canvas.width() * 0.4);
        let plot = Area {
            left,
            top: top + 6.0,
            right: (canvas.width() - 28.0).max(left + 10.0),
            bottom: (canvas.height() - 52.0).max(top + 20.0),
        };
        let (low, high) =
            if self.low < self.high { (self.low, self.high) } else { (self.low - 0.5, self.low + 0.5) };
        let unit = high.max(-low) * 1e-3;
        let scaled = |value: f64| if self.is_logarithmic { (value / unit).asinh() } else { value };
        let x = |value: f64| {
            plot.left + (scaled(value) - scaled(low)) / (scaled(high) - scaled(low)) * plot.width()
        };
        let values =
            if self.is_logarithmic { decades(low, high, unit) } else { ticks(low, high, plot.tick_count()) };
        canvas.axis_below(plot, &values, "value", &x)?;
        let lines: usize = rows.iter().map(|row| row.variants.len()).sum();
        let gaps = rows.len() as f64 * ROW_GAP;
        let line_height = ((plot.bottom - plot.top - gaps) / lines.max(1) as f64).clamp(2.0, 24.0);
        let mut y = plot.top + ROW_GAP / 2.0;
        for row in rows {
            let middle = y + line_height * row.variants.len() as f64 / 2.0;
            canvas.text(
                &canvas.fitted(&row.name, plot.left - 30.0),
                (plot.left - 10.0, middle),
                Anchor::Right,
                INK,
            )?;
            for variant in &row.variants {
                variant.draw(canvas, y + line_height / 2.0, line_height, plot, &x)?;
                y += line_height;
            }
            y += ROW_GAP;
            canvas.line(&[(plot.left, y - ROW_GAP / 2.0), (plot.right, y - ROW_GAP / 2.0)], GRID, 1.0)?;
        }
        Ok(())
    }
}

impl Variant {
    fn draw<B: DrawingBackend>(
        &self,
        canvas: &Canvas<B>,
        y: f64,
        line_height: f64,
        plot: Area,
        x: &dyn Fn(f64) -> f64,
    ) -> Drawn<B> {
        let color = series_color(self.model);
        let half = (line_height * 0.3).min(5.0);
        if let Some((low, high)) = self.min.zip(self.max) {
            canvas.line(&[(x(low), y), (x(high), y)], color, 1.6)?;
        }
        if let Some((low, high)) = self.core {
            let bar = Area { left: x(low), top: y - half * 0.7, right: x(high), bottom: y + half * 0.7 };
            canvas.fill(bar, color, 1.0)?;
        }
        if let Some((low, high)) = self.representable {
            for (end, inward) in [(low, 4.0), (high, -4.0)] {
                let end = x(end);
                let (above, below) = (y - half - 1.0, y + half + 1.0);
                canvas.line(
                    &[(end + inward, above), (end, above), (end, below), (end + inward, below)],
                    color,
                    1.2,
                )?;
            }
            if self.min.is_none() {
                canvas.line(&[(x(low), y), (x(high), y)], color, 1.6)?;
            }
        }
        if self.is_outlier {
            let tip = plot.right + 14.0;
            canvas.polygon(
                &[(tip, y - half), (tip - half, y + half), (tip + half, y + half)],
                series_color(1),
                1.0,
            )?;
        }
        Ok(())
    }
}
