//! Every bound of the protocol, each with its arithmetic.

use std::time::Duration;

/// Largest datagram that every path must carry: IPv6's minimum MTU (1280) less IPv6 (40) and UDP (8) headers, less 32 for a relay's framing.
pub const BASE_DATAGRAM: usize = 1200;
/// Largest UDP payload at all: 65535 less IPv4 (20) and UDP (8) headers.
pub const MAX_DATAGRAM: usize = 65_507;
/// Header before a data packet's ciphertext: type and flags, receiver index, low packet number.
pub const DATA_HEAD: usize = 1 + 4 + 4;
/// AES-GCM's tag.
pub const TAG: usize = 16;
/// `mac1 ‖ mac2` at the end of each handshake packet.
pub const MACS: usize = 32;
/// Stream header without its metadata: two ports, realm, traceparent and lengths fit twice into this.
pub const MAX_STREAM_HEADER: usize = MAX_STREAM_METADATA + 128;
/// Metadata that a stream's opener may attach.
pub const MAX_STREAM_METADATA: usize = 1024;
/// Newest log entries that a hello may carry. An inception takes 152 or 184 bytes, a rotation 272 to 336: two rotations always fit
/// into a message 1 of [`BASE_DATAGRAM`], a third one that has a recovery key in it may not.
pub const MAX_HELLO_ENTRIES: usize = 3;
/// One entry of an identity log.
pub const MAX_LOG_ENTRY: usize = 512;
/// Entries of a whole identity log: a rotation a month for sixteen years, and [`RECOVERY_ENTRIES`].
pub const MAX_LOG_ENTRIES: usize = 256;
/// The last places of a log, kept for recoveries: whoever has the current key could fill all others, and the recovery that ends this must
/// fit. A recovery drops what came after its anchor, so that one place a recovery is used up for good.
pub const RECOVERY_ENTRIES: usize = 64;
/// Keys of one log entry: the two of today, one replacement of each, and as many again to come.
pub const MAX_LOG_KEYS: usize = 8;
/// Any signed envelope.
pub const MAX_ENVELOPE: usize = 64 * 1024;
/// Tags of an agent.
pub const MAX_TAGS: usize = 16;
/// Capabilities of an agent.
pub const MAX_CAPABILITIES: usize = 32;
/// Name and version of a capability, each.
pub const MAX_CAPABILITY_TEXT: usize = 64;
/// Description of a capability.
pub const MAX_CAPABILITY_DESCRIPTION: usize = 512;
/// All texts of an agent's capabilities, schemas included: with them the largest record of 16 KiB has 3 KiB left for 16 tags of 33 bytes, a
/// name, lengths, the head and later fields.
pub const MAX_CAPABILITIES_LEN: usize = 12 * 1024;
/// Text of a knock.
pub const MAX_JUSTIFICATION: usize = 512;
/// Candidates in a locator; as many of a peer's are tried.
pub const MAX_CANDIDATES: usize = 16;
/// Port ranges in a scope.
pub const MAX_PORT_RANGES: usize = 32;
/// Reason text of a CLOSE frame.
pub const MAX_CLOSE_REASON: usize = 256;
/// Ranges in one ACK frame: 2 varints of at most 4 bytes each for 64 ranges are half a base datagram.
pub const MAX_ACK_RANGES: usize = 64;
/// Largest message of the data exchange.
pub const MAX_MESSAGE: usize = 64 * 1024 * 1024;
/// Head of a message, and its acknowledgement: the fixed fields take under 80 bytes, a refusal's words under 600.
pub const MAX_MESSAGE_HEAD: usize = 1024;
/// Name of a file: a directory entry takes 255 bytes, and some file systems and tools add to a name.
pub const MAX_FILE_NAME: usize = 240;
/// Names of directories and a file in a path, each as long as [`MAX_FILE_NAME`] allows.
pub const MAX_FILE_DEPTH: usize = 16;
/// A path as a whole: with a home before it, it stays below the 4,096 bytes that systems take.
pub const MAX_FILE_PATH: usize = 1024;
/// Head of a file, its answer and its verdict: id, size, hash and trace take under 100 bytes beside a path, a refusal's words under 600.
pub const MAX_FILE_HEAD: usize = 1536;
/// Bytes of a chunk, all but a file's last: what a break costs at most of what was there, and what a sender has in hand.
pub const FILE_CHUNK: u64 = 1024 * 1024;
/// Chunks that a receiver names as its own: 32 bytes each, 2 MiB in all. 10 GB are 9,537 chunks and 305 KB; of a file beyond 64 GiB,
/// what lies behind them is sent again.
pub const MAX_FILE_CHUNKS_HELD: u64 = 65_536;
/// Topic of an event.
pub const MAX_TOPIC: usize = 256;
/// Body of an event.
pub const MAX_EVENT: usize = 64 * 1024;
/// Any frame of the event stream: topic, agent and lengths take under 512 bytes beside the body.
pub const MAX_EVENT_FRAME: usize = MAX_EVENT + 512;
/// Body of a message that a mailbox takes. Longer ones wait until both agents are online.
pub const MAX_LETTER_BODY: usize = 128 * 1024;
/// The sender's identity log in a letter: some eighty rotations of 300 bytes.
pub const MAX_LETTER_LOG: usize = 24 * 1024;
/// A sealed letter: body, log, the signed statement of under 512 bytes, two keys, a tag and lengths. With what is around it, it fits into one
/// exchange of 256 KiB.
pub const MAX_SEALED_LETTER: usize = MAX_LETTER_BODY + MAX_LETTER_LOG + 1024;
/// How long a letter may wait: as long as the secret half of the key that it is sealed to may be kept.
pub const LETTER_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long a knock may be answered with a grant.
pub const KNOCK_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long a record may be valid.
pub const RECORD_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long a locator may be valid.
pub const LOCATOR_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Zero bits that the work of an inception has in the default network.
pub const DEFAULT_WORK_BITS: u8 = 20;
/// An agent joins no network with less work.
pub const MIN_WORK_BITS: u8 = 16;
/// Groups that an agent is in, is invited to, or keeps the keys of.
pub const MAX_GROUPS: usize = 64;
/// Members of a group, and those who were removed within [`CERTIFICATE_LIFETIME`].
pub const MAX_GROUP_MEMBERS: usize = 4096;
/// Certificates and removals of a group that count: two for each member, by the owner's key and by an admin's. With
/// [`MAX_GROUP_STATEMENT`] bytes each 2 MiB; mostly 200 bytes each and one a member, 0.8 MiB.
pub const MAX_GROUP_STATEMENTS: usize = 2 * MAX_GROUP_MEMBERS;
/// A certificate or removal: the head, two ids and a byte take 190 bytes with the signature; the rest is room for later fields.
pub const MAX_GROUP_STATEMENT: usize = 256;
/// Admins of a group, those who were and whose statements still count included.
pub const MAX_GROUP_ADMINS: usize = 16;
/// A group's policy: head, name, 32 port ranges of 6 bytes and a key take 0.5 KiB; the rest is room for later fields.
pub const MAX_GROUP_POLICY: usize = 1024;
/// Identity log of a group or of one of its admins, as it travels with the group: an inception and a dozen rotations.
pub const MAX_GROUP_LOG: usize = 4 * 1024;
/// Certificates and removals of one part of a group. With every admin's log, certificate and the rest a part has at most 192 KiB, which
/// fits into one exchange of 256 KiB: 320 × 260 + 16 × (4 KiB + 260) + 5 KiB = 155 KiB and lengths.
pub const MAX_GROUP_PART: usize = 320;
/// A request to a group or an invitation: the head, an id, an invitation within a request, a signature; the rest is room.
pub const MAX_GROUP_REQUEST: usize = 1024;
/// How long a certificate of membership may be valid, and how long a removal is remembered: as long as one that it beats may be.
pub const CERTIFICATE_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long an invitation, or a request to a group, may be answered.
pub const INVITATION_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
