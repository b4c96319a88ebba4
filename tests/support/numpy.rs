//! Files as NumPy writes them.

use std::fmt::Write as _;
use std::io::{Cursor, Write as _};

/// An `.npy` file of elements of that type in that shape, both as NumPy writes them in the header.
pub fn npy(dtype: &str, shape: &str, elements: impl IntoIterator<Item = u8>) -> Vec<u8> {
    let mut header = format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': ({shape},), }}");
    write!(header, "{:>width$}", "\n", width = 64 - (10 + header.len()) % 64).expect("a text can grow");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(header.len()).expect("it is short").to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(elements);
    bytes
}

/// An `.npz` file of these arrays.
pub fn npz(arrays: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, array) in arrays {
        writer
            .start_file(format!("{name}.npy"), zip::write::SimpleFileOptions::default())
            .expect("it can be begun");
        writer.write_all(array).expect("it can be written");
    }
    writer.finish().expect("it can be ended").into_inner()
}

/// The numbers of an array file that NumPy would read.
pub fn numbers<const SIZE: usize, T>(path: &std::path::Path, number: fn([u8; SIZE]) -> T) -> Vec<T> {
    let bytes = std::fs::read(path).unwrap();
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let header = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    bytes[10 + header..].as_chunks::<SIZE>().0.iter().map(|chunk| number(*chunk)).collect()
}
