//! A graph of operator calls under construction: a safe interface to the program half of the C++ shim.

use crate::shim::{Module, raw as shared, taken};
use qp_abi::abi_stable::std_types::Tuple2;
use qp_pytorch_contract::program::{Argument, CONDITION, Call, Register, Results};
use std::collections::HashMap;
use std::ffi::{CString, c_char, c_int};
use std::ptr::NonNull;
use tch::Tensor;

#[expect(unsafe_code, reason = "the C++ shim")]
mod raw {
    use super::{c_char, c_int, shared};
    use std::ffi::c_void;

    pub(super) type TensorPointer = *mut c_void;

    #[repr(C)]
    pub(super) struct Program {
        _private: [u8; 0],
    }

    // SAFETY: these are the signatures in shim/program.cpp; all are `noexcept`.
    unsafe extern "C" {
        pub(super) safe fn qp_torch_program() -> *mut Program;
        pub(super) fn qp_torch_program_release(program: *mut Program);
        pub(super) fn qp_torch_overloads(name: *const c_char, overload: *const c_char) -> c_int;
        pub(super) fn qp_torch_program_store(program: *mut Program, tensor: TensorPointer) -> *mut c_char;
        pub(super) fn qp_torch_program_begin(program: *mut Program) -> *mut c_char;
        pub(super) fn qp_torch_program_input(program: *mut Program, is_int: c_int) -> *mut c_char;
        pub(super) fn qp_torch_program_push(
            program: *mut Program,
            kind: c_int,
            number: i64,
            real: f64,
            imaginary: f64,
            text: *const c_char,
        ) -> *mut c_char;
        pub(super) fn qp_torch_program_name(program: *mut Program, name: *const c_char) -> *mut c_char;
        pub(super) fn qp_torch_program_call(
            program: *mut Program,
            name: *const c_char,
            overload: *const c_char,
            place: *const c_char,
            count: usize,
            is_each: c_int,
        ) -> *mut c_char;
        pub(super) fn qp_torch_program_condition(program: *mut Program, place: *const c_char) -> *mut c_char;
        pub(super) fn qp_torch_program_end_branch(program: *mut Program, count: usize) -> *mut c_char;
        pub(super) fn qp_torch_program_tap(program: *mut Program, value: u32, number: i64) -> *mut c_char;
        pub(super) fn qp_torch_program_freeze(program: *mut Program) -> *mut c_char;
        pub(super) fn qp_torch_program_output(program: *mut Program) -> *mut c_char;
        pub(super) fn qp_torch_program_finish(
            program: *mut Program,
            finished: *mut *mut shared::Module,
        ) -> *mut c_char;
        pub(super) fn qp_torch_quantized(
            codes: TensorPointer,
            scales: TensorPointer,
            zero_points: TensorPointer,
            axis: i64,
            made: *mut TensorPointer,
        ) -> *mut c_char;
    }
}

/// The shim's numbers for the kinds of arguments.
mod kind {
    pub(super) const NONE: i32 = 0;
    pub(super) const BOOL: i32 = 1;
    pub(super) const INT: i32 = 2;
    pub(super) const FLOAT: i32 = 3;
    pub(super) const COMPLEX: i32 = 4;
    pub(super) const TEXT: i32 = 5;
    pub(super) const DEVICE: i32 = 6;
    pub(super) const VALUE: i32 = 7;
    pub(super) const LIST: i32 = 8;
    pub(super) const TUPLE: i32 = 9;
}

/// How many overloads of an operator libtorch has; only those with this name if one is given.
pub(crate) fn overloads(name: &str, overload: Option<&str>) -> usize {
    let (Ok(name), Ok(overload)) = (CString::new(name), overload.map(CString::new).transpose()) else {
        return 0;
    };
    let overload = overload.as_ref().map_or(std::ptr::null(), |overload| overload.as_ptr());
    // SAFETY: both texts end with a zero byte, and the second may be null.
    #[expect(unsafe_code, reason = "the C++ shim")]
    let count = unsafe { raw::qp_torch_overloads(name.as_ptr(), overload) };
    usize::try_from(count).unwrap_or(0)
}

/// A quantized tensor from its codes; `axis` is that of the channels, if there are several scales.
///
/// # Errors
/// Those of libtorch.
pub(crate) fn quantized(
    codes: &Tensor,
    scales: &Tensor,
    zero_points: &Tensor,
    axis: Option<i64>,
) -> Result<Tensor, String> {
    let mut made = std::ptr::null_mut();
    let pointer = |tensor: &Tensor| tensor.as_ptr().cast_mut().cast();
    // SAFETY: the three pointers are those of tensors that live until the call returns and are only read.
    #[expect(unsafe_code, reason = "the C++ shim")]
    taken(unsafe {
        raw::qp_torch_quantized(
            pointer(codes),
            pointer(scales),
            pointer(zero_points),
            axis.unwrap_or(-1),
            &raw mut made,
        )
    })?;
    // SAFETY: the shim has created a tensor and gives up its ownership.
    #[expect(unsafe_code, reason = "the C++ shim")]
    let tensor = unsafe { Tensor::from_ptr(made.cast()) };
    Ok(tensor)
}

