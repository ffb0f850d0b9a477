//! Services of an agent: echo (port 7), the waiting room for inbound streams (stdio, port 1000) and the data exchange (port 1001).
//!
//! A service works on any `AsyncRead + AsyncWrite`: who may reach it was decided before, by trust. Nothing here executes
//! or interprets what a peer sends: text is data.
//!
//! ```text
//! port 7      serve_echo(stream)                        what comes goes back
//! port 7      serve_bench(stream, request)              what comes is counted, or a pattern is sent (by metadata)
//! port 1000…  WaitingRoom ── admit ──▶ (bounded, 30 s) ──▶ take     until `recv` or `accept` asks for it
//! port 1001   send_message ──▶ head, body ──▶ DataExchange::serve ──▶ Inbox (durable) ──▶ ack
//! port 1001   send_message ──▶ answer_one ──▶ answer_directory, at a rendezvous: the agent `list-agents`
//! port 1001   send_file ──▶ head, bytes, hash ──▶ receive_file ──▶ FileSink (durable) ──▶ verdict  (by metadata)
//! port 1002   publish_event, RemoteSubscription ──▶ serve_events, serve_publisher ──▶ Broker
//! port 1003   ask_app ──▶ serve_app_call ──▶ AppCalls     until it is answered or taken back
//! ```

mod app_calls;
mod bench;
mod data_exchange;
mod directory;
mod echo;
mod ending;
mod events;
mod files;
mod waiting_room;

pub use app_calls::{
    AppCall, AppCalls, AppQuestion, AppRefusal, AskAppError, FilePart, MAX_APP_ANSWER,
    MAX_APP_QUESTION, ReadDocumentError, ServeAppsError, ask_app, serve_app_call,
};
pub use bench::{BenchDirection, BenchReport, BenchRequest, MAX_BENCH, run_bench, serve_bench};
pub use data_exchange::{
    AnswersError, DataExchange, Delivery, Finding, Inbox, Limits, Mailed, Outcome, PutError,
    ReadMessageError, Reply, SendMessageError, Sender, ServeError, Terms, answer_one, send_message,
};
pub use directory::{
    DirectoryError, DirectoryItem, DirectoryQuestion, DirectoryRequest, MAX_DIRECTORY_QUESTION,
    answer_directory,
};
pub use echo::serve_echo;
pub use events::{
    Broker, EventError, PublishError, Published, RemoteSubscription, SubscribeError, Subscription,
    publish_event, serve_events, serve_publisher, serve_screened_events,
};
pub use files::{
    FileSent, FileSink, ReceiveFileError, SendFileError, SendProgress, read_file_head,
    receive_file, refuse_file, send_file, tell_stored,
};
pub use waiting_room::{Bounds, Queue, WaitingRoom};

/// The example of the README runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
