//! Ports for TCP programs. Each lasts as long as the connection of the API that asked for it.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use pilot::ListenError;
use pilot_api::types::{
    ExposeRequest, ForwardRequest, ProxyRequest, ServeRequest, TcpFault, TcpOpened,
};
use pilot_api::{ApiError, BoxStream, ErrorCode};
use pilot_tcp::{Counts, Directory, Fault, Target, Traffic};
use pilot_types::Port;
use tokio::net::TcpListener;

use super::commands::blocking;
use super::{Daemon, target};
use crate::json_lines::JsonLines;
use crate::limits::allow_descriptors;
use crate::services::check_user_port;
use crate::tcp_streams::{Arriving, Overlay};

impl Daemon {
    pub(super) async fn open_forward(
        &self,
        request: ForwardRequest,
    ) -> Result<(TcpOpened, BoxStream), ApiError> {
        let ForwardRequest { listen, peer, port } = request;
        // What names nobody is refused at once; who is not there yet may come.
        target(&peer)?;
        let (listener, listen) = listener(&listen).await?;
        let opened = TcpOpened {
            listen,
            target: format!("{}:{port}", crate::error::name_of(&peer)),
        };
        let overlay = self.overlay();
        let lines = start(|traffic, until| {
            pilot_tcp::forward(listener, overlay, (peer, port), traffic, until)
        });
        Ok((opened, lines))
    }

    pub(super) async fn open_expose(
        &self,
        request: &ExposeRequest,
    ) -> Result<(TcpOpened, BoxStream), ApiError> {
        let target: Target = request.target.parse()?;
        let source = self.arriving(request.port).await?;
        let opened = TcpOpened {
            listen: format!("{}:{}", self.node.address(), request.port),
            target: target.to_string(),
        };
        let lines = start(|traffic, until| pilot_tcp::expose(source, target, traffic, until));
        Ok((opened, lines))
    }

    pub(super) async fn open_serve(
        &self,
        request: ServeRequest,
    ) -> Result<(TcpOpened, BoxStream), ApiError> {
        let ServeRequest { directory, port } = request;
        let shown = directory.display().to_string();
        if !directory.is_absolute() {
            let words = format!("invalid directory {shown:?}: expected an absolute path");
            return Err(ApiError::invalid(words));
        }
        let directory = blocking(move || Directory::open_root(&directory)).await?;
        let source = self.arriving(port).await?;
        let opened = TcpOpened {
            listen: format!("{}:{port}", self.node.address()),
            target: shown,
        };
        let lines = start(|traffic, until| pilot_tcp::serve(source, directory, traffic, until));
        Ok((opened, lines))
    }

    pub(super) async fn open_proxy(
        &self,
        request: &ProxyRequest,
    ) -> Result<(TcpOpened, BoxStream), ApiError> {
        let (listener, listen) = listener(&request.listen).await?;
        let opened = TcpOpened {
            listen,
            target: "*.pilot".to_owned(),
        };
        let overlay = self.overlay();
        let lines = start(|traffic, until| pilot_tcp::proxy(listener, overlay, traffic, until));
        Ok((opened, lines))
    }

    fn overlay(&self) -> Arc<Overlay> {
        Arc::new(Overlay(self.node.clone()))
    }

    async fn arriving(&self, port: Port) -> Result<Arriving, ApiError> {
        check_user_port(port)?;
        let listener = self.node.listen(port).await.map_err(|error| match error {
            ListenError::InUse(_) => {
                let words = format!("port {port} of this agent is taken");
                ApiError::new(ErrorCode::AlreadyExists, words)
                    .with_hint("choose another one with --port")
            }
            ListenError::AnyInUse | ListenError::Reserved(_) | _ => {
                ApiError::invalid(error.to_string())
            }
        })?;
        let node = self.node.clone();
        Ok(Arriving { node, listener })
    }
}

/// A TCP listener, and where it is.
async fn listener(text: &str) -> Result<(TcpListener, String), ApiError> {
    let addr: SocketAddr = text.parse().map_err(|_| {
        let words = format!("invalid listen {text:?}: expected ADDR:PORT, as 127.0.0.1:8080");
        ApiError::invalid(words)
    })?;
    let listener = pilot_tcp::bind(addr).await?;
    let bound = listener.local_addr();
    let bound = bound.map_err(|error| ApiError::internal(format!("no address: {error}")))?;
    Ok((listener, bound.to_string()))
}

/// Carries connections until the caller ends the lines, or is gone.
fn start<R, F>(run: R) -> BoxStream
where
    R: FnOnce(Arc<Traffic>, Until) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    allow_descriptors();
    let (lines, stream) = JsonLines::new();
    let told = lines.clone();
    let traffic = Traffic::new(move |fault, counts| {
        // Who does not read fast enough misses lines, and has the counts in the next.
        drop(told.try_send(Ok(line(fault, counts))));
    });
    tokio::spawn(run(traffic, Box::pin(async move { lines.closed().await })));
    Box::new(stream)
}

type Until = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

fn line(fault: Fault, counts: Counts) -> TcpFault {
    TcpFault {
        from: fault.from,
        target: fault.target,
        error: fault.error,
        connections: counts.connections,
        failed: counts.failed,
    }
}
