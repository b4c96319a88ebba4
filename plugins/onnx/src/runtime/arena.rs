//! One arena for all pieces: memory that the values of one piece free is reused by the next, whichever model it
//! belongs to.
//!
//! Without an arena, each value is allocated from and returned to the operating system: a third of the time of a
//! capture. With one per session, each session keeps its own memory.

use ort::AsPointer;
use ort::environment::Environment;
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use std::ffi::c_int;

/// The arena grows by the requested size, not to twice its size.
const AS_REQUESTED: c_int = 1;
/// The runtime's own choice.
const USUAL: c_int = -1;

/// Gives the environment an arena, for the sessions that ask for it with `with_env_allocators`.
///
/// # Errors
/// Those of the runtime.
#[expect(unsafe_code, reason = "ort has no call that registers an arena")]
pub(super) fn share(environment: &Environment) -> ort::Result<()> {
    let info = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Arena, MemoryType::Default)?;
    let api = ort::api();
    let mut settings = std::ptr::null_mut();
    // SAFETY: both calls are part of API 1, `settings` is where the first writes its result, and the others are
    // pointers to live objects; the environment copies the settings, which are released once.
    unsafe {
        ort::Error::result_from_status((api.CreateArenaCfg)(
            0,
            AS_REQUESTED,
            USUAL,
            USUAL,
            &raw mut settings,
        ))?;
        let status = (api.CreateAndRegisterAllocator)(environment.ptr().cast_mut(), info.ptr(), settings);
        let outcome = ort::Error::result_from_status(status);
        (api.ReleaseArenaCfg)(settings);
        outcome
    }
}
