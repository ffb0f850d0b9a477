//! Texts that the API reads: what was read and written is read as the same.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use pilot_types::UnixTime;
use pilot_wire::Scope;

use crate::daemon_api::calls;
use crate::peer_ref::PeerRef;
use crate::server::body::parse;
use crate::types::*;

pub(super) fn check(bytes: &[u8]) {
    macro_rules! bodies {
        ($($(#[doc = $doc:literal])+ $name:ident: $request:ty => $answer:ty;)+) => {
            $(body::<$request>(bytes);)+
        };
    }
    calls!(bodies;);
    body::<DialRequest>(bytes);
    body::<AcceptRequest>(bytes);
    body::<SubscribeRequest>(bytes);
    body::<ForwardRequest>(bytes);
    body::<ExposeRequest>(bytes);
    body::<ServeRequest>(bytes);
    body::<ProxyRequest>(bytes);
    body::<StreamOutcomeRequest>(bytes);
    body::<WatchRequest>(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    round_trip::<PeerRef>(text);
    round_trip::<UnixTime>(text);
    if let Ok(ports) = Scope::parse_ports(text) {
        let written = Scope::of_ports(ports.clone()).ports_text();
        assert_eq!(Scope::parse_ports(&written).ok(), Some(ports), "{text:?}");
    }
}

fn body<R: Call>(bytes: &[u8]) {
    let Ok(read) = parse::<R>(bytes) else {
        return;
    };
    let written = serde_json::to_vec(&read).expect("a request can be written");
    let again = parse::<R>(&written).unwrap_or_else(|error| {
        panic!(
            "{} does not read what it wrote: {error}: {}",
            R::PATH,
            String::from_utf8_lossy(&written)
        )
    });
    let rewritten = serde_json::to_vec(&again).expect("a request can be written");
    assert_eq!(written, rewritten, "{}", R::PATH);
}

fn round_trip<T: FromStr + Display + Debug + PartialEq>(text: &str) {
    let Ok(read) = text.parse::<T>() else {
        return;
    };
    let written = read.to_string();
    assert_eq!(written.parse::<T>().ok().as_ref(), Some(&read), "{text:?}");
}
