//! What commonly goes wrong, looked for, with its cure.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

use pilot_api::types::{
    Info, InfoRequest, KeyState, PathKind, Peers, PeersRequest, PortMappingInfo,
};
use pilot_api::{ApiError, ErrorCode};
use pilot_types::UnixTime;
use rustix::fs::Access;
use serde::Serialize;

use super::discovery::shown;
use crate::context::{self, Context};
use crate::output::{Failure, Reply, to_json};
use crate::style;

/// What a daemon on this machine needs for a question about itself.
const PATIENCE: Duration = Duration::from_secs(5);
/// Below this a store cannot be sure to write.
const LEAST_SPACE: u64 = 64 << 20;
/// Below this files that come are soon refused.
const LITTLE_SPACE: u64 = 1 << 30;
/// 2026-01-01: no clock that is right says less.
const EARLIEST: UnixTime = UnixTime::from_secs(1_767_225_600);

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Ok,
    Warn,
    Fail,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct Check {
    name: &'static str,
    outcome: Outcome,
    message: String,
    cure: Option<String>,
    /// What the command ends with if this fails.
    #[serde(skip)]
    code: ErrorCode,
}

#[derive(Serialize)]
struct Diagnosis {
    checks: Vec<Check>,
    failed: usize,
    warned: usize,
}

impl Check {
    fn ok(name: &'static str, message: impl Into<String>) -> Self {
        Self {
            name,
            outcome: Outcome::Ok,
            message: message.into(),
            cure: None,
            code: ErrorCode::Internal,
        }
    }

    fn warn(name: &'static str, message: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Warn,
            cure: Some(cure.into()),
            ..Self::ok(name, message)
        }
    }

    fn fail(self, code: ErrorCode) -> Self {
        Self {
            outcome: Outcome::Fail,
            code,
            ..self
        }
    }
}

pub(crate) async fn doctor(context: &Context) -> Result<Reply, Failure> {
    let home = context.settings.home()?;
    let mut checks = vec![check_home(&home), check_clock(context::now())];
    checks.extend(check_space(&home));
    checks.extend(check_socket(&context.settings.socket()?));
    let client = context.client()?.with_timeout(Some(PATIENCE));
    match client.call(&InfoRequest {}).await {
        Ok(info) => {
            let words = format!("it runs as {}", shown(&info.agent));
            checks.push(Check::ok("daemon", words));
            checks.push(check_key(&info));
            checks.push(check_rendezvous(&info));
            checks.push(check_udp(&info));
            checks.push(check_port_mapping(&info.port_mapping));
            checks.push(check_peers(&client.call(&PeersRequest::default()).await?));
        }
        Err(error) => {
            let cure = error
                .hint
                .unwrap_or_else(|| "pilotctl daemon status".to_owned());
            checks.push(Check::warn("daemon", error.message, cure).fail(error.code));
        }
    }
    for check in &checks {
        context.output.line(&words(context, check));
    }
    finish(checks)
}

fn words(context: &Context, check: &Check) -> String {
    let style = context.output.style;
    let text = format!("{}: {}", check.name, style::clean(&check.message));
    let line = match check.outcome {
        Outcome::Ok => style.done(&text),
        Outcome::Warn => format!("! {text}"),
        Outcome::Fail => style.failed(&text),
    };
    match &check.cure {
        Some(cure) => format!("{line}\n  {} {}", style.faint("try:"), style::clean(cure)),
        None => line,
    }
}

fn finish(checks: Vec<Check>) -> Result<Reply, Failure> {
    let count = |outcome| checks.iter().filter(|it| it.outcome == outcome).count();
    let (failed, warned) = (count(Outcome::Fail), count(Outcome::Warn));
    let first = checks.iter().find(|it| it.outcome == Outcome::Fail);
    let error = first.map(|check| {
        let error = ApiError::new(check.code, format!("{}: {}", check.name, check.message));
        error.with_hint(check.cure.clone().unwrap_or_default())
    });
    let diagnosis = Diagnosis {
        failed,
        warned,
        checks,
    };
    match error {
        None => Reply::new(&diagnosis, ""),
        Some(error) => Err(Failure {
            error,
            data: Some(to_json(&diagnosis)?),
        }),
    }
}

