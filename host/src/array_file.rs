//! Array files: NumPy's `.npz`, and safetensors. Output grows row by row in temporary files, so memory does not grow
//! with it.

use crate::error::{Error, Result};
use crate::file::{exists, keep};
use crate::model::{DType, element_count};
use std::fs::File;
use std::io::{BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The format to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Of a single array.
    Npy,
    Npz,
    Safetensors,
}

/// Arrays on their way into one file.
pub struct ArrayWriter {
    path: PathBuf,
    form: Form,
    may_replace: bool,
    arrays: Vec<Array>,
}

struct Array {
    name: String,
    dtype: DType,
    shape: Vec<u64>,
    content: BufWriter<File>,
}

impl ArrayWriter {
    /// Prepares the file at `path`, whose extension decides the format.
    ///
    /// # Errors
    /// `InvalidInput` for another extension, and for a file that exists if it must not be replaced.
    pub fn new(path: &Path, may_replace: bool) -> Result<Self> {
        let form = match ending(path).as_str() {
            "npz" => Form::Npz,
            "safetensors" => Form::Safetensors,
            _ => {
                return Err(Error::invalid_input(format!("`{}` is not an array file", path.display()))
                    .with_hint("End its name in .npz or .safetensors."));
            }
        };
        Self::of(path, form, may_replace)
    }

    /// Prepares the file at `path` for a single array: also NumPy's `.npy`.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn single(path: &Path, may_replace: bool) -> Result<Self> {
        match ending(path).as_str() {
            "npy" => Self::of(path, Form::Npy, may_replace),
            "npz" | "safetensors" => Self::new(path, may_replace),
            _ => Err(Error::invalid_input(format!("`{}` is not an array file", path.display()))
                .with_hint("End its name in .npy, .npz or .safetensors.")),
        }
    }

    fn of(path: &Path, form: Form, may_replace: bool) -> Result<Self> {
        if !may_replace && path.exists() {
            return Err(exists(path));
        }
        Ok(Self { path: path.to_owned(), form, may_replace, arrays: Vec::new() })
    }

    /// Whether elements of this type can be written as they are.
    pub fn takes(&self, dtype: DType) -> bool {
        match self.form {
            Form::Npy | Form::Npz => numpy_name(dtype).is_some(),
            Form::Safetensors => safetensors_name(dtype).is_some(),
        }
    }

    /// Adds rows to the array `name`, or creates the array. Every dimension but the first stays fixed.
    ///
    /// # Errors
    /// `InvalidInput` for rows of another type or shape; `Io`.
    pub fn append(&mut self, name: &str, dtype: DType, shape: &[u64], bytes: &[u8]) -> Result<()> {
        let failed = |error: std::io::Error| Error::io("write", &self.path, &error);
        if let Some(array) = self.arrays.iter_mut().find(|array| array.name == name) {
            let is_same = array.dtype == dtype && array.shape.get(1..) == shape.get(1..);
            let (Some(rows), Some(more)) = (array.shape.first_mut().filter(|_| is_same), shape.first())
            else {
                return Err(Error::invalid_input(format!(
                    "`{name}` is {dtype} {shape:?} but was {} {:?} before",
                    array.dtype, array.shape
                )));
            };
            *rows += more;
            return array.content.write_all(bytes).map_err(failed);
        }
        let mut content = BufWriter::new(tempfile::tempfile().map_err(failed)?);
        content.write_all(bytes).map_err(failed)?;
        self.arrays.push(Array { name: name.to_owned(), dtype, shape: shape.to_vec(), content });
        Ok(())
    }

    /// Writes the whole file; returns how many arrays it holds.
    ///
    /// # Errors
    /// `Io`.
    pub fn finish(self) -> Result<usize> {
        let (path, form, may_replace) = (self.path, self.form, self.may_replace);
        let count = self.arrays.len();
        let failed = |error: std::io::Error| Error::io("write", &path, &error);
        let mut contents = Vec::new();
        for array in self.arrays {
            let mut file = array.content.into_inner().map_err(|error| failed(error.into_error()))?;
            file.rewind().map_err(failed)?;
            contents.push((array.name, array.dtype, array.shape, file));
        }
        keep(&path, may_replace, |file| match form {
            Form::Npy => write_npy(file, contents),
            Form::Npz => write_npz(file, contents),
            Form::Safetensors => write_safetensors(file, contents),
        })?;
        Ok(count)
    }
}

/// The lower-case extension of a file's name.
fn ending(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase()
}

