use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use tokio::task::JoinHandle;

use super::*;
use MappingProtocol::{NatPmp, Pcp, Upnp};

const HOME: Route = Route {
    gateway: Ipv4Addr::new(192, 168, 1, 1),
    local: Ipv4Addr::new(192, 168, 1, 7),
};
const CAFE: Route = Route {
    gateway: Ipv4Addr::new(10, 0, 0, 1),
    local: Ipv4Addr::new(10, 0, 0, 7),
};
const OUTER: &str = "203.0.113.1:4000";
const MINUTE: Duration = Duration::from_secs(60);

/// What a router does with a request.
#[derive(Clone, Copy)]
enum Answer {
    Grant(&'static str, Duration),
    Refuse,
    Silence,
}

#[derive(Default)]
struct World {
    routes: Vec<Route>,
    /// What requests get; silence where nothing is said.
    answers: Vec<(MappingProtocol, Answer)>,
    /// Everything that a router was asked, and when.
    asked: Vec<(Duration, MappingProtocol, Ipv4Addr, bool)>,
    given_back: usize,
    states: Vec<MappingState>,
    failures: [u64; 3],
}

impl World {
    fn answer(&self, protocol: MappingProtocol) -> Answer {
        let mut answers = self.answers.iter();
        let found = answers.find(|(of, _)| *of == protocol);
        found.map_or(Answer::Silence, |(_, answer)| *answer)
    }
}

struct FakeRouter {
    world: Arc<Mutex<World>>,
    began: Instant,
}

impl Router for FakeRouter {
    type Lease = ();

    fn routes(&self) -> Vec<Route> {
        self.world.lock().unwrap().routes.clone()
    }

    async fn map(
        &self,
        protocol: MappingProtocol,
        route: Route,
        lease: Option<&()>,
    ) -> Result<Granted<()>, MapError> {
        let answer = {
            let mut world = self.world.lock().unwrap();
            let at = self.began.elapsed();
            world
                .asked
                .push((at, protocol, route.gateway, lease.is_some()));
            world.answer(protocol)
        };
        match answer {
            Answer::Grant(outer, lifetime) => Ok(Granted {
                outer: outer.parse().unwrap(),
                lifetime,
                lease: (),
            }),
            Answer::Refuse => Err(MapError("no".to_owned())),
            Answer::Silence => std::future::pending().await,
        }
    }

    async fn unmap(&self, (): ()) {
        self.world.lock().unwrap().given_back += 1;
    }
}

struct Bench {
    world: Arc<Mutex<World>>,
    changes: mpsc::Sender<()>,
    task: JoinHandle<()>,
}

impl Bench {
    fn start(routes: &[Route], answers: &[(MappingProtocol, Answer)]) -> Self {
        let world = Arc::new(Mutex::new(World {
            routes: routes.to_vec(),
            answers: answers.to_vec(),
            ..World::default()
        }));
        let (changes, receiver) = mpsc::channel(1);
        let router = FakeRouter {
            world: Arc::clone(&world),
            began: Instant::now(),
        };
        let told = Arc::clone(&world);
        let tell = move |status: &PortMappingStatus| {
            let mut world = told.lock().unwrap();
            world.states.push(status.state);
            world.failures = status.failures;
            let outer = status.state.mapping().map(|mapping| mapping.outer);
            let is_private = |addr: SocketAddr| addr.to_string().starts_with("10.");
            match outer.is_some_and(is_private) {
                true => Err(Refusal::Private),
                false => Ok(()),
            }
        };
        let task = tokio::spawn(Keeper::new(router, receiver, tell).run());
        Self {
            world,
            changes,
            task,
        }
    }

    fn set(&self, answers: &[(MappingProtocol, Answer)]) {
        self.world.lock().unwrap().answers = answers.to_vec();
    }

    fn state(&self) -> MappingState {
        *self.world.lock().unwrap().states.last().unwrap()
    }

    /// When it was asked, in seconds, and by what.
    fn asked(&self) -> Vec<(u64, MappingProtocol)> {
        let world = self.world.lock().unwrap();
        let asked = world.asked.iter();
        asked.map(|(at, by, ..)| (at.as_secs(), *by)).collect()
    }

