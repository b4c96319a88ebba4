//! Files that are mapped to be read, and what happens if another process cuts them.
//!
//! Past the end of a file a map has no pages: reading there raises `SIGBUS`, which ends the process. So each map is
//! registered, and a handler puts pages of zeros where pages of a registered map are missing and notes it. The reader goes
//! on with zeros; [`watched`] turns its result into an error before it leaves the plugin.

use crate::error::{BackendError, ErrorKind};
use crate::sdk::{Result, pages_of};
use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// A file that is mapped to be read.
#[derive(Debug)]
pub struct MappedFile {
    path: PathBuf,
    file: File,
    // Dropped before the map.
    place: registry::Place,
    map: Mmap,
    seen: Mutex<Seen>,
}

/// The file when it was last looked at.
#[derive(Debug)]
struct Seen {
    bytes: u64,
    modified: Option<SystemTime>,
    changes: u64,
}

impl MappedFile {
    /// Maps `file`, which was opened at `path`.
    ///
    /// # Errors
    /// `Io`.
    pub fn new(path: &Path, file: File) -> Result<Self> {
        let io = |error: &std::io::Error| BackendError::io(path, error);
        let (bytes, modified) = settled(&file).map_err(|error| io(&error))?;
        // SAFETY: the map is private to this process and only read. A process that changes the file changes bytes,
        // which are checked as untrusted wherever they are interpreted; if it cuts the file, the handler of the registry
        // supplies the missing pages.
        let map = unsafe { Mmap::map(&file) }.map_err(|error| io(&error))?;
        let place = registry::register(&map);
        let seen = Seen { bytes, modified, changes: 0 };
        Ok(Self { path: path.to_owned(), file, place, map, seen: Mutex::new(seen) })
    }

    /// All bytes; zeros instead of those that the file has lost.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Releases the pages of bytes that have been read from this process's memory, if they are part of the file
    /// and large enough: a later read gets them from the system's cache or the disk.
    pub fn release(&self, part: &[u8]) {
        let Some(pages) = pages_of(&self.map, part) else { return };
        #[cfg(unix)]
        // SAFETY: the map is of a file, and never written to: its pages hold what the file holds, and come back when they
        // are touched. A failure leaves them where they are.
        let _ =
            unsafe { self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, pages.start, pages.len()) };
    }

    /// Checks that the file has all the bytes that it had, and that all which were read were there.
    ///
    /// # Errors
    /// `CorruptFile` if it has become shorter, `Io` if a part of it could not be read.
    pub fn check(&self) -> Result<()> {
        let now = self.file.metadata().map_err(|error| BackendError::io(&self.path, &error))?.len();
        let had = self.map.len() as u64;
        if now < had {
            let message = format!(
                "`{}` became shorter while it was read: {now} of {had} bytes are left",
                name(&self.path)
            );
            return Err(BackendError::new(ErrorKind::CORRUPT_FILE, message).with_help(RELOAD));
        }
        if self.place.is_cut() {
            let message = format!("a part of `{}` could not be read", name(&self.path));
            return Err(BackendError::new(ErrorKind::IO, message)
                .with_cause("it was shorter for a moment, or its disk failed")
                .with_help(RELOAD));
        }
        Ok(())
    }

    /// How often the file has been seen to change since it was mapped; `look` says how large it is and when it was written.
    fn changes(&self, look: impl Fn(&File) -> io::Result<Stamp>) -> Result<u64> {
        let (bytes, modified) = look(&self.file).map_err(|error| BackendError::io(&self.path, &error))?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if (seen.bytes, seen.modified) != (bytes, modified) {
            *seen = Seen { bytes, modified, changes: seen.changes + 1 };
        }
        Ok(seen.changes)
    }

    fn check_since(&self, changes: u64) -> Result<()> {
        self.check()?;
        if self.changes(stamp)? == changes {
            return Ok(());
        }
        Err(changed(&self.path))
    }

    /// Checks that the file has not changed since it was mapped.
    ///
    /// # Errors
    /// As [`Self::check`], and `Io` if it was written.
    pub fn check_unchanged(&self) -> Result<()> {
        self.check_since(0)
    }
}

/// The size of a file, and when it was written.
type Stamp = (u64, Option<SystemTime>);

fn stamp(file: &File) -> io::Result<Stamp> {
    let metadata = file.metadata()?;
    Ok((metadata.len(), metadata.modified().ok()))
}

