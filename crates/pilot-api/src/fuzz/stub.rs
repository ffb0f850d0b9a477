//! A daemon without agents: what needs one is refused, streams are echoes.

use pilot_types::{Address, NetworkId, NodeId};
use tokio::sync::mpsc;

use crate::daemon_api::{BoxStream, DaemonApi, calls};
use crate::error::{ApiError, ErrorCode};
use crate::types::*;

pub(super) struct Stub;

/// The id of whoever opened a stream here.
fn node() -> NodeId {
    NodeId::new(0x4B2E_0000_1A3D).expect("48 bits")
}

fn address() -> Address {
    Address::new(NetworkId::BACKBONE, node())
}

/// Gives back what it is given.
fn echo() -> BoxStream {
    let (near, far) = tokio::io::duplex(256);
    tokio::spawn(async move {
        let (mut reader, mut writer) = tokio::io::split(far);
        drop(tokio::io::copy(&mut reader, &mut writer).await);
        drop(tokio::io::AsyncWriteExt::shutdown(&mut writer).await);
    });
    Box::new(near)
}

macro_rules! answers {
    ($($(#[doc = $doc:literal])+ $name:ident: $request:ty => $answer:ty;)+) => {
        $(answer! { $name: $request => $answer })+
    };
}

macro_rules! answer {
    (set_tags: $request:ty => $answer:ty) => {
        async fn set_tags(&self, request: $request) -> Result<$answer, ApiError> {
            Ok(TagsSet {
                node_id: node(),
                tags: request.tags,
            })
        }
    };
    ($name:ident: $request:ty => $answer:ty) => {
        async fn $name(&self, _: $request) -> Result<$answer, ApiError> {
            Err(ApiError::new(ErrorCode::NotFound, "no such agent").with_hint("pilotctl peers"))
        }
    };
}

impl DaemonApi for Stub {
    calls!(answers;);

    async fn dial(&self, request: DialRequest) -> Result<(DialInfo, BoxStream), ApiError> {
        let info = DialInfo {
            agent: AgentSummary {
                node_id: node(),
                address: address(),
                hostname: None,
            },
            port: request.port,
        };
        Ok((info, echo()))
    }

    async fn accept(&self, request: AcceptRequest) -> Result<(AcceptInfo, BoxStream), ApiError> {
        let info = AcceptInfo {
            from: node(),
            from_address: address(),
            from_hostname: None,
            port: request.port,
            remote_port: request.port,
            traceparent: None,
        };
        Ok((info, echo()))
    }

    async fn subscribe(
        &self,
        request: SubscribeRequest,
    ) -> Result<(Subscribed, BoxStream), ApiError> {
        let info = Subscribed {
            target: address(),
            node_id: node(),
            topic: request.topic,
        };
        Ok((info, echo()))
    }

    async fn watch(&self, _: WatchRequest) -> Result<mpsc::Receiver<Notice>, ApiError> {
        // A feed that ends, unlike a daemon's: a client of any manners is done with it.
        Ok(mpsc::channel(1).1)
    }

    async fn forward(&self, request: ForwardRequest) -> Result<(TcpOpened, BoxStream), ApiError> {
        let target = format!("{}:{}", request.peer, request.port);
        Ok((opened(request.listen, target), echo()))
    }

    async fn expose(&self, request: ExposeRequest) -> Result<(TcpOpened, BoxStream), ApiError> {
        Ok((opened(request.port.to_string(), request.target), echo()))
    }

    async fn serve(&self, request: ServeRequest) -> Result<(TcpOpened, BoxStream), ApiError> {
        let directory = request.directory.to_string_lossy().into_owned();
        Ok((opened(request.port.to_string(), directory), echo()))
    }

    async fn proxy(&self, request: ProxyRequest) -> Result<(TcpOpened, BoxStream), ApiError> {
        Ok((opened(request.listen, "*.pilot".to_owned()), echo()))
    }
}

fn opened(listen: String, target: String) -> TcpOpened {
    TcpOpened { listen, target }
}
