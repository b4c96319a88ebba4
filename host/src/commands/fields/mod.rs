//! The declarations that several reports share.

pub(super) mod bins;
mod finding;
pub(super) mod judged;
pub(super) mod listed;
pub(super) mod listing;
mod model;
mod ran;

pub(super) use finding::{push_alerts, severity_tone, severity_word};
pub(super) use model::OpCount;
pub(super) use ran::{Ran, settings_line};

use crate::inspect::pairing::Ground;
use crate::inspect::{Errors, Summary};
use crate::model::Property;
use crate::render::record::{Direction, Field, Record, Unit};
use crate::render::style::Tone;

/// The metrics of `qp_analysis::Metrics`; a new one is a line here.
impl Record for Errors {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("count", Unit::Count, "The pairs of elements that were compared", |errors| {
                errors.count
            }),
            Self::field(
                "sqnr_db",
                Unit::Decibels,
                "Signal-to-quantization-noise ratio, 10·log10(Σx² / Σ(x−y)²); inf if all values are equal",
                |errors| errors.metrics.sqnr_db,
            )
            .title("SQNR dB")
            .sort("sqnr", Direction::Ascending),
            Self::field(
                "cosine_similarity",
                Unit::Real,
                "Cosine similarity, Σxy / √(Σx²·Σy²): 1 if the directions are the same",
                |errors| errors.metrics.cosine_similarity,
            )
            .title("cosine")
            .rank(3)
            .sort("cosine", Direction::Ascending),
            Self::field(
                "max_abs_error",
                Unit::Real,
                "Largest absolute error, max|x−y|, in the unit of the values",
                |errors| errors.metrics.max_abs_error,
            )
            .title("max error")
            .sort("error", Direction::Descending),
            Self::field(
                "mean_abs_error",
                Unit::Real,
                "Mean absolute error, Σ|x−y| / n, in the unit of the values",
                |errors| errors.metrics.mean_abs_error,
            )
            .title("mean error")
            .rank(7)
            .sort("mean-error", Direction::Descending),
            Self::field(
                "relative_l2",
                Unit::Real,
                "Relative L2 error, √(Σ(x−y)² / Σx²): 0 if all values are equal",
                |errors| errors.metrics.relative_l2,
            )
            .title("rel. L2")
            .rank(8)
            .sort("l2", Direction::Descending),
            Self::field(
                "mse",
                Unit::Real,
                "Mean squared error, Σ(x−y)² / n, in the squared unit of the values",
                |errors| errors.metrics.mse,
            )
            .title("MSE")
            .rank(9)
            .sort("mse", Direction::Descending),
        ]
    }
}

impl Record for Ground {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field(
                "why",
                Unit::Text,
                "What the match is based on: exact, name, graph, value, …",
                |ground| ground.why,
            ),
            Self::field("confidence", Unit::Decimals(2), "How sure the match is, from 0 to 1", |ground| {
                ground.confidence
            }),
        ]
    }
}

impl Record for Property {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("name", Unit::Name, "The name", |property| property.name.clone()),
            Self::field("value", Unit::Text, "The value", |property| property.value.clone()),
        ]
    }
}

impl Record for Summary {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("count", Unit::Count, "Number of elements", |numbers| numbers.count)
                .title("count")
                .rank(4)
                .sort("count", Direction::Descending),
            Self::field("min", Unit::Real, "Smallest finite value", |numbers| numbers.min).title("min"),
            Self::field("max", Unit::Real, "Largest finite value", |numbers| numbers.max).title("max"),
            Self::field("mean", Unit::Real, "Mean of the finite values", |numbers| numbers.mean)
                .title("mean")
                .rank(1),
            Self::field(
                "standard_deviation",
                Unit::Real,
                "Population standard deviation of the finite values",
                |numbers| numbers.standard_deviation,
            )
            .title("std")
            .sort("std", Direction::Descending),
            Self::field("zeros", Unit::Count, "Elements that are zero, of either sign", |numbers| {
                numbers.zeros
            }),
            Self::field("nan", Unit::Count, "Elements that are NaN", |numbers| numbers.nan),
            Self::field("positive_infinities", Unit::Count, "Elements that are +∞", |numbers| {
                numbers.positive_infinities
            }),
            Self::field("negative_infinities", Unit::Count, "Elements that are −∞", |numbers| {
                numbers.negative_infinities
            }),
            Self::field("width", Unit::Real, "Largest finite value minus the smallest", Self::width)
                .sort("width", Direction::Descending),
            Self::field("zero_share", Unit::Share, "Share of elements that are zero", |numbers| {
                (numbers.count > 0).then(|| numbers.zeros as f64 / numbers.count as f64)
            })
            .title("zeros")
            .rank(5)
            .sort("zeros", Direction::Descending),
            Self::field("non_finite", Unit::Count, "Elements that are NaN or infinite", Self::non_finite)
                .title("NaN, inf")
                .rank(7)
                .dash_if_zero()
                .tone(|numbers| if numbers.non_finite() > 0 { Tone::Bad } else { Tone::Plain }),
        ]
    }
}