/// A graph to which calls are added.
pub(crate) struct Graph {
    program: NonNull<raw::Program>,
    /// The shim's number for each register.
    numbers: HashMap<Register, i64>,
    next: i64,
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `qp_torch_program` and is released here only.
        #[expect(unsafe_code, reason = "the C++ shim")]
        unsafe {
            raw::qp_torch_program_release(self.program.as_ptr());
        }
    }
}

impl Graph {
    /// A graph that begins with stored tensors, each under its register.
    ///
    /// # Errors
    /// Those of libtorch.
    pub(crate) fn new(stored: &[(Register, Tensor)]) -> Result<Self, String> {
        let program = NonNull::new(raw::qp_torch_program()).ok_or("there is no memory for a graph")?;
        let mut graph = Self { program, numbers: HashMap::new(), next: 0 };
        for (register, tensor) in stored {
            // SAFETY: the tensor lives until the call returns, which shares it.
            #[expect(unsafe_code, reason = "the C++ shim")]
            taken(unsafe {
                raw::qp_torch_program_store(graph.program.as_ptr(), tensor.as_ptr().cast_mut().cast())
            })?;
            graph.number(*register);
        }
        graph.told(raw::qp_torch_program_begin)?;
        Ok(graph)
    }

    fn number(&mut self, register: Register) {
        self.numbers.insert(register, self.next);
        self.next += 1;
    }

    /// Calls a function of the shim that takes only the program.
    fn told(
        &mut self,
        function: unsafe extern "C" fn(*mut raw::Program) -> *mut c_char,
    ) -> Result<(), String> {
        // SAFETY: the program is this graph's own; the functions of this signature take nothing else.
        #[expect(unsafe_code, reason = "the C++ shim")]
        taken(unsafe { function(self.program.as_ptr()) })
    }

    /// Adds an input under `register`.
    ///
    /// # Errors
    /// Those of libtorch.
    pub(crate) fn input(&mut self, register: Register, is_int: bool) -> Result<(), String> {
        // SAFETY: the program is this graph's own.
        #[expect(unsafe_code, reason = "the C++ shim")]
        taken(unsafe { raw::qp_torch_program_input(self.program.as_ptr(), c_int::from(is_int)) })?;
        self.number(register);
        Ok(())
    }

    fn push_raw(&mut self, kind: c_int, number: i64, real: f64, imaginary: f64) -> Result<(), String> {
        // SAFETY: the program is this graph's own; the kinds used here do not read the text.
        #[expect(unsafe_code, reason = "the C++ shim")]
        taken(unsafe {
            raw::qp_torch_program_push(self.program.as_ptr(), kind, number, real, imaginary, std::ptr::null())
        })
    }

    fn push(&mut self, argument: &Argument) -> Result<(), String> {
        match argument {
            Argument::None => self.push_raw(kind::NONE, 0, 0.0, 0.0),
            Argument::Bool(flag) => self.push_raw(kind::BOOL, i64::from(*flag), 0.0, 0.0),
            Argument::Int(number) | Argument::Code(number) => self.push_raw(kind::INT, *number, 0.0, 0.0),
            Argument::Float(number) => self.push_raw(kind::FLOAT, 0, *number, 0.0),
            Argument::Complex(real, imaginary) => self.push_raw(kind::COMPLEX, 0, *real, *imaginary),
            Argument::Device => self.push_raw(kind::DEVICE, 0, 0.0, 0.0),
            Argument::Value(register) => {
                let number = self.numbers.get(register).copied();
                let number =
                    number.ok_or_else(|| format!("value {} is read before it is computed", register.0))?;
                self.push_raw(kind::VALUE, number, 0.0, 0.0)
            }
            Argument::List(elements) | Argument::Tuple(elements) => {
                elements.iter().try_for_each(|element| self.push(element))?;
                let kind = if matches!(argument, Argument::List(_)) { kind::LIST } else { kind::TUPLE };
                self.push_raw(kind, i64::try_from(elements.len()).unwrap_or(i64::MAX), 0.0, 0.0)
            }
            Argument::Text(text) => {
                let text = c_text(text)?;
                // SAFETY: the program is this graph's own, and the text ends with a zero byte.
                #[expect(unsafe_code, reason = "the C++ shim")]
                taken(unsafe {
                    raw::qp_torch_program_push(self.program.as_ptr(), kind::TEXT, 0, 0.0, 0.0, text.as_ptr())
                })
            }
        }
    }

