//! TCP programs through two agents: forward, expose, serve, proxy.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::process::{Output, Stdio};

use pilot_api::types::{
    ApproveRequest, Call, ExposeRequest, ForwardRequest, ProxyRequest, ServeRequest,
    SetVisibilityRequest, TcpFault, TcpOpened,
};
use pilot_api::{ApiError, ApiStream, ErrorCode, PeerRef};
use pilot_types::Port;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use crate::harness::{Agent, Network, approve, until};

const PORT: Port = Port::new(8080);

/// A port that is open as long as this lives.
struct Opened {
    facts: TcpOpened,
    lines: BufReader<ApiStream>,
}

impl Opened {
    async fn try_new<R: Call<Answer = TcpOpened>>(
        agent: &Agent,
        request: R,
    ) -> Result<Self, ApiError> {
        let (facts, stream) = agent.client.open_port(&request).await?;
        let lines = BufReader::new(stream);
        Ok(Self { facts, lines })
    }

    async fn new<R: Call<Answer = TcpOpened>>(agent: &Agent, request: R) -> Self {
        Self::try_new(agent, request).await.unwrap()
    }

    fn addr(&self) -> SocketAddr {
        self.facts.listen.parse().unwrap()
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr()).await.unwrap()
    }

    /// The next connection that failed.
    async fn fault(&mut self) -> TcpFault {
        let mut line = String::new();
        self.lines.read_line(&mut line).await.unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// Ends it, and waits until it is closed.
    async fn close(mut self) {
        self.lines.shutdown().await.unwrap();
        self.lines.read_to_end(&mut vec![]).await.unwrap();
    }
}

fn forward(peer: PeerRef) -> ForwardRequest {
    ForwardRequest {
        listen: "127.0.0.1:0".to_owned(),
        peer,
        port: PORT,
    }
}

fn expose(target: SocketAddr) -> ExposeRequest {
    ExposeRequest {
        target: target.to_string(),
        port: PORT,
    }
}

fn proxy() -> ProxyRequest {
    ProxyRequest {
        listen: "127.0.0.1:0".to_owned(),
    }
}

async fn grant(from: &Agent, to: &Agent, ports: &str) {
    let ports = pilot_wire::Scope::parse_ports(ports).ok();
    let request = ApproveRequest {
        ports,
        ..approve(to.peer())
    };
    from.call(request).await.unwrap();
}

