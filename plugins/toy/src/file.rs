//! Reads a `.toy` file. Everything in the file is checked here: sizes before anything is allocated, names before they
//! are used.

use crate::misbehaviour::Misbehaviour;
use crate::network::{Affine, Book, Input, Layer, Network, Operator, Stored};
use qp_abi::sdk::*;
use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// What every `.toy` file begins with.
pub(crate) const MAGIC: &[u8] = b"toy 1";

/// A larger file is not a toy.
const MOST_BYTES: u64 = 16 << 20;

/// Reads the file at `path`.
pub(crate) fn read(path: &Path, progress: &Progress<'_>) -> Result<Network> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| BackendError::io(path, &error))?;
    let refuse =
        |why: String| BackendError::corrupt_file(format!("cannot read `{}`", path.display())).with_cause(why);
    if bytes.len() as u64 > MOST_BYTES {
        return Err(refuse(format!("it has more than {MOST_BYTES} bytes")));
    }
    if !bytes.starts_with(MAGIC) {
        return Err(BackendError::unsupported_format(format!("`{}` is not a toy file", path.display()))
            .with_help("Begin the file with the line `toy 1`."));
    }
    let text = std::str::from_utf8(&bytes).map_err(|error| refuse(error.to_string()))?;
    let mut reader = Reader::default();
    let total = text.lines().count() as u64;
    for (index, line) in text.lines().enumerate() {
        progress.update("reading", index as u64, total)?;
        reader.line(line).map_err(|why| refuse(format!("line {}: {why}", index + 1)))?;
    }
    reader.finish().map_err(refuse)
}

/// Why a line is invalid.
type Fault = String;

#[derive(Default)]
struct Reader {
    network: Network,
    /// Inputs, tensors and values so far.
    names: HashSet<String>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), Fault> {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(statement) = words.next() else { return Ok(()) };
        let words: Vec<&str> = words.collect();
        match (statement, words.as_slice()) {
            ("toy", ["1"]) => Ok(()),
            ("input", [name, "float32", shape]) => self.input(name, shape),
            ("tensor", [name, dtype, shape, rest @ ..]) => self.tensor(name, dtype, shape, rest),
            ("layer", [path, operator, rest @ ..]) => self.layer(path, operator, rest),
            ("output", [name]) => self.output(name),
            ("misbehave", [way]) => {
                let way = Misbehaviour::from_name(way).ok_or_else(|| format!("no misbehaviour `{way}`"))?;
                self.network.misbehaviour = Some(way);
                Ok(())
            }
            _ => Err(format!("invalid or incomplete statement `{statement}`")),
        }
    }

    fn finish(self) -> Result<Network, Fault> {
        if self.network.outputs.is_empty() { Err("it has no output".to_owned()) } else { Ok(self.network) }
    }

    fn declare(&mut self, name: &str) -> Result<(), Fault> {
        if self.names.insert(name.to_owned()) { Ok(()) } else { Err(format!("`{name}` already exists")) }
    }

    fn input(&mut self, name: &str, shape: &str) -> Result<(), Fault> {
        self.declare(name)?;
        let dimension = |text: &str| match text.parse::<i64>() {
            Ok(size) if size >= 0 => Ok(Dimension::fixed(size)),
            Err(_) if text.chars().all(char::is_alphabetic) => Ok(Dimension::symbolic(text)),
            _ => Err(format!("invalid dimension `{text}`")),
        };
        let shape = shape.split(',').map(dimension).collect::<Result<_, _>>()?;
        self.network.inputs.push(Input { name: name.to_owned(), dtype: DType::FLOAT32, shape });
        Ok(())
    }

    fn tensor(&mut self, name: &str, dtype: &str, shape: &str, rest: &[&str]) -> Result<(), Fault> {
        self.declare(name)?;
        let shape: Vec<i64> = shape
            .split(',')
            .map(|size| size.parse().map_err(|_| format!("invalid dimension `{size}`")))
            .collect::<Result<_, _>>()?;
        let (settings, elements) = match rest.iter().position(|word| *word == "=") {
            Some(at) => (&rest[..at], &rest[at + 1..]),
            None => return Err("a tensor ends with `=` and its elements".to_owned()),
        };
        if element_count(&shape) != Some(elements.len() as u64) {
            return Err(format!("{} elements do not fit the shape {shape:?}", elements.len()));
        }
        if dtype == Book::NAME {
            let bytes = parse_all(elements, |number: u8| number.to_le_bytes())?;
            let book = Some(book(settings, &bytes)?);
            let dtype = DType::UINT8;
            self.network.tensors.push(Stored {
                name: name.to_owned(),
                dtype,
                shape,
                bytes,
                quantization: None,
                book,
            });
            return Ok(());
        }
        let (dtype, quantization, bytes) = match dtype {
            "float32" => (DType::FLOAT32, None, parse_all(elements, |number: f32| number.to_le_bytes())?),
            "int8" => (
                DType::INT8,
                Some(affine(settings)?),
                parse_all(elements, |number: i8| number.to_le_bytes())?,
            ),
            _ => return Err(format!("a toy has no element type `{dtype}`")),
        };
        self.network.tensors.push(Stored {
            name: name.to_owned(),
            dtype,
            shape,
            bytes,
            quantization,
            book: None,
        });
        Ok(())
    }

    fn layer(&mut self, path: &str, operator: &str, rest: &[&str]) -> Result<(), Fault> {
        if self.network.layers.iter().any(|layer| layer.path == path) {
            return Err(format!("the layer `{path}` already exists"));
        }
        let (inputs, output, settings) = match rest.iter().position(|word| *word == "->") {
            Some(at) if at + 1 < rest.len() => (&rest[..at], rest[at + 1], &rest[at + 2..]),
            _ => return Err("a layer needs `->` and the name of its output".to_owned()),
        };
        let operator = match operator {
            "Add" => Operator::Add,
            "Mul" => Operator::Mul,
            "Relu" => Operator::Relu,
            "Quantize" => Operator::Quantize(affine(settings)?),
            _ => return Err(format!("a toy has no operator `{operator}`")),
        };
        if inputs.len() != operator.arity() {
            return Err(format!("{} reads {} values", operator.name(), operator.arity()));
        }
        if let Some(unknown) = inputs.iter().find(|name| !self.names.contains(**name)) {
            return Err(format!("nothing before it is named `{unknown}`"));
        }
        self.declare(output)?;
        self.network.layers.push(Layer {
            path: path.to_owned(),
            operator,
            inputs: inputs.iter().map(|name| (*name).to_owned()).collect(),
            output: output.to_owned(),
        });
        Ok(())
    }

    fn output(&mut self, name: &str) -> Result<(), Fault> {
        if !self.network.layers.iter().any(|layer| layer.output == name) {
            return Err(format!("no layer computes `{name}`"));
        }
        self.network.outputs.push(name.to_owned());
        Ok(())
    }
}

