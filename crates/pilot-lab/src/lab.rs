//! Machines in network namespaces, on switches, behind routers, joined by emulated links; gone when dropped.

mod asked;
mod daemon;
mod files;
mod host;
mod machine;
mod miniupnpd;
mod nat;
mod pair;
mod process;

use std::cell::Cell;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};
use std::{fs, thread};

use pilot_sim::LinkConfig;
use tempfile::TempDir;

use crate::cable::{Cable, TapName};
use host::Namespace;

pub use asked::Asked;
pub use daemon::{Daemon, Rendezvous};
pub use files::{setting, sha256, write_random};
pub use machine::Machine;
pub use miniupnpd::Grants;
pub use nat::Nat;
pub use pair::{Pair, befriend, is_mutual, start, start_all};
pub(crate) use process::signal;
pub use process::{Process, Usage, run};

/// How often something is looked at that cannot be waited for.
const POLL: Duration = Duration::from_millis(10);

/// A laboratory: where the machines of one test live. It and its machines end what runs in them when they are dropped,
/// also when the test panics; what a killed test left is removed by the next laboratory.
///
/// Methods of the laboratory and of what is in it panic, with what the system said, where something does not work.
///
/// ```no_run
/// use std::time::Duration;
/// use pilot_lab::Lab;
/// use pilot_sim::LinkConfig;
///
/// let lab = Lab::new();
/// let server = lab.machine("server");
/// let alice = lab.machine_behind("alice", LinkConfig::delay(Duration::from_millis(20)));
/// let rendezvous = server.rendezvous();
/// alice.daemon(&["--hostname", "alice", "--rendezvous", &rendezvous.url]);
/// assert_eq!(alice.data(&["info"])["hostname"], "alice");
/// ```
pub struct Lab {
    shared: Rc<Shared>,
    switch: Switch,
}

/// What a laboratory's machines share.
struct Shared {
    name: String,
    directory: TempDir,
    seed: u64,
    /// Numbers of machines, subnets and ports given out.
    next: Cell<u32>,
}

impl Shared {
    fn number(&self) -> u32 {
        self.next.replace(self.next.get() + 1)
    }
}

/// An Ethernet switch and its subnet, `10.77.N.0/24` if nothing else is said.
pub struct Switch {
    shared: Rc<Shared>,
    namespace: Namespace,
    /// The first 24 bits of its addresses.
    network: [u8; 3],
    /// Host numbers given out.
    next_host: Cell<u8>,
}

impl Lab {
    /// An empty laboratory with one switch. `PILOTCTL` names the program under test, with `pilot-rendezvous` beside it;
    /// without it they are looked for where cargo puts the products of this profile.
    ///
    /// # Panics
    /// Without root or `ip`.
    #[must_use]
    pub fn new() -> Self {
        Self::with_seed(1)
    }

    /// [`Lab::new`] whose emulated links draw by this seed.
    ///
    /// # Panics
    /// As [`Lab::new`].
    #[must_use]
    pub fn with_seed(seed: u64) -> Self {
        Self::build(seed, None)
    }

    /// [`Lab::new`] whose switch has the subnet of these 24 bits. Agents try private addresses of others, and `10.77.N` is
    /// one, only where they have such an address themselves: what shall be the Internet needs others.
    ///
    /// # Panics
    /// As [`Lab::new`].
    #[must_use]
    pub fn in_network(network: [u8; 3]) -> Self {
        Self::build(1, Some(network))
    }

    fn build(seed: u64, network: Option<[u8; 3]>) -> Self {
        host::remove_leftovers();
        let shared = Rc::new(Shared {
            name: host::unique_name(),
            directory: tempfile::tempdir().expect("a temporary directory can be made"),
            seed,
            next: Cell::new(0),
        });
        let switch = Switch::new(&shared, network);
        Self { shared, switch }
    }

