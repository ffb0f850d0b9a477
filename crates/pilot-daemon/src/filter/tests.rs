use std::sync::Mutex;

use super::*;

/// An app that answers as its text says.
#[derive(Default)]
struct Scripted {
    asked: Mutex<Vec<Value>>,
    audited: Mutex<Vec<AuditEntry>>,
}

impl Asked for Scripted {
    async fn ask(&self, _: &AppId, params: Value) -> Result<Value, String> {
        let text = params["text"].as_str().unwrap().to_owned();
        self.asked.lock().unwrap().push(params);
        match text.as_str() {
            "hang" => std::future::pending().await,
            "fail" => Err("it broke".to_owned()),
            text => Ok(serde_json::from_str(text).unwrap_or(Value::Null)),
        }
    }

    fn audit(&self, entry: &AuditEntry) {
        self.audited.lock().unwrap().push(entry.clone());
    }
}

const PASS: &[u8] = br#"{"verdict":"pass"}"#;
const BLOCK: &[u8] =
    br#"{"verdict":"block","reason":"a\u001b[31m reason","findings":[{"rule":"x"}]}"#;

fn filter(on_failure: FilterOnFailure) -> (tempfile::TempDir, Filter<Scripted>) {
    let dir = tempfile::tempdir().unwrap();
    let filter = Filter::open(dir.path(), Arc::new(Scripted::default())).unwrap();
    let setting = Setting {
        app: "pilot.aegis".parse().unwrap(),
        stages: [FilterStage::Inbox, FilterStage::Arguments].into(),
        on_failure,
    };
    filter.set(Some(setting)).unwrap();
    (dir, filter)
}

async fn look(filter: &Filter<Scripted>, text: &[u8]) -> Option<Filtered> {
    let passing = Passing {
        from: "planner".to_owned(),
        to: "worker".to_owned(),
        text,
        ..Passing::default()
    };
    filter.look(FilterStage::Inbox, passing).await
}

#[tokio::test]
async fn the_app_is_asked_at_its_stages_alone_and_never_about_itself() {
    let (_dir, filter) = filter(FilterOnFailure::Block);
    assert_eq!(look(&filter, PASS).await, None);
    let asked = filter.asked.asked.lock().unwrap().remove(0);
    let text = std::str::from_utf8(PASS).unwrap();
    assert_eq!(
        asked,
        json!({"stage": "inbox", "from": "planner", "to": "worker", "text": text})
    );
    let passing = |about| Passing {
        about,
        text: b"fail",
        ..Passing::default()
    };
    assert_eq!(filter.look(FilterStage::Outbox, passing(None)).await, None);
    let own = Some(("app", "pilot.aegis".to_owned()));
    assert_eq!(
        filter.look(FilterStage::Arguments, passing(own)).await,
        None
    );
    filter.set(None).unwrap();
    assert_eq!(look(&filter, b"fail").await, None);
    assert!(filter.asked.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_is_blocked_is_an_error_in_words_and_in_the_audit_log() {
    let (_dir, filter) = filter(FilterOnFailure::Pass);
    let passing = Passing {
        text: BLOCK,
        ..Passing::default()
    };
    let error = filter
        .pass(FilterStage::Inbox, "the message", passing)
        .await
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::PermissionDenied);
    assert_eq!(
        error.message,
        "the filter pilot.aegis blocks the message: a[31m reason"
    );
    let audited = filter.asked.audited.lock().unwrap();
    assert_eq!(
        (audited[0].event.as_str(), audited[0].outcome.as_str()),
        ("filter", "block")
    );
    assert_eq!(filter.counts().blocked, 1);
}

#[tokio::test(start_paused = true)]
async fn a_filter_that_fails_is_what_its_owner_said() {
    let long = vec![b'x'; MAX_TEXT + 1];
    for text in [
        &b"hang"[..],
        b"fail",
        b"1",
        b"{\"verdict\":\"maybe\"}",
        &long,
    ] {
        for (on_failure, verdict) in [
            (FilterOnFailure::Block, Some(FilteredVerdict::Block)),
            (FilterOnFailure::Flag, Some(FilteredVerdict::Flag)),
            (FilterOnFailure::Pass, None),
        ] {
            let (_dir, filter) = filter(on_failure);
            let looked = look(&filter, text).await;
            assert_eq!(looked.map(|looked| looked.verdict), verdict);
            assert_eq!(filter.counts().failed, 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_queue_behind_a_filter_that_hangs_ends_with_its_patience() {
    let (_dir, filter) = filter(FilterOnFailure::Block);
    let filter = Arc::new(filter);
    let all: Vec<_> = (0..1000)
        .map(|_| {
            let filter = Arc::clone(&filter);
            tokio::spawn(async move { look(&filter, b"hang").await })
        })
        .collect();
    // Before anybody's patience ends, no more than these have been handed over.
    tokio::time::sleep(PATIENCE / 2).await;
    assert_eq!(filter.asked.asked.lock().unwrap().len(), AT_A_TIME);
    for looked in all {
        assert_eq!(
            looked.await.unwrap().unwrap().verdict,
            FilteredVerdict::Block
        );
    }
}

#[tokio::test]
async fn long_findings_are_left_out_and_the_reason_stays() {
    let (_dir, filter) = filter(FilterOnFailure::Pass);
    let findings = vec!["x".repeat(1000); 100];
    let answer = json!({"verdict": "flag", "reason": "many", "findings": findings});
    let looked = look(&filter, answer.to_string().as_bytes()).await.unwrap();
    assert_eq!(
        (looked.reason.as_str(), looked.findings),
        ("many", json!([]))
    );
}

#[test]
fn what_is_set_is_there_after_a_start_and_a_damaged_file_is_named() {
    let (dir, filter) = filter(FilterOnFailure::Flag);
    let again = Filter::open(dir.path(), Arc::new(Scripted::default())).unwrap();
    assert_eq!(again.setting(), filter.setting());
    filter.set(None).unwrap();
    let again = Filter::open(dir.path(), Arc::new(Scripted::default())).unwrap();
    assert_eq!(again.setting(), None);
    std::fs::write(dir.path().join(setting::FILE), "{").unwrap();
    let error = Filter::open(dir.path(), Arc::new(Scripted::default()))
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("apps-filter.json is damaged"),
        "{error}"
    );
}
