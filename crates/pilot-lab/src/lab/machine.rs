//! A machine: its interfaces, and programs run on it.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;

use pilot_sim::LinkConfig;
use serde_json::Value;

use super::host::{Namespace, ip};
use super::{Shared, Switch, program, run};
use crate::cable::{Cable, TapName};
use crate::capture::Capture;
use crate::namespace::inside;

/// A machine: a network namespace with a home for an agent. What runs on it ends when it is dropped.
pub struct Machine {
    shared: Rc<Shared>,
    namespace: Namespace,
    home: PathBuf,
    addresses: Vec<Ipv4Addr>,
    interfaces: usize,
    cables: Vec<Rc<Cable>>,
}

impl Machine {
    pub(super) fn new(shared: &Rc<Shared>, name: &str) -> Self {
        Self {
            namespace: Namespace::new(&format!("{}{name}", shared.name)),
            home: shared.directory.path().join(name),
            shared: shared.clone(),
            addresses: vec![],
            interfaces: 0,
            cables: vec![],
        }
    }

    /// Gives it another interface, on a switch, by a perfect wire with an MTU of 1500.
    pub fn connect(&mut self, switch: &Switch) {
        let (end, port) = (self.next_interface(), switch.port());
        ip(&format!(
            "-n {} link add {port} type veth peer name {} netns {}",
            switch.namespace.name, end.device, end.namespace
        ));
        switch.plug_in(&port);
        self.set_up(&end.device, switch.address());
    }

    /// Gives it another interface, on a switch, behind an emulated link. Its end A is the machine.
    pub fn connect_by(&mut self, switch: &Switch, link: LinkConfig) -> Rc<Cable> {
        let end = self.next_interface();
        let port = TapName {
            namespace: switch.namespace.name.clone(),
            device: switch.port(),
        };
        let cable = self.shared.cable(&end, &port, link);
        switch.plug_in(&port.device);
        self.set_up(&end.device, switch.address());
        self.keep(cable.clone());
        cable
    }

    pub(super) fn next_interface(&mut self) -> TapName {
        self.interfaces += 1;
        TapName {
            namespace: self.namespace.name.clone(),
            device: format!("eth{}", self.interfaces - 1),
        }
    }

    pub(super) fn set_up(&mut self, device: &str, address: Ipv4Addr) {
        self.namespace
            .ip(&format!("addr add {address}/24 dev {device}"));
        self.namespace.ip(&format!("link set {device} mtu 1500 up"));
        self.addresses.push(address);
    }

    pub(super) fn keep(&mut self, cable: Rc<Cable>) {
        self.cables.push(cable);
    }

    /// Its address on the first interface.
    ///
    /// # Panics
    /// If it has none.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.addresses[0]
    }

    /// Its addresses, in the order of its interfaces `eth0`, `eth1` …
    #[must_use]
    pub fn addresses(&self) -> &[Ipv4Addr] {
        &self.addresses
    }

    /// The emulated links that end here, in the order in which they were made.
    #[must_use]
    pub fn cables(&self) -> &[Rc<Cable>] {
        &self.cables
    }

    /// Where its agent lives.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The name of its namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace.name
    }

    /// Makes it a router.
    pub fn forward(&self) {
        self.sysctl("net.ipv4.ip_forward", "1");
    }

    /// Sends everything that is not on its own subnets to `router`.
    pub fn route_by(&self, router: Ipv4Addr) {
        self.namespace
            .ip(&format!("route replace default via {router}"));
    }

    /// Sends everything for a switch's subnet to `router`.
    pub fn route_to(&self, switch: &Switch, router: Ipv4Addr) {
        self.namespace
            .ip(&format!("route replace {} via {router}", switch.network()));
    }

    /// Sends everything for one address to `router`.
    pub fn route_to_address(&self, address: Ipv4Addr, router: Ipv4Addr) {
        self.namespace
            .ip(&format!("route replace {address}/32 via {router}"));
    }

    /// Gives an interface the next free address of its switch instead of the one it had. Its routes are gone with that.
    pub fn renumber(&mut self, interface: usize, switch: &Switch) {
        let (device, new) = (format!("eth{interface}"), switch.address());
        self.namespace.ip(&format!("addr flush dev {device}"));
        self.namespace
            .ip(&format!("addr add {new}/24 dev {device}"));
        self.addresses[interface] = new;
    }

    /// Gives an interface this IPv6 address too, of a subnet of 64 bits.
    pub fn add_ipv6(&self, interface: usize, address: Ipv6Addr) {
        // Nobody else has it: used at once, without asking.
        self.namespace
            .ip(&format!("addr add {address}/64 dev eth{interface} nodad"));
    }

    /// Takes an interface's IPv4 addresses away.
    pub fn drop_ipv4(&self, interface: usize) {
        self.namespace
            .ip(&format!("-4 addr flush dev eth{interface}"));
    }

    /// Takes an interface's IPv6 addresses away, but for its link-local one.
    pub fn drop_ipv6(&self, interface: usize) {
        self.namespace
            .ip(&format!("-6 addr flush dev eth{interface} scope global"));
    }

    fn sysctl(&self, name: &str, value: &str) {
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        let set = || std::fs::write(&path, value);
        inside(self.namespace(), set).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Takes an interface's carrier away, or gives it back.
    pub fn set_link(&self, interface: &str, is_up: bool) {
        let state = if is_up { "up" } else { "down" };
        self.namespace.ip(&format!("link set {interface} {state}"));
    }

    /// Runs `work` on a thread inside of the machine's network: sockets made there are the machine's.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside(self.namespace(), || Ok(work()))
            .unwrap_or_else(|error| panic!("{}: {error}", self.namespace()))
    }

    /// Any program, on this machine.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", self.namespace()])
            .arg(program)
            .env_remove("PILOT_HOME")
            .env_remove("PILOT_SOCKET")
            .stdin(Stdio::null());
        command
    }

    /// The program that stands beside `pilotctl`, on this machine.
    #[must_use]
    pub fn product(&self, name: &str) -> Command {
        self.command(program().with_file_name(name))
    }

    /// `pilotctl` with the machine's home and these arguments.
    #[must_use]
    pub fn pilotctl(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(program());
        command.arg("--home").arg(&self.home).args(arguments);
        command
    }

    /// The envelope and exit code of a command with `--json`.
    ///
    /// # Panics
    /// If it does not answer by one document.
    #[must_use]
    pub fn json(&self, arguments: &[&str]) -> (Value, i32) {
        let (value, code, _) = self.ask(arguments).answer();
        (value, code)
    }

    /// The data of a command that must succeed.
    ///
    /// # Panics
    /// If it does not.
    pub fn data(&self, arguments: &[&str]) -> Value {
        self.ask(arguments).data().0
    }

    /// Captures what passes an interface from now on.
    #[must_use]
    pub fn capture(&self, interface: &str) -> Capture {
        let number = self.shared.number();
        let file = self.shared.directory.path().join(format!("{number}.pcap"));
        let mut tcpdump = self.command("tcpdump");
        tcpdump.args(["-i", interface]);
        Capture::start(tcpdump, file)
    }

    pub(super) fn is_home_of(&self, pid: u32) -> bool {
        let own = run(Command::new("ip").args(["netns", "identify", &pid.to_string()]));
        String::from_utf8_lossy(&own.stdout).trim() == self.namespace()
    }
}
