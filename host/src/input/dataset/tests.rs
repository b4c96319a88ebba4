//! Tiny files of every form.

use super::{Dataset, Recipe};
use crate::error::{ErrorKind, Result};
use crate::input::{Content, PictureOptions};
use crate::model::{DType, Dimension, Tensor, ValueInfo};
use std::io::Write as _;
use std::path::Path;

fn open_with(folder: &Path, recipe: Recipe) -> Result<Dataset> {
    recipe.open(&|text| folder.join(text))
}

fn open(folder: &Path, source: &str) -> Result<Dataset> {
    open_with(folder, Recipe { source: source.to_owned(), ..Recipe::default() })
}

/// The tensor for a model with an input of this type and these sizes.
fn fitted(dataset: &Dataset, dtype: DType, sizes: [u64; 4]) -> Tensor {
    let mut shape: Vec<Dimension> = sizes.iter().map(|size| Dimension::Fixed(*size)).collect();
    shape[0] = Dimension::Symbolic("N".into());
    let value = ValueInfo::new("x", dtype, Some(shape));
    dataset.input.content.fit(&[value], false).unwrap().tensors.remove(0)
}

/// Two records as the site of CIFAR-10 describes them: planes of red, green and blue, row by row.
fn cifar(labels: [u8; 2]) -> Vec<u8> {
    let mut file = Vec::new();
    for (record, label) in labels.into_iter().enumerate() {
        file.push(label);
        for channel in 0..3 {
            file.extend((0..1024_usize).map(|pixel| (pixel % 60 + channel * 60 + record * 4) as u8));
        }
    }
    file
}

fn idx(sizes: &[u32], bytes: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, sizes.len() as u8];
    file.extend(sizes.iter().flat_map(|size| size.to_be_bytes()));
    file.extend(bytes);
    file
}

fn picture(path: &Path, color: [u8; 3]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    image::RgbImage::from_pixel(2, 2, image::Rgb(color)).save(path).unwrap();
}

#[test]
fn planes_of_cifar_become_pictures_and_a_folder_is_its_files_in_order() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("data_batch_1.bin"), cifar([3, 9])).unwrap();
    std::fs::write(folder.path().join("data_batch_2.bin"), cifar([0, 1])).unwrap();
    std::fs::write(folder.path().join("batches.meta.txt"), "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n").unwrap();
    let found = open(folder.path(), ".").unwrap();
    assert_eq!((found.form, found.samples), ("CIFAR-10", 4));
    assert_eq!(found.labels, Some(vec![3, 9, 0, 1]));
    assert_eq!(found.classes[3], "d");
    let tensor = fitted(&found, DType::UINT8, [1, 32, 32, 3]);
    assert_eq!(tensor.shape, [4, 32, 32, 3]);
    assert_eq!(tensor.bytes[..6], [0, 60, 120, 1, 61, 121]);
    assert_eq!(tensor.bytes[3072..3075], [4, 64, 124]);
    let planes = fitted(&found.part(&super::Samples::Range(1..3)).unwrap(), DType::UINT8, [1, 3, 32, 32]);
    assert_eq!((planes.shape, planes.bytes[1024]), (vec![2, 3, 32, 32], 64));
    let error =
        open_with(folder.path(), Recipe { source: "data_batch_1.bin[2]".into(), ..Recipe::default() });
    assert!(error.unwrap_err().message().contains("sample 2 of"));
}

#[test]
fn a_batch_of_another_length_or_label_is_one_error() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.bin"), &cifar([0, 1])[1..]).unwrap();
    let error = open(folder.path(), "a.bin").unwrap_err();
    assert!(error.one_line().ends_with("it has 6145 bytes, which is not a multiple of 3073"), "{error:?}");
    std::fs::write(folder.path().join("a.bin"), cifar([0, 10])).unwrap();
    let error = open(folder.path(), "a.bin").unwrap_err();
    assert!(error.one_line().ends_with("record 1 has label 10, but there are only 10 classes"), "{error:?}");
}

