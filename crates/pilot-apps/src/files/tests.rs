use std::sync::{Arc, Mutex};

use pilot_wire::limits::FILE_CHUNK;
use pilot_wire::{FileId, FileRefusalReason};
use ring::digest::{SHA256, digest as hash_of};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;

use super::*;
use crate::data_exchange::encode_prefixed;

mod hostile;

const CHUNK: usize = FILE_CHUNK as usize;

/// Keeps what comes, up to a limit, and what was left for the next try.
#[derive(Clone, Default)]
struct Memory {
    bytes: Arc<Mutex<Vec<u8>>>,
    finished: Arc<Mutex<Option<[u8; HASH]>>>,
    limit: Option<usize>,
}

impl Memory {
    fn holding(bytes: &[u8]) -> Self {
        Self {
            bytes: Arc::new(Mutex::new(bytes.to_vec())),
            ..Self::default()
        }
    }
}

impl FileSink for Memory {
    fn held(&self) -> u64 {
        self.bytes.lock().unwrap().len() as u64
    }

    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), FileRefusal> {
        let at = usize::try_from(offset).unwrap();
        bytes.copy_from_slice(&self.bytes.lock().unwrap()[at..at + bytes.len()]);
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), FileRefusal> {
        let mut kept = self.bytes.lock().unwrap();
        let end = usize::try_from(offset).unwrap() + bytes.len();
        if self.limit.is_some_and(|limit| end > limit) {
            return Err(FileRefusal {
                reason: FileRefusalReason::Space,
                words: "the disk is full".to_owned(),
            });
        }
        let len = kept.len().max(end);
        kept.resize(len, 0);
        kept[end - bytes.len()..end].copy_from_slice(bytes);
        Ok(())
    }

    fn finish(
        self: Box<Self>,
        head: &FileHead,
        sha256: [u8; HASH],
    ) -> Result<FilePath, FileRefusal> {
        *self.finished.lock().unwrap() = Some(sha256);
        Ok(head.name.clone())
    }

    fn discard(self: Box<Self>) {
        self.bytes.lock().unwrap().clear();
    }
}

fn head(size: u64) -> FileHead {
    FileHead {
        id: FileId::new([1; 16]),
        name: "a/b.bin".parse().unwrap(),
        size,
        trace: None,
    }
}

/// No two chunks are equal.
fn content(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 % 251 + i / CHUNK) as u8).collect()
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    hash_of(&SHA256, bytes).as_ref().to_vec()
}

fn receive(
    mut stream: DuplexStream,
    memory: &Memory,
) -> JoinHandle<Result<FilePath, ReceiveFileError>> {
    let sink = Box::new(memory.clone());
    tokio::spawn(async move {
        let head = read_file_head(&mut stream).await.unwrap();
        receive_file(stream, head, sink).await
    })
}

/// Sends `bytes` under a head that says `size`; gives the bytes that went out beside.
async fn transfer(
    bytes: &[u8],
    size: u64,
    memory: &Memory,
) -> (
    Result<FileSent, SendFileError>,
    Result<FilePath, ReceiveFileError>,
    u64,
) {
    let (ours, theirs) = duplex(1000);
    let receiving = receive(theirs, memory);
    let progress = SendProgress::default();
    let sent = send_file(ours, &head(size), &mut &bytes[..], &progress).await;
    (sent, receiving.await.unwrap(), progress.sent())
}

/// Sends until so many bytes went into the pipe, and breaks it off.
async fn broken_transfer(bytes: &[u8], memory: &Memory, after: usize) {
    let (ours, near) = duplex(1000);
    let (far, theirs) = duplex(1000);
    let receiving = receive(theirs, memory);
    let cut = tokio::spawn(async move {
        let (mut from_near, mut to_near) = tokio::io::split(near);
        let (mut from_far, mut to_far) = tokio::io::split(far);
        let back = async { tokio::io::copy(&mut from_far, &mut to_near).await };
        let forth = async {
            let mut some = (&mut from_near).take(after as u64);
            tokio::io::copy(&mut some, &mut to_far).await
        };
        tokio::select! { biased; it = forth => it, Err(error) = back => Err(error) }
    });
    let progress = SendProgress::default();
    let head = head(bytes.len() as u64);
    let sent = send_file(ours, &head, &mut &bytes[..], &progress).await;
    assert!(sent.is_err(), "{sent:?}");
    drop(cut.await.unwrap());
    assert!(receiving.await.unwrap().is_err());
}

#[tokio::test]
async fn a_file_arrives_with_its_hash() {
    for len in [0, 1, PIECE, CHUNK - 1, CHUNK, 3 * CHUNK + 17] {
        let (bytes, memory) = (content(len), Memory::default());
        let (sent, came, passed) = transfer(&bytes, len as u64, &memory).await;
        let sent = sent.unwrap();
        assert_eq!(sent.name, came.unwrap());
        assert_eq!(*memory.bytes.lock().unwrap(), bytes);
        assert_eq!(sent.sha256.to_vec(), sha256(&bytes));
        assert_eq!(*memory.finished.lock().unwrap(), Some(sent.sha256));
        assert_eq!((sent.resumed_from, passed), (0, len as u64));
    }
}