type Content = (String, DType, Vec<u64>, File);

fn write_npy(file: &mut File, contents: Vec<Content>) -> std::io::Result<()> {
    for (_, dtype, shape, content) in contents.into_iter().take(1) {
        file.write_all(&npy_header(dtype, &shape))?;
        std::io::copy(&mut BufReader::new(content), file)?;
    }
    file.flush()
}

fn write_npz(file: impl Write + Seek, contents: Vec<Content>) -> std::io::Result<()> {
    let mut archive = zip::ZipWriter::new(Guarded::new(BufWriter::new(file)));
    for (name, dtype, shape, content) in contents {
        // Tools that unpack archives would take a slash for a folder; NumPy itself takes it as it is.
        let options = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored)
            .large_file(true);
        archive.start_file(format!("{name}.npy"), options)?;
        archive.write_all(&npy_header(dtype, &shape))?;
        std::io::copy(&mut BufReader::new(content), &mut archive)?;
    }
    archive.finish()?.flush()
}

/// A writer that after its first failure accepts everything and writes nothing more. The archive's writer completes
/// the archive when it is dropped, and prints if that fails; the first failure is the error that counts.
struct Guarded<W> {
    inner: W,
    has_failed: bool,
    /// The position of the next byte, and of the last one: the archive's writer relies on both.
    position: u64,
    end: u64,
}

impl<W> Guarded<W> {
    fn new(inner: W) -> Self {
        Self { inner, has_failed: false, position: 0, end: 0 }
    }
}

impl<W: Write> Write for Guarded<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = match self.has_failed {
            true => bytes.len(),
            false => self.inner.write(bytes).inspect_err(|_| self.has_failed = true)?,
        };
        self.position = self.position.saturating_add(written as u64);
        self.end = self.end.max(self.position);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self.has_failed {
            true => Ok(()),
            false => self.inner.flush().inspect_err(|_| self.has_failed = true),
        }
    }
}

impl<W: Seek> Seek for Guarded<W> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.position = match (self.has_failed, to) {
            (false, to) => self.inner.seek(to).inspect_err(|_| self.has_failed = true)?,
            (true, SeekFrom::Start(position)) => position,
            (true, SeekFrom::Current(distance)) => self.position.saturating_add_signed(distance),
            (true, SeekFrom::End(distance)) => self.end.saturating_add_signed(distance),
        };
        Ok(self.position)
    }
}

/// The header of an `.npy` file, version 1.0 of `numpy.lib.format`.
fn npy_header(dtype: DType, shape: &[u64]) -> Vec<u8> {
    let mut sizes: String = shape.iter().map(|size| format!("{size}, ")).collect();
    if shape.len() > 1 {
        sizes.truncate(sizes.len() - 2);
    }
    let description = numpy_name(dtype).unwrap_or("|u1");
    let mut text =
        format!("{{'descr': '{description}', 'fortran_order': False, 'shape': ({}), }}", sizes.trim_end());
    let padding = 64 - (10 + text.len() + 1) % 64;
    text.push_str(&" ".repeat(padding % 64));
    text.push('\n');
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend_from_slice(&(text.len() as u16).to_le_bytes());
    header.extend_from_slice(text.as_bytes());
    header
}

/// The format of the safetensors library: the size of a JSON header, the header, the elements.
fn write_safetensors(file: &mut File, contents: Vec<Content>) -> std::io::Result<()> {
    let mut file = BufWriter::new(file);
    let (mut header, mut start) = (serde_json::Map::new(), 0_u64);
    for (name, dtype, shape, _) in &contents {
        let size = element_count(shape).and_then(|count| dtype.packed_bytes(count)).unwrap_or(0);
        let entry = serde_json::json!({
            "dtype": safetensors_name(*dtype),
            "shape": shape,
            "data_offsets": [start, start + size],
        });
        header.insert(name.clone(), entry);
        start += size;
    }
    let mut header = serde_json::Value::Object(header).to_string();
    // Elements begin at a multiple of eight bytes.
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    for (_, _, _, content) in contents {
        std::io::copy(&mut BufReader::new(content), &mut file)?;
    }
    file.flush()
}

fn numpy_name(dtype: DType) -> Option<&'static str> {
    Some(match dtype {
        DType::BOOL => "|b1",
        DType::INT8 => "|i1",
        DType::UINT8 => "|u1",
        DType::INT16 => "<i2",
        DType::UINT16 => "<u2",
        DType::INT32 => "<i4",
        DType::UINT32 => "<u4",
        DType::INT64 => "<i8",
        DType::UINT64 => "<u8",
        DType::FLOAT16 => "<f2",
        DType::FLOAT32 => "<f4",
        DType::FLOAT64 => "<f8",
        _ => return None,
    })
}

