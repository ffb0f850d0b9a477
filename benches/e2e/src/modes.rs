//! What is measured, written once for all contestants that have streams.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::contestant::{Client, Duplex, Server};
use crate::setup::{Bounds, Done, Mode, Result, Setup, Usage};

/// What one write or read of a bulk transfer moves at most.
const CHUNK: usize = 64 << 10;
/// A request, and its answer.
const REQUEST: usize = 1 << 10;
/// Longest request that is read.
const MAX_REQUEST: u64 = 1 << 16;
/// Round trips that are not counted: until caches, MTU and RTT are known.
const WARM_UP: u32 = 200;
/// Shortest time of a warm-up on a link with a delay.
const MAX_WARM_UP: Duration = Duration::from_millis(500);

/// Serves a mode until the process ends.
pub(crate) async fn serve<S: Server>(server: S, mode: Mode) -> Result<()> {
    let take = move |stream: S::Stream| {
        tokio::spawn(async move {
            let served = match mode {
                Mode::Bulk | Mode::Streams => sink(stream).await,
                Mode::Rtt | Mode::Rtt64 | Mode::Connect => echo(stream).await,
                Mode::Requests => answer(stream).await,
            };
            if let Err(error) = served {
                eprintln!("a stream ended: {error}");
            }
        });
    };
    server.serve(take).await
}

/// Reads everything and answers how much it was.
async fn sink<D: Duplex>(mut stream: D) -> Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut total = 0_u64;
    loop {
        match stream.read(&mut buffer).await? {
            0 => break,
            count => total += count as u64,
        }
    }
    stream.write_all(&total.to_be_bytes()).await?;
    stream.finish().await
}

/// Sends back what comes.
async fn echo<D: Duplex>(mut stream: D) -> Result<()> {
    let mut buffer = [0; 256];
    loop {
        match stream.read(&mut buffer).await? {
            0 => break,
            count => stream.write_all(&buffer[..count]).await?,
        }
    }
    stream.finish().await
}

/// Reads a request to its end and sends as much back.
async fn answer<D: Duplex>(mut stream: D) -> Result<()> {
    let mut request = Vec::with_capacity(REQUEST);
    (&mut stream)
        .take(MAX_REQUEST)
        .read_to_end(&mut request)
        .await?;
    stream.write_all(&request).await?;
    stream.finish().await
}

/// A client that is ready to be measured.
pub(crate) enum Ready<C> {
    Cold,
    Warm(Arc<C>),
}

/// Everything before the measurement: the session of all modes but `connect`, where the session is what is measured.
pub(crate) async fn prepare<C: Client>(setup: &Setup) -> Result<Ready<C>> {
    let mut client = C::bind(setup).await?;
    if setup.mode == Mode::Connect {
        // Once, so that both sides know each other.
        client.connect().await?;
        client.settle().await?;
        first_byte(&client).await?;
        client.close().await;
        return Ok(Ready::Cold);
    }
    client.connect().await?;
    client.settle().await?;
    Ok(Ready::Warm(Arc::new(client)))
}

/// The measurement.
pub(crate) async fn run<C: Client>(ready: Ready<C>, setup: &Setup) -> Result<Done> {
    let bounds = &setup.bounds;
    match (setup.mode, ready) {
        (Mode::Bulk, Ready::Warm(client)) => bulk(&client, bounds, 1).await,
        (Mode::Streams, Ready::Warm(client)) => bulk(&client, bounds, bounds.streams).await,
        (Mode::Rtt, Ready::Warm(client)) => round_trips(&*client, bounds, 1).await,
        (Mode::Rtt64, Ready::Warm(client)) => round_trips(&*client, bounds, 64).await,
        (Mode::Requests, Ready::Warm(client)) => requests(&client, bounds).await,
        (Mode::Connect, _) => connects::<C>(setup).await,
        (_, Ready::Cold) => Err("no session".into()),
    }
}

/// Bytes on so many streams until the time is over or all are sent; the clock stands when the other side has everything.
async fn bulk<C: Client>(client: &Arc<C>, bounds: &Bounds, streams: u32) -> Result<Done> {
    let (before, start) = (Usage::own(), Instant::now());
    let share = bounds.megabytes * 1_000_000 / u64::from(streams);
    let until = start + Duration::from_secs_f64(bounds.seconds);
    let mut tasks = JoinSet::new();
    for _ in 0..streams {
        let client = Arc::clone(client);
        tasks.spawn(async move { send(client.open().await?, share, until).await });
    }
    let mut bytes = 0;
    while let Some(sent) = tasks.join_next().await {
        bytes += sent??;
    }
    Ok(Done {
        seconds: start.elapsed().as_secs_f64(),
        bytes,
        usage: Usage::own().since(before),
        ..Done::default()
    })
}

