//! Who may have the socket and who may speak to it: files, modes and user ids.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail their test")]

#[allow(dead_code, reason = "not every test needs all of it")]
mod fake;
#[allow(dead_code, reason = "not every test needs all of it")]
mod raw;

use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use fake::Running;
use pilot_api::types::StatusRequest;
use pilot_api::{Client, ErrorCode, Server};
use rustix::thread::set_thread_res_uid;

/// `nobody`, who has nothing to do with any test.
const NOBODY: u32 = 65_534;

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Whether user ids can be changed here. Elsewhere the tests that need it have nothing to show.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs on a thread that is another user's: user ids are a thread's own on Linux.
async fn as_nobody<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::spawn(|| {
        let nobody = rustix::process::Uid::from_raw(NOBODY);
        set_thread_res_uid(nobody, nobody, nobody).unwrap();
        run()
    });
    tokio::task::spawn_blocking(|| thread.join().unwrap())
        .await
        .unwrap()
}

fn asked(socket: &Path) -> std::io::Result<String> {
    let mut stream = std::os::unix::net::UnixStream::connect(socket)?;
    stream.write_all(raw::request("GET", "/v1/status", "").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[tokio::test]
async fn another_user_is_kept_out_by_the_mode_and_refused_in_words_without_it() {
    if !is_root() {
        return;
    }
    let running = Running::start();
    let socket = running.socket();
    // Everybody may come as far as the socket.
    set_mode(running.directory.path(), 0o755);
    let at = socket.clone();
    let kept_out = as_nobody(move || asked(&at)).await.unwrap_err();
    assert_eq!(kept_out.kind(), std::io::ErrorKind::PermissionDenied);
    // And speak to it, if the mode is not what it was.
    set_mode(&socket, 0o666);
    let at = socket.clone();
    let refused = as_nobody(move || asked(&at)).await.unwrap();
    assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    assert!(
        refused.contains(r#""code":"permission_denied""#),
        "{refused}"
    );
    assert!(asked_here(&socket).await.contains(r#""status":"ok""#));
}

async fn asked_here(socket: &Path) -> String {
    raw::ask(socket, "GET", "/v1/status", "").await.body
}

#[tokio::test]
async fn a_client_does_not_speak_to_another_users_daemon() {
    if !is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    set_mode(directory.path(), 0o777);
    let socket = directory.path().join("s");
    let at = socket.clone();
    // The listener's credentials are those of the thread that bound it.
    let listener = as_nobody(move || std::os::unix::net::UnixListener::bind(at).unwrap()).await;
    set_mode(&socket, 0o777);
    let client = std::thread::spawn(move || {
        let other = rustix::process::Uid::from_raw(NOBODY - 1);
        set_thread_res_uid(other, other, other).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(Client::new(socket).call(&StatusRequest {}))
    });
    let refused = tokio::task::spawn_blocking(|| client.join().unwrap()).await;
    let refused = refused.unwrap().unwrap_err();
    assert_eq!(refused.code, ErrorCode::PermissionDenied);
    drop(listener);
}

#[tokio::test]
async fn a_directory_in_which_others_replace_files_is_no_place_for_the_socket() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    set_mode(directory.path(), 0o777);
    let refused = Server::bind(&socket).unwrap_err().to_string();
    assert!(refused.contains("others may replace files"), "{refused}");
    assert!(!socket.exists());
    // As `/tmp` is: others can make files, and cannot remove ours.
    for mode in [0o1777, 0o755, 0o700] {
        set_mode(directory.path(), mode);
        drop(Server::bind(&socket).unwrap());
        assert!(!socket.exists());
    }
}

#[tokio::test]
async fn a_symbolic_link_in_the_sockets_place_is_left_alone_with_what_it_points_to() {
    let directory = tempfile::tempdir().unwrap();
    let (place, target) = (directory.path().join("s"), directory.path().join("target"));
    let refused = |target: &PathBuf| {
        symlink(target, &place).unwrap();
        let refused = Server::bind(&place).unwrap_err().to_string();
        assert!(refused.contains("is not a socket"), "{refused}");
        assert_eq!(&std::fs::read_link(&place).unwrap(), target);
        std::fs::remove_file(&place).unwrap();
    };
    refused(&target);
    assert!(!target.exists());
    drop(std::os::unix::net::UnixListener::bind(&target).unwrap());
    refused(&target);
    assert!(target.exists());
    std::fs::remove_file(&target).unwrap();
    std::fs::write(&target, "mine").unwrap();
    refused(&target);
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "mine");
}
