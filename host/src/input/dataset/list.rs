//! Lists of pictures: a path and a label on each line.

use super::classes::{self, MOST_BYTES};
use super::{Found, Source, chosen};
use crate::error::{Error, ErrorKind, Result};
use crate::input::{Content, ENDINGS, ending};
use crate::regular_file;
use std::path::{Path, PathBuf};

/// The usual headings of the columns.
const PATHS: [&str; 8] = ["path", "file", "filename", "file_name", "image", "image_path", "img", "picture"];
const LABELS: [&str; 7] = ["label", "labels", "class", "class_name", "target", "category", "y"];

/// The cells of a text file.
pub(super) struct Table {
    path: PathBuf,
    head: Option<Vec<String>>,
    /// With the number of their line.
    rows: Vec<(u64, Vec<String>)>,
}

impl Table {
    /// Reads `.csv`, `.tsv`, or a text file whose columns are separated by tabs, commas or, before the label, spaces.
    ///
    /// # Errors
    /// Those of reading; `CorruptFile` for what is not a table, `InvalidInput` for an empty one.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = regular_file::read_text(path, MOST_BYTES)?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let ending = ending(path);
        let delimiter = match ending.as_str() {
            "csv" => Some(b','),
            "tsv" => Some(b'\t'),
            _ => [b'\t', b','].into_iter().find(|letter| text.as_bytes().contains(letter)),
        };
        let mut rows = match delimiter {
            Some(delimiter) => delimited(text, delimiter, path)?,
            None => spaced(text),
        };
        let is_head =
            |cell: &String| PATHS.contains(&&*cell.to_lowercase()) || LABELS.contains(&&*cell.to_lowercase());
        let has_head = rows.first().is_some_and(|(_, cells)| cells.iter().any(is_head));
        let head = has_head.then(|| rows.remove(0).1);
        if rows.is_empty() {
            return Err(Error::invalid_input(format!("`{}` lists nothing", path.display()))
                .with_hint("Write the path of a picture and its label on each line."));
        }
        Ok(Self { path: path.to_owned(), head, rows })
    }

    fn column(&self, name: &str) -> Option<usize> {
        self.head.as_ref()?.iter().position(|cell| cell == name)
    }

    fn usual(&self, names: &[&str]) -> Option<usize> {
        self.head.as_ref()?.iter().position(|cell| names.contains(&&*cell.to_lowercase()))
    }

    fn cell<'a>(&self, (line, cells): &'a (u64, Vec<String>), column: usize, what: &str) -> Result<&'a str> {
        cells.get(column).map(|cell| cell.trim()).filter(|cell| !cell.is_empty()).ok_or_else(|| {
            Error::invalid_input(format!("line {line} of `{}` has no {what}", self.path.display()))
                .with_hint("Write the path of a picture and its label on each line.")
        })
    }

    /// The labels: the column with this heading, or with a usual heading, or the only or second one.
    ///
    /// # Errors
    /// `NotFound` for an unknown column, `InvalidInput` for a line without a label.
    pub(super) fn labels(&self, column: Option<&str>) -> Result<Vec<&str>> {
        let place = match column {
            Some(name) => self.column(name).ok_or_else(|| {
                let error = Error::not_found(format!("no column `{name}` in `{}`", self.path.display()));
                match &self.head {
                    Some(head) => error.with_hint(format!("Its columns are `{}`.", head.join("`, `"))),
                    None => error.with_hint("Its first line has no headings."),
                }
            })?,
            None => self
                .usual(&LABELS)
                .unwrap_or_else(|| usize::from(self.rows.first().is_some_and(|(_, cells)| cells.len() > 1))),
        };
        self.rows.iter().map(|row| self.cell(row, place, "label")).collect()
    }
}

fn delimited(text: &str, delimiter: u8, path: &Path) -> Result<Vec<(u64, Vec<String>)>> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| {
            Error::new(ErrorKind::CorruptFile, format!("`{}` is not a table", path.display()))
                .with_cause(error.to_string())
        })?;
        let line = record.position().map_or(0, csv::Position::line);
        if record.iter().any(|cell| !cell.is_empty()) {
            rows.push((line, record.iter().map(str::to_owned).collect()));
        }
    }
    Ok(rows)
}

/// The last word of a line is the label; paths may hold spaces.
fn spaced(text: &str) -> Vec<(u64, Vec<String>)> {
    let lines = (1..).zip(text.lines().map(str::trim)).filter(|(_, line)| !line.is_empty());
    let cells = |line: &str| match line.rsplit_once(char::is_whitespace) {
        Some((path, label)) => vec![path.trim().to_owned(), label.to_owned()],
        None => vec![line.to_owned()],
    };
    lines.map(|(number, line)| (number, cells(line))).collect()
}

/// The pictures that a list names, relative to it, and their labels.
pub(super) fn open(source: Source<'_>) -> Result<Found> {
    let table = Table::read(source.path)?;
    let folder = source.path.parent().unwrap_or(Path::new(""));
    let column = table.usual(&PATHS).unwrap_or(0);
    let mut files = Vec::with_capacity(table.rows.len());
    for row in &table.rows {
        let name = table.cell(row, column, "path")?;
        let file = folder.join(name);
        if !ENDINGS.contains(&ending(&file).as_str()) {
            return Err(Error::invalid_input(format!(
                "line {} of `{}` names `{name}`, which is not a sample",
                row.0,
                source.path.display()
            ))
            .with_hint("Samples are files that end in .npy, .npz, .png or .jpg."));
        }
        if !file.is_file() {
            return Err(Error::not_found(format!(
                "line {} of `{}` names `{name}`, which does not exist",
                row.0,
                source.path.display()
            ))
            .with_hint("Paths are relative to the list."));
        }
        files.push(file);
    }
    let has_labels = table.usual(&LABELS).is_some() || table.rows.iter().any(|(_, cells)| cells.len() > 1);
    let (labels, classes) = if has_labels {
        let (labels, classes) = classes::of_texts(&table.labels(None)?, source.classes, source.path)?;
        (Some(chosen(&labels, source)?), classes)
    } else {
        (None, classes::of_numbers(None, source.classes)?)
    };
    let content = Content::Files(chosen(&files, source)?, source.options.clone());
    Ok(Found { form: "list", content, labels, classes })
}