/// The same, once enough time has passed for a later change to have another time: some systems count it in ticks of
/// up to 10 ms. A file that is written all the time is not waited for.
fn settled(file: &File) -> io::Result<Stamp> {
    const TICK: Duration = Duration::from_millis(10);
    for _ in 0..3 {
        let (_, modified) = stamp(file)?;
        let age = modified.and_then(|modified| SystemTime::now().duration_since(modified).ok());
        if age.is_none_or(|age| age > TICK) {
            break;
        }
        std::thread::sleep(TICK);
    }
    stamp(file)
}

fn changed(path: &Path) -> BackendError {
    let message = format!("`{}` changed while it was read", name(path));
    BackendError::new(ErrorKind::IO, message).with_help(RELOAD)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

const RELOAD: &str = "`reload` reads it again.";

/// What `read` returns, or the error of a file that has changed meanwhile; then nothing that `read` has done can be
/// trusted, nor that it failed. `files` lists what it reads, and is called before and after: reading may open more.
///
/// # Errors
/// `CorruptFile` or `Io` for a file that has changed.
pub fn watched<T>(files: impl Fn() -> Vec<Arc<MappedFile>>, read: impl FnOnce() -> T) -> Result<T> {
    let mut before = HashMap::new();
    for file in files() {
        file.check()?;
        before.insert(Arc::as_ptr(&file), (file.changes(settled)?, file));
    }
    let result = read();
    for file in files() {
        file.check_since(before.get(&Arc::as_ptr(&file)).map_or(0, |(changes, _)| *changes))?;
    }
    Ok(result)
}

/// The content of the file that was opened at `path`, of at most `most` bytes, as it was at one time.
///
/// # Errors
/// `Io`, also for a file that changes all the time.
pub fn read_file(path: &Path, mut file: &File, most: u64) -> Result<Vec<u8>> {
    const TIMES: usize = 5;
    let io = |error: &std::io::Error| BackendError::io(path, error);
    for _ in 0..TIMES {
        let before = stamp(file).map_err(|error| io(&error))?;
        let mut content = Vec::with_capacity(usize::try_from(before.0.min(most)).unwrap_or_default());
        file.seek(SeekFrom::Start(0)).map_err(|error| io(&error))?;
        file.take(most).read_to_end(&mut content).map_err(|error| io(&error))?;
        if stamp(file).map_err(|error| io(&error))? == before {
            return Ok(content);
        }
    }
    Err(changed(path))
}

/// The maps of this library, in a form that a signal handler can read.
#[cfg(unix)]
mod registry {
    use std::ptr;
    use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
    use std::sync::{Mutex, Once, PoisonError};

    /// One map. Free if `start` is 0.
    #[derive(Debug)]
    struct Slot {
        start: AtomicUsize,
        bytes: AtomicUsize,
        is_cut: AtomicBool,
        is_taken: AtomicBool,
    }

    impl Slot {
        const fn free() -> Self {
            Self {
                start: AtomicUsize::new(0),
                bytes: AtomicUsize::new(0),
                is_cut: AtomicBool::new(false),
                is_taken: AtomicBool::new(false),
            }
        }
    }

    /// Slots, and the next ones. Blocks are only added.
    struct Block {
        slots: [Slot; 64],
        next: AtomicPtr<Block>,
    }

    impl Block {
        const fn new() -> Self {
            Self { slots: [const { Slot::free() }; 64], next: AtomicPtr::new(ptr::null_mut()) }
        }

        fn next(&self) -> Option<&'static Self> {
            // SAFETY: the pointer is null, or of a block that was leaked and is never freed.
            unsafe { self.next.load(Ordering::Acquire).as_ref() }
        }
    }

    static FIRST: Block = Block::new();
    /// Held to take and to leave slots.
    static CHANGING: Mutex<()> = Mutex::new(());

    /// The place of a map in the registry; leaves it when dropped.
    #[derive(Debug)]
    pub struct Place(&'static Slot);

    impl Place {
        /// Whether pages of the map were missing when they were read.
        pub fn is_cut(&self) -> bool {
            self.0.is_cut.load(Ordering::Acquire)
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            self.0.start.store(0, Ordering::Release);
            self.0.is_taken.store(false, Ordering::Release);
        }
    }

    /// Registers a map, and sees to its missing pages from now on.
    pub fn register(map: &[u8]) -> Place {
        handler::install();
        let _changing = CHANGING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut block = &FIRST;
        let slot = loop {
            if let Some(free) = block.slots.iter().find(|slot| !slot.is_taken.load(Ordering::Acquire)) {
                break free;
            }
            block = match block.next() {
                Some(next) => next,
                None => {
                    let new: &'static Block = Box::leak(Box::new(Block::new()));
                    block.next.store(ptr::from_ref(new).cast_mut(), Ordering::Release);
                    new
                }
            };
        };
        slot.is_taken.store(true, Ordering::Release);
        slot.is_cut.store(false, Ordering::Release);
        slot.bytes.store(map.len(), Ordering::Release);
        // Last: from here on the handler finds it.
        slot.start.store(map.as_ptr() as usize, Ordering::Release);
        Place(slot)
    }

    /// The registered map that `address` is in, with its end. Safe in a signal handler: a thread that reads a map keeps
    /// it registered, and other slots may change at any time.
    fn find(address: usize, page: usize) -> Option<(&'static Slot, usize)> {
        let mut block = Some(&FIRST);
        while let Some(some) = block {
            for slot in &some.slots {
                let start = slot.start.load(Ordering::Acquire);
                let end = start.saturating_add(slot.bytes.load(Ordering::Acquire)).next_multiple_of(page);
                if start != 0
                    && (start..end).contains(&address)
                    && slot.start.load(Ordering::Acquire) == start
                {
                    return Some((slot, end));
                }
            }
            block = some.next();
        }
        None
    }

    mod handler {
        use super::*;
        use std::mem::MaybeUninit;

        /// The handler before ours.
        static PREVIOUS: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());
        static PAGE: AtomicUsize = AtomicUsize::new(0);

        /// Installs the handler of this library, once.
        pub fn install() {
            static ONCE: Once = Once::new();
            ONCE.call_once(|| {
                // SAFETY: asks the system for a number.
                let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
                PAGE.store(usize::try_from(page).unwrap_or(0), Ordering::Release);
                let mut previous = MaybeUninit::<libc::sigaction>::zeroed();
                // SAFETY: both structures are valid; a zeroed one is. The previous handler is stored before ours
                // can be called. The handler stays valid, because plugins are never unloaded.
                unsafe {
                    if libc::sigaction(libc::SIGBUS, ptr::null(), previous.as_mut_ptr()) != 0 {
                        return;
                    }
                    let previous = Box::leak(Box::new(previous.assume_init()));
                    PREVIOUS.store(previous, Ordering::Release);
                    let mut ours: libc::sigaction = MaybeUninit::zeroed().assume_init();
                    ours.sa_sigaction = handle as extern "C" fn(_, _, _) as libc::sighandler_t;
                    ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
                    libc::sigemptyset(&raw mut ours.sa_mask);
                    libc::sigaction(libc::SIGBUS, &raw const ours, ptr::null_mut());
                }
            });
        }

        /// Only atomics and system calls: it may interrupt anything.
        extern "C" fn handle(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
            let page = PAGE.load(Ordering::Acquire);
            // SAFETY: the system passes a valid description to handlers with `SA_SIGINFO`. A positive code is that of
            // a fault, which has an address; signals that were sent have none.
            let address = unsafe { if (*info).si_code > 0 { (*info).si_addr() as usize } else { 0 } };
            if page != 0
                && let Some((slot, end)) = find(address, page)
            {
                let first = address / page * page;
                // Before the pages: who reads a zero must find it.
                slot.is_cut.store(true, Ordering::Release);
                if supply(first, end - first) {
                    return;
                }
            }
            pass_on(signal, info, context);
        }

        /// Puts pages of zeros there.
        fn supply(start: usize, bytes: usize) -> bool {
            // SAFETY: the range is the rest of a map of this library that is registered, and so in use by the
            // interrupted thread. `mmap` is a system call and allocates nothing; `errno` is restored for that thread.
            unsafe {
                let errno = errno();
                let before = *errno;
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
                let at = libc::mmap(start as *mut libc::c_void, bytes, libc::PROT_READ, flags, -1, 0);
                *errno = before;
                at != libc::MAP_FAILED
            }
        }

        #[cfg(target_os = "linux")]
        unsafe fn errno() -> *mut libc::c_int {
            // SAFETY: the address of this thread's variable.
            unsafe { libc::__errno_location() }
        }

        #[cfg(not(target_os = "linux"))]
        unsafe fn errno() -> *mut libc::c_int {
            // SAFETY: the address of this thread's variable.
            unsafe { libc::__error() }
        }

        /// Does what would have happened without this handler.
        fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
            // SAFETY: `PREVIOUS` is null or leaked. A handler that was installed before is called as the system would
            // call it; without one, the default is restored, and the fault repeats on return. A signal that was
            // sent does not repeat, so it is raised again.
            unsafe {
                let previous = PREVIOUS.load(Ordering::Acquire).as_ref();
                match previous {
                    Some(previous) if previous.sa_sigaction == libc::SIG_IGN && (*info).si_code <= 0 => {}
                    Some(previous)
                        if previous.sa_sigaction != libc::SIG_DFL
                            && previous.sa_sigaction != libc::SIG_IGN =>
                    {
                        if previous.sa_flags & libc::SA_SIGINFO == 0 {
                            let handler: extern "C" fn(libc::c_int) =
                                std::mem::transmute(previous.sa_sigaction);
                            handler(signal);
                        } else {
                            let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                                std::mem::transmute(previous.sa_sigaction);
                            handler(signal, info, context);
                        }
                    }
                    _ => {
                        let mut default: libc::sigaction = MaybeUninit::zeroed().assume_init();
                        default.sa_sigaction = libc::SIG_DFL;
                        libc::sigaction(signal, &raw const default, ptr::null_mut());
                        if (*info).si_code <= 0 {
                            libc::raise(signal);
                        }
                    }
                }
            }
        }
    }
}

