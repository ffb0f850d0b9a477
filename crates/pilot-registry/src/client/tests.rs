use proptest::prelude::*;

use super::*;
use crate::message::LookupTarget;
use crate::testing::{START, TestAgent, private};

struct Bench {
    client: Client,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let now = Instant::now();
        let config = Arc::new(ClientConfig::default());
        let client = Client::new(config, Seed::new([5; 32]), now);
        Self { client, now }
    }

    fn with_record() -> Self {
        let mut bench = Self::new();
        bench.set_record(1);
        bench
    }

    fn set_record(&mut self, serial: u64) {
        let agent = TestAgent::new(1);
        let Request::Register { log, record } = agent.register(serial, START, &private(None))
        else {
            unreachable!()
        };
        self.client.set_record(log, record);
    }

    fn set_locator(&mut self) {
        let Request::Locate { locator } = TestAgent::new(1).locate(1, 1, START) else {
            unreachable!()
        };
        self.client.set_locator(locator);
    }

    fn next(&mut self) -> (RequestId, Request) {
        self.client.poll_request().expect("a request is queued")
    }

    fn answer(&mut self, id: RequestId, response: Response) -> Vec<ClientEvent> {
        self.client.handle_response(self.now, id, response);
        self.events()
    }

    fn events(&mut self) -> Vec<ClientEvent> {
        std::iter::from_fn(|| self.client.poll_event()).collect()
    }

    /// Lets time pass, waking at every deadline.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..10_000 {
            match self.client.poll_timeout() {
                Some(deadline) if deadline.at <= end => {
                    self.now = self.now.max(deadline.at);
                    self.client.handle_timeout(self.now);
                }
                Some(_) | None => {
                    self.now = end;
                    return;
                }
            }
        }
        panic!("did not go quiet");
    }

    /// Connected, registered, located.
    fn settled() -> Self {
        let mut bench = Self::with_record();
        bench.client.connected(bench.now);
        let (id, request) = bench.next();
        assert!(matches!(request, Request::Register { .. }));
        assert_eq!(
            bench.client.poll_request(),
            None,
            "nothing before the registration"
        );
        assert_eq!(bench.answer(id, registered()).len(), 1);
        let (id, request) = bench.next();
        assert_eq!(request, Request::Observe);
        let events = bench.answer(id, Response::Observed(observed()));
        assert_eq!(events, [ClientEvent::NeedsLocator(observed())]);
        bench.set_locator();
        let (id, request) = bench.next();
        assert!(matches!(request, Request::Locate { .. }));
        assert_eq!(bench.answer(id, Response::Located), [ClientEvent::Located]);
        assert_eq!(bench.client.poll_request(), None);
        bench
    }
}

fn observed() -> SocketAddr {
    ([192, 0, 2, 1], 4000).into()
}

fn registered() -> Response {
    Response::Registered {
        hostname: None,
        not_after: START,
        renew_after_ms: 86_400_000,
    }
}

fn refused(code: RefusalCode, retry_after_ms: u64) -> Response {
    Response::Refused {
        code,
        message: "no".to_owned(),
        retry_after_ms,
    }
}

#[test]
fn a_connected_client_registers_observes_locates_and_goes_quiet() {
    let mut bench = Bench::settled();
    assert!(bench.client.is_registered());
    bench.pass(Duration::from_secs(3600));
    assert_eq!(
        (bench.client.poll_request(), bench.events()),
        (None, vec![])
    );
}

#[test]
fn locator_and_record_are_renewed_in_time() {
    let mut bench = Bench::settled();
    bench.pass(Duration::from_secs(8 * 3600));
    let (id, request) = bench.next();
    assert_eq!(request, Request::Observe);
    let events = bench.answer(id, Response::Observed(observed()));
    assert_eq!(events, [ClientEvent::NeedsLocator(observed())]);
    bench.pass(Duration::from_secs(16 * 3600));
    assert_eq!(bench.events(), [ClientEvent::RecordDue]);
    bench.set_record(2);
    assert!(matches!(bench.next().1, Request::Register { .. }));
}

