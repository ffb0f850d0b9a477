use std::sync::{Arc, Mutex};

use pilot_wire::FileId;
use tokio::io::duplex;

use super::*;

/// Keeps what comes, up to a limit.
#[derive(Clone, Default)]
struct Memory {
    bytes: Arc<Mutex<Vec<u8>>>,
    finished: Arc<Mutex<Option<[u8; HASH]>>>,
    limit: Option<usize>,
}

impl FileSink for Memory {
    fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        let mut kept = self.bytes.lock().unwrap();
        if self
            .limit
            .is_some_and(|limit| kept.len() + bytes.len() > limit)
        {
            return Err("the disk is full".to_owned());
        }
        kept.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>, head: &FileHead, sha256: [u8; HASH]) -> Result<FileName, String> {
        *self.finished.lock().unwrap() = Some(sha256);
        Ok(head.name.clone())
    }
}

fn head(size: u64) -> FileHead {
    FileHead {
        id: FileId::new([1; 16]),
        name: "a.bin".parse().unwrap(),
        size,
        trace: None,
    }
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 % 251) as u8).collect()
}

/// Sends `bytes` under a head that says `size`.
async fn transfer(
    bytes: &[u8],
    size: u64,
    memory: &Memory,
) -> (
    Result<FileSent, SendFileError>,
    Result<FileName, ReceiveFileError>,
) {
    let (ours, mut theirs) = duplex(1000);
    let sink = Box::new(memory.clone());
    let receiving = tokio::spawn(async move {
        let head = read_file_head(&mut theirs).await.unwrap();
        receive_file(theirs, head, sink).await
    });
    let sent = send_file(ours, &head(size), &mut &bytes[..]).await;
    (sent, receiving.await.unwrap())
}

#[tokio::test]
async fn a_file_arrives_with_its_hash() {
    for len in [0, 1, CHUNK, 3 * CHUNK + 17] {
        let (bytes, memory) = (content(len), Memory::default());
        let (sent, came) = transfer(&bytes, len as u64, &memory).await;
        let sent = sent.unwrap();
        assert_eq!(sent.name, came.unwrap());
        assert_eq!(*memory.bytes.lock().unwrap(), bytes);
        let expected = ring::digest::digest(&SHA256, &bytes);
        assert_eq!(&sent.sha256[..], expected.as_ref());
        assert_eq!(*memory.finished.lock().unwrap(), Some(sent.sha256));
    }
}

#[tokio::test]
async fn a_full_disk_is_told_to_the_sender_while_it_sends() {
    let memory = Memory {
        limit: Some(2 * CHUNK),
        ..Memory::default()
    };
    let bytes = content(20 * CHUNK);
    let (sent, came) = transfer(&bytes, bytes.len() as u64, &memory).await;
    assert!(
        matches!(&sent, Err(SendFileError::Refused(words)) if words == "the disk is full"),
        "{sent:?}"
    );
    assert!(matches!(came, Err(ReceiveFileError::Sink(_))));
    assert_eq!(*memory.finished.lock().unwrap(), None);
}

#[tokio::test]
async fn a_file_that_shrinks_or_grows_while_it_is_sent_is_not_stored() {
    for (len, size) in [(1000, 1001), (1001, 1000)] {
        let memory = Memory::default();
        let (sent, came) = transfer(&content(len), size, &memory).await;
        assert!(matches!(sent, Err(SendFileError::Changed)), "{sent:?}");
        assert!(came.is_err());
        assert_eq!(*memory.finished.lock().unwrap(), None);
    }
}

#[tokio::test]
async fn bytes_that_do_not_fit_their_hash_are_refused() {
    let (mut ours, theirs) = duplex(10_000);
    let memory = Memory::default();
    let receiving = tokio::spawn(receive_file(theirs, head(3), Box::new(memory.clone())));
    ours.write_all(b"abc").await.unwrap();
    ours.write_all(&[0; HASH]).await.unwrap();
    ours.shutdown().await.unwrap();
    assert!(matches!(
        receiving.await.unwrap(),
        Err(ReceiveFileError::Hash)
    ));
    assert_eq!(*memory.finished.lock().unwrap(), None);
}

#[tokio::test]
async fn a_refused_head_costs_no_byte_of_the_file() {
    let (ours, mut theirs) = duplex(1000);
    let refusing = tokio::spawn(async move {
        read_file_head(&mut theirs).await.unwrap();
        refuse_file(&mut theirs, &"no ".repeat(1000)).await.unwrap();
        let mut rest = vec![];
        theirs.read_to_end(&mut rest).await.unwrap();
        rest.len()
    });
    let sent = send_file(ours, &head(1000), &mut &content(1000)[..]).await;
    assert!(matches!(sent, Err(SendFileError::Refused(words)) if words.starts_with("no no")));
    assert_eq!(refusing.await.unwrap(), 0);
}
