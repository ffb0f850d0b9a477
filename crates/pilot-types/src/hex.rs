//! Lower-case hexadecimal of fixed-size keys and ids.

use thiserror::Error;

/// Why a text is not the hexadecimal form of `N` bytes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeHexError {
    /// The text has another length than two digits a byte.
    #[error("expected {expected} hex digits, found {found}")]
    Length {
        /// Digits that the type needs.
        expected: usize,
        /// Characters in the text.
        found: usize,
    },
    /// A character is not a hexadecimal digit.
    #[error("not a hex digit: {0:?}")]
    Digit(char),
}

/// The bytes as lower-case hexadecimal, two digits a byte.
#[must_use]
pub fn encode_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|nibble| char::from(DIGITS[usize::from(nibble)]))
        .collect()
}

/// Exactly `N` bytes from `2 * N` hexadecimal digits of either case.
///
/// # Errors
/// [`DecodeHexError`] if the text has another length or another character.
pub fn decode_hex<const N: usize>(text: &str) -> Result<[u8; N], DecodeHexError> {
    let found = text.chars().count();
    if found != 2 * N {
        return Err(DecodeHexError::Length {
            expected: 2 * N,
            found,
        });
    }
    let mut nibbles = text.chars().map(|c| {
        let digit = c.to_digit(16).ok_or(DecodeHexError::Digit(c))?;
        Ok(u8::try_from(digit).expect("a hex digit is below 16"))
    });
    let mut next = || nibbles.next().expect("the length was checked");
    let mut bytes = [0; N];
    for byte in &mut bytes {
        *byte = (next()? << 4) | next()?;
    }
    Ok(bytes)
}
