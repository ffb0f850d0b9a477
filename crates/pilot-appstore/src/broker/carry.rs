//! Bytes between an app and a connection of the daemon's.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::io::{AsyncWriteExt, copy, split};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::network::Duplex;

/// How often an app that has said all it wants to say is looked at, whether it still listens.
const LISTENING_LOOK: Duration = Duration::from_millis(200);

/// Copies until both sides are done, one of them fails, or the app has closed its end. `probe` is another descriptor of the same end as
/// `app`.
pub(super) async fn carry(app: UnixStream, probe: OwnedFd, far: Box<dyn Duplex>) {
    let (mut from_app, mut to_app) = app.into_split();
    let (mut from_far, mut to_far) = split(far);
    let (said, all_said) = oneshot::channel();
    let out = async {
        copy(&mut from_app, &mut to_far).await?;
        to_far.shutdown().await?;
        // Nobody waits for it when the connection is over.
        let _ = said.send(());
        Ok(())
    };
    let back = async {
        copy(&mut from_far, &mut to_app).await?;
        to_app.shutdown().await
    };
    tokio::select! {
        // An error of one direction is the other's end.
        both = async { tokio::try_join!(out, back) } => drop::<std::io::Result<_>>(both),
        () = closed(&probe, all_said) => {}
    }
}

/// Until the app has closed its end, and not only said that nothing more comes: a server may leave such a connection open for ever.
async fn closed(probe: &OwnedFd, all_said: oneshot::Receiver<()>) {
    if all_said.await.is_err() {
        return std::future::pending().await;
    }
    loop {
        let mut looked = [PollFd::new(probe, PollFlags::empty())];
        let now = Timespec::default();
        if rustix::event::poll(&mut looked, Some(&now)).is_err()
            || looked[0].revents().contains(PollFlags::HUP)
        {
            return;
        }
        sleep(LISTENING_LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    async fn ends() -> (
        UnixStream,
        tokio::io::DuplexStream,
        tokio::task::JoinHandle<()>,
    ) {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        for end in [&ours, &theirs] {
            end.set_nonblocking(true).unwrap();
        }
        let probe = ours.try_clone().unwrap().into();
        let (near, far) = tokio::io::duplex(1024);
        let ours = UnixStream::from_std(ours).unwrap();
        let carrying = tokio::spawn(carry(ours, probe, Box::new(near)));
        (UnixStream::from_std(theirs).unwrap(), far, carrying)
    }

    #[tokio::test]
    async fn who_has_said_all_still_hears_the_answer() {
        let (mut app, mut far, carrying) = ends().await;
        app.write_all(b"question").await.unwrap();
        app.shutdown().await.unwrap();
        let mut heard = String::new();
        far.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "question");
        far.write_all(b"answer").await.unwrap();
        drop(far);
        heard.clear();
        app.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "answer");
        carrying.await.unwrap();
    }

    #[tokio::test]
    async fn a_connection_that_the_app_closed_ends_though_the_far_side_stays() {
        let (app, far, carrying) = ends().await;
        drop(app);
        carrying.await.unwrap();
        drop(far);
    }
}
