//! What of a file says whether this machine can run it: the head of an ELF file.

use thiserror::Error;

/// Bytes of a file that are looked at: its program headers stand right behind its first 64 bytes in practice.
pub(crate) const HEAD: usize = 64 * 1024;
/// ELF64 header: e_type and e_machine follow 16 bytes of identification.
const MACHINE: usize = 18;
const PROGRAM_HEADERS: usize = 32;
const ENTRY_SIZE: usize = 54;
const ENTRY_COUNT: usize = 56;
/// The segment that names the loader of a dynamically linked program.
const PT_INTERP: u32 = 3;

/// Why a file cannot be an app's entry on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ExecutableError {
    /// No program of the kernel's own format.
    #[error("expected a 64-bit little-endian ELF program")]
    Format,
    /// For another processor.
    #[error("it is a program for another processor than this machine's")]
    Machine,
    /// It needs the machine's libraries, and does not ask for them.
    #[error(
        "it is dynamically linked: link it statically (-C target-feature=+crt-static), or ask for the grant libs"
    )]
    Dynamic,
    /// It is for an interpreter, and does not ask for that.
    #[error("a program in Python asks for the grant python")]
    Script,
    /// There is none that may run it.
    #[error(
        "this machine has no /usr/bin/python3 of version 3.9 or later that root alone may change"
    )]
    Interpreter,
}

/// Checks a program by its first bytes.
///
/// # Errors
/// [`ExecutableError`].
pub(crate) fn check(head: &[u8], has_libs: bool) -> Result<(), ExecutableError> {
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return Err(ExecutableError::Format);
    }
    if number(head, MACHINE, 2)? != own_machine() {
        return Err(ExecutableError::Machine);
    }
    let size = usize_at(head, ENTRY_SIZE, 2)?;
    for place in 0..usize_at(head, ENTRY_COUNT, 2)? {
        let start = usize_at(head, PROGRAM_HEADERS, 8)?
            .checked_add(place * size)
            .ok_or(ExecutableError::Format)?;
        if number(head, start, 4)? == u64::from(PT_INTERP) && !has_libs {
            return Err(ExecutableError::Dynamic);
        }
    }
    Ok(())
}

fn number(head: &[u8], at: usize, bytes: usize) -> Result<u64, ExecutableError> {
    let end = at.checked_add(bytes).ok_or(ExecutableError::Format)?;
    let field = head.get(at..end).ok_or(ExecutableError::Format)?;
    Ok(field
        .iter()
        .rev()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

fn usize_at(head: &[u8], at: usize, bytes: usize) -> Result<usize, ExecutableError> {
    usize::try_from(number(head, at, bytes)?).map_err(|_| ExecutableError::Format)
}

/// EM_X86_64 and EM_AARCH64; there is no app for any other.
const fn own_machine() -> u64 {
    if cfg!(target_arch = "x86_64") {
        62
    } else if cfg!(target_arch = "aarch64") {
        183
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_program_needs_the_grant() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(check(&own[..4096], true), Ok(()));
        assert_eq!(check(&own[..4096], false), Err(ExecutableError::Dynamic));
    }

    #[test]
    fn no_head_makes_it_fail_otherwise_than_by_an_error() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        for length in 0..512 {
            let _ = check(&own[..length], false);
        }
        let mut foreign = own[..4096].to_vec();
        foreign[MACHINE] ^= 1;
        assert_eq!(check(&foreign, true), Err(ExecutableError::Machine));
        assert_eq!(check(b"#!/bin/sh\n", true), Err(ExecutableError::Format));
        let mut endless = own[..4096].to_vec();
        endless[PROGRAM_HEADERS..PROGRAM_HEADERS + 8].fill(0xFF);
        assert_eq!(check(&endless, true), Err(ExecutableError::Format));
    }
}