#[test]
fn a_reconnection_tells_everything_again() {
    let mut bench = Bench::settled();
    bench.client.disconnected(bench.now);
    assert!(!bench.client.is_registered());
    bench.pass(Duration::from_secs(3600));
    assert_eq!(bench.client.poll_request(), None);
    bench.client.connected(bench.now);
    let (id, request) = bench.next();
    assert!(matches!(request, Request::Register { .. }));
    bench.answer(id, registered());
    assert_eq!(bench.next().1, Request::Observe);
}

#[test]
fn a_new_address_asks_for_a_locator_once() {
    let mut bench = Bench::settled();
    bench.client.observed_changed(observed());
    assert_eq!(bench.events(), []);
    let other = ([192, 0, 2, 9], 9).into();
    bench.client.observed_changed(other);
    bench.client.observed_changed(other);
    assert_eq!(bench.events(), [ClientEvent::NeedsLocator(other)]);
}

#[test]
fn a_rate_limit_is_waited_out_and_rests_grow() {
    let mut bench = Bench::with_record();
    bench.client.connected(bench.now);
    let (id, _) = bench.next();
    bench.answer(id, refused(RefusalCode::RateLimited, 20_000));
    bench.pass(Duration::from_millis(19_999));
    assert_eq!(bench.client.poll_request(), None);
    bench.pass(Duration::from_millis(1));
    let mut rests = vec![];
    for _ in 0..8 {
        let (id, request) = bench.next();
        assert!(matches!(request, Request::Register { .. }));
        bench.answer(id, refused(RefusalCode::Unavailable, 0));
        let rest = bench.client.poll_timeout().unwrap().at - bench.now;
        rests.push(rest.as_secs_f64());
        bench.pass(rest);
    }
    assert!(rests[0] >= 2.0 && rests[0] <= 3.0, "{rests:?}");
    assert!(rests[7] >= 60.0 && rests[7] <= 90.0, "{rests:?}");
    assert_eq!(bench.events(), []);
}

#[test]
fn a_refusal_for_good_is_told_and_not_repeated_until_a_new_record_is_set() {
    let mut bench = Bench::with_record();
    bench.client.connected(bench.now);
    let (id, _) = bench.next();
    let events = bench.answer(id, refused(RefusalCode::AlreadyExists, 0));
    let told = ClientEvent::Refused {
        what: RequestKind::Register,
        code: RefusalCode::AlreadyExists,
        message: "no".to_owned(),
    };
    assert_eq!(events, [told]);
    bench.pass(Duration::from_secs(3600));
    assert_eq!(bench.client.poll_request(), None);
    bench.set_record(2);
    assert!(matches!(bench.next().1, Request::Register { .. }));
}

#[test]
fn a_rendezvous_that_forgot_is_told_again() {
    let mut bench = Bench::settled();
    bench.set_locator();
    let (id, _) = bench.next();
    bench.answer(id, refused(RefusalCode::NotRegistered, 0));
    let (id, request) = bench.next();
    assert!(matches!(request, Request::Register { .. }));
    bench.answer(id, registered());
    bench.pass(Duration::from_secs(2));
    assert!(matches!(bench.next().1, Request::Locate { .. }));
}

#[test]
fn a_departure_stops_the_chores() {
    let mut bench = Bench::settled();
    bench.client.clear_record();
    bench.pass(Duration::from_secs(48 * 3600));
    bench.client.connected(bench.now);
    assert_eq!(
        (bench.client.poll_request(), bench.events()),
        (None, vec![])
    );
    bench.client.observed_changed(([192, 0, 2, 9], 9).into());
    assert_eq!(bench.events(), []);
}

#[test]
fn a_request_without_an_answer_times_out() {
    let mut bench = Bench::new();
    let id = bench.client.request(bench.now, Request::Observe);
    bench.pass(Duration::from_secs(9));
    assert_eq!(bench.events(), []);
    bench.client.connected(bench.now);
    assert_eq!(bench.next(), (id, Request::Observe));
    bench.pass(Duration::from_secs(1));
    let response = Err(RequestError::Timeout);
    assert_eq!(bench.events(), [ClientEvent::Answered { id, response }]);
    bench.answer(id, Response::NotFound);
    assert_eq!(bench.events(), [], "too late");
}

