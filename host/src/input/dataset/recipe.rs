//! The description of a data set, from a command or a TOML file.
//!
//! ```toml
//! source = "photos"                  # all paths are relative to this file
//! labels = "labels.csv:class"
//! classes = "classes.txt"
//! resize = "crop"
//! mean = [0.485, 0.456, 0.406]
//! std = [0.229, 0.224, 0.225]
//! split = "0:1000"
//! samples = 100
//! seed = 1
//! ```

use super::{Dataset, bounds, classes, count_differs};
use crate::error::{Error, ErrorKind, Result};
use crate::input::{PictureLayout, PictureOptions, Resize, Samples, Selection, ending};
use crate::regular_file;
use clap::ValueEnum;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// A larger file is rejected.
const MOST_BYTES: u64 = 1 << 20;

/// A source, and how its samples are prepared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recipe {
    /// A file or folder, as in `digits.npz[0:8]`, or a TOML file that describes one.
    pub source: String,
    /// The labels, as in `labels.txt`, `labels.csv:class`, `digits.npz:labels`.
    pub labels: Option<String>,
    /// A text file with one class name per line.
    pub classes: Option<String>,
    /// How pictures become tensors.
    pub options: PictureOptions,
    /// Only these samples, as in `0:1000`.
    pub split: Option<String>,
    /// Only this many samples.
    pub samples: Option<u64>,
    /// Random samples instead of the first.
    pub seed: Option<u64>,
}

/// The keys of a TOML file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    source: String,
    labels: Option<String>,
    classes: Option<String>,
    layout: Option<String>,
    resize: Option<String>,
    crop: Option<f64>,
    mean: Option<Numbers>,
    std: Option<Numbers>,
    scale: Option<f64>,
    white: Option<f64>,
    split: Option<String>,
    samples: Option<u64>,
    seed: Option<u64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Numbers {
    One(f64),
    Several(Vec<f64>),
}

impl Numbers {
    fn list(numbers: Option<Self>) -> Vec<f64> {
        match numbers {
            None => Vec::new(),
            Some(Self::One(number)) => vec![number],
            Some(Self::Several(numbers)) => numbers,
        }
    }
}

impl Recipe {
    /// Whether a path is a file that describes data.
    pub fn is_file(path: &Path) -> bool {
        ending(path) == "toml"
    }

    /// The data set. Paths are made absolute by `resolve`.
    ///
    /// # Errors
    /// `Usage` for values that contradict each other; what [`Dataset::open`] says.
    pub fn open(&self, resolve: &dyn Fn(&str) -> PathBuf) -> Result<Dataset> {
        let (file, selection) = Selection::parse(&self.source)?;
        let path = resolve(file);
        if Self::is_file(&path) {
            let described = self.over(Self::read(&path)?);
            let folder = path.parent().unwrap_or(Path::new("")).to_owned();
            let mut dataset = described.open_source(&|text| folder.join(text), &self.source)?;
            if let Some(samples) = &selection.samples {
                dataset = dataset.part(samples)?;
            }
            return Ok(dataset);
        }
        self.open_source(resolve, &self.source)
    }

    /// `shown` is what the user wrote.
    fn open_source(&self, resolve: &dyn Fn(&str) -> PathBuf, shown: &str) -> Result<Dataset> {
        self.options.check()?;
        if self.seed.is_some() && self.samples.is_none() {
            return Err(Error::usage("a seed needs a number of samples")
                .with_hint("Add it, as in `--samples 100 --seed 1`."));
        }
        let split = self.split.as_deref().map(parse_split).transpose()?;
        let names = self.classes.as_deref().map(|text| classes::read_names(&resolve(text))).transpose()?;
        let (file, selection) = Selection::parse(&self.source)?;
        if Self::is_file(Path::new(file)) {
            return Err(Error::invalid_input(format!("`{shown}` has another TOML file as its source")));
        }
        // One sample is a data set of one.
        let selection = Selection { samples: selection.samples.map(several), ..selection };
        let names = names.as_deref();
        let mut dataset = Dataset::open(&resolve(file), &selection, shown.to_owned(), &self.options, names)?;
        if self.options != PictureOptions::default() && dataset.input.picture_options().is_none() {
            return Err(Error::invalid_input(format!("`{shown}` holds no pictures"))
                .with_cause(
                    "picture options apply to picture files, and to arrays of uint8 with 1 or 3 channels",
                )
                .with_hint("Leave the picture options out."));
        }
        if let Some(text) = &self.labels {
            let (labels, classes) = read_labels(text, resolve, names)?;
            if labels.len() as u64 != dataset.samples {
                return Err(count_differs(shown, labels.len(), dataset.samples));
            }
            (dataset.labels, dataset.classes) = (Some(labels), classes);
        }
        if let Some(range) = split {
            bounds(&range, dataset.samples).ok_or_else(|| super::missing(&range, shown, dataset.samples))?;
            dataset = dataset.part(&range)?;
        }
        if let Some(count) = self.samples {
            dataset = dataset.subset(count, self.seed)?;
        }
        let source = dataset.source.clone();
        Ok(dataset.called(source))
    }

