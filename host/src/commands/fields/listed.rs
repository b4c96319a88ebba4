//! What several commands show of the model files in a list.

use crate::catalog::{Accuracy, Digest, Measured, Variant, accuracy};
use crate::error::Error;
use crate::playground::Playground;
use crate::render::record::{Field, Record, Unit, word};
use crate::render::style::Tone;
use serde::Serialize;
use std::time::Duration;

/// One model file in a list.
#[derive(Clone, Debug)]
pub(in crate::commands) struct Listed {
    pub family: String,
    /// Whether it is the first of its family.
    pub is_first: bool,
    pub name: String,
    pub alias: Option<String>,
    pub backend: String,
    pub format: String,
    pub bytes: u64,
    pub state: State,
    pub is_current: bool,
    pub digest: Option<Digest>,
    pub accuracy: Option<Told>,
    pub error: Option<Error>,
}

/// An accuracy, where it was recorded, and whether the model has changed since.
#[derive(Clone, Debug)]
pub(in crate::commands) struct Told {
    pub accuracy: Accuracy,
    /// The file that records it; `None` if it was measured on this machine.
    pub source: Option<&'static str>,
    /// Seconds since it was measured on this machine.
    pub age: Option<Duration>,
    /// Unknown until [`Listed::look_at_accuracy`] reads the files.
    pub is_stale: Option<bool>,
}

/// The state of a model file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::commands) enum State {
    Loaded,
    Found,
    Failed,
    Missing,
}

impl State {
    /// The words for [`Field::choices`].
    pub(in crate::commands) const WORDS: &'static [&'static str] = &["loaded", "found", "failed", "missing"];

    pub(in crate::commands) fn tone(self) -> Tone {
        match self {
            Self::Loaded => Tone::Good,
            Self::Found => Tone::Plain,
            Self::Failed => Tone::Bad,
            Self::Missing => Tone::Dim,
        }
    }
}

impl Record for Listed {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("family", Unit::Text, "Family: files of one network share it", |listed| {
                listed.family.clone()
            })
            .title("family")
            .rank(3)
            .text(|listed| if listed.is_first { listed.family.clone() } else { String::new() })
            .tone(|_| Tone::Heading),
            Self::field(
                "name",
                Unit::Name,
                "Name, then the alias in brackets; * marks the current model",
                |listed| listed.name.clone(),
            )
            .title("model")
            .text(|listed| listed.name_text())
            .tone(|listed| if listed.state == State::Failed { Tone::Bad } else { Tone::Name }),
            Self::field("alias", Unit::Text, "Alias given with `load --as`", |listed| listed.alias.clone()),
            Self::field("backend", Unit::Text, "Backend that reads it", |listed| listed.backend.clone())
                .title("backend")
                .rank(2)
                .text(|listed| or_dash(&listed.backend)),
            Self::field("format", Unit::Text, "File format", |listed| listed.format.clone())
                .title("format")
                .rank(4)
                .text(|listed| or_dash(&listed.format)),
            Self::field("bytes", Unit::Bytes, "Size of its files", |listed| listed.bytes)
                .title("size")
                .rank(1)
                .after("precision"),
            Self::field(
                "state",
                Unit::Text,
                "loaded: kept in memory; found: on disk; failed: cannot be read",
                |listed| word(listed.state),
            )
            .choices(State::WORDS)
            .title("state")
            .tone(|listed| listed.state.tone())
            .after("bytes"),
            Self::field("is_current", Unit::Flag, "Whether commands use it if no model is named", |listed| {
                listed.is_current
            }),
            Self::flat(Digest::fields(), |listed| listed.digest.as_ref()).change("precision", |precision| {
                precision
                    .title("precision")
                    .means("Numeric precision and quantization scheme, or why the file cannot be read")
                    .text(|listed| listed.precision_text())
                    .tone(|listed| if listed.digest.is_none() { Tone::Bad } else { Tone::Plain })
            }),
            Self::nested("accuracy", "Recorded accuracy", Told::fields(), |listed| listed.accuracy.as_ref()),
            Self::error("error", "Why it cannot be read", |listed| listed.error.as_ref()),
        ]
    }
}

impl Record for Told {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::flat(Accuracy::fields(), |told| Some(&told.accuracy)).always(),
            Self::field(
                "source",
                Unit::Text,
                "File that records it; null if it was measured on this machine",
                |told| told.source,
            ),
            Self::field("age_s", Unit::Count, "Seconds since it was measured on this machine", |told| {
                told.age.map(|age| age.as_secs())
            }),
            Self::field("is_stale", Unit::Flag, "Whether the model has changed since", |told| told.is_stale)
                .omitted_if_missing(),
        ]
    }
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "–" } else { text }.to_owned()
}

impl Listed {
    pub(in crate::commands) fn new(variant: &Variant, playground: &Playground) -> Self {
        let loaded = playground.loaded_at(&variant.path);
        // The loaded file may be newer than the one that `open` saw.
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
            is_first: true,
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
                source: Some(accuracy::FILE_NAME),
                age: None,
                accuracy,
            }),
        }
    }

    /// Finds out whether the model has changed since its accuracy was recorded, and takes the one that was measured of this very
    /// content instead, if it was taken over no fewer samples: of several the one over most, and then the last.
    pub(in crate::commands) fn look_at_accuracy(&mut self, playground: &Playground, measured: &[Measured]) {
        let Some(catalog) = &playground.catalog else { return };
        let Some(variant) = catalog.variant(&self.name) else { return };
        if let Some(told) = &mut self.accuracy {
            told.is_stale = Some(told.accuracy.is_stale(&variant.files, catalog.told));
        }
        let hash = playground.loaded_at(&variant.path).and_then(|loaded| loaded.hash_text());
        let own =
            measured.iter().filter(|one| Some(&one.blake3) == hash.as_ref()).max_by_key(|one| one.samples);
        let kept = self.accuracy.as_ref().filter(|told| told.is_stale == Some(false));
        let least = kept.and_then(|told| told.accuracy.samples).unwrap_or(0);
        if let Some(own) = own.filter(|own| own.samples >= least) {
            self.accuracy = Some(Told {
                accuracy: Accuracy {
                    top1: own.top1,
                    samples: Some(own.samples),
                    data: Some(own.data.clone()),
                    blake3: Some(own.blake3.clone()),
                },
                source: None,
                age: Some(own.age()),
                is_stale: Some(false),
            });
        }
    }

    /// The whole catalog, in its order.
    pub(in crate::commands) fn all(playground: &Playground) -> Vec<Self> {
        let variants = playground.catalog.iter().flat_map(|catalog| &catalog.variants);
        let mut all: Vec<Self> = variants.map(|variant| Self::new(variant, playground)).collect();
        for place in 1..all.len() {
            all[place].is_first = all[place].family != all[place - 1].family;
        }
        all
    }

    fn name_text(&self) -> String {
        let alias = self.alias.as_ref().map_or_else(String::new, |alias| format!(" ({alias})"));
        format!("{}{alias}{}", self.name, if self.is_current { " *" } else { "" })
    }

    /// The precision with the scheme, or why there is none.
    fn precision_text(&self) -> String {
        match (&self.digest, &self.error) {
            (Some(digest), _) => digest.precision_text(),
            (None, Some(error)) => error.one_line(),
            (None, None) => or_dash(""),
        }
    }
}