/// Two agents, of which bob lets alice reach his port.
async fn alice_and_bob(network: &Network) -> (Agent, Agent) {
    let (alice, bob) = network.friends("alice", "bob").await;
    grant(&bob, &alice, "7,8080,1000-1002").await;
    (alice, bob)
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// Where nobody listens.
async fn closed_port() -> SocketAddr {
    listener().await.1
}

/// A connection to the port is reset, perhaps before its client knows that it is there.
async fn assert_resets(opened: &Opened) {
    match TcpStream::connect(opened.addr()).await {
        Ok(tcp) => assert_reset(tcp).await,
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
}

/// The connection is reset rather than ended.
async fn assert_reset(mut tcp: TcpStream) {
    let ended = tcp.read_to_end(&mut vec![]).await;
    let kind = ended.unwrap_err().kind();
    assert_eq!(kind, std::io::ErrorKind::ConnectionReset);
}

async fn curl(args: &[&str]) -> Output {
    let mut command = Command::new("curl");
    command
        .args(["-q", "--silent", "--show-error", "--max-time", "20"])
        .args(args)
        .env_clear()
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command.output().await.expect("the tests need curl")
}

async fn fetched(args: &[&str]) -> String {
    let output = curl(args).await;
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_pass_both_ways_and_each_direction_ends_by_itself() {
    let network = Network::new().await;
    let (alice, bob) = alice_and_bob(&network).await;
    let (server, target) = listener().await;
    let exposed = Opened::new(&bob, expose(target)).await;
    assert_eq!(
        exposed.facts.listen,
        format!("{}:8080", bob.ready.agent.address)
    );
    assert_eq!(exposed.facts.target, target.to_string());
    let forwarded = Opened::new(&alice, forward(bob.name())).await;
    assert_eq!(forwarded.facts.target, "bob:8080");

    // The client ends first: the server answers to the end of what it read.
    let mut client = forwarded.connect().await;
    let bytes: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let serving = async {
        let (mut tcp, _) = server.accept().await.unwrap();
        let mut came = vec![];
        tcp.read_to_end(&mut came).await.unwrap();
        came.reverse();
        tcp.write_all(&came).await.unwrap();
    };
    let asking = async {
        client.write_all(&bytes).await.unwrap();
        client.shutdown().await.unwrap();
        let mut back = vec![];
        client.read_to_end(&mut back).await.unwrap();
        back.reverse();
        assert!(back == bytes, "{} bytes came back", back.len());
    };
    tokio::join!(serving, asking);

    // The server ends first, and reads on.
    let mut client = forwarded.connect().await;
    let (mut tcp, _) = server.accept().await.unwrap();
    tcp.write_all(b"welcome").await.unwrap();
    tcp.shutdown().await.unwrap();
    let mut greeting = vec![];
    client.read_to_end(&mut greeting).await.unwrap();
    assert_eq!(greeting, b"welcome");
    client.write_all(b"thanks").await.unwrap();
    client.shutdown().await.unwrap();
    let mut thanks = vec![];
    tcp.read_to_end(&mut thanks).await.unwrap();
    assert_eq!(thanks, b"thanks");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_off_on_one_side_is_reset_on_the_other() {
    let network = Network::new().await;
    let (alice, bob) = alice_and_bob(&network).await;
    let (server, target) = listener().await;
    let _exposed = Opened::new(&bob, expose(target)).await;
    let mut forwarded = Opened::new(&alice, forward(bob.name())).await;
    let mut client = forwarded.connect().await;
    let (mut tcp, _) = server.accept().await.unwrap();
    tcp.write_all(b"half an ans").await.unwrap();
    client.read_exact(&mut [0; 11]).await.unwrap();
    tcp.set_zero_linger().unwrap();
    drop(tcp);
    assert_reset(client).await;
    let fault = forwarded.fault().await;
    assert_eq!(fault.error.code, ErrorCode::ConnectionFailed, "{fault:?}");
    assert_eq!((fault.connections, fault.failed), (1, 1));

    let client = forwarded.connect().await;
    let (tcp, _) = server.accept().await.unwrap();
    client.set_zero_linger().unwrap();
    drop(client);
    assert_reset(tcp).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_does_not_answer_is_told_on_both_sides() {
    let network = Network::new().await;
    let (alice, bob) = alice_and_bob(&network).await;
    let target = closed_port().await;
    let mut exposed = Opened::new(&bob, expose(target)).await;
    let mut forwarded = Opened::new(&alice, forward(bob.name())).await;
    let client = forwarded.connect().await;
    let from = client.local_addr().unwrap().to_string();
    assert_reset(client).await;
    let fault = forwarded.fault().await;
    assert_eq!((fault.from, fault.target), (from, "bob:8080".to_owned()));
    assert_eq!(fault.error.code, ErrorCode::ConnectionFailed);
    assert!(fault.error.hint.unwrap().contains("pilotctl expose"));
    let fault = exposed.fault().await;
    assert_eq!(
        (fault.from, fault.target),
        ("alice".to_owned(), target.to_string())
    );
    assert!(fault.error.message.contains("refused"), "{}", fault.error);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_was_not_granted_is_named_with_the_command_that_grants_it() {
    let network = Network::new().await;
    let (alice, bob) = network.friends("alice", "bob").await;
    let (server, target) = listener().await;
    let _exposed = Opened::new(&bob, expose(target)).await;
    let mut forwarded = Opened::new(&alice, forward(bob.name())).await;
    assert_resets(&forwarded).await;
    let fault = forwarded.fault().await;
    assert_eq!(fault.error.code, ErrorCode::NotTrusted, "{fault:?}");
    let hint = "run `pilotctl approve alice --ports 7,1000-1002,8080` on bob";
    assert_eq!(fault.error.hint.as_deref(), Some(hint));

    grant(&bob, &alice, "7,1000-1002,8080").await;
    let mut client = forwarded.connect().await;
    let (mut tcp, _) = server.accept().await.unwrap();
    tcp.write_all(b"now").await.unwrap();
    client.read_exact(&mut [0; 3]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_there_or_not_trusted_is_told_by_the_connection() {
    let network = Network::new().await;
    let alice = network.start("alice").await;
    let stranger = network.start("stranger").await;
    let mut hidden = Opened::new(&alice, forward(stranger.name())).await;
    assert_resets(&hidden).await;
    assert_eq!(hidden.fault().await.error.code, ErrorCode::NotFound);
    let public = SetVisibilityRequest { public: true };
    stranger.call(public).await.unwrap();
    assert_resets(&hidden).await;
    let fault = hidden.fault().await;
    assert_eq!(fault.error.code, ErrorCode::NotTrusted);
    assert_eq!(
        fault.error.hint.as_deref(),
        Some("pilotctl handshake stranger")
    );
    assert_eq!((fault.connections, fault.failed), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_that_cannot_be_had_are_refused_at_once() {
    let network = Network::new().await;
    let alice = network.start("alice").await;
    let (_taken, addr) = listener().await;
    let busy = ForwardRequest {
        listen: addr.to_string(),
        ..forward("bob".parse().unwrap())
    };
    let error = Opened::try_new(&alice, busy).await.err().unwrap();
    assert_eq!(error.code, ErrorCode::AlreadyExists);
    assert!(error.message.contains(&addr.to_string()) && error.hint.is_some());
    let busy = ProxyRequest {
        listen: addr.to_string(),
    };
    let error = Opened::try_new(&alice, busy).await.err().unwrap();
    assert_eq!(error.code, ErrorCode::AlreadyExists);
    let nowhere = ProxyRequest {
        listen: "here".to_owned(),
    };
    let error = Opened::try_new(&alice, nowhere).await.err().unwrap();
    assert_eq!(error.code, ErrorCode::InvalidArgument);

    let _exposed = Opened::new(&alice, expose(addr)).await;
    let again = Opened::try_new(&alice, expose(addr)).await.err().unwrap();
    assert_eq!(again.code, ErrorCode::AlreadyExists);
    for port in [0, 7, 444, 1001] {
        let port = Port::new(port);
        let service = ExposeRequest {
            port,
            ..expose(addr)
        };
        let error = Opened::try_new(&alice, service).await.err().unwrap();
        assert_eq!(error.code, ErrorCode::InvalidArgument, "{port}");
    }
    for directory in ["relative", "/nonexistent", "/etc/passwd"] {
        let directory = directory.into();
        let request = ServeRequest {
            directory,
            port: Port::HTTP,
        };
        let error = Opened::try_new(&alice, request).await.err().unwrap();
        assert_eq!(error.code, ErrorCode::InvalidArgument);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_ends_with_its_command_and_so_do_its_connections() {
    let network = Network::new().await;
    let (alice, bob) = alice_and_bob(&network).await;
    let (server, target) = listener().await;
    let exposed = Opened::new(&bob, expose(target)).await;
    // An address that no other test listens at: a port that was given back may be somebody else's the next moment.
    let alone = || ForwardRequest {
        listen: "127.0.0.77:0".to_owned(),
        ..forward(bob.name())
    };
    let forwarded = Opened::new(&alice, alone()).await;
    let addr = forwarded.addr();
    let client = forwarded.connect().await;
    let (tcp, _) = server.accept().await.unwrap();
    forwarded.close().await;
    assert!(TcpStream::connect(addr).await.is_err(), "the port is open");
    assert_reset(client).await;
    assert_reset(tcp).await;
    exposed.close().await;
    Opened::new(&bob, expose(target)).await;

    // A caller that is gone without a word.
    let forwarded = Opened::new(&alice, alone()).await;
    let addr = forwarded.addr();
    drop(forwarded);
    until(|| async move { TcpStream::connect(addr).await.is_err() }).await;
}

/// A site at bob, with what is not to be seen beside and within it.
fn site() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("site");
    fs::create_dir_all(root.join("sub")).unwrap();
    fs::write(dir.path().join("secret"), "secret").unwrap();
    fs::write(root.join(".env"), "secret").unwrap();
    fs::write(root.join("hello.txt"), "hello, world").unwrap();
    fs::write(root.join("sub/index.html"), "<h1>sub</h1>").unwrap();
    fs::write(root.join("large"), vec![7; 3_000_000]).unwrap();
    symlink("../secret", root.join("outside")).unwrap();
    dir
}

async fn serve(bob: &Agent, site: &TempDir) -> Opened {
    let request = ServeRequest {
        directory: site.path().join("site"),
        port: PORT,
    };
    Opened::new(bob, request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_reads_files_through_serve_and_forward() {
    let network = Network::new().await;
    let (alice, bob) = alice_and_bob(&network).await;
    let site = site();
    let _served = serve(&bob, &site).await;
    let forwarded = Opened::new(&alice, forward(bob.name())).await;
    let url = |path: &str| format!("http://{}{path}", forwarded.facts.listen);
    assert_eq!(fetched(&[&url("/hello.txt")]).await, "hello, world");
    assert_eq!(
        fetched(&["--range", "7-", &url("/hello.txt")]).await,
        "world"
    );
    let page = fetched(&["--location", &url("/sub")]).await;
    assert_eq!(page, "<h1>sub</h1>");
    let listing = fetched(&[&url("/")]).await;
    assert!(
        listing.contains("hello.txt") && !listing.contains("env"),
        "{listing}"
    );
    let large = curl(&[&url("/large")]).await;
    assert!(
        large.stdout == vec![7; 3_000_000],
        "{} bytes",
        large.stdout.len()
    );
    for path in [
        "/../secret",
        "/outside",
        "/.env",
        "/sub/../../secret",
        "/%2e%2e/secret",
    ] {
        let status = ["--path-as-is", "--write-out", "%{http_code}", &url(path)];
        let answer = fetched(&status).await;
        assert!(
            answer.ends_with("404") && !answer.contains("secret"),
            "{path}: {answer}"
        );
    }
    let status = [
        "--data",
        "x",
        "--write-out",
        "%{http_code}",
        &url("/hello.txt"),
    ];
    assert!(fetched(&status).await.ends_with("405"));
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_reaches_agents_by_name_through_both_kinds_of_proxy() {
    let network = Network::new().await;
    let (alice, bob) = alice_and_bob(&network).await;
    let site = site();
    let _served = serve(&bob, &site).await;
    let proxy = Opened::new(&alice, proxy()).await;
    assert_eq!(proxy.facts.target, "*.pilot");
    let at = proxy.facts.listen.clone();
    let address = bob.ready.agent.address.to_string().replace([':', '.'], "-");
    let id = format!("0x{:012x}", bob.ready.agent.node_id.to_u64());
    for host in ["bob", "BOB", address.as_str(), id.as_str()] {
        let url = format!("http://{host}.pilot:8080/hello.txt");
        for mode in [
            &["--socks5-hostname", at.as_str()][..],
            &["--proxy", &at],
            &["--proxytunnel", "--proxy", &at],
        ] {
            let args = [mode, &[&url]].concat();
            assert_eq!(fetched(&args).await, "hello, world", "{args:?}");
        }
    }
    // One connection to the proxy, several requests.
    let url = "http://bob.pilot:8080/hello.txt";
    let twice = fetched(&["--proxy", &at, url, url, "--write-out", "%{num_connects}"]).await;
    assert_eq!(twice, "hello, world1hello, world0");
    let large = curl(&["--proxy", &at, "http://bob.pilot:8080/large"]).await;
    assert!(
        large.stdout == vec![7; 3_000_000],
        "{} bytes",
        large.stdout.len()
    );
}

/// The reply code of a SOCKS5 request.
async fn socks_reply(proxy: &Opened, host: &str, port: u16) -> u8 {
    let mut tcp = proxy.connect().await;
    let len = u8::try_from(host.len()).unwrap();
    let said = [
        &[5, 1, 0, 5, 1, 0, 3, len][..],
        host.as_bytes(),
        &port.to_be_bytes(),
    ];
    tcp.write_all(&said.concat()).await.unwrap();
    let mut answer = [0; 12];
    tcp.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer[..3], [5, 0, 5]);
    answer[3]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_says_why_not_and_leads_nowhere_else() {
    let network = Network::new().await;
    let (alice, bob) = alice_and_bob(&network).await;
    let public = SetVisibilityRequest { public: true };
    let stranger = network.start("stranger").await;
    stranger.call(public).await.unwrap();
    let _exposed = Opened::new(&bob, expose(closed_port().await)).await;
    let mut proxy = Opened::new(&alice, proxy()).await;
    let at = proxy.facts.listen.clone();
    for (host, port, reply, code, status) in [
        ("localhost", 80, 2, ErrorCode::PermissionDenied, "403"),
        ("127.0.0.1", 22, 2, ErrorCode::PermissionDenied, "403"),
        ("nobody.pilot", 80, 4, ErrorCode::NotFound, "404"),
        ("stranger.pilot", 80, 2, ErrorCode::NotTrusted, "403"),
        ("bob.pilot", 81, 2, ErrorCode::NotTrusted, "403"),
        ("bob.pilot", 8080, 5, ErrorCode::ConnectionFailed, "502"),
    ] {
        assert_eq!(
            socks_reply(&proxy, host, port).await,
            reply,
            "{host}:{port}"
        );
        let fault = proxy.fault().await;
        assert_eq!(fault.error.code, code, "{fault:?}");
        assert_eq!(fault.target, format!("{host}:{port}"));
        let url = format!("http://{host}:{port}/");
        let plain = ["--write-out", "%{http_code}", "--proxy", &at, &url];
        let answer = fetched(&plain).await;
        assert!(answer.ends_with(status), "{url}: {answer}");
        assert_eq!(proxy.fault().await.error.code, code);
        let write_out = "%{http_connect}";
        let tunnel = [
            "--proxytunnel",
            "--write-out",
            write_out,
            "--proxy",
            &at,
            &url,
        ];
        let output = curl(&tunnel).await;
        assert!(
            output.stdout.ends_with(status.as_bytes()),
            "{url}: {output:?}"
        );
        assert_eq!(proxy.fault().await.error.code, code);
    }
}
