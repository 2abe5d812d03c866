//! Replaces the function that walks the stack, in programs that scripts/build links without
//! unwinding tables: there it could find no frame.
//!
//! The standard library's code that names the frames of a backtrace is a fifth of such a program.
//! If no frame can be found, the linker leaves that code out.

use std::ffi::{c_int, c_void};

/// `_URC_END_OF_STACK` of the Itanium C++ ABI: there are no more frames.
const END_OF_STACK: c_int = 5;

// Unsafe because of its name: it replaces the function of libgcc. It calls nothing.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Backtrace(_each_frame: *const c_void, _argument: *const c_void) -> c_int {
    END_OF_STACK
}
