//! Safe interfaces to the functions of the C++ shim.

use crate::callback::{agrees, answer};
use qp_abi::sdk::BackendError;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ops::ControlFlow;
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::time::Duration;
use tch::{Kind, Tensor};

#[expect(unsafe_code, reason = "the C++ shim")]
pub(crate) mod raw {
    use super::{c_char, c_int, c_void};

    /// A tensor of libtorch, as `tch` points to it.
    pub(super) type TensorPointer = *mut c_void;
    pub(super) type Receive = extern "C" fn(
        context: *mut c_void,
        index: i64,
        part: i64,
        name: *const c_char,
        tensor: TensorPointer,
    ) -> c_int;
    pub(super) type Visit =
        extern "C" fn(context: *mut c_void, kind: c_int, scope: *const c_char, name: *const c_char) -> c_int;

    pub(super) type Known = extern "C" fn(name: *const c_char) -> c_int;
    pub(super) type Look = extern "C" fn(
        context: *mut c_void,
        kind: c_int,
        name: *const c_char,
        bytes: *const c_char,
        size: usize,
    ) -> c_int;

    /// A module of the shim.
    #[repr(C)]
    pub(crate) struct Module {
        _private: [u8; 0],
    }

    // SAFETY: these are the signatures in shim/shim.cpp; all are `noexcept`.
    unsafe extern "C" {
        pub(super) safe fn qp_torch_silence();
        pub(super) safe fn qp_torch_keep_memory();
        pub(super) safe fn qp_torch_quantized_engine() -> *const c_char;
        pub(super) safe fn qp_torch_supported_engines() -> u32;
        pub(super) safe fn qp_torch_choose_engine(engine: c_int);
        pub(super) safe fn qp_torch_version() -> *const c_char;
        pub(super) fn qp_torch_convert(module: *mut Module, kind: c_int) -> *mut c_char;
        pub(super) fn qp_torch_is_nested(tensor: TensorPointer) -> c_int;
        pub(super) fn qp_torch_free_text(text: *mut c_char);
        pub(super) fn qp_torch_restrict(known: Known) -> *mut c_char;
        pub(super) fn qp_torch_load(
            path: *const c_char,
            context: *mut c_void,
            look: Look,
            alive: Receive,
            loaded: *mut *mut Module,
            is_stopped: *mut c_int,
        ) -> *mut c_char;
        pub(super) fn qp_torch_release(module: *mut Module);
        pub(super) fn qp_torch_layers(
            module: *const Module,
            context: *mut c_void,
            visit: Visit,
        ) -> *mut c_char;
        pub(super) fn qp_torch_run(
            module: *mut Module,
            inputs: *const TensorPointer,
            names: *const *const c_char,
            count: usize,
            wanted: *const u8,
            wanted_count: usize,
            context: *mut c_void,
            tapped: Receive,
            output: Receive,
            nanoseconds: *mut u64,
            is_stopped: *mut c_int,
        ) -> *mut c_char;
    }
}

/// Keeps libtorch's warnings on this thread, its log, and anything models print off the screen.
pub(crate) fn silence() {
    raw::qp_torch_silence();
}

/// Keeps the memory of freed tensors for the next ones.
pub(crate) fn keep_memory() {
    raw::qp_torch_keep_memory();
}

/// Makes libtorch's operator registry fail for models that call operators which `is_allowed` rejects.
///
/// # Errors
/// Those of libtorch.
pub(crate) fn restrict(is_allowed: fn(&str) -> bool) -> Result<(), String> {
    static ALLOWED: OnceLock<fn(&str) -> bool> = OnceLock::new();
    extern "C" fn known(name: *const c_char) -> c_int {
        // SAFETY: the shim passes a text that ends with a zero byte and lives until this call returns.
        #[expect(unsafe_code, reason = "called by the C++ shim")]
        let name = unsafe { CStr::from_ptr(name) };
        agrees(|| ALLOWED.get().zip(name.to_str().ok()).is_some_and(|(allowed, name)| allowed(name)))
    }
    ALLOWED.get_or_init(|| is_allowed);
    // SAFETY: the function may be called at any time, from any thread.
    #[expect(unsafe_code, reason = "the C++ shim")]
    taken(unsafe { raw::qp_torch_restrict(known) })
}

/// The engine that runs quantized operators: `x86`, `fbgemm`, …
pub(crate) fn quantized_engine() -> &'static str {
    fixed(raw::qp_torch_quantized_engine())
}

/// The engines of quantized operators by their number in `c10::QEngine`.
const ENGINES: [&str; 5] = ["none", "fbgemm", "qnnpack", "onednn", "x86"];

