//! Two TAP devices joined by an emulated link: a thread for each direction.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{io, thread};

use pilot_sim::LinkConfig;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use tappers::linux::Tap;

use crate::emulator::{Counters, Emulator};
use crate::namespace::inside;

/// Frames that one direction takes in before it looks for what is due.
const BATCH: usize = 64;
/// The largest frame of a TAP device: 64 KiB of packet and its header.
const MAX_FRAME: usize = 65_536 + crate::frame::ETHERNET;

/// A device to be made: a name in a network namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TapName {
    /// Name of the namespace.
    pub namespace: String,
    /// Name of the device.
    pub device: String,
}

impl std::str::FromStr for TapName {
    type Err = &'static str;

    /// `NETNS/TAP`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((namespace, device)) if !namespace.is_empty() && !device.is_empty() => Ok(Self {
                namespace: namespace.into(),
                device: device.into(),
            }),
            Some(_) | None => Err("expected NETNS/TAP"),
        }
    }
}

/// One end of a [`Cable`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The first device.
    A,
    /// The second device.
    B,
}

/// Two devices and the link between them, until it is dropped: then the devices are gone.
pub struct Cable {
    a: Arc<Tap>,
    b: Arc<Tap>,
    a_to_b: Arc<Mutex<Emulator>>,
    b_to_a: Arc<Mutex<Emulator>>,
    stop: Arc<OwnedFd>,
    threads: Vec<JoinHandle<()>>,
}

impl Cable {
    /// Makes both devices and forwards between them. The devices are down; their owner sets them up.
    ///
    /// # Errors
    /// If a namespace cannot be entered or a device not be made (root only; a name that is taken).
    pub fn new(
        a: &TapName,
        b: &TapName,
        a_to_b: LinkConfig,
        b_to_a: LinkConfig,
        seed: u64,
    ) -> io::Result<Self> {
        let emulator = |config, seed| Arc::new(Mutex::new(Emulator::new(config, seed)));
        let mut cable = Self {
            a: Arc::new(open(a)?),
            b: Arc::new(open(b)?),
            a_to_b: emulator(a_to_b, seed),
            // Another sequence for the way back, or both would lose at the same places.
            b_to_a: emulator(b_to_a, !seed),
            stop: Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?),
            threads: vec![],
        };
        let (to_b, to_a) = (cable.direction(End::B), cable.direction(End::A));
        cable.threads = vec![
            thread::spawn(move || to_b.run()),
            thread::spawn(move || to_a.run()),
        ];
        Ok(cable)
    }

    fn direction(&self, to: End) -> Direction {
        let (from, to, emulator) = match to {
            End::A => (&self.b, &self.a, &self.b_to_a),
            End::B => (&self.a, &self.b, &self.a_to_b),
        };
        Direction {
            from: from.clone(),
            to: to.clone(),
            emulator: emulator.clone(),
            stop: self.stop.clone(),
        }
    }

    fn emulator(&self, to: End) -> MutexGuard<'_, Emulator> {
        lock(match to {
            End::A => &self.b_to_a,
            End::B => &self.a_to_b,
        })
    }

    /// Changes what the link does to frames towards one end from now on.
    pub fn set_towards(&self, to: End, config: LinkConfig) {
        self.emulator(to).set_config(config);
    }

    /// Changes what the link does to frames of both directions from now on.
    pub fn set(&self, config: LinkConfig) {
        self.set_towards(End::A, config);
        self.set_towards(End::B, config);
    }

    /// What happened to frames towards one end so far.
    #[must_use]
    pub fn counters_towards(&self, to: End) -> Counters {
        self.emulator(to).counters()
    }

    /// Puts a frame of an attacker's onto the wire, at its end.
    ///
    /// # Errors
    /// If the device is down.
    pub fn inject(&self, to: End, frame: &[u8]) -> io::Result<()> {
        let tap = match to {
            End::A => &self.a,
            End::B => &self.b,
        };
        tap.send(frame).map(|_| ())
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        // Cannot fail on a fresh counter; both threads poll it and end.
        let _ = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn open(name: &TapName) -> io::Result<Tap> {
    let named = |error: io::Error| {
        io::Error::new(
            error.kind(),
            format!("{}/{}: {error}", name.namespace, name.device),
        )
    };
    let open = || {
        let tap = Tap::create_named(tappers::Interface::new(&name.device)?)?;
        tap.set_nonblocking(true)?;
        Ok(tap)
    };
    inside(&name.namespace, open).map_err(named)
}

fn lock(emulator: &Mutex<Emulator>) -> MutexGuard<'_, Emulator> {
    emulator.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What one thread needs.
struct Direction {
    from: Arc<Tap>,
    to: Arc<Tap>,
    emulator: Arc<Mutex<Emulator>>,
    stop: Arc<OwnedFd>,
}

impl Direction {
    /// Forwards until the cable is dropped or its device is gone.
    fn run(self) {
        let mut buffer = vec![0; MAX_FRAME];
        loop {
            // An error says that the namespace took the device with it.
            let Ok((is_drained, due)) = self.turn(&mut buffer) else {
                return;
            };
            if is_drained && !self.wait(due) {
                return;
            }
        }
    }

    /// Takes in what waits, up to a batch, and sends what is due. Gives whether nothing waits any more, and when to
    /// look again.
    fn turn(&self, buffer: &mut [u8]) -> io::Result<(bool, Option<Instant>)> {
        let mut emulator = lock(&self.emulator);
        let mut is_drained = false;
        for _ in 0..BATCH {
            match self.from.recv(buffer) {
                Ok(size) => emulator.handle_frame(Instant::now(), &buffer[..size]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    is_drained = true;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        while let Some(frame) = emulator.poll_frame(Instant::now()) {
            // A device that is down or whose queue is full loses frames, as a machine's network card does.
            let _ = self.to.send(&frame);
            emulator.recycle(frame);
        }
        Ok((is_drained, emulator.poll_timeout()))
    }

    /// Waits for a frame or until `due`; gives whether to go on.
    fn wait(&self, due: Option<Instant>) -> bool {
        let timeout = due.map(|due| timespec(due.saturating_duration_since(Instant::now())));
        let mut ready = [
            PollFd::from_borrowed_fd(self.from.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.stop.as_fd(), PollFlags::IN),
        ];
        match poll(&mut ready, timeout.as_ref()) {
            Ok(_) => ready[1].revents().is_empty(),
            Err(error) => error == rustix::io::Errno::INTR,
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}
