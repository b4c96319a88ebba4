//! Arrays of NumPy's `.npz` files, as far as the sample files use them.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use zip::ZipArchive;

/// The shape and the bytes of the array `name`.
pub fn array(path: &Path, name: &str, descr: &str) -> (Vec<usize>, Vec<u8>) {
    let mut archive = ZipArchive::new(File::open(path).unwrap()).unwrap();
    let mut bytes = Vec::new();
    archive.by_name(&format!("{name}.npy")).unwrap().read_to_end(&mut bytes).unwrap();
    assert!(bytes.starts_with(b"\x93NUMPY\x01"), "{name}");
    let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = String::from_utf8(bytes[10..10 + length].to_vec()).unwrap();
    assert!(header.contains(descr) && header.contains("'fortran_order': False"), "{header}");
    let shape = header.split_once("'shape': (").unwrap().1.split_once(')').unwrap().0;
    let shape = shape.split(',').filter_map(|size| size.trim().parse().ok()).collect();
    (shape, bytes.split_off(10 + length))
}

/// The elements of a float32 array.
pub fn floats(path: &Path, name: &str) -> (Vec<usize>, Vec<f32>) {
    let (shape, bytes) = array(path, name, "'<f4'");
    (shape, bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
}

/// The images of a digits file as float32, 0 to 255.
pub fn images(path: &Path) -> (Vec<usize>, Vec<f32>) {
    let (shape, bytes) = array(path, "images", "'|u1'");
    (shape, bytes.iter().map(|&byte| f32::from(byte)).collect())
}
