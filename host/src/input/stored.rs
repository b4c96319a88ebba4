//! A large array that stays in its file: only the samples of one batch are read at a time.

use super::read::{MAX_BYTES, corrupt, too_large, turn_round};
use crate::cache::Stamp;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{DType, Tensor, element_count};
use crate::regular_file;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

/// An array in C order whose elements are stored in a file unchanged.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    pub(super) path: PathBuf,
    /// The stamp of the file when it was chosen.
    pub(super) stamp: Stamp,
    pub(super) name: String,
    pub(super) dtype: DType,
    pub(super) is_big_endian: bool,
    /// The shape of the chosen samples.
    pub(super) shape: Vec<u64>,
    /// Where the first of them begins.
    pub(super) offset: u64,
    /// Removes a temporary file once nothing uses it.
    pub(super) unpacked: Option<Unpacked>,
}

/// A temporary file with the uncompressed contents of the user's.
#[derive(Clone, Debug)]
pub(super) struct Unpacked(pub(super) Arc<tempfile::NamedTempFile>);

impl PartialEq for Unpacked {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Stored {
    /// How many samples there are.
    pub(super) fn count(&self) -> Option<u64> {
        self.shape.first().copied()
    }

    /// The array without its elements.
    pub fn outline(&self) -> Tensor {
        Tensor {
            name: self.name.clone(),
            dtype: self.dtype,
            shape: self.shape.clone(),
            bytes: Vec::new(),
            quantization: None,
        }
    }

    /// The samples from `first` up to `end`, exclusive.
    pub(super) fn samples(&self, first: u64, end: u64) -> Self {
        let all = self.count().unwrap_or(0);
        let (first, end) = (first.min(all), end.min(all));
        let mut part = self.clone();
        part.offset += first.saturating_mul(self.sample_bytes());
        if let Some(count) = part.shape.first_mut() {
            *count = end.saturating_sub(first);
        }
        part
    }

    /// Reads all of its samples.
    ///
    /// # Errors
    /// `InvalidInput` if they are too large to read at once, `Io` when the file has changed, `CorruptFile`.
    pub(super) fn read(&self) -> Result<Tensor> {
        let bytes = self.count().unwrap_or(0).saturating_mul(self.sample_bytes());
        if bytes > MAX_BYTES {
            return Err(too_large(&self.path, &self.name));
        }
        if Stamp::read(&self.path)? != self.stamp {
            return Err(Error::new(
                ErrorKind::Io,
                format!("`{}` has changed since it was chosen", self.path.display()),
            )
            .with_hint("Choose it again with `input`."));
        }
        let mut file = regular_file::open(&self.path)?;
        let io = |error: std::io::Error| corrupt(&self.path, &error.to_string());
        file.seek(SeekFrom::Start(self.offset)).map_err(io)?;
        let mut tensor = self.outline();
        tensor.bytes = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
        file.read_exact(&mut tensor.bytes).map_err(io)?;
        if self.is_big_endian {
            turn_round(&mut tensor.bytes, self.dtype);
        }
        Ok(tensor)
    }

    fn sample_bytes(&self) -> u64 {
        let elements = self.shape.get(1..).and_then(element_count).unwrap_or(0);
        self.dtype.packed_bytes(elements).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Content, PictureOptions, Selection};
    use super::*;

    /// 5 million samples of two big-endian numbers, sample `i` being `[2 i, 2 i + 1]`: 20 MB.
    const SAMPLES: u64 = 5_000_000;

    fn npy() -> Vec<u8> {
        let mut header =
            format!("{{'descr': '>i2', 'fortran_order': False, 'shape': ({SAMPLES}, 2), }}").into_bytes();
        header.resize(117, b' ');
        header.push(b'\n');
        let mut file = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
        file.extend(header);
        file.extend((0..2 * SAMPLES).flat_map(|number| (number as u16).to_be_bytes()));
        file
    }

    fn read(content: &Content) -> Tensor {
        match content {
            Content::Stored(stored) => stored.read().unwrap(),
            _ => unreachable!("a large array stays in its file"),
        }
    }

    #[test]
    fn the_samples_of_a_large_array_are_read_from_where_they_lie() {
        let folder = tempfile::tempdir().unwrap();
        let (plain, archive) = (folder.path().join("a.npy"), folder.path().join("a.npz"));
        std::fs::write(&plain, npy()).unwrap();
        let mut writer = zip::ZipWriter::new(std::fs::File::create(&archive).unwrap());
        let options =
            zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        writer.start_file("a.npy", options).unwrap();
        std::io::Write::write_all(&mut writer, &npy()).unwrap();
        writer.finish().unwrap();
        for path in [&plain, &archive] {
            let selection = Selection::parse("a.npy[70000:]").unwrap().1;
            let whole = Content::read(path, &selection, &PictureOptions::default()).unwrap();
            let part = read(&whole.samples(2, 4));
            assert_eq!(part.shape, [2, 2]);
            let expected: Vec<u8> =
                (140_004_u64..140_008).flat_map(|number| (number as u16).to_le_bytes()).collect();
            assert_eq!(part.bytes, expected, "{}", path.display());
        }
    }

    #[test]
    fn a_file_that_has_changed_is_said_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        std::fs::write(&path, npy()).unwrap();
        let content = Content::read(&path, &Selection::default(), &PictureOptions::default()).unwrap();
        std::fs::write(&path, &npy()[..1000]).unwrap();
        let Content::Stored(stored) = content else { unreachable!("a large array stays in its file") };
        assert!(stored.read().unwrap_err().one_line().contains("has changed since it was chosen"));
    }
}