/// The engines that this machine's libtorch has.
pub(crate) fn supported_engines() -> Vec<&'static str> {
    let supported = raw::qp_torch_supported_engines();
    (1_u32..)
        .zip(&ENGINES[1..])
        .filter(|(number, _)| supported & (1 << number) != 0)
        .map(|(_, name)| *name)
        .collect()
}

/// Selects the engine that packs weights and runs quantized operators; without one, libtorch's own choice.
pub(crate) fn choose_engine(engine: Option<&str>) {
    static OWN: OnceLock<&'static str> = OnceLock::new();
    let own = *OWN.get_or_init(quantized_engine);
    let wanted = ENGINES.iter().position(|known| *known == engine.unwrap_or(own));
    if let Some(number) = wanted.and_then(|number| c_int::try_from(number).ok()) {
        raw::qp_torch_choose_engine(number);
    }
}

/// The version of libtorch.
pub(crate) fn version() -> &'static str {
    fixed(raw::qp_torch_version())
}

/// Whether a tensor has a single shape: asking a nested tensor for one would panic.
pub(crate) fn is_nested(tensor: &Tensor) -> bool {
    // SAFETY: the tensor lives until the call returns, and is only read.
    #[expect(unsafe_code, reason = "the C++ shim")]
    let answer = unsafe { raw::qp_torch_is_nested(tensor.as_ptr().cast_mut().cast()) };
    answer != 0
}

fn fixed(pointer: *const c_char) -> &'static str {
    // SAFETY: the shim returns pointers to static texts that end with a zero byte.
    #[expect(unsafe_code, reason = "a C string of the shim")]
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().unwrap_or("unknown")
}

/// The text of an error, which is freed.
pub(crate) fn taken(error: *mut c_char) -> Result<(), String> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: a pointer that is not null is a text of the shim, which ends with a zero byte and is ours to free,
    // once.
    #[expect(unsafe_code, reason = "a C string of the shim")]
    let text = unsafe {
        let text = CStr::from_ptr(error).to_string_lossy().into_owned();
        raw::qp_torch_free_text(error);
        text
    };
    Err(text)
}

/// What can be tapped in a module while it runs.
#[derive(Debug, Clone)]
pub(crate) enum Tap {
    /// The result of a module, by the module's path.
    Module(String),
    /// The result of an operator, an `if` or a loop: the path of the module that calls it, and its name.
    Operator(String, String),
}

/// The names in a module.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// The paths of all modules.
    pub(crate) modules: Vec<String>,
    /// The inputs of `forward`.
    pub(crate) inputs: Vec<String>,
    /// What can be tapped, in the order of execution.
    pub(crate) taps: Vec<Tap>,
}

/// What a run delivers.
pub(crate) enum Given<'a> {
    /// A loop continues: a chance to stop.
    Alive,
    /// Tapped, by its index among the taps and its number among that layer's results; without a tensor if none is
    /// wanted.
    Tapped(usize, usize, Option<Tensor>),
    /// A result of `forward`, in order, with the key of the dictionary it comes from.
    Output(Option<&'a str>, Tensor),
}

/// A run that failed or was stopped.
pub(crate) enum Stop {
    /// The receiver wanted no more.
    Stopped,
    /// libtorch's message.
    Failed(String),
    /// The engine's own code, called by the shim, panicked.
    Panicked(BackendError),
}

/// The outcome of a call of the shim that could be stopped from here.
fn outcome(
    result: Result<(), String>,
    is_stopped: c_int,
    panicked: Option<BackendError>,
) -> Result<(), Stop> {
    match (panicked, result) {
        (Some(error), _) => Err(Stop::Panicked(error)),
        (None, _) if is_stopped != 0 => Err(Stop::Stopped),
        (None, result) => result.map_err(Stop::Failed),
    }
}

const NO_MODULE: &str = "no module was made";

/// A TorchScript module in evaluation mode.
pub(crate) struct Module(NonNull<raw::Module>);

#[expect(unsafe_code, reason = "libtorch's modules may move between threads")]
// SAFETY: the shim's module owns reference-counted objects of libtorch, which are bound to no thread.
unsafe impl Send for Module {}

impl Drop for Module {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `qp_torch_load` and is released here only.
        #[expect(unsafe_code, reason = "the C++ shim")]
        unsafe {
            raw::qp_torch_release(self.0.as_ptr());
        }
    }
}