    async fn stop(self) -> usize {
        drop(self.changes);
        self.task.await.unwrap();
        self.world.lock().unwrap().given_back
    }
}

/// Virtual time: everything that is due until then has happened.
async fn after(time: Duration) {
    tokio::time::sleep(time + Duration::from_millis(1)).await;
}

fn mapped(protocol: MappingProtocol, route: Route, outer: &str) -> PortMapping {
    PortMapping {
        protocol,
        gateway: route.gateway,
        outer: outer.parse().unwrap(),
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_protocol_that_is_granted_is_kept_and_renewed_at_half_of_its_lifetime() {
    let bench = Bench::start(
        &[HOME],
        &[
            (Pcp, Answer::Refuse),
            (NatPmp, Answer::Grant(OUTER, 2 * MINUTE)),
        ],
    );
    after(Duration::ZERO).await;
    let mapping = mapped(NatPmp, HOME, OUTER);
    assert_eq!(bench.state(), MappingState::Mapped(mapping));
    after(2 * MINUTE).await;
    assert_eq!(
        bench.asked(),
        [(0, Pcp), (0, NatPmp), (60, NatPmp), (120, NatPmp)]
    );
    let world = Arc::clone(&bench.world);
    assert!(
        world.lock().unwrap().asked[2].3,
        "a renewal names its lease"
    );
    assert_eq!(world.lock().unwrap().failures, [1, 0, 0]);
    assert_eq!(bench.stop().await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_router_that_is_silent_is_left_after_its_time_and_asked_again_ever_later() {
    let bench = Bench::start(&[HOME], &[]);
    // 4 s of PCP, 4 s of NAT-PMP, 8 s of UPnP.
    after(Duration::from_secs(16)).await;
    assert_eq!(bench.state(), MappingState::Refused(HOME.gateway));
    assert_eq!(bench.asked(), [(0, Pcp), (4, NatPmp), (8, Upnp)]);
    after(Duration::from_secs(24 * 3600)).await;
    let searches = bench.asked();
    let begins: Vec<u64> = searches
        .iter()
        .filter(|(_, by)| *by == Pcp)
        .map(|(at, _)| *at)
        .collect();
    let gaps: Vec<u64> = begins
        .windows(2)
        .map(|pair| pair[1] - pair[0] - 16)
        .collect();
    assert_eq!(gaps[..9], [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]);
    assert!(begins.len() < 40);
    assert_eq!(bench.stop().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_network_makes_it_ask_at_once_and_begin_anew() {
    let bench = Bench::start(&[], &[(Pcp, Answer::Grant(OUTER, MINUTE))]);
    after(10 * MINUTE).await;
    assert_eq!(bench.state(), MappingState::NoGateway);
    assert_eq!(bench.asked(), []);
    bench.world.lock().unwrap().routes = vec![HOME];
    bench.changes.try_send(()).unwrap();
    after(SETTLE).await;
    assert_eq!(
        bench.state(),
        MappingState::Mapped(mapped(Pcp, HOME, OUTER))
    );
    // Elsewhere: the port of the other router is named no longer before the new one is.
    bench.world.lock().unwrap().routes = vec![CAFE];
    bench.set(&[
        (Pcp, Answer::Refuse),
        (NatPmp, Answer::Refuse),
        (Upnp, Answer::Refuse),
    ]);
    bench.changes.try_send(()).unwrap();
    after(SETTLE).await;
    assert_eq!(bench.state(), MappingState::Refused(CAFE.gateway));
    assert_eq!(bench.world.lock().unwrap().given_back, 1);
    // It begins with the shortest time again.
    let before = bench.asked().len();
    after(FIRST_RETRY).await;
    assert_eq!(bench.asked().len(), before + 3);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_change_that_leaves_the_router_renews_at_once() {
    let bench = Bench::start(&[HOME], &[(Pcp, Answer::Grant(OUTER, 60 * MINUTE))]);
    after(MINUTE).await;
    bench.changes.try_send(()).unwrap();
    after(SETTLE).await;
    assert_eq!(bench.asked(), [(0, Pcp), (61, Pcp)]);
    assert_eq!(bench.stop().await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_router_that_falls_silent_keeps_the_port_for_its_lifetime_and_is_searched_again() {
    let bench = Bench::start(&[HOME], &[(Pcp, Answer::Grant(OUTER, 2 * MINUTE))]);
    after(Duration::from_secs(30)).await;
    bench.set(&[
        (Pcp, Answer::Refuse),
        (NatPmp, Answer::Refuse),
        (Upnp, Answer::Refuse),
    ]);
    after(Duration::from_secs(31)).await;
    let mapping = mapped(Pcp, HOME, OUTER);
    assert_eq!(bench.state(), MappingState::Expiring(mapping));
    after(Duration::from_secs(58)).await;
    assert_eq!(bench.state(), MappingState::Expiring(mapping));
    // Half of what is left, and never closer than 4 s.
    let renewals: Vec<u64> = bench.asked()[1..].iter().map(|(at, _)| *at).collect();
    assert_eq!(renewals, [60, 90, 105, 112, 116]);
    after(Duration::from_secs(2)).await;
    assert_eq!(bench.state(), MappingState::Refused(HOME.gateway));
    bench.set(&[(Pcp, Answer::Grant(OUTER, 2 * MINUTE))]);
    after(FIRST_RETRY).await;
    assert_eq!(bench.state(), MappingState::Mapped(mapping));
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_router_behind_a_nat_is_told_apart_and_gets_its_port_back() {
    let bench = Bench::start(&[HOME], &[(Pcp, Answer::Grant("10.9.9.9:4000", MINUTE))]);
    after(Duration::ZERO).await;
    let mapping = mapped(Pcp, HOME, "10.9.9.9:4000");
    assert_eq!(bench.state(), MappingState::BehindNat(mapping));
    assert_eq!(bench.state().mapping(), None);
    // By no other protocol: the router's address stays the same.
    assert_eq!(bench.asked(), [(0, Pcp)]);
    assert_eq!(bench.stop().await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_lifetime_of_nothing_does_not_make_it_spin() {
    let bench = Bench::start(&[HOME], &[(Pcp, Answer::Grant(OUTER, Duration::ZERO))]);
    after(MINUTE).await;
    assert_eq!(bench.asked().len(), 1 + 60 / 4);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_new_outer_address_is_told_with_the_renewal() {
    let bench = Bench::start(&[HOME], &[(Pcp, Answer::Grant(OUTER, MINUTE))]);
    after(Duration::ZERO).await;
    let other = "203.0.113.2:5000";
    bench.set(&[(Pcp, Answer::Grant(other, MINUTE))]);
    after(MINUTE / 2).await;
    assert_eq!(
        bench.state(),
        MappingState::Mapped(mapped(Pcp, HOME, other))
    );
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_in_the_middle_of_a_question_ends_it() {
    let bench = Bench::start(&[HOME], &[]);
    after(Duration::from_secs(1)).await;
    let began = Instant::now();
    assert_eq!(bench.stop().await, 0);
    assert_eq!(began.elapsed(), Duration::ZERO);
}