#[test]
fn mnist_is_read_with_its_labels_compressed_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let (images, labels) =
        (idx(&[2, 2, 3], &[0, 1, 2, 3, 4, 5, 250, 251, 252, 253, 254, 255]), idx(&[2], &[7, 2]));
    let packed = |name: &str, bytes: &[u8]| {
        let file = std::fs::File::create(folder.path().join(name)).unwrap();
        let mut writer = flate2::write::GzEncoder::new(file, flate2::Compression::default());
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap();
    };
    std::fs::write(folder.path().join("t10k-images-idx3-ubyte"), &images).unwrap();
    std::fs::write(folder.path().join("t10k-labels-idx1-ubyte"), &labels).unwrap();
    packed("train-images-idx3-ubyte.gz", &images);
    packed("train-labels-idx1-ubyte.gz", &labels);
    for name in ["t10k-images-idx3-ubyte", "train-images-idx3-ubyte.gz"] {
        let found = open(folder.path(), name).unwrap();
        assert_eq!((found.form, found.samples, found.labels.clone()), ("MNIST", 2, Some(vec![7, 2])));
        let tensor = fitted(&found, DType::FLOAT32, [1, 2, 3, 1]);
        assert_eq!(tensor.shape, [2, 2, 3, 1]);
        assert_eq!(tensor.bytes[24..28], 250_f32.to_le_bytes());
        assert_eq!(open(folder.path(), &format!("{name}[1:]")).unwrap().labels, Some(vec![2]));
    }
    assert_eq!(open(folder.path(), ".").unwrap_err().kind(), ErrorKind::Ambiguous);
    std::fs::write(folder.path().join("t10k-images-idx3-ubyte"), &images[..20]).unwrap();
    let error = open(folder.path(), "t10k-images-idx3-ubyte").unwrap_err();
    assert!(error.one_line().ends_with("it has 20 of 28 bytes"), "{error:?}");
    std::fs::write(folder.path().join("t10k-labels-idx1-ubyte"), idx(&[3], &[7, 2, 1])).unwrap();
    std::fs::write(folder.path().join("t10k-images-idx3-ubyte"), &images).unwrap();
    let error = open(folder.path(), "t10k-images-idx3-ubyte").unwrap_err();
    assert!(error.message().starts_with("there are 3 labels for 2 samples"), "{error:?}");
}

/// torchvision numbers the sorted names of the folders: ape 0, dog 1, with the pictures of ape first.
#[test]
fn class_folders_are_numbered_as_torchvision_does_it() {
    let folder = tempfile::tempdir().unwrap();
    picture(&folder.path().join("dog/a.png"), [1, 2, 3]);
    picture(&folder.path().join("ape/z.png"), [4, 5, 6]);
    picture(&folder.path().join("ape/b/c.png"), [7, 8, 9]);
    let found = open(folder.path(), ".").unwrap();
    assert_eq!(
        (found.form, &found.classes[..]),
        ("class folders", &["ape".to_owned(), "dog".to_owned()][..])
    );
    assert_eq!(found.labels, Some(vec![0, 0, 1]));
    assert_eq!(fitted(&found, DType::UINT8, [1, 2, 2, 3]).bytes[..3], [4, 5, 6]);
    std::fs::write(folder.path().join("names.txt"), "dog\nape\n").unwrap();
    let named = |source: &str, classes: &str| {
        let (source, classes) = (source.to_owned(), Some(classes.to_owned()));
        open_with(folder.path(), Recipe { source, classes, ..Recipe::default() })
    };
    assert_eq!(named(".", "names.txt").unwrap().labels, Some(vec![1, 1, 0]));
    std::fs::write(folder.path().join("names.txt"), "dog\n").unwrap();
    assert!(named(".", "names.txt").unwrap_err().message().contains("the unknown class `ape`"));
    std::fs::create_dir(folder.path().join("eel")).unwrap();
    assert!(open(folder.path(), ".").unwrap_err().message().ends_with("eel` holds no pictures"));
}

