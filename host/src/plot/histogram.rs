//! How many elements have which value.

use super::canvas::{Anchor, Area, Canvas, Drawn, INK, PALE, series_color, ticks};
use crate::error::Result;
use crate::render::number;
use plotters::backend::DrawingBackend;
use serde::Deserialize;
use serde_json::Value;

/// One or several series of counts over the same bins.
#[derive(Debug)]
pub struct Histogram {
    title: String,
    subtitle: String,
    label: &'static str,
    edges: Vec<f64>,
    series: Vec<Series>,
    range: Option<Within>,
}

#[derive(Debug)]
struct Series {
    name: String,
    counts: Vec<u64>,
}

#[derive(Debug, Deserialize)]
struct Within {
    min: f64,
    max: f64,
    inside: u64,
}

#[derive(Deserialize)]
struct Tensor {
    name: String,
    dtype: String,
    shape: Vec<u64>,
}

#[derive(Deserialize)]
struct Numbers {
    count: u64,
    non_finite: u64,
}

/// The value of `weights`.
#[derive(Deserialize)]
struct Single {
    model: String,
    layer: Option<String>,
    tensor: Tensor,
    is_raw: bool,
    statistics: Numbers,
    edges: Vec<f64>,
    counts: Vec<u64>,
    range: Option<Within>,
}

/// The value of `weights --compare`.
#[derive(Deserialize)]
struct Compared {
    layer: Option<String>,
    variants: Vec<Variant>,
    edges: Vec<f64>,
}

#[derive(Deserialize)]
struct Variant {
    model: String,
    tensor: Tensor,
    errors: Option<Errors>,
    counts: Vec<u64>,
}

#[derive(Deserialize)]
struct Errors {
    /// A number, or a text if it is infinite.
    sqnr_db: Value,
}

impl Histogram {
    pub(super) fn of(value: &Value) -> Result<Self> {
        if value.get("variants").is_some() {
            return Ok(Self::of_variants(super::read(value)?));
        }
        let single: Single = super::read(value)?;
        let Tensor { name, dtype, shape } = &single.tensor;
        let numbers = &single.statistics;
        let mut subtitle = format!(
            "{dtype} {}, {} elements, {}",
            shape_text(shape),
            number::count(numbers.count),
            single.model
        );
        if numbers.non_finite > 0 {
            subtitle.push_str(&format!(", {} NaN or infinite", number::count(numbers.non_finite)));
        }
        Ok(Self {
            title: match &single.layer {
                Some(layer) if layer != name => format!("{layer}: {name}"),
                _ => name.clone(),
            },
            subtitle,
            // Integers without parameters are plain integers.
            label: if single.is_raw && dtype.contains("int") { "integer code" } else { "value" },
            edges: single.edges,
            series: vec![Series { name: name.clone(), counts: single.counts }],
            range: single.range,
        })
    }

    fn of_variants(compared: Compared) -> Self {
        let shape =
            compared.variants.first().map_or_else(String::new, |variant| shape_text(&variant.tensor.shape));
        let series = compared.variants.into_iter().map(|variant| {
            let sqnr = variant.errors.map(|errors| match errors.sqnr_db {
                Value::Number(decibels) => format!(", SQNR {:.1} dB", decibels.as_f64().unwrap_or(f64::NAN)),
                Value::String(infinite) if infinite == "inf" => ", equal".to_owned(),
                _ => String::new(),
            });
            Series {
                name: format!("{} ({}{})", variant.model, variant.tensor.dtype, sqnr.unwrap_or_default()),
                counts: variant.counts,
            }
        });
        Self {
            title: compared.layer.unwrap_or_else(|| "weights".to_owned()),
            subtitle: format!("the same tensor, {shape}, in several variants, dequantized"),
            label: "value",
            edges: compared.edges,
            series: series.collect(),
            range: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.edges.len() < 2
    }

    pub(super) fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Drawn<B> {
        let mut top = canvas.head(&self.title, &self.subtitle)?;
        if self.series.len() > 1 {
            let entries: Vec<_> = self
                .series
                .iter()
                .enumerate()
                .map(|(index, series)| (series.name.clone(), series_color(index)))
                .collect();
            top = canvas.legend(&entries, top)?;
        }
        let most =
            self.series.iter().flat_map(|series| &series.counts).copied().max().unwrap_or(0).max(1) as f64;
        let left = 34.0 + canvas.text_width(&number::real(most)).max(30.0);
        let plot = Area {
            left,
            top: top + 26.0,
            right: (canvas.width() - 24.0).max(left + 10.0),
            bottom: (canvas.height() - 52.0).max(top + 40.0),
        };
        let (low, high) = (self.edges[0], self.edges[self.edges.len() - 1]);
        let x = |value: f64| plot.left + (value - low) / (high - low) * plot.width();
        let y = |count: f64| plot.bottom - count / (most * 1.04) * (plot.bottom - plot.top);
        canvas.axis_left(plot, 0.0, most, "elements", &y)?;
        canvas.axis_below(plot, &ticks(low, high, plot.tick_count()), self.label, &x)?;
        if let Some(range) = &self.range {
            let (from, to) = (x(range.min.clamp(low, high)), x(range.max.clamp(low, high)));
            let color = series_color(5);
            canvas.fill(Area { left: from, right: to, ..plot }, color, 0.18)?;
            for end in [from, to] {
                canvas.line(&[(end, plot.top), (end, plot.bottom)], color, 1.0)?;
            }
            let text = format!(
                "{} to {}: {} elements",
                number::real(range.min),
                number::real(range.max),
                number::count(range.inside)
            );
            canvas.text(&text, (plot.right, plot.top - 12.0), Anchor::Right, INK)?;
        }
        for (index, series) in self.series.iter().enumerate() {
            let outline = self.outline(series, &x, &y);
            let is_alone = self.series.len() == 1;
            let color = series_color(index);
            canvas.polygon(&outline, color, if is_alone { 0.75 } else { 0.08 })?;
            if !is_alone {
                canvas.line(&outline, color, 1.6)?;
            }
        }
        canvas.line(&[(plot.left, plot.bottom), (plot.right, plot.bottom)], PALE, 1.0)
    }

    /// The steps of a series, from the base line and back to it.
    fn outline(&self, series: &Series, x: &dyn Fn(f64) -> f64, y: &dyn Fn(f64) -> f64) -> Vec<(f64, f64)> {
        let base = y(0.0);
        let mut points = vec![(x(self.edges[0]), base)];
        for (edges, count) in self.edges.windows(2).zip(&series.counts) {
            let height = y(*count as f64);
            points.extend([(x(edges[0]), height), (x(edges[1]), height)]);
        }
        points.push((points.last().map_or(0.0, |(right, _)| *right), base));
        points
    }
}

/// `16×3×3×3`, `scalar`.
pub(super) fn shape_text(shape: &[u64]) -> String {
    match shape {
        [] => "scalar".to_owned(),
        sizes => sizes.iter().map(u64::to_string).collect::<Vec<_>>().join("×"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heights_are_proportional_to_the_counts() {
        let histogram = Histogram {
            title: String::new(),
            subtitle: String::new(),
            label: "value",
            edges: vec![0.0, 1.0, 2.0],
            series: vec![Series { name: String::new(), counts: vec![3, 6] }],
            range: None,
        };
        let outline = histogram.outline(&histogram.series[0], &|x| x * 10.0, &|count| 100.0 - count);
        assert_eq!(
            outline,
            [(0.0, 100.0), (0.0, 97.0), (10.0, 97.0), (10.0, 94.0), (20.0, 94.0), (20.0, 100.0)]
        );
    }
}
