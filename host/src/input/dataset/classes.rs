//! Labels as numbers and as names.

use crate::error::{Error, Result};
use crate::input::{Selection, ending, labels};
use crate::regular_file;
use std::collections::BTreeSet;
use std::path::Path;

/// A larger file of labels or names is rejected.
pub(super) const MOST_BYTES: u64 = 64 << 20;

/// The names in a text file, one per line, in the order of their numbers.
///
/// # Errors
/// Those of reading; `InvalidInput` for a file without names, and for a name that occurs twice.
pub(super) fn read_names(path: &Path) -> Result<Vec<String>> {
    let text = regular_file::read_text(path, MOST_BYTES)?;
    let names: Vec<String> =
        text.lines().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if names.is_empty() {
        return Err(Error::invalid_input(format!("`{}` names no classes", path.display()))
            .with_hint("Write one name per line, in the order of the labels."));
    }
    let mut seen = BTreeSet::new();
    match names.iter().find(|name| !seen.insert(name.as_str())) {
        Some(twice) => {
            Err(Error::invalid_input(format!("`{}` names the class `{twice}` twice", path.display())))
        }
        None => Ok(names),
    }
}

/// The names for labels that are numbers.
///
/// # Errors
/// `InvalidInput` for a number without a name.
pub(super) fn of_numbers(numbers: Option<&[i64]>, names: Option<&[String]>) -> Result<Vec<String>> {
    let Some(names) = names else { return Ok(Vec::new()) };
    let is_named = |label: &&i64| usize::try_from(**label).is_ok_and(|label| label < names.len());
    match numbers.unwrap_or_default().iter().find(|label| !is_named(label)) {
        Some(label) => {
            Err(Error::invalid_input(format!("label {label} has no name: there are {} classes", names.len()))
                .with_hint("Name every class, one per line; the first line is class 0."))
        }
        None => Ok(names.to_vec()),
    }
}

/// Numbers and names of labels that are written as numbers or as names of classes. Without `names`, the classes are
/// numbered in the order of their names.
///
/// # Errors
/// `InvalidInput` for a name that is not among `names`, and for a number without a name.
pub(super) fn of_texts(
    texts: &[&str],
    names: Option<&[String]>,
    source: &Path,
) -> Result<(Vec<i64>, Vec<String>)> {
    let numbers: Option<Vec<i64>> = texts.iter().map(|text| text.parse().ok()).collect();
    if let Some(numbers) = numbers {
        let names = of_numbers(Some(&numbers), names)?;
        return Ok((numbers, names));
    }
    let names: Vec<String> = match names {
        Some(names) => names.to_vec(),
        None => texts.iter().collect::<BTreeSet<_>>().into_iter().map(|name| (*name).to_owned()).collect(),
    };
    let place: std::collections::HashMap<&str, i64> =
        names.iter().zip(0..).map(|(name, place)| (name.as_str(), place)).collect();
    let numbers = texts.iter().map(|text| place.get(text).copied().ok_or_else(|| unknown(text, source)));
    Ok((numbers.collect::<Result<_>>()?, names.clone()))
}

/// The error for a class without a number.
pub(super) fn unknown(name: &str, source: &Path) -> Error {
    Error::invalid_input(format!("`{}` has the unknown class `{name}`", source.display()))
        .with_cause("`--classes` does not list it")
        .with_hint(format!("Add `{name}` to the list, or leave `--classes` out."))
}

/// The labels in `.npy`, `.npz`, a text file with one per line, or a column of a table.
///
/// # Errors
/// Those of reading; `InvalidInput` for anything but labels.
pub(super) fn read_labels(
    path: &Path,
    column: Option<&str>,
    selection: &Selection,
    names: Option<&[String]>,
) -> Result<(Vec<i64>, Vec<String>)> {
    match ending(path).as_str() {
        "csv" | "tsv" => {
            let table = super::list::Table::read(path)?;
            let texts = table.labels(column)?;
            of_texts(&texts, names, path)
        }
        "npy" | "npz" => {
            let numbers = labels(path, selection)?;
            let names = of_numbers(Some(&numbers), names)?;
            Ok((numbers, names))
        }
        _ => {
            let text = regular_file::read_text(path, MOST_BYTES)?;
            let texts: Vec<&str> = text.trim_end().lines().map(str::trim).collect();
            if let Some(line) = texts.iter().position(|text| text.is_empty()) {
                return Err(Error::invalid_input(format!(
                    "line {} of `{}` has no label",
                    line + 1,
                    path.display()
                ))
                .with_hint("Write one label per line: a number or the name of a class."));
            }
            of_texts(&texts, names, path)
        }
    }
}