#[test]
fn a_list_names_pictures_and_labels_in_three_notations() {
    let folder = tempfile::tempdir().unwrap();
    picture(&folder.path().join("in/a.png"), [1, 1, 1]);
    picture(&folder.path().join("in/b b.png"), [2, 2, 2]);
    for (name, text, numbers) in [
        ("l.csv", "label,path\ndog,in/b b.png\nape,in/a.png\n", [1, 0]),
        ("l.tsv", "in/b b.png\t4\nin/a.png\t2\n", [4, 2]),
        ("l.txt", "in/b b.png dog\n\nin/a.png ape\n", [1, 0]),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
        let found = open(folder.path(), name).unwrap();
        assert_eq!(found.labels, Some(numbers.to_vec()), "{name}");
        assert_eq!(fitted(&found, DType::UINT8, [1, 2, 2, 3]).bytes[..1], [2]);
    }
    std::fs::write(folder.path().join("l.csv"), "in/a.png,1\nin/c.png,1\n").unwrap();
    assert!(
        open(folder.path(), "l.csv")
            .unwrap_err()
            .message()
            .ends_with("names `in/c.png`, which does not exist")
    );
    std::fs::write(folder.path().join("l.csv"), "in/a.png,1\nin/a.png,\n").unwrap();
    assert!(open(folder.path(), "l.csv").unwrap_err().message().ends_with("l.csv` has no label"));
}

#[test]
fn labels_come_from_text_and_tables_and_must_be_as_many_as_samples() {
    let folder = tempfile::tempdir().unwrap();
    picture(&folder.path().join("p/a.png"), [1, 1, 1]);
    picture(&folder.path().join("p/b.png"), [2, 2, 2]);
    let with = |labels: &str| {
        open_with(
            folder.path(),
            Recipe { source: "p".into(), labels: Some(labels.into()), ..Recipe::default() },
        )
    };
    std::fs::write(folder.path().join("l.txt"), "5\n3\n").unwrap();
    assert_eq!(with("l.txt").unwrap().labels, Some(vec![5, 3]));
    std::fs::write(folder.path().join("l.csv"), "name,kind\na,dog\nb,ape\n").unwrap();
    assert_eq!(with("l.csv:kind").unwrap_err().kind(), ErrorKind::NotFound);
    std::fs::write(folder.path().join("l.csv"), "file,kind,label\na,dog,x\nb,ape,y\n").unwrap();
    let found = with("l.csv:kind").unwrap();
    assert_eq!(
        (found.labels, &found.classes[..]),
        (Some(vec![1, 0]), &["ape".to_owned(), "dog".to_owned()][..])
    );
    std::fs::write(folder.path().join("l.txt"), "5\n").unwrap();
    assert!(with("l.txt").unwrap_err().message().starts_with("there are 1 labels for 2 samples"));
    assert_eq!(with("missing.txt").unwrap_err().kind(), ErrorKind::NotFound);
}

/// (128 / 255 - 0.5) / 0.25 = 0.00784314, (255 / 255 - 0.5) / 0.25 = 2.
#[test]
fn an_array_of_pictures_is_normalized_into_pictures_are() {
    let folder = tempfile::tempdir().unwrap();
    let mut header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (2, 1, 2, 3), }".to_vec();
    header.resize(117, b' ');
    header.push(b'\n');
    let pixels = [128, 255, 0, 128, 255, 0, 255, 255, 255, 0, 0, 0];
    std::fs::write(
        folder.path().join("a.npy"),
        [b"\x93NUMPY\x01\x00\x76\x00", &header[..], &pixels].concat(),
    )
    .unwrap();
    let options = PictureOptions { mean: vec![0.5], deviation: vec![0.25], ..PictureOptions::default() };
    let recipe = Recipe { source: "a.npy".into(), options, ..Recipe::default() };
    let found = open_with(folder.path(), recipe.clone()).unwrap();
    assert_eq!(found.input.source, "a.npy, mean 0.5, std 0.25");
    let tensor = fitted(&found, DType::FLOAT32, [1, 3, 1, 2]);
    assert_eq!(tensor.shape, [2, 3, 1, 2]);
    let numbers: Vec<f32> =
        tensor.bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
    let expected = [0.007_843_138, 0.007_843_138, 2.0, 2.0, -2.0, -2.0, 2.0, -2.0, 2.0, -2.0, 2.0, -2.0];
    for (found, expected) in numbers.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-6, "{numbers:?}");
    }
    let second = open_with(folder.path(), Recipe { split: Some("1:2".into()), ..recipe.clone() }).unwrap();
    assert_eq!(fitted(&second, DType::FLOAT32, [1, 3, 1, 2]).bytes, tensor.bytes[24..]);
    let random = open_with(folder.path(), Recipe { samples: Some(1), seed: Some(3), ..recipe }).unwrap();
    let bytes = fitted(&random, DType::FLOAT32, [1, 3, 1, 2]).bytes;
    assert!(bytes == tensor.bytes[..24] || bytes == tensor.bytes[24..]);
}

