//! What the inbox holds of a message.

use pilot_types::{Address, AgentId, Hostname, NetworkId, UnixTime};
use pilot_wire::{MessageId, MessageType, TraceParent};
use serde::{Deserialize, Deserializer, Serialize};

/// A message without its body.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InboxHead {
    /// Its name, unique with its sender.
    pub id: MessageId,
    /// Its sender.
    pub from: AgentId,
    /// The sender's address.
    pub from_address: Address,
    /// The sender's name when it came.
    pub from_hostname: Option<Hostname>,
    /// How the body is to be read.
    pub kind: MessageType,
    /// Bytes of the body.
    pub len: u64,
    /// When it came.
    pub received_at: UnixTime,
    /// The message that it answers.
    pub reply_to: Option<MessageId>,
    /// The application's trace.
    pub trace: Option<TraceParent>,
    /// How the sender was trusted when it came, in words.
    pub trust: String,
    /// The network to all of which it was said. Messages of earlier versions end before it.
    #[serde(deserialize_with = "trailing")]
    pub network: Option<NetworkId>,
    /// That it came by a mailbox. Messages of earlier versions end before it.
    #[serde(deserialize_with = "trailing")]
    pub mailed: Option<Mailed>,
    /// What the owner's filter said of it. Messages of earlier versions end before it.
    #[serde(deserialize_with = "trailing")]
    pub finding: Option<Finding>,
}

/// What the owner's filter said of a message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// Which app.
    pub app: String,
    /// Whether the message is in quarantine for it.
    pub is_blocked: bool,
    /// Why, in words.
    pub reason: String,
    /// What was found, as JSON.
    pub findings: String,
}

/// What is said of a message that came by a mailbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Mailed {
    /// When it was left there, by its sender's clock and signature.
    pub sent_at: UnixTime,
    /// Until when it might have been delivered: so long it is known when it comes again.
    pub not_after: UnixTime,
}

/// A last field, where there is one.
fn trailing<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Ok(Option::deserialize(deserializer).unwrap_or_default())
}

/// A message with its body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InboxMessage {
    /// All but the body.
    pub head: InboxHead,
    /// The body.
    pub body: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use pilot_wire::{decode_postcard, encode_postcard};

    use super::*;

    #[test]
    fn a_head_of_an_earlier_version_ends_before_the_network() {
        let from = AgentId::new([1; 32]);
        let head = InboxHead {
            id: MessageId::new([2; 16]),
            from,
            from_address: from.address(),
            from_hostname: None,
            kind: MessageType::Text,
            len: 3,
            received_at: UnixTime::from_secs(4),
            reply_to: None,
            trace: None,
            trust: "trusted".to_owned(),
            network: None,
            mailed: None,
            finding: None,
        };
        let mut bytes = encode_postcard(&head);
        assert_eq!(
            decode_postcard::<InboxHead>(&bytes, "head"),
            Ok(head.clone())
        );
        assert_eq!(bytes.pop(), Some(0));
        assert_eq!(
            decode_postcard::<InboxHead>(&bytes, "head"),
            Ok(head.clone())
        );
        assert_eq!(bytes.pop(), Some(0));
        assert_eq!(
            decode_postcard::<InboxHead>(&bytes, "head"),
            Ok(head.clone())
        );
        let network = NetworkId::new(7);
        let mailed = Some(Mailed {
            sent_at: UnixTime::from_secs(5),
            not_after: UnixTime::from_secs(6),
        });
        let head = InboxHead {
            network,
            mailed,
            ..head
        };
        assert_eq!(
            decode_postcard::<InboxHead>(&encode_postcard(&head), "head"),
            Ok(head)
        );
    }
}