impl Module {
    /// Loads the archive at `path`. `look` sees what will be parsed before it is; `is_alive` is called while code of
    /// the file runs. Both stop the loading by breaking.
    ///
    /// # Errors
    /// [`Stop::Stopped`] when one of them breaks, or those of libtorch.
    pub(crate) fn load(
        path: &str,
        look: &mut dyn FnMut(Parsed<'_>) -> ControlFlow<()>,
        is_alive: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<Self, Stop> {
        let path =
            CString::new(path).map_err(|_| Stop::Failed("the path has a zero byte in it".to_owned()))?;
        let (mut loaded, mut is_stopped) = (std::ptr::null_mut(), 0);
        let mut loading = Loading { look, is_alive, panicked: None };
        // SAFETY: the path ends with a zero byte; the two functions are called before the call returns, on this thread,
        // with this `loading`, which nothing else uses meanwhile; the two results are written before it returns.
        #[expect(unsafe_code, reason = "the C++ shim")]
        let result = taken(unsafe {
            raw::qp_torch_load(
                path.as_ptr(),
                (&raw mut loading).cast(),
                looked,
                asked,
                &raw mut loaded,
                &raw mut is_stopped,
            )
        });
        let panicked = loading.panicked;
        // What was loaded is released, whatever happens next.
        let module = NonNull::new(loaded).map(Self);
        outcome(result, is_stopped, panicked)?;
        module.ok_or_else(|| Stop::Failed(NO_MODULE.to_owned()))
    }

    /// The module that the shim created and hands over.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn owned(module: *mut raw::Module) -> Result<Self, String> {
        NonNull::new(module).map(Self).ok_or_else(|| NO_MODULE.to_owned())
    }

    /// Converts the float tensors of the module to another type.
    ///
    /// # Errors
    /// Those of libtorch.
    pub(crate) fn convert(&mut self, kind: Kind) -> Result<(), String> {
        // Numbers of `c10::ScalarType`.
        let number = match kind {
            Kind::Half => 5,
            Kind::Float => 6,
            Kind::Double => 7,
            Kind::BFloat16 => 15,
            other => return Err(format!("a module cannot be converted to {other:?}")),
        };
        // SAFETY: the module is this one's own.
        #[expect(unsafe_code, reason = "the C++ shim")]
        taken(unsafe { raw::qp_torch_convert(self.0.as_ptr(), number) })
    }

    /// The names in the module.
    ///
    /// # Errors
    /// Those of libtorch.
    pub(crate) fn names(&self) -> Result<Names, Stop> {
        let mut listing = Listing::default();
        // SAFETY: `visit` is called before the call returns, with this `listing` and texts that end with a zero byte.
        #[expect(unsafe_code, reason = "the C++ shim")]
        let result =
            taken(unsafe { raw::qp_torch_layers(self.0.as_ptr(), (&raw mut listing).cast(), visit) });
        outcome(result, 0, listing.panicked)?;
        Ok(listing.names)
    }

    /// Runs `forward`. `wanted` says for each tap whether its tensor is delivered; `receive` gets the tensors, and is
    /// called at each tap, so that it can stop the run there. The time is that of `forward`.
    ///
    /// # Errors
    /// [`Stop::Stopped`] when `receive` breaks, or those of libtorch.
    pub(crate) fn run(
        &mut self,
        inputs: &[(CString, Tensor)],
        wanted: &[bool],
        receive: &mut dyn FnMut(Given<'_>) -> ControlFlow<()>,
    ) -> Result<Duration, Stop> {
        let names: Vec<*const c_char> = inputs.iter().map(|(name, _)| name.as_ptr()).collect();
        let inputs: Vec<raw::TensorPointer> =
            inputs.iter().map(|(_, tensor)| tensor.as_ptr().cast_mut().cast()).collect();
        let wanted: Vec<u8> = wanted.iter().map(|wanted| u8::from(*wanted)).collect();
        let mut receiver = Receiver { receive, panicked: None };
        let (mut nanoseconds, mut is_stopped) = (0_u64, 0);
        // SAFETY: the pointers to inputs and to their names, of which there are as many, are those of tensors and C
        // strings that live until the call returns and are only read; lengths are those of the vectors; the two
        // functions are called before it returns, on this thread, with this `receiver`, which nothing else uses in
        // the meantime.
        #[expect(unsafe_code, reason = "the C++ shim")]
        let result = taken(unsafe {
            raw::qp_torch_run(
                self.0.as_ptr(),
                inputs.as_ptr(),
                names.as_ptr(),
                inputs.len(),
                wanted.as_ptr(),
                wanted.len(),
                (&raw mut receiver).cast(),
                tapped,
                output,
                &raw mut nanoseconds,
                &raw mut is_stopped,
            )
        });
        outcome(result, is_stopped, receiver.panicked)?;
        Ok(Duration::from_nanos(nanoseconds))
    }
}

/// Something that libtorch is about to parse.
pub(crate) enum Parsed<'a> {
    /// A source, by its name in the archive.
    Source(&'a str, &'a [u8]),
    /// A pickle.
    Pickle(&'a str, &'a [u8]),
    /// There is no more.
    End,
}

struct Loading<'a> {
    look: &'a mut dyn FnMut(Parsed<'_>) -> ControlFlow<()>,
    is_alive: &'a mut dyn FnMut() -> ControlFlow<()>,
    panicked: Option<BackendError>,
}