#[tokio::test]
async fn whole_chunks_that_lie_there_are_not_sent_again() {
    let bytes = content(5 * CHUNK + 17);
    for (held, kept) in [
        (0, 0),
        (CHUNK - 1, 0),
        (CHUNK, CHUNK),
        (3 * CHUNK + 5, 3 * CHUNK),
        (5 * CHUNK + 16, 5 * CHUNK),
        (5 * CHUNK + 17, 5 * CHUNK + 17),
    ] {
        let memory = Memory::holding(&bytes[..held]);
        let (sent, came, passed) = transfer(&bytes, bytes.len() as u64, &memory).await;
        came.unwrap();
        assert_eq!(sent.unwrap().resumed_from, kept as u64);
        assert_eq!(passed, (bytes.len() - kept) as u64);
        assert_eq!(*memory.bytes.lock().unwrap(), bytes);
        let hash = memory.finished.lock().unwrap().unwrap();
        assert_eq!(hash.to_vec(), sha256(&bytes));
    }
}

#[tokio::test]
async fn chunks_that_differ_are_sent_again_and_no_others() {
    let bytes = content(6 * CHUNK);
    // Each set of damaged chunks among the five that lie there.
    for damaged in 0..32_usize {
        let mut there = bytes[..5 * CHUNK].to_vec();
        for chunk in (0..5).filter(|chunk| damaged >> chunk & 1 == 1) {
            there[chunk * CHUNK + 77 * chunk] ^= 1;
        }
        let memory = Memory::holding(&there);
        let (sent, came, passed) = transfer(&bytes, bytes.len() as u64, &memory).await;
        came.unwrap();
        let again = (damaged.count_ones() as usize + 1) * CHUNK;
        assert_eq!(passed, again as u64, "{damaged:b}");
        assert_eq!(sent.unwrap().resumed_from, (bytes.len() - again) as u64);
        assert_eq!(*memory.bytes.lock().unwrap(), bytes);
    }
}

#[tokio::test]
async fn a_transfer_that_breaks_at_any_point_goes_on_where_it_broke() {
    let bytes = content(4 * CHUNK + 1000);
    let memory = Memory::default();
    // Each try breaks, further on each time: whatever was held is not sent again.
    for after in [40, 80, CHUNK / 2, CHUNK + 200, CHUNK + 200, 2 * CHUNK] {
        broken_transfer(&bytes, &memory, after).await;
        assert_eq!(*memory.finished.lock().unwrap(), None);
    }
    let held = memory.bytes.lock().unwrap().len();
    let (sent, came, passed) = transfer(&bytes, bytes.len() as u64, &memory).await;
    came.unwrap();
    assert!(held >= 3 * CHUNK, "{held}");
    assert_eq!(sent.unwrap().resumed_from as usize, held / CHUNK * CHUNK);
    assert_eq!(passed as usize, bytes.len() - held / CHUNK * CHUNK);
    assert_eq!(*memory.bytes.lock().unwrap(), bytes);
}

#[tokio::test]
async fn a_full_disk_is_told_to_the_sender_while_it_sends() {
    let memory = Memory {
        limit: Some(2 * PIECE),
        ..Memory::default()
    };
    let bytes = content(20 * PIECE);
    let (sent, came, _) = transfer(&bytes, bytes.len() as u64, &memory).await;
    let Err(SendFileError::Refused(refusal)) = sent else {
        panic!("{sent:?}")
    };
    assert_eq!(refusal.reason, FileRefusalReason::Space);
    assert_eq!(refusal.words, "the disk is full");
    assert!(matches!(came, Err(ReceiveFileError::Sink(_))));
    assert_eq!(*memory.finished.lock().unwrap(), None);
}

#[tokio::test]
async fn a_file_that_shrinks_or_grows_while_it_is_sent_is_not_stored() {
    for (len, size) in [(1000, 1001), (1001, 1000)] {
        let memory = Memory::default();
        let (sent, came, _) = transfer(&content(len), size, &memory).await;
        assert!(matches!(sent, Err(SendFileError::Changed)), "{sent:?}");
        assert!(came.is_err());
        assert_eq!(*memory.finished.lock().unwrap(), None);
    }
}

#[tokio::test]
async fn a_refused_head_costs_no_byte_of_the_file() {
    let (ours, mut theirs) = duplex(1000);
    let refusing = tokio::spawn(async move {
        read_file_head(&mut theirs).await.unwrap();
        let refusal = FileRefusal {
            reason: FileRefusalReason::Name,
            words: "no ".repeat(1000),
        };
        refuse_file(&mut theirs, &refusal).await.unwrap();
        let mut rest = vec![];
        theirs.read_to_end(&mut rest).await.unwrap();
        rest.len()
    });
    let progress = SendProgress::default();
    let sent = send_file(ours, &head(1000), &mut &content(1000)[..], &progress).await;
    assert!(
        matches!(sent, Err(SendFileError::Refused(refusal)) if refusal.words.starts_with("no no"))
    );
    assert!(!progress.is_accepted());
    assert_eq!(refusing.await.unwrap(), 0);
}

#[tokio::test]
async fn a_sender_that_missed_the_verdict_learns_it_and_compares() {
    let bytes = content(CHUNK + 5);
    for (hash, is_right) in [(sha256(&bytes), true), (vec![0; HASH], false)] {
        let (ours, mut theirs) = duplex(1000);
        let hash: [u8; HASH] = hash.try_into().unwrap();
        let telling = tokio::spawn(async move {
            let head = read_file_head(&mut theirs).await.unwrap();
            tell_stored(&mut theirs, head.name, hash).await.unwrap();
        });
        let progress = SendProgress::default();
        let head = head(bytes.len() as u64);
        let sent = send_file(ours, &head, &mut &bytes[..], &progress).await;
        telling.await.unwrap();
        assert_eq!(sent.is_ok(), is_right, "{sent:?}");
        assert_eq!(progress.sent(), 0);
    }
}
