//! The ranges of a tensor's channels.

use super::canvas::{Area, Canvas, Drawn, series_color, ticks};
use super::histogram::shape_text;
use crate::render::number;
use plotters::backend::DrawingBackend;
use serde::Deserialize;

/// The value of `weights --channels`.
#[derive(Debug, Deserialize)]
pub struct Channels {
    model: String,
    layer: Option<String>,
    tensor: Tensor,
    axis: i64,
    dead: usize,
    channels: Vec<Channel>,
}

#[derive(Debug, Deserialize)]
struct Tensor {
    name: String,
    dtype: String,
    shape: Vec<u64>,
}

#[derive(Debug, Deserialize)]
struct Channel {
    min: Option<f64>,
    max: Option<f64>,
    mean: Option<f64>,
    standard_deviation: Option<f64>,
    is_dead: bool,
}

impl Channels {
    pub(super) fn is_empty(&self) -> bool {
        self.channels.iter().all(|channel| channel.min.is_none())
    }

    pub(super) fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Drawn<B> {
        let Tensor { name, dtype, shape } = &self.tensor;
        let title = self.layer.as_ref().filter(|layer| *layer != name);
        let title = title.map_or_else(|| name.clone(), |layer| format!("{layer}: {name}"));
        let subtitle = format!(
            "{dtype} {}, {} channels along axis {}, {} dead, {}",
            shape_text(shape),
            number::count(self.channels.len() as u64),
            self.axis,
            self.dead,
            self.model
        );
        let mut top = canvas.head(&title, &subtitle)?;
        let (wide, narrow, dead) = (series_color(4), series_color(0), series_color(1));
        let mut entries =
            vec![("from min to max".to_owned(), wide), ("mean ± standard deviation".to_owned(), narrow)];
        if self.dead > 0 {
            entries.push(("all zeros".to_owned(), dead));
        }
        top = canvas.legend(&entries, top)?;
        let ends = self.channels.iter().flat_map(|channel| [channel.min, channel.max]).flatten();
        let (low, high) = ends.fold((0f64, 0f64), |(low, high), end| (low.min(end), high.max(end)));
        let (low, high) = if low < high { (low, high) } else { (-0.5, 0.5) };
        let left = 34.0
            + [low, high]
                .map(|end| canvas.text_width(&number::real((end * 1e3).round() / 1e3)))
                .into_iter()
                .fold(40.0, f64::max);
        let plot = Area {
            left,
            top: top + 26.0,
            right: (canvas.width() - 24.0).max(left + 10.0),
            bottom: (canvas.height() - 52.0).max(top + 40.0),
        };
        let count = self.channels.len().max(1) as f64;
        let x = |channel: f64| plot.left + (channel + 0.5) / count * plot.width();
        let y = |value: f64| plot.bottom - (value - low) / (high - low) * (plot.bottom - plot.top);
        canvas.axis_left(plot, low, high, "value", &y)?;
        canvas.axis_below(
            plot,
            &ticks(0.0, count - 1.0, plot.tick_count().min(self.channels.len())),
            "channel",
            &x,
        )?;
        let half = (plot.width() / count * 0.4).clamp(0.5, 16.0);
        for (index, channel) in self.channels.iter().enumerate() {
            let middle = x(index as f64);
            let bar = |low: f64, high: f64| Area {
                left: middle - half,
                top: y(high),
                right: middle + half,
                bottom: y(low),
            };
            if channel.is_dead {
                let zero = y(0.0);
                let mark =
                    Area { left: middle - half, top: zero - 3.0, right: middle + half, bottom: zero + 3.0 };
                canvas.fill(mark, dead, 1.0)?;
                continue;
            }
            if let Some((min, max)) = channel.min.zip(channel.max) {
                canvas.fill(bar(min, max), wide, 0.8)?;
                if let Some((mean, deviation)) = channel.mean.zip(channel.standard_deviation) {
                    canvas.fill(
                        bar((mean - deviation).max(min), (mean + deviation).min(max)),
                        narrow,
                        0.9,
                    )?;
                }
            }
        }
        Ok(())
    }
}
