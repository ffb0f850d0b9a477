use std::time::Duration;

use pilot_wire::limits::MAX_LETTER_BODY;
use pilot_wire::{MessageId, MessageType};

use super::*;
use crate::prekeys::PrekeySecret;
use crate::testing::{NOW, agent};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn draft(body: &[u8]) -> Draft {
    Draft {
        head: Message {
            id: MessageId::new([1; 16]),
            kind: MessageType::Text,
            len: 0,
            reply_to: None,
            trace: None,
        },
        body: body.to_vec(),
        group: None,
    }
}

fn prekeys() -> (Prekeys, Prekey) {
    let secret = PrekeySecret::generate(&Seed::new([40; 32]), NOW);
    let prekey = secret.prekey();
    (Prekeys::restore(vec![secret]), prekey)
}

fn seal(body: &[u8], prekey: &Prekey) -> Result<(Vec<u8>, UnixTime), SealError> {
    let when = (NOW, Seed::new([41; 32]));
    seal_letter(&agent(1), agent(2).agent(), prekey, draft(body), when)
}

fn open(from: u8, to: u8, sealed: &[u8], now: UnixTime) -> Result<OpenedLetter, OpenError> {
    let (us, from) = (agent(to).agent(), agent(from).agent());
    open_letter(us, from, &prekeys().0, sealed, (now, 0))
}

#[test]
fn a_letter_opens_for_its_recipient_as_its_senders() {
    let (sealed, not_after) = seal(b"hello", &prekeys().1).unwrap();
    assert_eq!(not_after, NOW.plus(LETTER_LIFETIME));
    let opened = open(1, 2, &sealed, NOW.plus(DAY)).unwrap();
    assert_eq!((&opened.body[..], opened.head.len), (&b"hello"[..], 5));
    assert_eq!(
        (opened.log.agent(), opened.sent_at),
        (agent(1).agent(), NOW)
    );
    assert!(!sealed.windows(5).any(|bytes| bytes == b"hello"));
}

#[test]
fn a_letter_is_nobody_elses_and_for_nobody_else() {
    let (sealed, _) = seal(b"hello", &prekeys().1).unwrap();
    assert_eq!(open(3, 2, &sealed, NOW), Err(OpenError::Sealed));
    assert_eq!(open(1, 3, &sealed, NOW), Err(OpenError::Sealed));
    let nobody = open_letter(
        agent(2).agent(),
        agent(1).agent(),
        &Prekeys::default(),
        &sealed,
        (NOW, 0),
    );
    assert_eq!(nobody, Err(OpenError::Prekey));
}

/// What a recipient of an honest letter, who has opened it, could try: to pass it on to somebody else as sent to them.
#[test]
fn a_recipient_cannot_pass_a_letter_on_as_sent_to_another() {
    let (prekeys, prekey) = prekeys();
    let letter = Letter {
        to: agent(3).agent(),
        group: None,
        head: draft(b"x").head,
        body_hash: hash(b"x"),
    };
    let forge = |letter: &Letter, by: u8, body: &[u8]| {
        let inside = LetterBox {
            log: agent(1).log().entries().to_vec(),
            letter: agent(by).sign(0, NOW, NOW.plus(DAY), letter),
            body: body.to_vec(),
        };
        let aad = bound(&agent(1).agent(), &agent(2).agent());
        let ephemeral = zeroize::Zeroizing::new([9; 32]);
        let sealed =
            hpke::seal(&prekey.public, &ephemeral, (INFO, &aad), &inside.encode()).unwrap();
        let sealed = [&prekey.public[..], &sealed].concat();
        let (us, from) = (agent(2).agent(), agent(1).agent());
        open_letter(us, from, &prekeys, &sealed, (NOW, 0)).map(|letter| letter.body)
    };
    assert_eq!(forge(&letter, 1, b"x"), Err(OpenError::Recipient));
    let mut letter = letter;
    letter.to = agent(2).agent();
    letter.head.len = 1;
    assert_eq!(forge(&letter, 3, b"x"), Err(OpenError::Signature));
    assert_eq!(forge(&letter, 1, b"y"), Err(OpenError::Body));
    assert_eq!(forge(&letter, 1, b"x"), Ok(b"x".to_vec()));
}

#[test]
fn a_letter_ends_with_the_key_that_it_is_sealed_to() {
    let (_, mut prekey) = prekeys();
    prekey.not_after = NOW.plus(DAY);
    let (sealed, not_after) = seal(b"hello", &prekey).unwrap();
    assert_eq!(not_after, NOW.plus(DAY));
    assert!(open(1, 2, &sealed, NOW.plus(DAY)).is_ok());
    assert_eq!(open(1, 2, &sealed, NOW.plus(2 * DAY)), Err(OpenError::Time));
    prekey.not_after = NOW;
    assert_eq!(seal(b"hello", &prekey), Err(SealError::Prekey));
    prekey.public = [0; 32];
    prekey.not_after = NOW.plus(DAY);
    assert_eq!(seal(b"hello", &prekey), Err(SealError::Prekey));
}

#[test]
fn the_largest_letter_fits_and_a_larger_one_does_not() {
    let (_, prekey) = prekeys();
    let (sealed, _) = seal(&vec![7; MAX_LETTER_BODY], &prekey).unwrap();
    assert!(sealed.len() <= MAX_SEALED_LETTER);
    assert!(open(1, 2, &sealed, NOW).is_ok());
    let longer = seal(&vec![7; MAX_LETTER_BODY + 1], &prekey);
    assert_eq!(longer, Err(SealError::TooLarge));
}
