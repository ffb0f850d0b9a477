//! Bounds of the registry's messages, each with its arithmetic.

use pilot_wire::limits::{MAX_ENVELOPE, MAX_LOG_ENTRIES, MAX_LOG_ENTRY};

/// A record's envelope: capabilities of 12 KiB and their lengths, 16 tags of 33 bytes, a name of 64 and the head are 13 KiB; the rest is room
/// for later fields.
pub const MAX_RECORD: usize = 16 * 1024;
/// A locator's envelope: 16 addresses of 19 bytes and the head are 0.5 KiB; the rest is room for sealed candidates.
pub const MAX_LOCATOR: usize = 4 * 1024;
/// A grant's envelope: 32 port ranges of 6 bytes, the parent and the head are 0.5 KiB; the rest is room for later fields.
pub const MAX_GRANT: usize = 4 * 1024;
/// A knock's envelope: 512 bytes of text, two names of 64 and the head are 1 KiB; the rest is room for later fields.
pub const MAX_KNOCK: usize = 2 * 1024;
/// Permits of one agent at a relay: one for each grant that it may have given (64 KiB).
pub const MAX_PERMITS: usize = 4096;
/// Text of a refusal.
pub const MAX_REFUSAL: usize = 256;
/// Any message on the registry's port: a whole identity log (128 KiB and its lengths) and three envelopes.
pub const MAX_MESSAGE: usize = MAX_LOG_ENTRIES * (MAX_LOG_ENTRY + 4) + 3 * MAX_ENVELOPE;
/// Agents' requests to groups and invitations.
pub const MAX_GROUP_REQUEST: usize = pilot_wire::limits::MAX_GROUP_REQUEST;
/// Text of a search.
pub const MAX_SEARCH_TEXT: usize = 256;
/// Words of a search's text.
pub const MAX_SEARCH_WORDS: usize = 16;
/// Entries of one answer to a search: an asker checks two signatures for each.
pub const MAX_SEARCH_ENTRIES: usize = 100;
/// Letters of one answer, and of one word that they are taken.
pub const MAX_LETTERS: usize = 64;
/// Bytes of the letters of one answer: one of the largest, 153 KiB, always fits, and what is around it into one exchange of 256 KiB.
pub const MAX_LETTERS_ANSWER: usize = 192 * 1024;
/// Bytes of the entries of one answer to a search. One entry always fits: the longest log, record and lengths take 146 KiB.
pub const MAX_SEARCH_ANSWER: usize = 192 * 1024;
