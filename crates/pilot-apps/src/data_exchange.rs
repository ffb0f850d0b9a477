//! Port 1001: messages with a type, an id and an answer (`docs/wire.md` §7).

mod answers;
mod codec;
mod commit;
mod delivery;
mod open_requests;
mod respond;
mod send;
mod sender_rate;
mod service;

pub use answers::AnswersError;
pub use codec::ReadMessageError;
pub(crate) use codec::{encode_prefixed, read_value};
pub use delivery::{
    Delivery, Finding, Inbox, Limits, Mailed, Outcome, PutError, Sender, ServeError, Terms,
};
pub use respond::{Reply, answer_one};
pub use send::{SendMessageError, send_message};
pub use service::DataExchange;
