//! Arguments that several commands take, and the readers of their values.

pub(super) mod against;
pub(super) mod evidence;
pub(super) mod models;
pub(super) mod number;
pub(super) mod pictures;
pub(super) mod running;
pub(super) mod samples;
pub(super) mod target;