fn check_home(home: &Path) -> Check {
    let shown = home.display();
    if !home.exists() {
        let words = format!("{shown} is not there yet");
        return Check::warn("home", words, "pilotctl daemon start");
    }
    match rustix::fs::access(home, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => Check::ok("home", format!("{shown} may be written")),
        Err(error) => Check::warn(
            "home",
            format!("{shown} may not be written: {error}"),
            format!("chmod u+rwx {shown}, or another --home"),
        )
        .fail(ErrorCode::PermissionDenied),
    }
}

fn check_space(home: &Path) -> Option<Check> {
    let stat = rustix::fs::statvfs(home).ok()?;
    Some(space(stat.f_bavail.saturating_mul(stat.f_frsize)))
}

fn space(free: u64) -> Check {
    let words = format!("{} MiB are free", free >> 20);
    let cure = "make room; pilotctl received --clear deletes the files that came";
    match free {
        ..LEAST_SPACE => Check::warn("disk", words, cure).fail(ErrorCode::Internal),
        LEAST_SPACE..LITTLE_SPACE => Check::warn("disk", words, cure),
        LITTLE_SPACE.. => Check::ok("disk", words),
    }
}

fn check_clock(now: UnixTime) -> Check {
    if now < EARLIEST {
        let words = format!("it says {now}");
        return Check::warn("clock", words, "set the clock, with NTP for example");
    }
    Check::ok("clock", format!("it says {now}"))
}

/// None without a file: whether the daemon runs is a check of its own.
fn check_socket(socket: &Path) -> Option<Check> {
    let found = std::fs::symlink_metadata(socket).ok()?;
    let shown = socket.display();
    let mode = found.mode() & 0o777;
    let is_private = found.file_type().is_socket() && mode & 0o077 == 0;
    Some(if is_private {
        Check::ok("socket", format!("{shown} is its owner's alone"))
    } else {
        let cure = format!("pilotctl daemon stop, remove {shown}, pilotctl daemon start");
        let words = format!("{shown} is no socket, or open to others (mode {mode:04o})");
        Check::warn("socket", words, cure).fail(ErrorCode::PermissionDenied)
    })
}

fn check_key(info: &Info) -> Check {
    let words = super::profile::key_words(info.key_state);
    match info.key_state {
        KeyState::Current => Check::ok("key", words),
        KeyState::Superseded | KeyState::Frozen => {
            let cure = "pilotctl recovery use FILE; if you changed the key on another machine, pilotctl daemon stop here";
            Check::warn("key", words, cure).fail(ErrorCode::PermissionDenied)
        }
    }
}

fn check_rendezvous(info: &Info) -> Check {
    let states: Vec<String> = info
        .rendezvous
        .iter()
        .map(|link| format!("{} {}", link.url, link.state))
        .collect();
    let connected = info.rendezvous.iter().filter(|it| it.state == "connected");
    let connected = connected.count();
    let words = states.join(", ");
    if connected == info.rendezvous.len() && connected > 0 {
        return Check::ok("rendezvous", words);
    }
    let cure = "check that it runs and that UDP to it passes; pilotctl config --set rendezvous=URL names another";
    let check = Check::warn("rendezvous", words, cure);
    if connected > 0 {
        check
    } else {
        check.fail(ErrorCode::ConnectionFailed)
    }
}

fn check_udp(info: &Info) -> Check {
    if info.endpoints.is_empty() {
        let cure = "check that a firewall lets UDP to the rendezvous and back";
        return Check::warn("udp", "no rendezvous told where it sees this agent", cure);
    }
    Check::ok("udp", format!("reached at {}", info.endpoints.join(", ")))
}