    /// What a TOML file describes, with its own paths.
    fn read(path: &Path) -> Result<Self> {
        let text = regular_file::read_text(path, MOST_BYTES)?;
        let unusable = |cause: String| {
            Error::new(ErrorKind::InvalidInput, format!("`{}` does not describe data", path.display()))
                .with_cause(cause)
        };
        let file: File = toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| text.get(..span.start).map_or(1, |before| before.matches('\n').count() + 1));
            unusable(format!("line {line}: {}", error.message())).with_hint(
                "Its keys are source, labels, classes, layout, resize, crop, mean, std, scale, white, split, samples, seed.",
            )
        })?;
        if file.scale.is_some() && file.white.is_some() {
            return Err(unusable("`scale` and `white` set the same thing".to_owned()));
        }
        let options = PictureOptions {
            layout: file
                .layout
                .map(|text| one_of::<PictureLayout>("layout", &text))
                .transpose()
                .map_err(unusable)?,
            resize: file
                .resize
                .map(|text| one_of::<Resize>("resize", &text))
                .transpose()
                .map_err(unusable)?
                .unwrap_or_default(),
            crop: file.crop,
            mean: Numbers::list(file.mean),
            deviation: Numbers::list(file.std),
            white: file.white.or(file.scale.map(|scale| scale * 255.0)),
        };
        Ok(Self {
            source: file.source,
            labels: file.labels,
            classes: file.classes,
            options,
            split: file.split,
            samples: file.samples,
            seed: file.seed,
        })
    }

    /// What is given here, and the rest from `file`.
    fn over(&self, file: Self) -> Self {
        let own = self.options.clone();
        let list = |own: Vec<f64>, other: Vec<f64>| if own.is_empty() { other } else { own };
        Self {
            source: file.source,
            labels: self.labels.clone().or(file.labels),
            classes: self.classes.clone().or(file.classes),
            options: PictureOptions {
                layout: own.layout.or(file.options.layout),
                resize: if own.resize == Resize::default() { file.options.resize } else { own.resize },
                crop: own.crop.or(file.options.crop),
                mean: list(own.mean, file.options.mean),
                deviation: list(own.deviation, file.options.deviation),
                white: own.white.or(file.options.white),
            },
            split: self.split.clone().or(file.split),
            samples: self.samples.or(file.samples),
            seed: self.seed.or(file.seed),
        }
    }
}

/// The labels that a text such as `labels.csv:class` means, and the names of the classes.
///
/// # Errors
/// Those of reading; `InvalidInput` for anything but labels.
pub fn read_labels(
    text: &str,
    resolve: &dyn Fn(&str) -> PathBuf,
    names: Option<&[String]>,
) -> Result<(Vec<i64>, Vec<String>)> {
    let table =
        text.rsplit_once(':').filter(|(file, _)| matches!(ending(Path::new(file)).as_str(), "csv" | "tsv"));
    let (file, column, selection) = match table {
        Some((file, column)) => (file, Some(column), Selection::default()),
        None => {
            let (file, selection) = Selection::parse(text)?;
            (file, None, selection)
        }
    };
    classes::read_labels(&resolve(file), column, &selection, names)
}

fn several(samples: Samples) -> Samples {
    match samples {
        Samples::One(index) => Samples::Range(index..index.saturating_add(1)),
        range @ Samples::Range(_) => range,
    }
}

fn parse_split(text: &str) -> Result<Samples> {
    let brackets = format!("x[{text}]");
    match Selection::parse(&brackets) {
        Ok((_, Selection { samples: Some(range @ Samples::Range(_)), .. })) => Ok(range),
        _ => Err(Error::usage(format!("`{text}` does not say where samples begin and end"))
            .with_hint("Write the first one and the one after the last, as in 0:1000.")),
    }
}

fn one_of<T: ValueEnum>(key: &str, text: &str) -> Result<T, String> {
    T::from_str(text, false).map_err(|_| {
        let names: Vec<String> = T::value_variants()
            .iter()
            .filter_map(|value| Some(format!("`{}`", value.to_possible_value()?.get_name())))
            .collect();
        format!("`{key}` is `{text}`, not one of {}", names.join(", "))
    })
}
