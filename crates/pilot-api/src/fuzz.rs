//! The fuzz body: functions, so that the stable test run replays the committed corpus.

mod answers;
mod stub;
#[cfg(test)]
mod tests;
mod texts;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::server::connection::Connection;
use crate::server::places::{Load, Places};
use crate::server::router::{Shared, router};
use stub::Stub;

/// Longer than all deadlines of a connection together. The clock is virtual: it passes at once when nothing else is to be done.
const LONG: Duration = Duration::from_secs(3600);
/// Small, so that answers are written in pieces.
const PIPE: usize = 1024;

/// What a client sends to the server on its socket, or a text that the API reads.
///
/// The first byte says which, and how the client behaves:
///
/// ```text
/// bit 7      the rest is a text: a request's body, a name of an agent, …
/// bits 0–2   bytes that are written at a time: all, 1, 2, 7, 16, 64, 200, 1000
/// bit 3      it waits 3 s after each of these
/// bit 4      it ends its direction at once after the last byte, instead of waiting for the server
/// ```
///
/// # Panics
/// If the server answers with anything else than HTTP with an envelope, if the connection does not end, or if a text that was
/// read and written is read differently.
pub fn local_api(data: &[u8]) {
    let Some((&mode, rest)) = data.split_first() else {
        return;
    };
    if mode & 0x80 != 0 {
        texts::check(rest);
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O needs nothing of the system");
    let answer = runtime.block_on(exchange(Manners::new(mode), rest));
    answers::check(&answer, rest);
}

/// How a client sends what it sends.
struct Manners {
    piece: usize,
    is_slow: bool,
    ends_at_once: bool,
}

impl Manners {
    fn new(mode: u8) -> Self {
        let piece = [usize::MAX, 1, 2, 7, 16, 64, 200, 1000][usize::from(mode & 7)];
        Self {
            piece,
            is_slow: mode & 8 != 0,
            ends_at_once: mode & 16 != 0,
        }
    }
}

/// A server's state, and what tells of its end, which never comes.
struct Served {
    shared: Arc<Shared<Stub>>,
    router: Router,
    _closing: watch::Sender<bool>,
}

/// One for all inputs: making the API's document takes longer than everything else.
fn served() -> &'static Served {
    static SERVED: OnceLock<Served> = OnceLock::new();
    SERVED.get_or_init(|| {
        let (closing, closed) = watch::channel(false);
        let shared = Arc::new(Shared::new(Arc::new(Stub), Arc::default(), closed));
        Served {
            router: router(Arc::clone(&shared)),
            shared,
            _closing: closing,
        }
    })
}

/// All that the server says to a client that sends `bytes`.
async fn exchange(manners: Manners, bytes: &[u8]) -> Vec<u8> {
    let (client, server) = tokio::io::duplex(PIPE);
    let places = Arc::new(Places::default());
    let place = places.enter().expect("there is room for one");
    let Served { shared, router, .. } = served();
    let connection = Connection::new(server, place, router.clone());
    let serving = tokio::spawn(connection.serve(shared.closed()));
    let answer = converse(client, manners, bytes).await;
    let served = timeout(LONG, serving).await;
    served
        .expect("a connection whose client is gone ends")
        .expect("the server does not panic");
    let load = Load(places);
    let freed = async {
        while load.connections() + load.streams() > 0 {
            sleep(Duration::from_secs(1)).await;
        }
    };
    let freed = timeout(LONG, freed).await;
    assert!(freed.is_ok(), "a connection that ended keeps its place");
    answer
}

async fn converse(client: DuplexStream, manners: Manners, bytes: &[u8]) -> Vec<u8> {
    let (mut reader, mut writer) = tokio::io::split(client);
    let (read, is_read) = watch::channel(false);
    let writing = async {
        for piece in bytes.chunks(manners.piece) {
            // The server may have closed.
            if writer.write_all(piece).await.is_err() {
                return;
            }
            if manners.is_slow {
                sleep(Duration::from_secs(3)).await;
            }
        }
        let mut is_read = is_read;
        if !manners.ends_at_once {
            // A raw stream has no deadline, everything else does.
            drop(timeout(LONG, is_read.wait_for(|is_read| *is_read)).await);
        }
        drop(writer.shutdown().await);
    };
    let reading = async {
        let mut answer = vec![];
        let ended = timeout(3 * LONG, reader.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "the server ends the connection");
        read.send_replace(true);
        answer
    };
    tokio::join!(writing, reading).1
}
