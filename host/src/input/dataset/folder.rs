//! Folders: one subfolder of pictures for each class, pictures without labels, batches of CIFAR-10, MNIST's files.

use super::{Found, Source, chosen, cifar, classes, idx};
use crate::error::{Error, ErrorKind, Result};
use crate::input::{Content, ENDINGS, ending};
use std::path::{Path, PathBuf};

/// Subfolders of a class are read to this depth.
const MAX_DEPTH: usize = 16;
/// Pictures that other programs read but qp does not: skipping them would change the samples.
const UNREADABLE: [&str; 7] = ["bmp", "gif", "pgm", "ppm", "tif", "tiff", "webp"];

/// The data set in a folder, by its contents.
pub(super) fn open(source: Source<'_>) -> Result<Found> {
    let (files, folders) = entries(source.path)?;
    let with_ending = |wanted: &[&str]| -> Vec<PathBuf> {
        files.iter().filter(|file| wanted.contains(&ending(file).as_str())).cloned().collect()
    };
    let name = |file: &Path| file.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    if with_ending(&ENDINGS).is_empty() {
        let images: Vec<&PathBuf> = files.iter().filter(|file| idx::is_images(&name(file))).collect();
        match images[..] {
            [] => {}
            [one] => return idx::open(Source { path: one, ..source }),
            [one, ..] => {
                return Err(Error::new(
                    ErrorKind::Ambiguous,
                    format!("`{}` has {} files of images", source.path.display(), images.len()),
                )
                .with_hint(format!("Choose one of them, as in `{}`.", one.display())));
            }
        }
        let batches = with_ending(&["bin"]);
        if !batches.is_empty() {
            return cifar::open(&batches, source);
        }
        if !folders.is_empty() {
            return class_folders(&folders, source);
        }
    }
    let content = Content::read(source.path, source.selection, source.options)?;
    let classes = classes::of_numbers(None, source.classes)?;
    Ok(Found { form: "folder", content, labels: None, classes })
}

/// Numbered as by torchvision's `ImageFolder`: classes by the sorted names of the folders, samples by class, then by
/// folder and name.
fn class_folders(folders: &[PathBuf], source: Source<'_>) -> Result<Found> {
    let own: Vec<String> = folders
        .iter()
        .map(|folder| folder.file_name().unwrap_or_default().to_string_lossy().into_owned())
        .collect();
    let names = source.classes.map_or_else(|| own.clone(), <[String]>::to_vec);
    let mut samples: Vec<(PathBuf, i64)> = Vec::new();
    for (folder, name) in folders.iter().zip(&own) {
        let number = names.iter().position(|known| known == name);
        let number = number.ok_or_else(|| classes::unknown(name, source.path))? as i64;
        let mut pictures = Vec::new();
        collect(folder, 0, &mut pictures)?;
        if pictures.is_empty() {
            return Err(Error::invalid_input(format!("`{}` holds no pictures", folder.display()))
                .with_cause("each subfolder is a class, and each class needs samples")
                .with_hint("Remove the folder, or add samples that end in .png, .jpg, .npy or .npz."));
        }
        samples.extend(pictures.into_iter().map(|picture| (picture, number)));
    }
    let (files, labels) = chosen(&samples, source)?.into_iter().unzip();
    Ok(Found {
        form: "class folders",
        content: Content::Files(files, source.options.clone()),
        labels: Some(labels),
        classes: names,
    })
}

/// The pictures in a folder and the folders in it, in the order of their paths as texts.
fn collect(folder: &Path, depth: usize, pictures: &mut Vec<PathBuf>) -> Result<()> {
    let (files, folders) = entries(folder)?;
    if let Some(file) = files.iter().find(|file| UNREADABLE.contains(&ending(file).as_str())) {
        return Err(Error::new(
            ErrorKind::UnsupportedFormat,
            format!("`{}` is a picture that qp cannot decode", file.display()),
        )
        .with_hint("Convert it to PNG, or remove it from the folder."));
    }
    pictures.extend(files.into_iter().filter(|file| ENDINGS.contains(&ending(file).as_str())));
    if !folders.is_empty() && depth >= MAX_DEPTH {
        return Err(Error::invalid_input(format!(
            "`{}` has folders in folders more than {MAX_DEPTH} deep",
            folder.display()
        )));
    }
    folders.iter().try_for_each(|folder| collect(folder, depth + 1, pictures))
}

/// Files and folders, each in the order of their names; hidden ones are left out.
fn entries(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let read = |error: std::io::Error| Error::io("read", folder, &error);
    let (mut files, mut folders) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() && !is_hidden => folders.push(path),
            Ok(metadata) if metadata.is_file() && !is_hidden => files.push(path),
            _ => {}
        }
    }
    files.sort();
    folders.sort();
    Ok((files, folders))
}
