//! `cache`: what is loaded, how much room it takes, and how often it served.

use super::{Command, Example, Group, Scope};
use crate::cache::Counts;
use crate::error::{Error, Result};
use crate::playground::Playground;
use crate::render::number;
use crate::render::report::{Cell, Column, Report, Table};
use clap::Subcommand;
use serde::Serialize;

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
    /// Drop every loaded model
    Clear,
    /// Set how many bytes loaded models may take
    Limit {
        /// A size such as 512MiB or 2GB
        #[arg(value_name = "SIZE")]
        size: String,
    },
}

#[derive(Serialize)]
struct State {
    #[serde(flatten)]
    counts: Counts,
    bytes: u64,
    limit_bytes: u64,
    models: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    bytes: u64,
    hash: Option<String>,
}

impl Command for Cache {
    type Arguments = Arguments;
    const NAME: &'static str = "cache";
    const SUMMARY: &'static str = "Show what is loaded and what it takes; clear or limit it";
    const GROUP: Group = Group::Session;
    const EXAMPLES: &'static [Example] = &[
        Example { line: "cache", shows: "hits, misses, evictions and bytes" },
        Example { line: "cache limit 512MiB", shows: "what is used least goes first" },
        Example { line: "cache clear", shows: "nothing is loaded" },
    ];

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
                    Error::usage(format!("`{size}` is no size"))
                        .with_hint("Write a size such as 512MiB or 2GB.")
                })?;
                playground.set_cache_limit(limit);
            }
        }
        report(playground)
    }
}

fn report(playground: &Playground) -> Result<Report> {
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
    let fields = vec![
        (
            "loaded",
            Cell::text(format!("{} of {}", number::bytes(state.bytes), number::bytes(state.limit_bytes))),
        ),
        ("hits", Cell::count(state.counts.hits)),
        ("misses", Cell::count(state.counts.misses)),
        ("evictions", Cell::count(state.counts.evictions)),
    ];
    let mut report = Report::new(&state)?.fields(fields);
    if !state.models.is_empty() {
        let mut table =
            Table::new([Column::text("model"), Column::number("size"), Column::text("blake3").rank(1)]);
        for row in &state.models {
            let hash = Cell::option(row.hash.clone(), |hash| Cell {
                text: hash.chars().take(16).collect(),
                raw: hash.into(),
                ..Cell::default()
            });
            table.row([Cell::name(row.name.clone()), Cell::bytes(row.bytes), hash]);
        }
        report = report.table(table);
    }
    Ok(report)
}
