//! What one end says that no honest one does.

use pilot_wire::limits::MAX_FILE_CHUNKS_HELD;
use pilot_wire::{FILE_CHUNK_BYTES, FILE_CHUNK_HELD, FileAnswer};

use super::*;

/// A receiver that holds `held` and is told `bytes` after the head of a file of `size`.
async fn told(
    size: u64,
    held: &[u8],
    bytes: &[u8],
) -> (Result<FilePath, ReceiveFileError>, Memory) {
    let (mut ours, theirs) = duplex(8 * CHUNK);
    let memory = Memory::holding(held);
    let receiving = receive(theirs, &memory);
    ours.write_all(&encode_prefixed(&head(size))).await.unwrap();
    ours.write_all(bytes).await.unwrap();
    ours.shutdown().await.unwrap();
    let came = receiving.await.unwrap();
    assert_eq!(memory.finished.lock().unwrap().is_some(), came.is_ok());
    (came, memory)
}

#[tokio::test]
async fn bytes_that_do_not_fit_their_hash_are_refused_and_nothing_stays() {
    let mut bytes = vec![FILE_CHUNK_BYTES];
    bytes.extend(b"abc");
    bytes.extend([0; HASH]);
    let (came, memory) = told(3, b"", &bytes).await;
    assert!(matches!(came, Err(ReceiveFileError::Hash)), "{came:?}");
    assert!(memory.bytes.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_wrong_chunk_among_right_ones_is_found() {
    let right = content(3 * CHUNK);
    let mut bytes = vec![FILE_CHUNK_HELD, FILE_CHUNK_BYTES];
    bytes.extend(vec![7; CHUNK]);
    bytes.push(FILE_CHUNK_HELD);
    bytes.extend(sha256(&right));
    let (came, _) = told(3 * CHUNK as u64, &right, &bytes).await;
    assert!(matches!(came, Err(ReceiveFileError::Hash)), "{came:?}");
}

#[tokio::test]
async fn a_chunk_that_is_not_held_cannot_be_kept() {
    for held in [0, CHUNK - 1] {
        let (came, _) = told(2 * CHUNK as u64, &vec![1; held], &[FILE_CHUNK_HELD]).await;
        assert!(matches!(came, Err(ReceiveFileError::Malformed)), "{came:?}");
    }
}

#[tokio::test]
async fn an_unknown_kind_of_chunk_and_an_early_end_are_refused() {
    let (came, _) = told(10, b"", &[9]).await;
    assert!(matches!(came, Err(ReceiveFileError::Malformed)), "{came:?}");
    let whole = {
        let mut bytes = vec![FILE_CHUNK_BYTES];
        bytes.extend(b"0123456789");
        bytes.extend(sha256(b"0123456789"));
        bytes
    };
    for cut in 0..whole.len() {
        let (came, _) = told(10, b"", &whole[..cut]).await;
        assert!(
            matches!(came, Err(ReceiveFileError::Truncated)),
            "{cut}: {came:?}"
        );
    }
    told(10, b"", &whole).await.0.unwrap();
}

/// What follows the hash is not read: a stream without end costs no memory and changes nothing.
#[tokio::test]
async fn a_stream_without_end_is_no_larger_than_its_head_says() {
    let (mut ours, theirs) = duplex(64 * 1024);
    let memory = Memory::default();
    let receiving = receive(theirs, &memory);
    let mut bytes = encode_prefixed(&head(4));
    bytes.push(FILE_CHUNK_BYTES);
    bytes.extend(b"data");
    bytes.extend(sha256(b"data"));
    ours.write_all(&bytes).await.unwrap();
    while ours.write_all(&[1; 4096]).await.is_ok() {}
    receiving.await.unwrap().unwrap();
    assert_eq!(*memory.bytes.lock().unwrap(), b"data");
}

/// A receiver that answers so; gives what the sender makes of it.
async fn answered(size: usize, answer: Vec<u8>) -> Result<FileSent, SendFileError> {
    let (ours, mut theirs) = duplex(1000);
    let answering = tokio::spawn(async move {
        read_file_head(&mut theirs).await.unwrap();
        theirs.write_all(&answer).await.unwrap();
        theirs.shutdown().await.unwrap();
    });
    let bytes = content(size);
    let head = head(size as u64);
    let sent = send_file(ours, &head, &mut &bytes[..], &SendProgress::default()).await;
    answering.await.unwrap();
    sent
}

#[tokio::test]
async fn a_receiver_that_says_it_holds_too_much_is_not_believed() {
    for held in [2, MAX_FILE_CHUNKS_HELD + 1, u64::MAX] {
        let answer = encode_prefixed(&FileAnswer::Accepted { held });
        let sent = answered(CHUNK, answer).await;
        assert!(matches!(sent, Err(SendFileError::Version)), "{sent:?}");
    }
    // Hashes that do not come.
    let answer = encode_prefixed(&FileAnswer::Accepted { held: 1 });
    let sent = answered(CHUNK, answer).await;
    assert!(matches!(sent, Err(SendFileError::Stream(_))), "{sent:?}");
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_does_not_read_the_hashes_is_given_up() {
    let held = content(3 * CHUNK);
    let (mut ours, theirs) = duplex(16);
    let memory = Memory::holding(&held);
    let receiving = receive(theirs, &memory);
    let head = encode_prefixed(&head(4 * CHUNK as u64));
    ours.write_all(&head).await.unwrap();
    // The clock stands still while the disk's thread waits: it is moved by hand.
    while !receiving.is_finished() {
        tokio::time::advance(SILENCE).await;
        tokio::task::yield_now().await;
    }
    let came = receiving.await.unwrap();
    assert!(matches!(came, Err(ReceiveFileError::Silent)), "{came:?}");
    assert_eq!(memory.bytes.lock().unwrap().len(), held.len());
    drop(ours);
}
