//! What several commands say of a model file in a list.

use crate::catalog::{Accuracy, Digest, Variant, accuracy};
use crate::error::Error;
use crate::model::Severity;
use crate::playground::Playground;
use crate::render::report::{Cell, Column, Report, Table};
use crate::render::style::Tone;
use serde::Serialize;

/// One model file in a list.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Listed {
    pub family: String,
    pub name: String,
    pub alias: Option<String>,
    pub backend: String,
    pub format: String,
    pub bytes: u64,
    pub state: State,
    pub is_current: bool,
    #[serde(flatten)]
    pub digest: Option<Digest>,
    pub accuracy: Option<Told>,
    pub error: Option<Error>,
}

/// An accuracy, who tells it, and whether it is still that of the model.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Told {
    #[serde(flatten)]
    pub accuracy: Accuracy,
    pub source: &'static str,
    /// Not known before [`Listed::look_at_accuracy`]: lists of many models do not read their files for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_stale: Option<bool>,
}

/// What qp has of a model file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Loaded,
    Found,
    Failed,
    Missing,
}

impl State {
    pub(super) fn cell(self) -> Cell {
        match self {
            Self::Loaded => Cell::text("loaded").tone(Tone::Good),
            Self::Found => Cell::text("found"),
            Self::Failed => Cell::text("failed").tone(Tone::Bad),
            Self::Missing => Cell::text("missing").tone(Tone::Dim),
        }
    }
}

impl Listed {
    pub(super) fn new(variant: &Variant, playground: &Playground) -> Self {
        let loaded = playground.loaded_at(&variant.path);
        // What was loaded may be newer than what `open` saw.
        let digest = match loaded {
            Some(loaded) => Ok(Digest::new(loaded.info())),
            None => variant.digest.clone(),
        };
        let state = match (&digest, loaded.is_some()) {
            (_, true) => State::Loaded,
            (Ok(_), false) => State::Found,
            (Err(_), false) => State::Failed,
        };
        Self {
            family: variant.family.clone(),
            name: variant.id.clone(),
            alias: playground.alias(&variant.path).map(str::to_owned),
            backend: variant.backend.clone(),
            format: variant.format.clone(),
            bytes: variant.bytes,
            state,
            is_current: playground.is_current(&variant.path),
            error: digest.as_ref().err().cloned(),
            digest: digest.ok(),
            accuracy: variant.accuracy.clone().map(|accuracy| Told {
                is_stale: None,
                source: accuracy::FILE_NAME,
                accuracy,
            }),
        }
    }

    /// Finds out whether the accuracy is still that of the model.
    pub(super) fn look_at_accuracy(&mut self, playground: &Playground) {
        let Some((told, catalog)) = self.accuracy.as_mut().zip(playground.catalog.as_ref()) else { return };
        let files = catalog.variant(&self.name).map(|variant| variant.files.as_slice()).unwrap_or_default();
        told.is_stale = Some(told.accuracy.is_stale(files, catalog.told));
    }

    /// Everything of the catalog, in its order.
    pub(super) fn all(playground: &Playground) -> Vec<Self> {
        let variants = playground.catalog.iter().flat_map(|catalog| &catalog.variants);
        variants.map(|variant| Self::new(variant, playground)).collect()
    }

    pub(super) fn name_cell(&self) -> Cell {
        let mut text = self.name.clone();
        if let Some(alias) = &self.alias {
            text = format!("{text} ({alias})");
        }
        if self.is_current {
            text.push_str(" *");
        }
        let tone = if self.state == State::Failed { Tone::Bad } else { Tone::Name };
        Cell { text, raw: self.name.clone().into(), tone, chart: None }
    }

    /// The precision with the scheme, or why there is none.
    pub(super) fn precision_cell(&self) -> Cell {
        match (&self.digest, &self.error) {
            (Some(digest), _) => Cell::text(precision_text(digest)),
            (None, Some(error)) => Cell::text(error.one_line()).tone(Tone::Bad),
            (None, None) => Cell::missing(),
        }
    }
}

/// `int8 QDQ`, `float32`.
pub(super) fn precision_text(digest: &Digest) -> String {
    match &digest.scheme {
        // `dynamic-uint8` says it already.
        Some(scheme) if digest.precision.starts_with(scheme.as_str()) => digest.precision.clone(),
        Some(scheme) => format!("{} {scheme}", digest.precision),
        None => digest.precision.clone(),
    }
}

/// The table of model files; the reason of a failed one stands in place of its precision.
pub(super) fn listing_table(models: &[Listed]) -> Table {
    let mut table = Table::new([
        Column::text("family").rank(3),
        Column::text("model"),
        Column::text("backend").rank(2),
        Column::text("format").rank(4),
        Column::text("precision"),
        Column::number("size").rank(1),
        Column::text("state"),
    ]);
    let mut family = "";
    for model in models {
        let family_cell = Cell {
            text: if family == model.family { String::new() } else { model.family.clone() },
            raw: model.family.clone().into(),
            tone: Tone::Heading,
            chart: None,
        };
        family = &model.family;
        let or_missing = |text: &str| if text.is_empty() { Cell::missing() } else { Cell::text(text) };
        table.row([
            family_cell,
            model.name_cell(),
            or_missing(&model.backend),
            or_missing(&model.format),
            model.precision_cell(),
            Cell::bytes(model.bytes),
            model.state.cell(),
        ]);
    }
    table
}

/// A line for each model that the reader found something grave in.
pub(super) fn push_alerts<'a>(
    report: Report,
    models: impl Iterator<Item = (&'a str, Option<&'a Digest>)>,
) -> Report {
    let alerts = models.filter_map(|(name, digest)| Some((name, digest?.alert.as_ref()?)));
    alerts.fold(report, |report, (name, finding)| {
        let tone = severity_tone(finding.severity);
        report.toned_line([
            (tone, format!("{}: ", severity_word(finding.severity))),
            (Tone::Name, name.to_owned()),
            (Tone::Plain, format!(": {}", finding.message)),
        ])
    })
}

/// The word for a severity, and its color.
pub(super) fn severity_word(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Danger => "danger",
    }
}

pub(super) fn severity_tone(severity: Severity) -> Tone {
    match severity {
        Severity::Note => Tone::Dim,
        Severity::Warning => Tone::Warning,
        Severity::Danger => Tone::Bad,
    }
}

/// Names that a list for people has.
const MOST_NAMES: usize = 5;

/// The first few names, and how many more there are; all of them are in the JSON.
pub(super) fn first_of(names: &[&str]) -> String {
    let mut text = names.iter().take(MOST_NAMES).copied().collect::<Vec<_>>().join(", ");
    if names.len() > MOST_NAMES {
        text = format!("{text} and {} more", names.len() - MOST_NAMES);
    }
    text
}

/// `1 model`, `2 models`.
pub(super) fn counted(count: usize, noun: &str) -> String {
    let plural = match noun.strip_suffix('y') {
        Some(stem) if noun != "key" => format!("{stem}ies"),
        _ => format!("{noun}s"),
    };
    format!("{count} {}", if count == 1 { noun } else { &plural })
}
