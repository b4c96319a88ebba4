//! Writes a model to a file of its own: its bytes as they are, or encoded anew with what edits hold outside of them.

use crate::convert;
use crate::external_data::{ExternalFiles, Location};
use crate::held;
use crate::proto::{self, AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto};
use crate::source::Source;
use bytes::Bytes;
use prost::Message;
use qp_abi::sdk::{BackendError, ErrorKind, Pair, Progress, Result};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// A protobuf message has less than 2 GiB; beyond this, weights are written to a file beside the model.
const MOST_BYTES: u64 = (2 << 30) - (64 << 20);

/// Smaller tensors stay in the model's file, as in those that `onnx.save_model` writes.
const OUTSIDE_FROM_BYTES: usize = 1 << 10;

/// Tensors begin at a page, so that they can be mapped.
const PAGE: u64 = 4096;

/// Writes the model in `source` to the new file `path`. Large models, and those that have their weights in other
/// files, get a second file beside it, of the same name and `.data`.
///
/// # Errors
/// `InvalidInput` for options, `Io` for what cannot be written, and those of reading external data.
pub fn write(
    source: &Source,
    external: &ExternalFiles,
    path: &Path,
    options: &[Pair],
    progress: &Progress<'_>,
) -> Result<()> {
    if let Some(option) = options.first() {
        return Err(BackendError::invalid_input(format!("unknown option `{}` of an export", option.0)));
    }
    source.check()?;
    progress.update("writing the model", 0, 0)?;
    let mut model = proto::decode_model(source.bytes(), &source.name())?;
    let (mut inside, mut outside) = (source.bytes().len() as u64, 0_u64);
    let mut has_outside = false;
    each_tensor(&mut model, &mut |tensor| {
        if !convert::is_external(tensor) {
            return Ok(());
        }
        has_outside = true;
        let is_own = is_own(source, tensor)?;
        let (bytes, _) = external.read(tensor)?;
        *(if is_own { &mut inside } else { &mut outside }) += bytes.len() as u64;
        set(tensor, bytes);
        Ok(())
    })?;
    if !has_outside {
        return save(path, |file| file.write_all(source.bytes()));
    }
    if outside > 0 || inside > MOST_BYTES {
        split(&mut model, path, progress)?;
    }
    progress.update("writing the model", 0, 0)?;
    save(path, |file| file.write_all(&model.encode_to_vec()))
}

/// Whether a tensor's elements are in the model's own file, or held by an edit.
fn is_own(source: &Source, tensor: &TensorProto) -> Result<bool> {
    let location = Location::of(tensor)?;
    let own = source.path().file_name().and_then(|name| name.to_str());
    Ok(source.held().contains_key(&location.file) || own == Some(location.file.as_str()))
}

fn set(tensor: &mut TensorProto, bytes: Bytes) {
    tensor.external_data.clear();
    tensor.data_location = None;
    tensor.raw_data = Some(bytes);
}

/// Moves the large tensors to a file beside the model.
fn split(model: &mut ModelProto, path: &Path, progress: &Progress<'_>) -> Result<()> {
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
        BackendError::invalid_input(format!("the name of `{}` is not UTF-8", path.display()))
    })?;
    let location = format!("{name}.data");
    let data = path.with_file_name(&location);
    let failed = |error: &std::io::Error| unwritten(&data, error);
    let mut file = BufWriter::new(File::create_new(&data).map_err(|error| failed(&error))?);
    let mut at = 0_u64;
    each_tensor(model, &mut |tensor| {
        let Some(raw) = tensor.raw_data.take_if(|raw| raw.len() >= OUTSIDE_FROM_BYTES) else { return Ok(()) };
        progress.update("writing weights", 0, 0)?;
        let padding = at.next_multiple_of(PAGE) - at;
        let written = std::io::copy(&mut std::io::Read::take(std::io::repeat(0), padding), &mut file)
            .and_then(|_| file.write_all(&raw));
        written.map_err(|error| failed(&error))?;
        at += padding;
        let offset = usize::try_from(at)
            .map_err(|_| BackendError::unsupported_op("the weights are too large for this machine"))?;
        held::move_to(tensor, &location, offset, raw.len());
        at += raw.len() as u64;
        Ok(())
    })?;
    file.flush().map_err(|error| failed(&error))
}

fn unwritten(path: &Path, error: &std::io::Error) -> BackendError {
    BackendError::new(ErrorKind::IO, format!("cannot write `{}`", path.display()))
        .with_cause(error.to_string())
}

fn save(path: &Path, fill: impl FnOnce(&mut File) -> std::io::Result<()>) -> Result<()> {
    File::create_new(path).and_then(|mut file| fill(&mut file)).map_err(|error| unwritten(path, &error))
}

/// Calls `act` with every stored tensor of the model: of its graph, of the graphs inside of nodes, of its functions.
fn each_tensor(model: &mut ModelProto, act: &mut dyn FnMut(&mut TensorProto) -> Result<()>) -> Result<()> {
    if let Some(graph) = &mut model.graph {
        of_graph(graph, act)?;
    }
    model.functions.iter_mut().try_for_each(|function| of_nodes(&mut function.node, act))
}

fn of_graph(graph: &mut GraphProto, act: &mut dyn FnMut(&mut TensorProto) -> Result<()>) -> Result<()> {
    graph.initializer.iter_mut().try_for_each(&mut *act)?;
    of_nodes(&mut graph.node, act)
}

/// The depth of graphs in graphs is limited by the reader.
fn of_nodes(nodes: &mut [NodeProto], act: &mut dyn FnMut(&mut TensorProto) -> Result<()>) -> Result<()> {
    for AttributeProto { t, g, tensors, graphs, .. } in nodes.iter_mut().flat_map(|node| &mut node.attribute)
    {
        t.iter_mut().chain(tensors).try_for_each(&mut *act)?;
        g.iter_mut().chain(graphs).try_for_each(|graph| of_graph(graph, act))?;
    }
    Ok(())
}
