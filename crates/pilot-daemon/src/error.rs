//! What every failure is called in the API: code, words, and what to do next (`docs/cli.md`).

use std::io;
use std::path::Path;

use pilot::{
    DepositError, DialError, ErrorCode as StreamCode, GroupCallError, GroupError, LookupError,
    ProfileError, RegisterError, StartError, StreamError, TrustError,
};
use pilot_api::{ApiError, BindError, ErrorCode, PeerRef};
use pilot_apps::{AnswersError, ReadMessageError, SendFileError, SendMessageError};
pub(crate) use pilot_rendezvous::error::describe;
use pilot_rendezvous::error::{home_code, identity_code, io_code, start_code};
use pilot_store::{ConfigError, DbError, HomeError, IdentityError, OpenDbError, ReceivedError};
use pilot_types::{Hostname, Port};
use pilot_wire::{FileRefusal, FileRefusalReason, Scope};
use thiserror::Error;

use crate::embedded::EmbeddedError;
use crate::log::LogError;

/// Why a daemon does not start, or ended.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(transparent)]
pub struct RunError(#[from] pub ApiError);

/// How a peer is called in messages and hints: as the caller wrote it, but for a ticket, which holds a secret.
pub(crate) fn name_of(peer: &PeerRef) -> String {
    match peer {
        PeerRef::Ticket(_) => "TICKET".to_owned(),
        PeerRef::Address(_) | PeerRef::Key(_) | PeerRef::Node(_) | PeerRef::Hostname(_) => {
            peer.to_string()
        }
    }
}

/// One answer for all that is not there or may not be seen.
pub(crate) fn not_found(peer: &PeerRef) -> ApiError {
    let words = format!("no agent {}, or it is not visible to you", name_of(peer));
    ApiError::new(ErrorCode::NotFound, words)
}

pub(crate) fn not_trusted(peer: &PeerRef) -> ApiError {
    let name = name_of(peer);
    let words = format!("{name} has not granted you trust for this");
    ApiError::new(ErrorCode::NotTrusted, words).with_hint(format!("pilotctl handshake {name}"))
}

fn no_rendezvous() -> ApiError {
    ApiError::new(ErrorCode::ConnectionFailed, "no rendezvous answers")
        .with_hint("pilotctl info shows how it stands with each")
}

fn shut_down() -> ApiError {
    ApiError::new(ErrorCode::NotRunning, "the daemon is ending").with_hint("pilotctl daemon start")
}

fn refused(peer: &str, port: Port) -> ApiError {
    let words = format!("nobody takes streams on port {port} of {peer}");
    ApiError::new(ErrorCode::ConnectionFailed, words).with_hint(format!(
        "run `pilotctl recv {port}` on {peer}, or `pilotctl expose HOST:PORT --port {port}`"
    ))
}

/// `peer` granted something, but not the port to the agent that it knows as `own`.
pub(crate) fn port_not_granted(peer: &str, port: Port, granted: &Scope, own: &str) -> ApiError {
    let ports = granted.ports_text();
    let others = if ports.is_empty() { "no port" } else { &ports };
    let words = format!("{peer} has not granted you port {port}: its grant is for {others}");
    let with_port = Scope::parse_ports(&format!("{ports},{port}"))
        .or_else(|_| Scope::parse_ports(&port.to_string()))
        .map_or_else(
            |_| port.to_string(),
            |wanted| Scope::of_ports(wanted).ports_text(),
        );
    ApiError::new(ErrorCode::NotTrusted, words).with_hint(format!(
        "run `pilotctl approve {own} --ports {with_port}` on {peer}"
    ))
}

pub(crate) fn dial(error: &DialError, peer: &PeerRef, port: Port) -> ApiError {
    let name = name_of(peer);
    let failed = |words: String| ApiError::new(ErrorCode::ConnectionFailed, words);
    match error {
        DialError::Target(error) => ApiError::invalid(error.to_string()),
        DialError::NotFound => not_found(peer),
        DialError::NotTrusted { .. } => not_trusted(peer),
        DialError::Unreachable => failed(format!("{name} did not answer")),
        DialError::Timeout => ApiError::timeout(format!("{name} did not answer in time")),
        DialError::Refused => refused(&name, port),
        DialError::Closed(code) => stream_code(*code, &name, port),
        DialError::NoRendezvous => no_rendezvous(),
        DialError::KeyRefused { .. } => key_refused(&format!("{name} refused the key: {error}")),
        DialError::Own => ApiError::invalid(format!("{name} is this agent itself")),
        DialError::Ticket(_) | DialError::TooLarge { .. } => ApiError::invalid(error.to_string()),
        DialError::Busy => {
            ApiError::new(ErrorCode::RateLimited, error.to_string()).with_retry_after_ms(1000)
        }
        DialError::Shutdown => shut_down(),
        _ => failed(error.to_string()),
    }
}

/// Why a stream with `peer` ended, by its code.
pub(crate) fn stream_code(code: StreamCode, peer: &str, port: Port) -> ApiError {
    let failed =
        |words: &str| ApiError::new(ErrorCode::ConnectionFailed, format!("{peer} {words}"));
    match code {
        StreamCode::REFUSED => refused(peer, port),
        StreamCode::NOT_TRUSTED | StreamCode::REVOKED => {
            let words = format!("{peer} has not granted you trust for port {port}");
            ApiError::new(ErrorCode::NotTrusted, words)
                .with_hint(format!("pilotctl handshake {peer}"))
        }
        StreamCode::PEER_RESTARTED => failed("restarted; its streams are gone"),
        StreamCode::IDLE_TIMEOUT => failed("was not heard of for too long"),
        StreamCode::SHUTDOWN => failed("stopped"),
        StreamCode::CANCELLED => failed("gave the stream up"),
        StreamCode::BUSY => ApiError::new(ErrorCode::RateLimited, format!("{peer} is busy"))
            .with_retry_after_ms(1000),
        other => failed(&format!("ended the stream: {other}")),
    }
}

/// The code inside an I/O error of one of our streams.
pub(crate) fn code_of(error: &io::Error) -> Option<StreamCode> {
    let inner = error.get_ref()?.downcast_ref::<StreamError>()?;
    Some(inner.code)
}

pub(crate) fn lookup(error: &LookupError, peer: &PeerRef) -> ApiError {
    match error {
        LookupError::NotFound => not_found(peer),
        LookupError::NoRendezvous => no_rendezvous(),
        LookupError::RateLimited {
            message,
            retry_after_ms,
        } => ApiError::new(ErrorCode::RateLimited, message.clone())
            .with_retry_after_ms(*retry_after_ms),
        LookupError::Shutdown => shut_down(),
        LookupError::Invalid(_) | LookupError::Refused(_) | _ => {
            ApiError::new(ErrorCode::ConnectionFailed, error.to_string())
        }
    }
}

/// Why something about the group `name` was not done.
pub(crate) fn group(error: &GroupCallError, name: &str) -> ApiError {
    let denied = |words: String| ApiError::new(ErrorCode::PermissionDenied, words);
    match error {
        GroupCallError::Group(error) => group_rule(error, name),
        GroupCallError::NotFound => ApiError::new(ErrorCode::NotFound, format!("no group {name}"))
            .with_hint("check the name, and that its owner uses the same rendezvous"),
        GroupCallError::NameTaken => {
            let words = format!("there is a group {name} already, or the name is reserved");
            ApiError::new(ErrorCode::AlreadyExists, words)
                .with_hint(format!("another name, or pilotctl group join {name}"))
        }
        GroupCallError::NobodyOnline => {
            let words = format!(
                "neither the owner of {name} nor an admin is connected: their daemon certifies who joins"
            );
            ApiError::new(ErrorCode::ConnectionFailed, words).with_hint(format!(
                "try again when one of them is online: pilotctl group join {name}"
            ))
        }
        GroupCallError::Store(words) => ApiError::internal(words.clone()),
        GroupCallError::Rendezvous(error) => search(error),
        GroupCallError::Shutdown => shut_down(),
        _ => denied(error.to_string()),
    }
}

fn group_rule(error: &GroupError, name: &str) -> ApiError {
    let denied = || ApiError::new(ErrorCode::PermissionDenied, format!("{name}: {error}"));
    match error {
        GroupError::WrongToken | GroupError::TokenNeeded => denied().with_hint(format!(
            "ask its owner, then: pilotctl group join {name} --token T"
        )),
        GroupError::NotInvited | GroupError::Removed => denied().with_hint(format!(
            "ask its owner to run: pilotctl group invite PEER --group {name}"
        )),
        GroupError::AlreadyMember => {
            ApiError::new(ErrorCode::AlreadyExists, format!("{name}: {error}"))
                .with_hint(format!("pilotctl group members {name}"))
        }
        GroupError::NotMember | GroupError::NoSuchMember => {
            ApiError::new(ErrorCode::NotFound, format!("{name}: {error}"))
                .with_hint(format!("pilotctl group members {name}"))
        }
        GroupError::NotAllowed => {
            denied().with_hint(format!("pilotctl group members {name} shows who owns it"))
        }
        GroupError::OwnerStays => denied().with_hint(format!(
            "other members leave or are removed: pilotctl group members {name}"
        )),
        GroupError::Full | GroupError::TooMany | GroupError::Policy => {
            ApiError::invalid(format!("{name}: {error}"))
        }
        GroupError::Malformed(_)
        | GroupError::Log(_)
        | GroupError::Envelope(_)
        | GroupError::OtherGroup
        | GroupError::Unauthorised
        | GroupError::Times
        | _ => ApiError::new(ErrorCode::ConnectionFailed, format!("{name}: {error}")),
    }
}

pub(crate) fn search(error: &LookupError) -> ApiError {
    match error {
        LookupError::NoRendezvous => no_rendezvous(),
        LookupError::RateLimited {
            message,
            retry_after_ms,
        } => ApiError::new(ErrorCode::RateLimited, message.clone())
            .with_retry_after_ms(*retry_after_ms),
        LookupError::Shutdown => shut_down(),
        LookupError::Refused(words) if words == "unknown request" => {
            let words = "the rendezvous is of an earlier version, which does not search";
            ApiError::new(ErrorCode::ConnectionFailed, words)
                .with_hint("update the rendezvous, or find agents by name: pilotctl find NAME")
        }
        LookupError::NotFound | LookupError::Invalid(_) | LookupError::Refused(_) | _ => {
            ApiError::new(ErrorCode::ConnectionFailed, error.to_string())
        }
    }
}

pub(crate) fn trust(error: &TrustError, peer: &PeerRef) -> ApiError {
    match error {
        TrustError::NotFound => {
            let words = format!("{} neither knocked nor is trusted", name_of(peer));
            ApiError::new(ErrorCode::NotFound, words).with_hint("pilotctl pending")
        }
        TrustError::Invalid(_) | TrustError::Ticket(_) => ApiError::invalid(error.to_string()),
        TrustError::Busy(words) => ApiError::new(ErrorCode::RateLimited, words.clone()),
        TrustError::NoRendezvous => no_rendezvous(),
        TrustError::Shutdown => shut_down(),
        TrustError::Store(words) => {
            ApiError::internal(format!("not stored yet, and tried again: {words}"))
        }
        _ => ApiError::internal(error.to_string()),
    }
}

pub(crate) fn profile(error: &ProfileError) -> ApiError {
    match error {
        ProfileError::HostnameTaken(name) => hostname_taken(name.as_str()),
        ProfileError::HostnameReserved(name) => {
            ApiError::invalid(format!("hostname {name} is reserved for a service"))
        }
        ProfileError::TooManyTags(_) | ProfileError::Capabilities(_) => {
            ApiError::invalid(error.to_string())
        }
        ProfileError::NoRendezvous => ApiError::new(
            ErrorCode::ConnectionFailed,
            "no rendezvous answers; the change holds here and is sent when one does",
        ),
        ProfileError::Shutdown => shut_down(),
        ProfileError::Refused(_) | _ => {
            ApiError::new(ErrorCode::ConnectionFailed, error.to_string())
        }
    }
}

fn hostname_taken(name: &str) -> ApiError {
    ApiError::new(
        ErrorCode::AlreadyExists,
        format!("hostname {name} is taken by another agent"),
    )
    .with_hint("choose another name")
}

/// This agent's key is not believed.
pub(crate) fn key_refused(words: &str) -> ApiError {
    ApiError::new(ErrorCode::PermissionDenied, words).with_hint(
        "if you did not change the key yourself, somebody else has it: pilotctl recovery use FILE",
    )
}

pub(crate) fn register(error: &RegisterError) -> ApiError {
    match error {
        RegisterError::HostnameTaken { name } => hostname_taken(name),
        RegisterError::AddressTaken => ApiError::new(ErrorCode::AlreadyExists, error.to_string())
            .with_hint("start with a new home: its key has another address"),
        RegisterError::KeyMismatch { url, expected, found } => ApiError::new(
            ErrorCode::ConnectionFailed,
            format!("rendezvous {url} has key {found}, but {expected} is expected: it is another one, or somebody stands in between"),
        )
        .with_hint("if its operator confirms the new key, name it: --rendezvous pilot://KEY@host:port"),
        RegisterError::KeyRefused { .. } => key_refused(&error.to_string()),
        RegisterError::Shutdown => shut_down(),
        RegisterError::Refused { .. } | _ => ApiError::new(ErrorCode::ConnectionFailed, error.to_string()),
    }
}

pub(crate) fn start(error: &StartError) -> ApiError {
    let api = ApiError::new(start_code(error), describe(error));
    match error {
        StartError::Bind { .. } => {
            api.with_hint("stop the program that uses the port, or choose another with --listen")
        }
        StartError::Url(_) => api
            .with_hint("as in pilot://KEY@host:9000, or host:9000 to trust the first that answers"),
        StartError::NoHome
        | StartError::Home(_)
        | StartError::Identity(_)
        | StartError::State(_)
        | StartError::Db(_)
        | StartError::Resolve { .. }
        | StartError::Thread { .. }
        | _ => api,
    }
}

pub(crate) fn home(error: &HomeError) -> ApiError {
    ApiError::new(home_code(error), describe(error))
}

pub(crate) fn identity(error: &IdentityError) -> ApiError {
    ApiError::new(identity_code(error), describe(error))
}

pub(crate) fn file_config(error: &ConfigError) -> ApiError {
    let code = match error {
        ConfigError::Invalid { .. } => ErrorCode::InvalidArgument,
        ConfigError::Read { source, .. } | ConfigError::Write { source, .. } => io_code(source),
        _ => ErrorCode::Internal,
    };
    ApiError::new(code, describe(error))
}

pub(crate) fn open_db(error: &OpenDbError) -> ApiError {
    ApiError::internal(describe(error))
}

pub(crate) fn db(error: &DbError) -> ApiError {
    ApiError::internal(describe(error))
}

pub(crate) fn received(error: &ReceivedError) -> ApiError {
    let code = match error {
        ReceivedError::Io { source, .. } => io_code(source),
        ReceivedError::Space { .. }
        | ReceivedError::Quota { .. }
        | ReceivedError::Full
        | ReceivedError::Busy
        | ReceivedError::Coming { .. }
        | ReceivedError::InTheWay { .. }
        | _ => ErrorCode::Internal,
    };
    ApiError::new(code, describe(error))
}

pub(crate) fn bind(error: &BindError) -> ApiError {
    let code = match error {
        BindError::InUse(_) => ErrorCode::AlreadyExists,
        BindError::NotASocket(_) | BindError::Exposed(_) | BindError::TooLong(_) => {
            ErrorCode::InvalidArgument
        }
        BindError::Io { source, .. } => io_code(source),
        _ => ErrorCode::Internal,
    };
    ApiError::new(code, describe(error)).with_hint("choose another socket with --socket")
}

pub(crate) fn log(error: &LogError) -> ApiError {
    ApiError::invalid(describe(error))
}

pub(crate) fn embedded(error: &EmbeddedError) -> ApiError {
    ApiError::new(ErrorCode::ConnectionFailed, describe(error))
        .with_hint("give another rendezvous with --rendezvous")
}

/// Whether a stream ended because there is no trust for it any more.
pub(crate) fn is_no_trust(code: StreamCode) -> bool {
    code == StreamCode::NOT_TRUSTED || code == StreamCode::REVOKED
}

/// Why a file did not go to `peer`.
pub(crate) fn send_file(error: &SendFileError, path: &Path, peer: &PeerRef) -> ApiError {
    let failed = || ApiError::new(ErrorCode::ConnectionFailed, describe(error));
    match error {
        SendFileError::Stream(source) | SendFileError::Answer(ReadMessageError::Io(source)) => {
            code_of(source).map_or_else(failed, |code| {
                stream_code(code, &name_of(peer), Port::DATA_EXCHANGE)
            })
        }
        SendFileError::Read(_) | SendFileError::Changed => {
            ApiError::invalid(format!("{}: {}", path.display(), describe(error)))
        }
        SendFileError::Refused(refusal) => file_refused(refusal, &name_of(peer)),
        SendFileError::Version => failed().with_hint("check that both agents are of one version"),
        SendFileError::Answer(_) | _ => failed(),
    }
}

fn file_refused(refusal: &FileRefusal, peer: &str) -> ApiError {
    let words = format!("{peer} refused the file: {}", refusal.words);
    let denied = ApiError::new(ErrorCode::PermissionDenied, words.clone());
    let config =
        |key: &str| format!("its owner may change it: on {peer}, `pilotctl config --set {key}=…`");
    match refusal.reason {
        FileRefusalReason::Sender => denied.with_hint(config("files_from")),
        FileRefusalReason::Size => denied.with_hint(config("files_max_size")),
        FileRefusalReason::Name => denied.with_hint(config("files_names")),
        FileRefusalReason::Space => denied.with_hint(ROOM_HINT),
        FileRefusalReason::Busy => {
            ApiError::new(ErrorCode::RateLimited, words).with_retry_after_ms(1000)
        }
        FileRefusalReason::Broken | FileRefusalReason::Interrupted => {
            ApiError::new(ErrorCode::ConnectionFailed, words)
        }
        FileRefusalReason::Other | _ => denied,
    }
}

const ROOM_HINT: &str =
    "its owner makes room: there, `pilotctl inbox --clear` or `pilotctl received --clear`";

/// A message that its receiver did not take, in its words.
pub(crate) fn refused_by_peer(words: &str) -> ApiError {
    let error = ApiError::new(ErrorCode::PermissionDenied, words);
    if words.contains("no space") || words.contains("full") {
        return error.with_hint(ROOM_HINT);
    }
    error
}

/// An agent that did not answer in the time that a message is tried straight.
pub(crate) fn no_answer(peer: &PeerRef) -> ApiError {
    ApiError::timeout(format!("{} did not answer in time", name_of(peer)))
}

/// What did not arrive straight is too long for a mailbox.
pub(crate) fn too_large_for_mailbox(error: ApiError) -> ApiError {
    let kib = pilot_wire::limits::MAX_LETTER_BODY / 1024;
    error.with_hint(format!(
        "a mailbox takes messages of at most {kib} KiB: send it again when the agent is online, or `pilotctl send-file`"
    ))
}

/// An agent that is away, and why the message is not in its mailbox either.
pub(crate) fn deposit(error: &DepositError, peer: &PeerRef) -> ApiError {
    let name = name_of(peer);
    let away = |words: &str| format!("{name} is away, and {words}");
    let failed = |words: &str| ApiError::new(ErrorCode::ConnectionFailed, away(words));
    match error {
        DepositError::NotWanted => {
            ApiError::new(ErrorCode::NotTrusted, away("takes no messages of yours"))
                .with_hint(format!("pilotctl handshake {name}"))
        }
        DepositError::NoMailbox => failed("has no mailbox").with_hint(
            "it runs an earlier version, or was away for a month: send it again when it is online",
        ),
        DepositError::TooLarge { max } => {
            let words = format!("its mailbox takes at most {max} bytes of a message");
            failed(&words).with_hint("send it again when the agent is online")
        }
        DepositError::Full(words) => ApiError::new(ErrorCode::RateLimited, away(words)).with_hint(
            format!("{name} makes room by coming online; until then nothing more is left there"),
        ),
        DepositError::NoRendezvous => failed("no rendezvous answers that could keep the message")
            .with_hint("pilotctl info shows how it stands with each rendezvous"),
        DepositError::Later {
            message,
            retry_after_ms,
        } => ApiError::new(ErrorCode::RateLimited, away(message))
            .with_retry_after_ms(*retry_after_ms),
        DepositError::Shutdown => shut_down(),
        DepositError::Refused(_) | _ => failed(&error.to_string()).with_hint(
            "the rendezvous may run an earlier version: send it again when the agent is online",
        ),
    }
}

pub(crate) fn answers(error: AnswersError) -> ApiError {
    ApiError::new(ErrorCode::RateLimited, error.to_string())
}

pub(crate) fn send_message(error: &SendMessageError, peer: &PeerRef) -> ApiError {
    let name = name_of(peer);
    match error {
        SendMessageError::TooLarge(_) => ApiError::invalid(error.to_string()),
        SendMessageError::Refused(words) => {
            refused_by_peer(&format!("{name} refused the message: {words}"))
        }
        SendMessageError::NoAck(ReadMessageError::Io(io)) => match code_of(io) {
            Some(code) => stream_code(code, &name, Port::DATA_EXCHANGE),
            None => ApiError::new(ErrorCode::ConnectionFailed, describe(error)),
        },
        SendMessageError::UnknownAnswer | SendMessageError::NoAck(_) | _ => {
            ApiError::new(ErrorCode::ConnectionFailed, describe(error))
        }
    }
}

/// A member asked to speak to all of a group whose policy does not let it.
pub(crate) fn may_not_broadcast(group: &Hostname) -> ApiError {
    let words = format!("the policy of {group} does not let you broadcast");
    ApiError::new(ErrorCode::PermissionDenied, words).with_hint(format!(
        "its owner changes that: pilotctl group policy {group} --set broadcast=members"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> PeerRef {
        "planner".parse().unwrap()
    }

    #[test]
    fn unknown_and_invisible_are_one_answer() {
        let dialled = dial(&DialError::NotFound, &peer(), Port::STDIO);
        assert_eq!(dialled, lookup(&LookupError::NotFound, &peer()));
        assert_eq!(dialled.code, ErrorCode::NotFound);
        assert_eq!(
            dialled.message,
            "no agent planner, or it is not visible to you"
        );
    }

    #[test]
    fn missing_trust_names_the_next_command() {
        let error = dial(&DialError::NotTrusted { agent: None }, &peer(), Port::STDIO);
        assert_eq!(error.code, ErrorCode::NotTrusted);
        assert_eq!(error.hint.as_deref(), Some("pilotctl handshake planner"));
        let on_stream = stream_code(StreamCode::NOT_TRUSTED, "planner", Port::STDIO);
        assert_eq!(
            (on_stream.code, on_stream.hint),
            (ErrorCode::NotTrusted, error.hint)
        );
    }

    #[test]
    fn a_port_that_nobody_reads_names_the_command_that_does() {
        let error = dial(&DialError::Refused, &peer(), Port::new(7000));
        assert_eq!(error.code, ErrorCode::ConnectionFailed);
        assert_eq!(
            error.hint.as_deref(),
            Some("run `pilotctl recv 7000` on planner, or `pilotctl expose HOST:PORT --port 7000`")
        );
    }

    #[test]
    fn a_port_that_was_not_granted_names_the_command_that_grants_it_beside_the_others() {
        let default = Scope::default_scope();
        let error = port_not_granted("planner", Port::new(8080), &default, "worker");
        assert_eq!(error.code, ErrorCode::NotTrusted);
        assert!(error.message.contains("port 8080"), "{error}");
        assert_eq!(
            error.hint.as_deref(),
            Some("run `pilotctl approve worker --ports 7,1000-1002,8080` on planner")
        );
        let reply_only = port_not_granted("planner", Port::new(80), &Scope::reply_only(), "worker");
        assert_eq!(
            reply_only.hint.as_deref(),
            Some("run `pilotctl approve worker --ports 80` on planner")
        );
    }

    #[test]
    fn a_ticket_stays_secret() {
        let ticket = PeerRef::Ticket("pilot-ticket:secret".to_owned());
        for error in [not_found(&ticket), not_trusted(&ticket)] {
            assert!(!format!("{error:?}").contains("secret"));
        }
    }

    #[test]
    fn a_foreign_rendezvous_is_refused_with_both_keys() {
        let error = register(&RegisterError::KeyMismatch {
            url: "host:9000".to_owned(),
            expected: "aa".to_owned(),
            found: "bb".to_owned(),
        });
        assert!(
            error.message.contains("key bb") && error.message.contains("aa is expected"),
            "{error}"
        );
        assert!(error.message.contains("host:9000"));
    }

    #[test]
    fn a_taken_name_is_named() {
        let error = register(&RegisterError::HostnameTaken {
            name: "planner".to_owned(),
        });
        assert_eq!(error.code, ErrorCode::AlreadyExists);
        assert_eq!(error.message, "hostname planner is taken by another agent");
    }
}
