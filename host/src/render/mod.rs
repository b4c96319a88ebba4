//! What commands return, and how it is shown. Nothing below this module deals with the terminal.

pub mod ascii;
pub mod chart;
pub mod columns;
pub mod csv;
pub mod diagnostic;
pub mod ending;
pub mod histogram;
pub mod json;
pub mod keys;
pub mod markdown;
pub mod number;
pub mod pager;
pub mod progress;
pub mod record;
pub mod report;
pub mod style;
pub mod table;
pub mod text;
pub mod ui;

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Tables and text for people.
    #[default]
    Table,
    /// One JSON document for each command.
    Json,
    /// The tables as comma-separated values, full precision.
    Csv,
    /// The tables in Markdown.
    Markdown,
}

impl Format {
    /// Whether programs read it.
    pub fn is_for_machines(self) -> bool {
        matches!(self, Self::Json | Self::Csv)
    }

    /// The name as the user writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Markdown => "markdown",
        }
    }
}