async fn send<D: Duplex>(mut stream: D, bytes: u64, until: Instant) -> Result<u64> {
    let chunk = vec![0x5a; CHUNK];
    let mut sent = 0;
    while sent < bytes && Instant::now() < until {
        stream.write_all(&chunk).await?;
        sent += chunk.len() as u64;
    }
    stream.finish().await?;
    let received = stream.read_u64().await?;
    // The end too, or the stream would be given up rather than be over.
    stream.read_to_end(&mut vec![]).await?;
    if received != sent {
        return Err(format!("{received} bytes of {sent} came").into());
    }
    Ok(sent)
}

/// Round trips on one open stream.
async fn round_trips<C: Client>(client: &C, bounds: &Bounds, size: usize) -> Result<Done> {
    let mut stream = client.open().await?;
    let warm_until = Instant::now() + MAX_WARM_UP;
    for _ in 0..WARM_UP {
        round_trip(&mut stream, size).await?;
        if Instant::now() > warm_until {
            break;
        }
    }
    let (before, start) = (Usage::own(), Instant::now());
    let until = start + Duration::from_secs_f64(bounds.seconds);
    let mut nanos = Vec::with_capacity(bounds.round_trips as usize);
    while nanos.len() < bounds.round_trips as usize && Instant::now() < until {
        nanos.push(round_trip(&mut stream, size).await?);
    }
    let done = Done {
        seconds: start.elapsed().as_secs_f64(),
        bytes: (nanos.len() * size) as u64,
        usage: Usage::own().since(before),
        ..Done::default()
    };
    stream.finish().await?;
    stream.read_to_end(&mut vec![]).await?;
    Ok(done.with_times(nanos))
}

async fn round_trip<D: Duplex>(stream: &mut D, size: usize) -> Result<u64> {
    let mut message = [0x5a; 64];
    let start = Instant::now();
    stream.write_all(&message[..size]).await?;
    stream.read_exact(&mut message[..size]).await?;
    Ok(start.elapsed().as_nanos() as u64)
}

/// Requests, so many at once, each on a stream of its own.
async fn requests<C: Client>(client: &Arc<C>, bounds: &Bounds) -> Result<Done> {
    let (before, start) = (Usage::own(), Instant::now());
    let until = start + Duration::from_secs_f64(bounds.seconds);
    let (limit, begun) = (bounds.requests, Arc::new(AtomicU32::new(0)));
    let mut tasks = JoinSet::new();
    for _ in 0..bounds.in_flight {
        let (client, begun) = (Arc::clone(client), Arc::clone(&begun));
        tasks.spawn(async move {
            let mut nanos = vec![];
            while Instant::now() < until && begun.fetch_add(1, Ordering::Relaxed) < limit {
                nanos.push(request(&*client).await?);
            }
            Result::Ok(nanos)
        });
    }
    let mut nanos = vec![];
    while let Some(done) = tasks.join_next().await {
        nanos.extend(done??);
    }
    let done = Done {
        seconds: start.elapsed().as_secs_f64(),
        bytes: (nanos.len() * REQUEST * 2) as u64,
        usage: Usage::own().since(before),
        ..Done::default()
    };
    Ok(done.with_times(nanos))
}

async fn request<C: Client>(client: &C) -> Result<u64> {
    let start = Instant::now();
    let mut stream = client.open().await?;
    stream.write_all(&[0x5a; REQUEST]).await?;
    stream.finish().await?;
    let mut answer = Vec::with_capacity(REQUEST);
    stream.read_to_end(&mut answer).await?;
    if answer.len() != REQUEST {
        return Err(format!("an answer of {} bytes", answer.len()).into());
    }
    Ok(start.elapsed().as_nanos() as u64)
}

/// From an end without a session to the first byte back, each time with a fresh end.
async fn connects<C: Client>(setup: &Setup) -> Result<Done> {
    let begin = Instant::now();
    let until = begin + Duration::from_secs_f64(setup.bounds.seconds);
    let (mut starts, mut nanos, mut cpu) = (vec![], vec![], 0.0);
    while nanos.len() < setup.bounds.connects as usize && Instant::now() < until {
        let (before, start) = (Usage::own(), Instant::now());
        let mut client = C::bind(setup).await?;
        starts.push(start.elapsed().as_nanos() as u64);
        client.connect().await?;
        first_byte(&client).await?;
        nanos.push(start.elapsed().as_nanos() as u64);
        cpu += Usage::own().since(before).cpu;
        client.close().await;
    }
    let done = Done {
        seconds: begin.elapsed().as_secs_f64(),
        usage: Usage {
            cpu,
            ..Usage::own()
        },
        ..Done::default()
    };
    Ok(done.with_times(nanos).with_starts(starts))
}

async fn first_byte<C: Client>(client: &C) -> Result<()> {
    let mut stream = client.open().await?;
    round_trip(&mut stream, 1).await?;
    stream.finish().await?;
    stream.read_to_end(&mut vec![]).await?;
    Ok(())
}
