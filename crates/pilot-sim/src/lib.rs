//! Virtual clock, links and NATs in which Pilot's machines are tested; a run is determined by its seed.
//!
//! Does no I/O. Reads the clock once in a process, for a first `Instant` to count from.
//!
//! ```text
//!  Sim<M>      the driver: jumps from deadline to deadline, moves datagrams, notices machines that spin
//!   ├ M: Machine …     one per host: what is tested
//!   └ Network  hosts, access links, NATs and firewalls, the packet trace, the oracle
//!      ├ Link  one direction of a link, a pure object
//!      └ Nat   one NAT or firewall, a pure object
//! ```
//!
//! A machine that answers each datagram, and one that asks:
//!
//! ```
//! use std::net::SocketAddr;
//! use std::time::Duration;
//! use pilot_sim::{LinkConfig, Machine, NatConfig, Network, Now, Place, Sim};
//! use pilot_types::{Deadline, Ecn, FourTuple, PathId, PeerAddr, Transmit, TransmitBuf};
//!
//! #[derive(Default)]
//! struct Echo { to_send: Vec<(FourTuple, Vec<u8>)>, received: usize, is_server: bool }
//!
//! impl Machine for Echo {
//!     fn handle_datagram(&mut self, _: Now, local: SocketAddr, remote: SocketAddr, _: Option<Ecn>, data: &mut [u8]) {
//!         self.received += 1;
//!         if self.is_server {
//!             self.to_send.push((FourTuple { local, remote: PeerAddr(remote) }, data.to_vec()));
//!         }
//!     }
//!     fn handle_timeout(&mut self, _: Now) {}
//!     fn poll_transmit(&mut self, _: Now, out: &mut TransmitBuf) -> Option<Transmit> {
//!         let (path, data) = self.to_send.pop()?;
//!         out.bind_path(PathId::Udp(path));
//!         out.begin(1200);
//!         out.put_slice(&data);
//!         out.finish();
//!         out.transmit(None)
//!     }
//!     fn poll_timeout(&self) -> Option<Deadline> { None }
//! }
//!
//! let mut network = Network::new(7);
//! let server = network.add_public_host("198.51.100.1".parse()?);
//! let nat = network.add_nat(NatConfig::easy(), Place::Internet, "203.0.113.1".parse()?);
//! let client = network.add_host_behind(nat, "10.0.0.2".parse()?);
//! network.set_link(client, LinkConfig::delay(Duration::from_millis(10)));
//!
//! let mut sim = Sim::new(network);
//! sim.install(server, Echo { is_server: true, ..Echo::default() });
//! sim.install(client, Echo::default());
//! let path = FourTuple { local: "10.0.0.2:4000".parse()?, remote: PeerAddr("198.51.100.1:7".parse()?) };
//! sim[client].to_send.push((path, b"hello".to_vec()));
//! assert!(sim.run_until(|sim| sim[client].received == 1, Duration::from_secs(1)));
//! assert_eq!(sim.network.elapsed(), Duration::from_millis(20));
//! # Ok::<(), std::net::AddrParseError>(())
//! ```

mod clock;
mod link;
mod machine;
mod nat;
mod network;
mod oracle;
mod rng;
mod sim;
mod trace;

pub use clock::Now;
pub use link::{BurstLoss, Corruption, Deliveries, Delivery, Frame, Link, LinkConfig, LinkDrop};
pub use machine::Machine;
pub use nat::{Dependence, Nat, NatConfig, NatDrop, PortAssignment};
pub use network::{HostId, NatId, Network, Packet, Place};
pub use oracle::DirectPath;
pub use rng::{Probability, SimRng};
pub use sim::Sim;
pub use trace::{DropCause, Step, Trace, TraceEntry};
