//! Several models for people: their scores in one table.

use super::{Ran, SHOWN_SAMPLES, SideBySide, TOP, head, push_ran};
use crate::render::record::{Field, Record, Unit};
use crate::render::report::{Report, Table};
use crate::render::style::Tone;
use qp_analysis::argmax;

/// A row of several models' scores: a class of one sample, or a sample with the classes that the models predict.
pub(super) struct Scored {
    index: usize,
    /// Of each model; no class where the row is one.
    scores: Vec<(Option<usize>, f64)>,
}

impl Record for Scored {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field(
                "sample",
                Unit::Index,
                "The sample, counted from 0; with a single sample, the class",
                |row| row.index,
            )
            .title("sample"),
        ]
    }
}

/// Several models: where all give scores, a table of their classes.
pub(super) fn side_by_side(models: Vec<Ran>) -> Report {
    let shape = |ran: &Ran| (ran.scored, ran.scores.first().map_or(0, Vec::len));
    let (samples, classes) = models.first().map(shape).unwrap_or_default();
    let are_comparable = samples > 0 && models.iter().all(|ran| shape(ran) == (samples, classes));
    let ran = SideBySide { models };
    let report = Report::of(&ran);
    if !are_comparable {
        return ran.models.iter().fold(report, push_ran);
    }
    let report = ran.models.iter().fold(report, |report, ran| report.toned_line(head(ran)));
    let table = match samples {
        1 => classes_table(&ran.models, classes),
        _ => samples_table(&ran.models, samples),
    };
    match samples.saturating_sub(SHOWN_SAMPLES) {
        0 => report.table(table),
        more => report.table(table).line(format!("and {more} more samples; `flips` lists those that differ")),
    }
}

/// The classes with the highest score of any model, in the order of these.
fn classes_table(models: &[Ran], classes: usize) -> Table {
    let score = |ran: &Ran, class: usize| ran.scores[0].get(class).copied().unwrap_or(f64::NAN);
    let best = |class: usize| models.iter().map(|ran| score(ran, class)).fold(f64::NEG_INFINITY, f64::max);
    let mut ranked: Vec<usize> = (0..classes).collect();
    ranked.sort_by(|one, other| best(*other).total_cmp(&best(*one)));
    let rows = ranked.into_iter().take(TOP).map(|class| Scored {
        index: class,
        scores: models.iter().map(|ran| (None, score(ran, class))).collect(),
    });
    let mut fields = vec![Scored::field("class", Unit::Index, "The class", |row| row.index).title("class")];
    for (place, ran) in models.iter().enumerate() {
        let name = ran.model.clone();
        fields.push(
            Scored::field(name.clone(), Unit::Real, "The model's score", move |row| row.scores[place].1)
                .title(name),
        );
    }
    Table::with(&fields, &rows.collect::<Vec<_>>())
}

/// The class that each model predicts, and its score; those that differ from the first model's are marked.
fn samples_table(models: &[Ran], samples: usize) -> Table {
    let predicted = |ran: &Ran, sample: usize| {
        let scores = &ran.scores[sample];
        let class = argmax(scores).unwrap_or(0);
        (Some(class), scores[class])
    };
    let rows = (0..samples.min(SHOWN_SAMPLES)).map(|sample| Scored {
        index: sample,
        scores: models.iter().map(|ran| predicted(ran, sample)).collect(),
    });
    let mut fields = Scored::fields();
    for (place, ran) in models.iter().enumerate() {
        let name = ran.model.clone();
        fields.extend([
            Scored::field(name.clone(), Unit::Index, "The class that the model predicts", move |row| {
                row.scores[place].0
            })
            .title(name.clone())
            .tone(
                move |row| {
                    if row.scores[place].0 == row.scores[0].0 { Tone::Plain } else { Tone::Bad }
                },
            ),
            Scored::field(format!("{name}.score"), Unit::Real, "Its score", move |row| row.scores[place].1)
                .title("score"),
        ]);
    }
    Table::with(&fields, &rows.collect::<Vec<_>>())
}