fn safetensors_name(dtype: DType) -> Option<&'static str> {
    Some(match dtype {
        DType::BOOL => "BOOL",
        DType::INT8 => "I8",
        DType::UINT8 => "U8",
        DType::INT16 => "I16",
        DType::UINT16 => "U16",
        DType::INT32 => "I32",
        DType::UINT32 => "U32",
        DType::INT64 => "I64",
        DType::UINT64 => "U64",
        DType::FLOAT16 => "F16",
        DType::BFLOAT16 => "BF16",
        DType::FLOAT32 => "F32",
        DType::FLOAT64 => "F64",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `np.lib.format.header_data_from_array_1_0` and its padding to 64 bytes.
    #[test]
    fn a_header_is_numpys() {
        let header = npy_header(DType::FLOAT32, &[2, 3]);
        assert_eq!(header.len() % 64, 0);
        assert!(
            String::from_utf8_lossy(&header[10..])
                .starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }")
        );
        assert!(String::from_utf8_lossy(&npy_header(DType::INT8, &[5])).contains("'shape': (5,), }"));
        assert!(String::from_utf8_lossy(&npy_header(DType::INT8, &[])).contains("'shape': (), }"));
    }

    /// A disk with room for this many bytes.
    struct Disk {
        content: std::io::Cursor<Vec<u8>>,
        room: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let left = self.room.saturating_sub(self.content.position() as usize);
            match bytes.len().min(left) {
                0 if !bytes.is_empty() => Err(std::io::ErrorKind::StorageFull.into()),
                length => self.content.write(&bytes[..length]),
            }
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Seek for Disk {
        fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
            self.content.seek(to)
        }
    }

    /// Wherever the disk is full: the error is its own, and the archive's writer neither panics nor prints.
    #[test]
    fn a_full_disk_is_one_error() {
        let contents = || {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&[7; 20_000]).unwrap();
            file.rewind().unwrap();
            vec![("x".to_owned(), DType::UINT8, vec![20_000], file)]
        };
        let write = |room| {
            write_npz(Disk { content: std::io::Cursor::new(Vec::new()), room }, contents())
                .map_err(|error| error.kind())
        };
        let whole = (20_000..30_000).find(|room| write(*room).is_ok()).unwrap();
        for room in (0..whole).step_by(97).chain(whole - 120..whole) {
            assert_eq!(write(room), Err(std::io::ErrorKind::StorageFull), "{room}");
        }
    }

    /// Read back by another library: `npyz`.
    #[test]
    fn rows_that_come_one_after_the_other_are_one_array() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npz");
        let mut writer = ArrayWriter::new(&path, false).unwrap();
        writer.append("x/y", DType::INT16, &[1, 2], &[1, 0, 2, 0]).unwrap();
        writer.append("x/y", DType::INT16, &[2, 2], &[3, 0, 4, 0, 5, 0, 6, 0]).unwrap();
        assert!(writer.append("x/y", DType::INT16, &[1, 3], &[0; 6]).is_err());
        assert_eq!(writer.finish().unwrap(), 1);
        let mut archive = zip::ZipArchive::new(File::open(&path).unwrap()).unwrap();
        let array = npyz::NpyFile::new(archive.by_name("x/y.npy").unwrap()).unwrap();
        assert_eq!(array.shape(), [3, 2]);
        assert_eq!(array.into_vec::<i16>().unwrap(), [1, 2, 3, 4, 5, 6]);
        assert!(ArrayWriter::new(&path, false).is_err());
        assert!(ArrayWriter::new(&folder.path().join("a.txt"), false).is_err());
    }

    #[test]
    fn safetensors_begin_with_the_size_of_their_header() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let mut writer = ArrayWriter::new(&path, false).unwrap();
        writer.append("x", DType::UINT8, &[3], &[7, 8, 9]).unwrap();
        writer.append("y", DType::FLOAT32, &[1], &1.5_f32.to_le_bytes()).unwrap();
        writer.finish().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let size = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + size]).unwrap();
        assert_eq!(header["y"], serde_json::json!({"dtype": "F32", "shape": [1], "data_offsets": [3, 7]}));
        assert_eq!(bytes[8 + size..], [7, 8, 9, 0, 0, 0xc0, 0x3f]);
        assert_eq!(size % 8, 0);
    }
}
