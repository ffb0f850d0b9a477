//! Names of agents as programs that know only host names write them.

use pilot_api::{ApiError, ErrorCode, PeerRef};

/// The last label of every name of the overlay.
const SUFFIX: &str = ".pilot";
/// RFC 1035 §2.3.4.
const MAX_LABEL: usize = 63;

/// A host that is no agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotOverlay(String);

impl From<NotOverlay> for ApiError {
    fn from(NotOverlay(host): NotOverlay) -> Self {
        Self::new(
            ErrorCode::PermissionDenied,
            format!("{host:?} is not an overlay address: nothing else is reached from here"),
        )
        .with_hint("ask for NAME.pilot, 0-A91F-0000-7C2E.pilot (an address) or 0xA91F00007C2E.pilot (an id)")
    }
}

/// The agent that a host name stands for: `NAME.pilot`; an address with `-` for `:` and `.`; or an id in hex or decimal. Letters
/// may be of either case, and a dot may follow, as in every host name.
///
/// # Errors
/// It is another name, or an IP address.
pub fn peer_of_host(host: &str) -> Result<PeerRef, NotOverlay> {
    let refused = || NotOverlay(host.chars().take(256).collect());
    let lower = host.to_ascii_lowercase();
    let name = lower.strip_suffix('.').unwrap_or(&lower);
    let label = name.strip_suffix(SUFFIX).ok_or_else(refused)?;
    let is_label = (1..=MAX_LABEL).contains(&label.len())
        && label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !is_label {
        return Err(refused());
    }
    // A name begins with a letter, so that nothing is both.
    let text = match label.split_once('-') {
        Some((network, node)) if network.bytes().all(|b| b.is_ascii_digit()) => {
            format!("{network}:{}", node.replace('-', "."))
        }
        _ => label.to_owned(),
    };
    text.parse().map_err(|_| refused())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_names_its_agent() {
        for (host, peer) in [
            ("bob.pilot", "bob"),
            ("Bob.PILOT.", "bob"),
            ("build-7.pilot", "build-7"),
            ("0-A91F-0000-7C2E.pilot", "0:A91F.0000.7C2E"),
            ("12-a91f-0000-7c2e.pilot", "12:A91F.0000.7C2E"),
            ("0xA91F00007C2E.pilot", "0xa91f00007c2e"),
            ("82660940585533.pilot", "82660940585533"),
        ] {
            assert_eq!(peer_of_host(host), Ok(peer.parse().unwrap()), "{host}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for host in [
            "",
            ".",
            "pilot",
            ".pilot",
            "..pilot",
            "bob",
            "example.com",
            "bob.pilot.com",
            "www.bob.pilot",
            "bob.pilot..",
            "127.0.0.1",
            "::1",
            "[::1]",
            "0:A91F.0000.7C2E",
            "0-A91F-0000.pilot",
            "0-A91F-0000-7C2E-.pilot",
            "0--A91F-0000-7C2E.pilot",
            "00-A91F-0000-7C2E.pilot",
            "65535-A91F-0000-7C2E.pilot",
            "0xA91F.pilot",
            "281474976710656.pilot",
            "pilot-ticket:x.pilot",
            "bob:80.pilot",
            "b b.pilot",
            "bob\0.pilot",
            "böb.pilot",
            "-bob.pilot",
            "*.pilot",
            "bob.pilot/x",
            "a@bob.pilot",
        ] {
            assert!(peer_of_host(host).is_err(), "{host:?}");
        }
        assert!(peer_of_host(&format!("{}.pilot", "a".repeat(64))).is_err());
        let error: ApiError = peer_of_host("example.com").unwrap_err().into();
        assert_eq!(error.code, ErrorCode::PermissionDenied);
        assert!(error.message.contains("not an overlay address"));
    }

    proptest! {
        #[test]
        fn no_text_is_taken_for_a_ticket_or_breaks_it(host in ".{0,80}") {
            let peer = peer_of_host(&format!("{host}.pilot"));
            prop_assert!(!matches!(peer, Ok(PeerRef::Ticket(_))));
        }
    }
}
