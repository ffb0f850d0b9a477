use super::*;

const PEER: AgentId = AgentId::new([7; 32]);
const THEN: UnixTime = UnixTime::from_millis(1000);

fn id(text: &str) -> AppId {
    text.parse().unwrap()
}

fn terms(apps: &[&str]) -> AppTerms {
    AppTerms {
        approved_at_unix_ms: 1000,
        apps: apps.iter().map(|app| id(app)).collect(),
        per_minute: 60,
        budget: None,
        catalogue: false,
        used: 0,
    }
}

fn open(dir: &Path) -> Arc<PeerApps> {
    Arc::new(PeerApps::open(dir).unwrap())
}

#[test]
fn nobody_may_call_anything_by_default() {
    let dir = tempfile::tempdir().unwrap();
    let peers = open(dir.path());
    assert_eq!(peers.admit(&PEER), Err(Refused::NoApps));
    let begun = peers.begin(PEER, "hello").map(|(app, _)| app);
    assert_eq!(begun, Err(Refused::NoApps));
    assert!(!peers.knows(&PEER) && !peers.is_told(&PEER));
}

#[test]
fn a_name_means_what_was_granted_and_nothing_else() {
    let granted = terms(&[
        "org.example.hello",
        "org.example.weather",
        "org.other.weather",
    ]);
    assert_eq!(granted.find("hello"), Some(&id("org.example.hello")));
    assert_eq!(
        granted.find("org.other.weather"),
        Some(&id("org.other.weather"))
    );
    for other in ["weather", "org.evil.hello", "example.hello", "", "HELLO"] {
        assert_eq!(granted.find(other), None, "{other}");
    }
}

#[test]
fn a_minute_has_so_many_questions() {
    let dir = tempfile::tempdir().unwrap();
    let peers = open(dir.path());
    let granted = AppTerms {
        per_minute: 3,
        ..terms(&["a.b"])
    };
    peers.set(PEER, Some(granted)).unwrap();
    let admitted = (0..10_000).filter(|_| peers.admit(&PEER).is_ok()).count();
    assert_eq!(admitted, 3);
    assert!(matches!(
        peers.admit(&PEER),
        Err(Refused::Rate { per_minute: 3, .. })
    ));
    let told = (0..10_000).filter(|_| peers.is_told(&PEER)).count();
    assert_eq!(told, 10);
    // A minute later.
    peers.lock().get_mut(&PEER).unwrap().minute -= MINUTE;
    assert_eq!(peers.admit(&PEER), Ok(()));
}

#[test]
fn a_budget_is_not_filled_up_by_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let granted = AppTerms {
        budget: Some(3),
        ..terms(&["a.b"])
    };
    let peers = open(dir.path());
    peers.set(PEER, Some(granted)).unwrap();
    assert_eq!(peers.spend(&PEER), Ok(()));
    assert_eq!(peers.spend(&PEER), Ok(()));
    let again = open(dir.path());
    assert_eq!(again.spend(&PEER), Ok(()));
    assert_eq!(again.spend(&PEER), Err(Refused::Budget(3)));
    assert_eq!(open(dir.path()).terms(&PEER).unwrap().used, 3);
}

#[test]
fn a_call_whose_count_cannot_be_kept_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let peers = open(dir.path());
    let granted = AppTerms {
        budget: Some(3),
        ..terms(&["a.b"])
    };
    peers.set(PEER, Some(granted.clone())).unwrap();
    dir.close().unwrap();
    assert_eq!(peers.spend(&PEER), Err(Refused::NotKept));
    let wider = AppTerms {
        budget: None,
        ..granted
    };
    assert!(matches!(
        peers.set(PEER, Some(wider)),
        Err(PeerAppsError::Io { .. })
    ));
    assert!(!peers.knows(&PEER), "what was not kept is not allowed");
}

#[test]
fn a_peer_has_so_many_calls_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let peers = open(dir.path());
    peers.set(PEER, Some(terms(&["a.b"]))).unwrap();
    let places: Vec<_> = (0..MAX_AT_A_TIME)
        .map(|_| peers.begin(PEER, "b").unwrap())
        .collect();
    assert!(matches!(peers.begin(PEER, "b"), Err(Refused::Busy)));
    // A change in between keeps those who are there.
    peers.set(PEER, Some(terms(&["a.b", "a.c"]))).unwrap();
    assert!(matches!(peers.begin(PEER, "c"), Err(Refused::Busy)));
    drop(places);
    assert!(peers.begin(PEER, "c").is_ok());
}

#[tokio::test]
async fn a_call_ends_when_its_app_is_taken_away_or_the_grant_is_another() {
    let dir = tempfile::tempdir().unwrap();
    let peers = open(dir.path());
    let app = id("a.b");
    let later = AppTerms {
        approved_at_unix_ms: 2000,
        ..terms(&["a.b"])
    };
    for change in [None, Some(terms(&["a.c"])), Some(later)] {
        peers.set(PEER, Some(terms(&["a.b"]))).unwrap();
        let ended = peers.ended(&PEER, &app, THEN);
        let change = async { peers.set(PEER, change).unwrap() };
        tokio::join!(ended, change);
    }
}

#[test]
fn a_damaged_file_is_named_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    for text in ["{", "[]", "{\"zz\":{}}"] {
        std::fs::write(&path, text).unwrap();
        let error = PeerApps::open(dir.path()).err().unwrap();
        assert!(
            error.to_string().contains("apps-peers.json is damaged"),
            "{error}"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}