/// `scale=0.5 zero_point=3`; the zero point is optional.
fn affine(settings: &[&str]) -> Result<Affine, Fault> {
    let mut affine = Affine { scale: f64::NAN, zero_point: 0.0 };
    for setting in settings {
        let (name, text) = setting.split_once('=').ok_or_else(|| format!("invalid setting `{setting}`"))?;
        let number: f64 = text.parse().map_err(|_| format!("invalid number `{text}`"))?;
        match name {
            "scale" => affine.scale = number,
            "zero_point" => affine.zero_point = number,
            _ => return Err(format!("unknown setting `{name}`")),
        }
    }
    if affine.scale > 0.0 && affine.scale.is_finite() && affine.zero_point.is_finite() {
        Ok(affine)
    } else {
        Err("it needs a positive `scale=`".to_owned())
    }
}

/// `numbers=-1:0:1 scales=0.5:2 block=2`: every code is an entry of the table, every block has a scale.
fn book(settings: &[&str], codes: &[u8]) -> Result<Book, Fault> {
    let mut book = Book { numbers: Vec::new(), scales: Vec::new(), block: 0 };
    let list =
        |text: &str| parse_all(&text.split(':').collect::<Vec<_>>(), |number: f32| number.to_le_bytes());
    let floats = |text: &str| -> Result<Vec<f32>, Fault> {
        Ok(list(text)?.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    };
    for setting in settings {
        let (name, text) = setting.split_once('=').ok_or_else(|| format!("invalid setting `{setting}`"))?;
        match name {
            "numbers" => book.numbers = floats(text)?,
            "scales" => book.scales = floats(text)?,
            "block" => book.block = text.parse().map_err(|_| format!("invalid block size `{text}`"))?,
            _ => return Err(format!("unknown setting `{name}`")),
        }
    }
    if book.block == 0 || book.scales.len() != codes.len().div_ceil(book.block) {
        return Err("it needs `block=` and a scale for each block".to_owned());
    }
    match codes.iter().find(|code| usize::from(**code) >= book.numbers.len()) {
        Some(code) => Err(format!("the code {code} is not one of the {} in `numbers=`", book.numbers.len())),
        None => Ok(book),
    }
}

fn parse_all<T: std::str::FromStr, const N: usize>(
    words: &[&str],
    to_bytes: impl Fn(T) -> [u8; N],
) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::with_capacity(words.len() * N);
    for word in words {
        bytes.extend(to_bytes(word.parse().map_err(|_| format!("invalid number `{word}`"))?));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Network, Fault> {
        let mut reader = Reader::default();
        text.lines().try_for_each(|line| reader.line(line))?;
        reader.finish()
    }

    #[test]
    fn names_are_declared_once_and_before_use() {
        assert_eq!(parse("layer a Relu x -> y").unwrap_err(), "nothing before it is named `x`");
        let twice = "input x float32 2\ninput x float32 2";
        assert_eq!(parse(twice).unwrap_err(), "`x` already exists");
    }

    #[test]
    fn elements_must_fit_the_shape() {
        assert_eq!(
            parse("tensor w float32 2,2 = 1 2 3").unwrap_err(),
            "3 elements do not fit the shape [2, 2]"
        );
        assert_eq!(parse("tensor w int8 1 scale=1 = 300").unwrap_err(), "invalid number `300`");
        assert_eq!(parse("tensor w int8 1 = 3").unwrap_err(), "it needs a positive `scale=`");
        assert!(parse("tensor w float32 9223372036854775807,4 = 1").is_err());
        assert_eq!(
            parse("tensor w book 2 numbers=1:2 scales=1 block=2 = 0 2").unwrap_err(),
            "the code 2 is not one of the 2 in `numbers=`"
        );
        let without = "it needs `block=` and a scale for each block";
        assert_eq!(parse("tensor w book 3 numbers=1:2 scales=1 block=2 = 0 1 0").unwrap_err(), without);
        assert_eq!(parse("tensor w book 1 numbers=1 = 0").unwrap_err(), without);
    }

    #[test]
    fn a_network_needs_an_output_that_a_layer_computes() {
        assert_eq!(parse("input x float32 2").unwrap_err(), "it has no output");
        assert_eq!(parse("input x float32 2\noutput x").unwrap_err(), "no layer computes `x`");
    }
}