extern "C" fn looked(
    context: *mut c_void,
    kind: c_int,
    name: *const c_char,
    bytes: *const c_char,
    size: usize,
) -> c_int {
    // SAFETY: `Module::load` passes its `Loading`; the shim a name that ends with a zero byte, and `size` bytes. Both
    // live until this call returns.
    #[expect(unsafe_code, reason = "called by the C++ shim")]
    let (loading, name, bytes) = unsafe {
        let bytes = if size == 0 { &[] } else { std::slice::from_raw_parts(bytes.cast::<u8>(), size) };
        (&mut *context.cast::<Loading<'_>>(), CStr::from_ptr(name), bytes)
    };
    let look = &mut *loading.look;
    answer(&mut loading.panicked, || {
        let name = name.to_string_lossy();
        look(match kind {
            0 => Parsed::Source(&name, bytes),
            1 => Parsed::Pickle(&name, bytes),
            _ => Parsed::End,
        })
    })
}

extern "C" fn asked(
    context: *mut c_void,
    _index: i64,
    _part: i64,
    _name: *const c_char,
    _tensor: raw::TensorPointer,
) -> c_int {
    // SAFETY: `Module::load` passes its `Loading`, which nothing else uses meanwhile; no tensor comes here.
    #[expect(unsafe_code, reason = "called by the C++ shim")]
    let loading = unsafe { &mut *context.cast::<Loading<'_>>() };
    let is_alive = &mut *loading.is_alive;
    answer(&mut loading.panicked, is_alive)
}

struct Receiver<'a> {
    receive: &'a mut dyn FnMut(Given<'_>) -> ControlFlow<()>,
    panicked: Option<BackendError>,
}

#[derive(Default)]
struct Listing {
    names: Names,
    panicked: Option<BackendError>,
}

extern "C" fn visit(context: *mut c_void, kind: c_int, scope: *const c_char, name: *const c_char) -> c_int {
    // SAFETY: `Module::names` passes its `Listing`, and the shim texts that end with a zero byte and live until this
    // call returns.
    #[expect(unsafe_code, reason = "called by the C++ shim")]
    let (listing, scope, name) =
        unsafe { (&mut *context.cast::<Listing>(), CStr::from_ptr(scope), CStr::from_ptr(name)) };
    let names = &mut listing.names;
    answer(&mut listing.panicked, || {
        let text = |text: &CStr| text.to_string_lossy().into_owned();
        match kind {
            0 => names.modules.push(text(scope)),
            1 => names.inputs.push(text(name)),
            2 => names.taps.push(Tap::Module(text(scope))),
            _ => names.taps.push(Tap::Operator(text(scope), text(name))),
        }
        ControlFlow::Continue(())
    })
}

extern "C" fn tapped(
    context: *mut c_void,
    index: i64,
    part: i64,
    _name: *const c_char,
    tensor: raw::TensorPointer,
) -> c_int {
    give(context, tensor, |tensor| {
        if index < 0 {
            return Some(Given::Alive);
        }
        Some(Given::Tapped(usize::try_from(index).ok()?, usize::try_from(part).ok()?, tensor))
    })
}

extern "C" fn output(
    context: *mut c_void,
    _index: i64,
    _part: i64,
    name: *const c_char,
    tensor: raw::TensorPointer,
) -> c_int {
    // SAFETY: the shim passes a text that ends with a zero byte and lives until this call returns, or none.
    #[expect(unsafe_code, reason = "called by the C++ shim")]
    let name = (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }.to_string_lossy());
    give(context, tensor, |tensor| Some(Given::Output(name.as_deref(), tensor?)))
}

fn give<'a>(
    context: *mut c_void,
    tensor: raw::TensorPointer,
    given: impl FnOnce(Option<Tensor>) -> Option<Given<'a>>,
) -> c_int {
    // SAFETY: `Module::run` passes its receiver, which nothing else uses meanwhile; the shim gives the tensor away.
    #[expect(unsafe_code, reason = "called by the C++ shim")]
    let (receiver, tensor) = unsafe {
        let tensor = (!tensor.is_null()).then(|| Tensor::from_ptr(tensor.cast()));
        (&mut *context.cast::<Receiver<'_>>(), tensor)
    };
    let receive = &mut *receiver.receive;
    answer(&mut receiver.panicked, || given(tensor).map_or(ControlFlow::Break(()), receive))
}