#[test]
fn a_toml_file_describes_data_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    picture(&folder.path().join("d/ape/a.png"), [255, 0, 0]);
    picture(&folder.path().join("d/dog/a.png"), [0, 255, 0]);
    let describe = |text: &str| {
        std::fs::write(folder.path().join("d/d.toml"), text).unwrap();
        open(folder.path(), "d/d.toml")
    };
    let found =
        describe("source = \".\"\nmean = 0.5\nstd = [0.5, 0.5, 0.5]\nsplit = \"1:2\"\nresize = \"crop\"\n")
            .unwrap();
    assert_eq!((found.labels.clone(), found.samples), (Some(vec![1]), 1));
    assert_eq!(found.input.source, "d/d.toml[1:2], resize crop, mean 0.5, std 0.5,0.5,0.5");
    assert_eq!(fitted(&found, DType::FLOAT32, [1, 2, 2, 3]).bytes[..4], (-1_f32).to_le_bytes());
    let scaled = describe("source = \".\"\nscale = 0.00392156862745098\n").unwrap();
    assert_eq!(fitted(&scaled, DType::FLOAT32, [1, 2, 2, 3]).bytes[..4], 1_f32.to_le_bytes());
    let error = describe("source = \".\"\nmeen = 0.5\n").unwrap_err();
    assert!(error.one_line().contains("line 2: unknown field `meen`"), "{error:?}");
    let error = describe("source = \".\"\nresize = \"cut\"\n").unwrap_err();
    assert!(
        error.one_line().ends_with("`resize` is `cut`, not one of `stretch`, `crop`, `pad`"),
        "{error:?}"
    );
}

#[test]
fn a_share_is_cut_out_of_a_picture_resized_to_as_much_more() {
    let folder = tempfile::tempdir().unwrap();
    let pixels = image::GrayImage::from_fn(4, 4, |x, y| image::Luma([(x + 4 * y) as u8]));
    std::fs::create_dir(folder.path().join("p")).unwrap();
    pixels.save(folder.path().join("p/a.png")).unwrap();
    let options = PictureOptions { crop: Some(0.5), ..PictureOptions::default() };
    let found =
        open_with(folder.path(), Recipe { source: "p".into(), options, ..Recipe::default() }).unwrap();
    assert_eq!(fitted(&found, DType::UINT8, [1, 2, 2, 1]).bytes, [5, 6, 9, 10]);
}

/// 25,000 pictures of 28×28: 19.6 MB. The pixel in a corner says which one it is.
#[test]
fn a_large_compressed_file_is_unpacked_once_and_its_samples_read_from_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut pixels = vec![0; 25_000 * 784];
    for picture in 0..25_000 {
        pixels[picture * 784] = (picture % 251) as u8;
    }
    let path = folder.path().join("train-images-idx3-ubyte.gz");
    let mut writer =
        flate2::write::GzEncoder::new(std::fs::File::create(path).unwrap(), flate2::Compression::fast());
    writer.write_all(&idx(&[25_000, 28, 28], &pixels)).unwrap();
    writer.finish().unwrap();
    let found = open(folder.path(), "train-images-idx3-ubyte.gz").unwrap();
    let Content::Pixels(pixels, _) = &found.input.content else { unreachable!("these are pictures") };
    let Content::Stored(stored) = &**pixels else { unreachable!("a large array stays in a file") };
    let unpacked = stored.path.clone();
    let part = found.part(&super::Samples::Range(20_000..20_002)).unwrap();
    let tensor = fitted(&part, DType::UINT8, [1, 28, 28, 1]);
    assert_eq!((tensor.bytes[0], tensor.bytes[784]), ((20_000 % 251) as u8, (20_001 % 251) as u8));
    drop(found);
    assert!(unpacked.exists());
    drop(part);
    assert!(!unpacked.exists());
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.bin", "a.txt", "a.csv", "a.tsv", "a.toml", "a-images-idx3-ubyte", "a-images-idx3-ubyte.gz"] {
            std::fs::write(folder.path().join(name), &bytes).unwrap();
            let _ = open(folder.path(), name);
            let header = [&[0, 0, 8, 3][..], &bytes].concat();
            std::fs::write(folder.path().join(name), header).unwrap();
            let _ = open(folder.path(), name);
        }
    }
}
