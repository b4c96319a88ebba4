//! Labelled data: samples and the classes they belong to.

use super::{Content, Input, PictureOptions, Selection, read};
use crate::error::{Error, ErrorKind, Result};
use crate::model::Tensor;
use std::path::Path;

/// The usual names of sample arrays.
const SAMPLES: [&str; 10] =
    ["images", "x", "X", "inputs", "input", "data", "x_test", "X_test", "test_images", "arr_0"];
/// The usual names of label arrays.
const LABELS: [&str; 8] = ["labels", "label", "y", "targets", "target", "y_test", "test_labels", "arr_1"];

impl Input {
    /// The samples and the labels of an `.npz` file that holds both; any other file has no labels.
    ///
    /// # Errors
    /// As [`Input::from_file`]; `InvalidInput` when the numbers of labels and samples differ.
    pub fn with_labels(
        path: &Path,
        selection: &Selection,
        source: String,
        options: &PictureOptions,
    ) -> Result<(Self, Option<Vec<i64>>)> {
        let is_archive = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("npz"));
        if !is_archive || selection.key.is_some() {
            return Ok((Self::from_file(path, selection, source, options)?, None));
        }
        let keys = read::npz_keys(path)?;
        let named =
            |names: &[&'static str]| names.iter().copied().find(|name| keys.iter().any(|key| key == name));
        let key = |name: &str| Selection { key: Some(name.to_owned()), ..selection.clone() };
        let Some(samples) = named(&SAMPLES) else {
            // Either one array, or ambiguous.
            return Ok((Self::from_file(path, selection, source, options)?, None));
        };
        let input = Self::from_file(path, &key(samples), source, options)?;
        let Some(name) = named(&LABELS) else { return Ok((input, None)) };
        let labels = match labels(path, &key(name)) {
            Ok(labels) => labels,
            // Named like labels, but not one class per sample: masks, boxes, values.
            Err(error) if error.kind() == ErrorKind::InvalidInput => return Ok((input, None)),
            Err(error) => return Err(error),
        };
        let count = input.content.own_count();
        if count != Some(labels.len() as u64) {
            return Err(Error::invalid_input(format!(
                "`{}` has {} labels in `{name}` for {} samples in `{samples}`",
                path.display(),
                labels.len(),
                count.unwrap_or(1)
            )));
        }
        Ok((input, Some(labels)))
    }
}

/// The labels in a one-dimensional array of whole numbers.
///
/// # Errors
/// Those of reading; `InvalidInput` for anything but labels.
pub fn labels(path: &Path, selection: &Selection) -> Result<Vec<i64>> {
    let is_archive = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("npz"));
    let array = if is_archive { read::npz(path, selection)? } else { read::npy(path, selection)? };
    let Tensor { name, dtype, shape, bytes, .. } = match array {
        Content::Array(array) => array,
        Content::Stored(stored) => stored.outline(),
        _ => return Err(Error::internal("an array was read as something else")),
    };
    let element = dtype.element_type().filter(|_| dtype.is_integer() && shape.len() == 1);
    let element = element.ok_or_else(|| {
        Error::invalid_input(format!(
            "`{name}` in `{}` is {dtype} with {} dimensions: labels are whole numbers in one dimension",
            path.display(),
            shape.len()
        ))
    })?;
    Ok(element.decode(&bytes, element.elements_in(bytes.len())).map(|label| label as i64).collect())
}
