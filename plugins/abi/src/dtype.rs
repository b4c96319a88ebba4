//! Element types.

use abi_stable::StableAbi;

/// The type of a tensor's elements.
///
/// An open set: codes below 64 are those of ONNX's `TensorProto.DataType`, codes from 64 are qp's own. A
/// code that the host does not know prints as `dtype<code>`; its tensors are listed and never decoded.
#[repr(transparent)]
#[derive(StableAbi, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DType(pub u8);

qp_elements::dtype!(DType);
