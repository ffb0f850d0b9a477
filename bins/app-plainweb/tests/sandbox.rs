//! The app as an owner has it: installed, held by the sandbox, connecting by the broker. Without a harness: this very program is also
//! the one that becomes the app.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../../../crates/pilot-appstore/tests/alone/mod.rs"]
mod alone;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;
use std::thread;

use pilot_appstore::{CallError, CallRequest, Consent, Host, Publishers, sign};
use pilot_trust::DocumentSecret;
use pilot_types::Seed;
use serde_json::{Value, json};

const NAME: &str =
    "pages_are_fetched_from_within_the_sandbox_and_only_from_hosts_that_were_granted";

fn main() -> ExitCode {
    alone::run(NAME, pages_are_fetched())
}

/// Sends who asks for `/away` to another port, and shows everybody else a page.
fn serve(listener: TcpListener, away: u16) {
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 2048];
            let count = stream.read(&mut request).unwrap();
            let answer = if request[..count].starts_with(b"GET /away ") {
                format!("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{away}/\r\n\r\n")
            } else {
                let page = "<title>Here</title><h1>Inside</h1><a href=more>more</a>";
                format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n{page}")
            };
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
}

/// The app of this build, which is linked dynamically: it asks for the libraries too.
fn installed(home: &Path, bundle: &Path, port: u16) -> Host {
    let secret = DocumentSecret::from_seed(Seed::new([1; 32]));
    fs::create_dir_all(home).unwrap();
    fs::create_dir_all(bundle).unwrap();
    let libs = "[[grants]]\ngrant = \"libs\"\nreason = \"it is a test's\"\n";
    let manifest = format!("{}\n{libs}", include_str!("../bundle/manifest.toml"));
    fs::write(bundle.join("manifest.toml"), manifest).unwrap();
    fs::copy(
        env!("CARGO_BIN_EXE_app-plainweb"),
        bundle.join("app-plainweb"),
    )
    .unwrap();
    Publishers::new(home).trust(secret.public(), "").unwrap();
    let bundle = sign(bundle, &secret).unwrap();
    let own = std::env::current_exe().unwrap();
    let host = Host::start(home, vec![own.into()]).unwrap();
    let grants = ["libs".to_owned(), format!("net:127.0.0.1:{port}")];
    let consent = Consent {
        grants: grants.iter().map(|grant| grant.parse().unwrap()).collect(),
        ..Consent::default()
    };
    host.store().install(&bundle, &consent).unwrap();
    host
}

async fn fetch(host: &Host, url: String) -> Result<Value, CallError> {
    let request = CallRequest {
        app: "plainweb".to_owned(),
        method: "plainweb.fetch".to_owned(),
        params: json!({ "url": url }),
        caller: "test".into(),
        deadline: None,
    };
    host.call(request).await
}

async fn pages_are_fetched() {
    let dir = tempfile::tempdir().unwrap();
    let [here, elsewhere] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [port, other] = [&here, &elsewhere].map(|end| end.local_addr().unwrap().port());
    serve(here, other);
    serve(elsewhere, port);
    let host = installed(&dir.path().join("home"), &dir.path().join("bundle"), port);
    let id = "pilot.plainweb".parse().unwrap();
    host.probe(&id).await.unwrap();
    let page = fetch(&host, format!("http://127.0.0.1:{port}/a/"))
        .await
        .unwrap();
    assert_eq!(
        (&page["title"], &page["status"]),
        (&json!("Here"), &json!(200))
    );
    let link = format!("http://127.0.0.1:{port}/a/more");
    assert_eq!(page["links"][0]["url"], link);
    assert!(page["markdown"].as_str().unwrap().starts_with("# Inside"));
    let grant = format!("--grant net:127.0.0.1:{other}");
    for (url, words) in [
        (format!("http://127.0.0.1:{other}/"), "was not granted"),
        (format!("http://127.0.0.1:{port}/away"), "leads on to"),
    ] {
        let error = fetch(&host, url.clone()).await.unwrap_err().to_string();
        assert!(
            error.contains(words) && error.contains(&grant),
            "{url}: {error}"
        );
    }
    let standing = host.standing(&id).await;
    assert_eq!((standing.starts, standing.failures), (1, 0));
    host.end().await;
}