/// Without signals there is nothing to register: such systems do not let mapped files be cut.
#[cfg(not(unix))]
mod registry {
    #[derive(Debug)]
    pub struct Place;

    impl Place {
        pub fn is_cut(&self) -> bool {
            false
        }
    }

    pub fn register(_map: &[u8]) -> Place {
        Place
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const BYTES: usize = 1 << 20;

    fn mapped(folder: &tempfile::TempDir, name: &str) -> (PathBuf, Arc<MappedFile>) {
        let path = folder.path().join(name);
        std::fs::write(&path, vec![7; BYTES]).unwrap();
        let file = Arc::new(MappedFile::new(&path, File::open(&path).unwrap()).unwrap());
        (path, file)
    }

    fn cut(path: &Path, bytes: u64) {
        std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(bytes).unwrap();
    }

    fn sum(bytes: &[u8]) -> u64 {
        bytes.iter().map(|byte| u64::from(*byte)).sum()
    }

    #[test]
    fn a_file_that_is_cut_while_it_is_read_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let (path, file) = mapped(&folder, "m.onnx");
        let (_, other) = mapped(&folder, "other.onnx");
        let files = || vec![Arc::clone(&file)];
        assert_eq!(watched(files, || sum(file.bytes())).unwrap(), 7 * BYTES as u64);
        let error = watched(files, || {
            cut(&path, 10_000);
            sum(file.bytes())
        })
        .unwrap_err();
        assert_eq!(error.kind, ErrorKind::CORRUPT_FILE);
        assert_eq!(
            error.message,
            "`m.onnx` became shorter while it was read: 10000 of 1048576 bytes are left"
        );
        // Restored, it has pages of zeros.
        std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(&vec![7; BYTES - 10_000])
            .unwrap();
        let error = watched(files, || sum(file.bytes())).unwrap_err();
        assert_eq!(error.message, "a part of `m.onnx` could not be read");
        assert_eq!(watched(|| vec![Arc::clone(&other)], || sum(other.bytes())).unwrap(), 7 * BYTES as u64);
    }

    #[test]
    fn a_file_that_is_written_while_it_is_read_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let (path, file) = mapped(&folder, "m.onnx");
        let files = || vec![Arc::clone(&file)];
        let error = watched(files, || {
            // Within a page nothing is missing.
            cut(&path, BYTES as u64 - 100);
            let read = sum(file.bytes());
            cut(&path, BYTES as u64);
            read
        })
        .unwrap_err();
        assert_eq!(error.message, "`m.onnx` changed while it was read");
        assert!(watched(files, || ()).is_ok(), "what is read now is what the file holds");
    }

    #[test]
    fn many_maps_are_registered_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let files: Vec<_> = (0..70).map(|number| mapped(&folder, &number.to_string())).collect();
        for (path, _) in files.iter().step_by(2) {
            cut(path, 0);
        }
        for (index, (_, file)) in files.iter().enumerate() {
            let expected = if index % 2 == 0 { 0 } else { 7 * BYTES as u64 };
            assert_eq!(sum(file.bytes()), expected);
            assert_eq!(file.place.is_cut(), index % 2 == 0);
        }
    }
}
