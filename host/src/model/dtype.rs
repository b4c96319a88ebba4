//! The type of a tensor's elements.

/// The type of a tensor's elements, by the code that plugins use for it.
///
/// An open set: a code without a name prints as `dtype<code>`; tensors of it are listed but never decoded.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DType(u8);

qp_elements::dtype!(DType);

impl DType {
    /// The type with this code, known or not.
    pub fn from_code(code: u8) -> Self {
        Self(code)
    }

    /// The code, as plugins use it.
    pub fn code(self) -> u8 {
        self.0
    }
}