/// Most agents do without: only a port that is being lost, and a router behind a NAT, are worth a word of advice.
fn check_port_mapping(found: &PortMappingInfo) -> Check {
    const NAME: &str = "port mapping";
    let known = |text: &Option<String>| text.as_deref().unwrap_or("unknown").to_owned();
    let (gateway, outer) = (known(&found.gateway), known(&found.outer));
    let protocol = protocol_words(found.protocol.as_deref());
    match found.state.as_str() {
        "mapped" => Check::ok(NAME, format!("{outer}, granted by {gateway} ({protocol})")),
        "expiring" => {
            let words =
                format!("{gateway} does not answer any more; {outer} ends soon ({protocol})");
            Check::warn(
                NAME,
                words,
                "see that the router runs, and that it still grants ports",
            )
        }
        "behind_nat" => {
            let words =
                format!("the router {gateway} is behind a NAT itself: its address is {outer}");
            let cure = "map a port in the router before it, too, or let that one pass everything to this one";
            Check::warn(NAME, words, cure)
        }
        "refused" => Check::ok(NAME, format!("the router {gateway} grants none")),
        "no_gateway" => Check::ok(NAME, "no router of a private network leads out from here"),
        "not_needed" => Check::ok(NAME, "not needed here"),
        "searching" => Check::ok(NAME, "the router is being asked"),
        _ => Check::ok(NAME, "switched off"),
    }
}

fn protocol_words(protocol: Option<&str>) -> &'static str {
    match protocol {
        Some("pcp") => "PCP",
        Some("nat_pmp") => "NAT-PMP",
        Some("upnp") => "UPnP",
        Some(_) | None => "unknown",
    }
}

fn check_peers(peers: &Peers) -> Check {
    let mut relayed = peers.peers.iter().filter(|it| it.path == PathKind::Relay);
    let count = relayed.clone().count();
    let words = format!("{} connected, {count} of them through a relay", peers.total);
    match relayed.next() {
        Some(peer) => {
            let cure = format!("pilotctl explain {}", peer.agent.address);
            Check::warn("peers", words, cure)
        }
        None => Check::ok("peers", words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_is_judged_by_what_stores_and_files_need() {
        assert_eq!(space(LEAST_SPACE - 1).outcome, Outcome::Fail);
        assert_eq!(space(LEAST_SPACE).outcome, Outcome::Warn);
        assert_eq!(space(LITTLE_SPACE).outcome, Outcome::Ok);
    }

    #[test]
    fn the_first_failure_gives_the_exit_code_and_a_warning_gives_none() {
        let warning = Check::warn("clock", "late", "set it");
        assert!(finish(vec![warning.clone()]).is_ok());
        let failed = warning.fail(ErrorCode::ConnectionFailed);
        let failure = finish(vec![Check::ok("home", "fine"), failed]).unwrap_err();
        assert_eq!(failure.error.code, ErrorCode::ConnectionFailed);
        assert!(failure.data.unwrap().contains(r#""outcome":"fail""#));
    }

    #[test]
    fn a_port_mapping_is_told_by_who_granted_it_and_what_is_wrong_with_it() {
        let found = |state: &str| PortMappingInfo {
            state: state.to_owned(),
            protocol: Some("nat_pmp".to_owned()),
            gateway: Some("192.168.1.1".to_owned()),
            outer: Some("100.64.0.2:4000".to_owned()),
        };
        for (state, outcome, words) in [
            ("mapped", Outcome::Ok, "granted by 192.168.1.1 (NAT-PMP)"),
            ("expiring", Outcome::Warn, "does not answer any more"),
            (
                "behind_nat",
                Outcome::Warn,
                "behind a NAT itself: its address is 100.64.0.2:4000",
            ),
            ("refused", Outcome::Ok, "192.168.1.1 grants none"),
            ("no_gateway", Outcome::Ok, "no router"),
            ("off", Outcome::Ok, "off"),
        ] {
            let check = check_port_mapping(&found(state));
            assert_eq!(check.outcome, outcome, "{state}");
            assert!(check.message.contains(words), "{}", check.message);
        }
    }

    #[test]
    fn a_clock_of_1970_and_a_home_that_is_not_there_are_warned_of() {
        assert_eq!(check_clock(UnixTime::from_secs(1)).outcome, Outcome::Warn);
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(check_home(dir.path()).outcome, Outcome::Ok);
        assert_eq!(check_home(&dir.path().join("none")).outcome, Outcome::Warn);
    }

    #[test]
    fn a_plain_file_in_the_place_of_the_socket_fails() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("pilot.sock");
        assert_eq!(check_socket(&socket), None);
        std::fs::write(&socket, "").unwrap();
        assert_eq!(check_socket(&socket).unwrap().outcome, Outcome::Fail);
        std::fs::remove_file(&socket).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&socket, private).unwrap();
        assert_eq!(check_socket(&socket).unwrap().outcome, Outcome::Ok);
    }
}