    /// Adds a call.
    ///
    /// # Errors
    /// Those of libtorch.
    pub(crate) fn call(&mut self, call: &Call) -> Result<(), String> {
        if call.operator == CONDITION {
            return self.condition(call);
        }
        for Tuple2(name, argument) in &call.keywords {
            self.push(argument)?;
            let name = c_text(name)?;
            // SAFETY: the program is this graph's own, and the text ends with a zero byte.
            #[expect(unsafe_code, reason = "the C++ shim")]
            taken(unsafe { raw::qp_torch_program_name(self.program.as_ptr(), name.as_ptr()) })?;
        }
        call.arguments.iter().try_for_each(|argument| self.push(argument))?;
        let (operator, place) = (c_text(&call.operator)?, c_text(&call.place)?);
        let overload = call.overload.as_ref().into_option().map(|overload| c_text(overload)).transpose()?;
        let results = call.results.all();
        // SAFETY: the program is this graph's own, the texts end with a zero byte, and the overload may be null.
        #[expect(unsafe_code, reason = "the C++ shim")]
        taken(unsafe {
            raw::qp_torch_program_call(
                self.program.as_ptr(),
                operator.as_ptr(),
                overload.as_ref().map_or(std::ptr::null(), |overload| overload.as_ptr()),
                place.as_ptr(),
                results.len(),
                c_int::from(matches!(call.results, Results::Each(_))),
            )
        })?;
        for result in results {
            self.number(result.register);
        }
        Ok(())
    }

    /// Adds a condition with the calls of its two branches. Their results can only be read in the same branch.
    fn condition(&mut self, call: &Call) -> Result<(), String> {
        let ([decides], [_, _]) = (&call.arguments[..], &call.branches[..]) else {
            return Err("a condition has one argument and two branches".to_owned());
        };
        let results = call.results.all();
        self.push(decides)?;
        let place = c_text(&call.place)?;
        // SAFETY: the program is this graph's own, and the text ends with a zero byte.
        #[expect(unsafe_code, reason = "the C++ shim")]
        taken(unsafe { raw::qp_torch_program_condition(self.program.as_ptr(), place.as_ptr()) })?;
        for branch in &call.branches {
            if branch.results.len() != results.len() {
                return Err(format!(
                    "a branch has {} results instead of {}",
                    branch.results.len(),
                    results.len()
                ));
            }
            branch.calls.iter().try_for_each(|call| self.call(call))?;
            branch.results.iter().try_for_each(|result| self.push(result))?;
            // SAFETY: the program is this graph's own.
            #[expect(unsafe_code, reason = "the C++ shim")]
            taken(unsafe { raw::qp_torch_program_end_branch(self.program.as_ptr(), results.len()) })?;
            for result in branch.calls.iter().flat_map(|call| call.results.all()) {
                self.numbers.remove(&result.register);
            }
        }
        for result in results {
            self.number(result.register);
        }
        Ok(())
    }

    /// Puts a tap with this number after a register.
    ///
    /// # Errors
    /// Those of libtorch.
    pub(crate) fn tap(&mut self, register: Register, number: usize) -> Result<(), String> {
        let value = self.numbers.get(&register).and_then(|number| u32::try_from(*number).ok());
        let value = value.ok_or_else(|| format!("value {} is not computed", register.0))?;
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        // SAFETY: the program is this graph's own.
        #[expect(unsafe_code, reason = "the C++ shim")]
        taken(unsafe { raw::qp_torch_program_tap(self.program.as_ptr(), value, number) })
    }

    /// Computes all calls so far, once; from then on, their results count as stored.
    ///
    /// # Errors
    /// Those of libtorch.
    pub(crate) fn freeze(&mut self) -> Result<(), String> {
        self.told(raw::qp_torch_program_freeze)
    }

    /// Adds an output.
    ///
    /// # Errors
    /// Those of libtorch.
    pub(crate) fn output(&mut self, argument: &Argument) -> Result<(), String> {
        self.push(argument)?;
        self.told(raw::qp_torch_program_output)
    }

    /// The graph as a module.
    ///
    /// # Errors
    /// Those of libtorch.
    pub(crate) fn finish(self) -> Result<Module, String> {
        let mut finished = std::ptr::null_mut();
        // SAFETY: the program is this graph's own, and `finished` is written before the call returns.
        #[expect(unsafe_code, reason = "the C++ shim")]
        taken(unsafe { raw::qp_torch_program_finish(self.program.as_ptr(), &raw mut finished) })?;
        Module::owned(finished)
    }
}

fn c_text(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|_| format!("`{}` contains a zero byte", text.escape_debug()))
}
