use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tokio::io::duplex;

use super::*;

/// Answers a call with its arguments, waits for ever at `wait`, and counts what was dropped.
#[derive(Default)]
struct Echoing {
    begun: AtomicUsize,
    taken_back: AtomicUsize,
}

struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl AppCalls for Echoing {
    async fn answer(&self, question: AppQuestion) -> Result<Value, AppRefusal> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        match question {
            AppQuestion::Call(call) if call.method == "wait" => {
                let _counted = Counted(&self.taken_back);
                std::future::pending().await
            }
            AppQuestion::Call(call) if call.method == "no" => {
                Err(AppRefusal::new("permission_denied", "no\u{1b}[31m"))
            }
            AppQuestion::Call(call) => Ok(call.params),
            AppQuestion::List {} => Ok(json!({"apps": []})),
            AppQuestion::File(part) => Ok(json!(part.offset)),
        }
    }
}

fn call(method: &str, params: Value) -> AppQuestion {
    AppQuestion::Call(AppCall {
        app: "hello".to_owned(),
        method: method.to_owned(),
        params,
        timeout_ms: None,
    })
}

/// What both ends say of one question.
async fn asked(question: &AppQuestion) -> (Result<Value, AskAppError>, Result<(), ServeAppsError>) {
    let (near, far) = duplex(1024);
    let apps = Echoing::default();
    tokio::join!(ask_app(near, question), serve_app_call(far, &apps))
}

/// What comes of these bytes, and what is answered.
async fn sent(bytes: &[u8]) -> (Result<(), ServeAppsError>, Vec<u8>) {
    let (mut near, far) = duplex(4 * 1024 * 1024);
    near.write_all(bytes).await.unwrap();
    near.shutdown().await.unwrap();
    let apps = Echoing::default();
    let served = serve_app_call(far, &apps).await;
    let mut answer = vec![];
    near.read_to_end(&mut answer).await.unwrap();
    (served, answer)
}

#[tokio::test]
async fn a_question_is_answered() {
    let params = json!({"text": "x".repeat(100_000)});
    let (answer, served) = asked(&call("echo", params.clone())).await;
    assert_eq!(answer.unwrap(), params);
    served.unwrap();
    let (answer, _) = asked(&AppQuestion::List {}).await;
    assert_eq!(answer.unwrap(), json!({"apps": []}));
}

#[tokio::test]
async fn a_refusal_comes_in_words_without_control_characters() {
    let (answer, served) = asked(&call("no", json!({}))).await;
    let Err(AskAppError::Refused(refusal)) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(refusal, AppRefusal::new("permission_denied", "no[31m"));
    served.unwrap();
}

#[tokio::test]
async fn who_leaves_takes_the_question_back() {
    let (near, far) = duplex(1024);
    let apps = Echoing::default();
    let asking = tokio::spawn(async move { ask_app(near, &call("wait", json!({}))).await });
    let leaving = async {
        while apps.begun.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        asking.abort();
    };
    let (served, ()) = tokio::join!(serve_app_call(far, &apps), leaving);
    assert!(
        matches!(served, Err(ServeAppsError::TakenBack)),
        "{served:?}"
    );
    assert_eq!(apps.taken_back.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn what_is_no_question_is_refused_or_ignored() {
    let document = |text: &str| {
        let mut bytes = vec![];
        pilot_wire::put_varint(&mut bytes, text.len() as u64);
        bytes.extend_from_slice(text.as_bytes());
        bytes
    };
    let deep = "[".repeat(100_000);
    for text in [
        "",
        "{}",
        "null",
        "{\"call\":{}}",
        "{\"steal\":{}}",
        deep.as_str(),
    ] {
        let (_, answer) = sent(&document(text)).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.contains("invalid_argument"), "{text:.20}: {answer}");
    }
    let (served, answer) = sent(&[0xFF; 8]).await;
    assert!(matches!(served, Err(ServeAppsError::Question(_))));
    assert!(String::from_utf8_lossy(&answer).contains("at most"));
    for cut in [&[][..], &[0x40], &document("{\"list\":{}}")[..5]] {
        let (served, answer) = sent(cut).await;
        assert!(matches!(
            served,
            Err(ServeAppsError::Question(ReadDocumentError::Truncated))
        ));
        assert!(answer.is_empty());
    }
}

#[tokio::test]
async fn fields_that_are_not_known_are_left_aside() {
    let text = br#"{"list":{"newer":1}}"#;
    let (near, far) = duplex(1024);
    let apps = Echoing::default();
    let asking = async {
        let (mut reader, mut writer) = split(near);
        write_document(&mut writer, text).await.unwrap();
        read_document(&mut reader, MAX_APP_ANSWER).await.unwrap()
    };
    let (answer, served) = tokio::join!(asking, serve_app_call(far, &apps));
    served.unwrap();
    assert_eq!(answer, br#"{"result":{"apps":[]}}"#);
}

#[tokio::test(start_paused = true)]
async fn a_question_that_does_not_come_is_not_waited_for() {
    let (mut near, far) = duplex(1024);
    near.write_all(&[0x7F]).await.unwrap();
    let served = serve_app_call(far, &Echoing::default()).await;
    assert!(matches!(served, Err(ServeAppsError::TooSlow)), "{served:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_reads_is_not_waited_for() {
    let (near, far) = duplex(64);
    let (reader, mut writer) = split(near);
    let question = serde_json::to_vec(&call("echo", json!("x".repeat(1000)))).unwrap();
    let writing = async { write_document(&mut writer, &question).await.unwrap() };
    let apps = Echoing::default();
    let (served, ()) = tokio::join!(serve_app_call(far, &apps), writing);
    assert!(matches!(served, Err(ServeAppsError::NotRead)), "{served:?}");
    drop(reader);
}

#[tokio::test]
async fn a_peer_that_answers_nonsense_is_an_error() {
    for answer in [&b"\x02{}"[..], b"\x04null", b"\x01", b"", &[0xFF; 8]] {
        let (near, mut far) = duplex(4096);
        far.write_all(answer).await.unwrap();
        far.shutdown().await.unwrap();
        let asked = ask_app(near, &AppQuestion::List {}).await;
        assert!(
            matches!(asked, Err(AskAppError::Answer(_))),
            "{answer:?}: {asked:?}"
        );
    }
}
