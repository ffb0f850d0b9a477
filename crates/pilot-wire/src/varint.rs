//! Variable-length integers (RFC 9000 §16): the first two bits give the length, 1, 2, 4 or 8 bytes.

/// Largest value, 2^62 − 1.
pub(crate) const MAX: u64 = (1 << 62) - 1;

/// Bytes of `value`'s shortest encoding.
///
/// # Panics
/// If `value` is above 2^62 − 1.
#[must_use]
pub const fn varint_len(value: u64) -> usize {
    match value {
        0..0x40 => 1,
        0x40..0x4000 => 2,
        0x4000..0x4000_0000 => 4,
        0x4000_0000..=MAX => 8,
        _ => panic!("value beyond a varint"),
    }
}

/// Appends `value`'s shortest encoding.
///
/// # Panics
/// If `value` is above 2^62 − 1.
pub fn put_varint(out: &mut Vec<u8>, value: u64) {
    let len = varint_len(value);
    let tagged = value | (u64::from(len.trailing_zeros()) << (len * 8 - 2));
    out.extend_from_slice(&tagged.to_be_bytes()[8 - len..]);
}
