//! `cache`: what is loaded, how much memory it takes, and how often it was used.

use super::{Command, Example, Group, Scope};
use crate::cache::Counts;
use crate::error::{Error, Result};
use crate::playground::Playground;
use crate::render::number;
use crate::render::record::{Field, Record, ReportShape, Unit, labelled};
use crate::render::report::{Report, Table};
use crate::render::style::Tone;
use clap::Subcommand;

/// `cache [clear | limit SIZE]`
pub(super) struct Cache;

/// The arguments of `cache`.
#[derive(Debug, clap::Args)]
#[command(disable_help_subcommand = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Unload every model
    Clear,
    /// Set the memory limit for loaded models
    Limit {
        /// A size such as 512MiB or 2GB
        #[arg(value_name = "SIZE")]
        size: String,
    },
}

struct State {
    counts: Counts,
    bytes: u64,
    limit_bytes: u64,
    models: Vec<Row>,
}

struct Row {
    name: String,
    bytes: u64,
    hash: Option<String>,
}

impl Record for State {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::flat(Counts::fields(), |state| Some(&state.counts))
                .always()
                .change("hits", |hits| hits.after("bytes"))
                .change("misses", |misses| misses.after("hits"))
                .change("evictions", |evictions| evictions.after("misses")),
            Self::field("bytes", Unit::Bytes, "Memory that loaded models take", |state| state.bytes)
                .title("loaded")
                .text(|state| {
                    format!("{} of {}", number::bytes(state.bytes), number::bytes(state.limit_bytes))
                }),
            Self::field("limit_bytes", Unit::Bytes, "Memory that they may take", |state| state.limit_bytes),
            Self::list("models", "The loaded models", |state| &state.models),
        ]
    }
}

impl Record for Counts {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("hits", Unit::Count, "Uses that found the model loaded and unchanged", |counts| {
                counts.hits
            })
            .title("hits"),
            Self::field("misses", Unit::Count, "Uses that read the model's files", |counts| counts.misses)
                .title("misses"),
            Self::field("evictions", Unit::Count, "Models evicted to stay within the limit", |counts| {
                counts.evictions
            })
            .title("evictions"),
        ]
    }
}

impl Record for Row {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("name", Unit::Name, "Name of the model", |row| row.name.clone()).title("model"),
            Self::field("bytes", Unit::Bytes, "Memory that it takes", |row| row.bytes).title("size"),
            Self::field("hash", Unit::Text, "BLAKE3 hash of its files; people see the beginning", |row| {
                row.hash.clone()
            })
            .title("blake3")
            .rank(1)
            .text(|row| match &row.hash {
                Some(hash) => hash.chars().take(16).collect(),
                None => "–".to_owned(),
            })
            .tone(|row| if row.hash.is_some() { Tone::Plain } else { Tone::Dim }),
        ]
    }
}

impl Command for Cache {
    type Arguments = Arguments;
    const NAME: &'static str = "cache";
    const SUMMARY: &'static str = "Show loaded models and their memory; clear or limit them";
    const GROUP: Group = Group::Session;
    const EXAMPLES: &'static [Example] = &[
        Example { line: "cache", shows: "hits, misses, evictions and bytes" },
        Example { line: "cache limit 512MiB", shows: "the least recently used models are evicted first" },
        Example { line: "cache clear", shows: "nothing is loaded" },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<State>(1)]
    }

    fn run(arguments: Arguments, playground: &mut Playground, _: &Scope<'_>) -> Result<Report> {
        match arguments.action {
            None => {}
            Some(Action::Clear) => {
                let paths: Vec<_> = playground.loaded().map(|loaded| loaded.path.clone()).collect();
                for path in paths {
                    playground.unload(&path);
                }
            }
            Some(Action::Limit { size }) => {
                let limit = number::parse_bytes(&size).ok_or_else(|| {
                    Error::usage(format!("invalid size `{size}`"))
                        .with_hint("Write a size such as 512MiB or 2GB.")
                })?;
                playground.set_cache_limit(limit);
            }
        }
        Ok(report(playground))
    }
}

fn report(playground: &Playground) -> Report {
    let models = playground.models();
    let rows = models.iter().map(|(_, loaded, bytes)| Row {
        name: loaded.id.clone(),
        bytes,
        hash: loaded.hash_text(),
    });
    let state = State {
        counts: models.counts(),
        bytes: models.bytes(),
        limit_bytes: models.limit_bytes(),
        models: rows.collect(),
    };
    let report = Report::of(&state).fields(labelled(&state));
    if state.models.is_empty() { report } else { report.table(Table::of(&state.models)) }
}