    /// A directory for the test's files, gone with the laboratory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.shared.directory.path()
    }

    /// The switch that machines are put on if nothing else is said.
    #[must_use]
    pub const fn switch(&self) -> &Switch {
        &self.switch
    }

    /// Another switch, with a subnet of its own.
    #[must_use]
    pub fn add_switch(&self) -> Switch {
        Switch::new(&self.shared, None)
    }

    /// Another switch, whose addresses begin with these 24 bits.
    #[must_use]
    pub fn add_switch_in(&self, network: [u8; 3]) -> Switch {
        Switch::new(&self.shared, Some(network))
    }

    /// A machine with no interface yet. Its agent's home is the directory of this name.
    #[must_use]
    pub fn bare_machine(&self, name: &str) -> Machine {
        Machine::new(&self.shared, name)
    }

    /// A machine on the switch, by a perfect wire with an MTU of 1500.
    #[must_use]
    pub fn machine(&self, name: &str) -> Machine {
        let mut machine = self.bare_machine(name);
        machine.connect(&self.switch);
        machine
    }

    /// A machine on the switch, behind an emulated link of the same kind in both directions.
    #[must_use]
    pub fn machine_behind(&self, name: &str, link: LinkConfig) -> Machine {
        let mut machine = self.bare_machine(name);
        machine.connect_by(&self.switch, link);
        machine
    }

    /// A router between switches: it has an address on each and forwards.
    #[must_use]
    pub fn router(&self, name: &str, switches: &[&Switch]) -> Machine {
        let mut router = self.bare_machine(name);
        for switch in switches {
            router.connect(switch);
        }
        router.forward();
        router
    }

    /// Joins two machines by a perfect wire of their own with an MTU of 1500, in a subnet of its own: no switch between
    /// them takes part in what is measured.
    pub fn wire(&self, a: &mut Machine, b: &mut Machine) {
        let [x, y, z] = self.shared.private_network();
        let (end_a, end_b) = (a.next_interface(), b.next_interface());
        host::ip(&format!(
            "-n {} link add {} type veth peer name {} netns {}",
            end_a.namespace, end_a.device, end_b.device, end_b.namespace
        ));
        a.set_up(&end_a.device, Ipv4Addr::new(x, y, z, 1));
        b.set_up(&end_b.device, Ipv4Addr::new(x, y, z, 2));
    }

    /// Joins two machines by an emulated link of their own, in a subnet of its own. The first machine is end A.
    pub fn link(&self, a: &mut Machine, b: &mut Machine, link: LinkConfig) -> Rc<Cable> {
        let [x, y, z] = self.shared.private_network();
        let (end_a, end_b) = (a.next_interface(), b.next_interface());
        let cable = self.shared.cable(&end_a, &end_b, link);
        a.set_up(&end_a.device, Ipv4Addr::new(x, y, z, 1));
        b.set_up(&end_b.device, Ipv4Addr::new(x, y, z, 2));
        a.keep(cable.clone());
        b.keep(cable.clone());
        cable
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Shared {
    /// A subnet that nothing else has.
    fn private_network(&self) -> [u8; 3] {
        [10, 77, u8::try_from(self.number()).expect("few subnets")]
    }

    fn cable(&self, a: &TapName, b: &TapName, link: LinkConfig) -> Rc<Cable> {
        let seed = self.seed.wrapping_add(u64::from(self.number()) << 32);
        let cable = Cable::new(a, b, link, link, seed);
        Rc::new(cable.unwrap_or_else(|error| panic!("an emulated link: {error}")))
    }
}

impl Switch {
    fn new(shared: &Rc<Shared>, network: Option<[u8; 3]>) -> Self {
        let name = format!("{}s{}", shared.name, shared.number());
        let namespace = Namespace::new(&name);
        namespace.ip("link add br0 type bridge");
        namespace.ip("link set br0 up");
        Self {
            shared: shared.clone(),
            namespace,
            network: network.unwrap_or_else(|| shared.private_network()),
            next_host: Cell::new(1),
        }
    }

    /// The next free address.
    fn address(&self) -> Ipv4Addr {
        let host = self.next_host.replace(self.next_host.get() + 1);
        let [x, y, z] = self.network;
        Ipv4Addr::new(x, y, z, host)
    }

    /// Its subnet, as `ip` reads it.
    fn network(&self) -> String {
        let [x, y, z] = self.network;
        format!("{x}.{y}.{z}.0/24")
    }

    fn port(&self) -> String {
        format!("p{}", self.shared.number())
    }

    fn plug_in(&self, port: &str) {
        self.namespace
            .ip(&format!("link set {port} mtu 1500 master br0 up"));
    }
}

/// The program under test.
fn program() -> PathBuf {
    let path = std::env::var_os("PILOTCTL").map(PathBuf::from);
    let path = path.unwrap_or_else(|| {
        // target/PROFILE/deps/TEST-HASH
        let test = std::env::current_exe().expect("a process knows its program");
        let products = test.ancestors().nth(2).expect("a test lies in a directory");
        products.join("pilotctl")
    });
    fs::canonicalize(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; build it or set PILOTCTL", path.display()))
}

/// Polls until it holds; gives how long that took.
///
/// # Panics
/// If it does not hold within `limit`.
pub fn wait(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        thread::sleep(POLL);
    }
    start.elapsed()
}