#[test]
fn a_chore_without_an_answer_is_repeated() {
    let mut bench = Bench::with_record();
    bench.client.connected(bench.now);
    bench.next();
    bench.pass(Duration::from_secs(10));
    assert_eq!(bench.client.poll_request(), None, "it rests");
    bench.pass(Duration::from_secs(2));
    assert!(matches!(bench.next().1, Request::Register { .. }));
}

#[test]
fn a_broken_stream_is_tried_again_and_not_for_ever() {
    let mut bench = Bench::new();
    bench.client.connected(bench.now);
    let id = bench.client.request(bench.now, Request::Observe);
    for _ in 0..3 {
        assert_eq!(bench.next().0, id);
        assert_eq!(bench.events(), []);
        bench.client.handle_failure(id);
    }
    let response = Err(RequestError::Failed);
    assert_eq!(bench.events(), [ClientEvent::Answered { id, response }]);
    assert_eq!(bench.client.poll_request(), None);
}

#[test]
fn too_many_requests_are_refused_at_once() {
    let mut bench = Bench::new();
    let mut busy = 0;
    for _ in 0..300 {
        bench.client.request(bench.now, Request::Observe);
    }
    for event in bench.events() {
        assert!(matches!(
            event,
            ClientEvent::Answered {
                response: Err(RequestError::Busy),
                ..
            }
        ));
        busy += 1;
    }
    assert_eq!(busy, 300 - 256);
    bench.client.connected(bench.now);
    let under_way = std::iter::from_fn(|| bench.client.poll_request()).count();
    assert_eq!(under_way, 32);
}

#[derive(Clone, Debug)]
enum Step {
    Request,
    Connect,
    Disconnect,
    Record,
    Locator,
    Poll,
    Answer(usize, u8),
    Fail(usize),
    Pass(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Request),
        Just(Step::Connect),
        Just(Step::Disconnect),
        Just(Step::Record),
        Just(Step::Locator),
        Just(Step::Poll),
        (any::<usize>(), 0..8u8).prop_map(|(which, what)| Step::Answer(which, what)),
        any::<usize>().prop_map(Step::Fail),
        (0..100_000u32).prop_map(Step::Pass),
    ]
}

fn any_response(what: u8) -> Response {
    match what {
        0 => registered(),
        1 => Response::Observed(observed()),
        2 => Response::Located,
        3 => refused(RefusalCode::RateLimited, 3000),
        4 => refused(RefusalCode::NotRegistered, 0),
        5 => refused(RefusalCode::Stale, 0),
        6 => Response::NotFound,
        _ => Response::Unknown,
    }
}

proptest! {
    #[test]
    fn each_request_is_answered_exactly_once_and_it_goes_quiet(steps in prop::collection::vec(step(), 1..120)) {
        let mut bench = Bench::new();
        let (mut asked, mut carried, mut answered) = (vec![], vec![], vec![]);
        for step in steps {
            match step {
                Step::Request => {
                    let target = LookupTarget::Key([1; 32]);
                    asked.push(bench.client.request(bench.now, Request::Lookup { target }));
                }
                Step::Connect => bench.client.connected(bench.now),
                Step::Disconnect => bench.client.disconnected(bench.now),
                Step::Record => bench.set_record(1),
                Step::Locator => bench.set_locator(),
                Step::Poll => carried.extend(bench.client.poll_request().map(|(id, _)| id)),
                Step::Answer(which, what) if !carried.is_empty() => {
                    let id = carried[which % carried.len()];
                    bench.client.handle_response(bench.now, id, any_response(what));
                }
                Step::Fail(which) if !carried.is_empty() => {
                    bench.client.handle_failure(carried[which % carried.len()]);
                }
                Step::Answer(..) | Step::Fail(_) => {}
                Step::Pass(millis) => bench.pass(Duration::from_millis(u64::from(millis))),
            }
            for event in bench.events() {
                if let ClientEvent::Answered { id, .. } = event {
                    answered.push(id);
                }
            }
        }
        bench.client.disconnected(bench.now);
        bench.pass(Duration::from_secs(60 * 24 * 3600));
        for event in bench.events() {
            if let ClientEvent::Answered { id, .. } = event {
                answered.push(id);
            }
        }
        answered.sort_unstable();
        prop_assert_eq!(answered, asked);
        prop_assert!(bench.client.poll_timeout().is_none());
    }
}
