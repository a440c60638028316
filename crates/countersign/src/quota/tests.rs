use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::*;
use crate::authentication::api_keys::ApiKeys;
use crate::identity::{MethodPath, PeerAddress, Principal, TokenClaims};

const PLACE: &str = "/orders.v1.Orders/Place";
const GET: &str = "/orders.v1.Orders/Get";
const HEALTH: &str = "/grpc.health.v1.Health/Check";

fn a_minute(times: u64) -> Limit {
    Limit::new(times, Duration::from_secs(60)).expect("a limit")
}

fn quota() -> (Quota, SteadyClock) {
    let clock = SteadyClock::by_hand();
    (Quota::new().with_clock(clock.clone()), clock)
}

fn tcp(address: &str) -> PeerAddress {
    PeerAddress::Tcp(address.parse().expect("an address"))
}

fn to(path: &str) -> MethodPath<'_> {
    MethodPath::parse(path).expect(path)
}

fn named(name: &str) -> Principal {
    Principal::new(name, "tokens")
}

fn of(tenant: &str, name: &str) -> Principal {
    let claims = format!(r#"{{"org": "{tenant}"}}"#);
    let object = serde_json::from_str(&claims).expect("an object");
    Principal::with_token(name, "tokens", TokenClaims::from_object(object))
}

/// Passes, or the limit and the milliseconds to wait.
fn told(outcome: Result<Admission, Exceeded>) -> String {
    match outcome {
        Ok(_) => "passes".to_owned(),
        Err(exceeded) => match exceeded.retry_after() {
            Some(wait) => format!("{} {}", exceeded.limit(), wait.as_millis()),
            None => format!("{} never", exceeded.limit()),
        },
    }
}

#[test]
fn each_caller_has_a_bucket_and_time_fills_it() {
    let (quota, clock) = quota();
    let quota = quota.per_caller(a_minute(2)).expect("a quota");
    // A name means nothing without who says so.
    for caller in [named("alice"), named("bob"), Principal::new("alice", "keys")] {
        for _ in 0..2 {
            assert_eq!(told(quota.admit(QuotaCall::by(&caller))), "passes", "{caller:?}");
        }
        assert_eq!(told(quota.clone().admit(QuotaCall::by(&caller))), "caller 30000");
    }
    let alice = named("alice");
    clock.advance(Duration::from_millis(29_999));
    assert_eq!(told(quota.admit(QuotaCall::by(&alice))), "caller 1");
    clock.advance(Duration::from_millis(1));
    assert_eq!(told(quota.admit(QuotaCall::by(&alice))), "passes");
    assert_eq!(told(quota.admit(QuotaCall::by(&alice))), "caller 30000");
    assert_eq!(told(Quota::new().admit(QuotaCall::by(&alice))), "passes", "without a limit");
}

/// A caller is remembered from its second call on; its bucket is the same before and after, and
/// for all who remember it.
#[test]
fn two_tokens_of_one_subject_share_a_bucket_however_they_are_remembered() {
    let (quota, clock) = quota();
    let quota = quota.per_caller(a_minute(6)).expect("a quota");
    let [one, two, three] = [(); 3].map(|()| named("alice"));
    for caller in [&one, &one, &two, &two, &one, &three] {
        assert_eq!(told(quota.admit(QuotaCall::by(caller))), "passes");
    }
    for caller in [&one, &two, &three] {
        assert_eq!(told(quota.admit(QuotaCall::by(caller))), "caller 10000");
    }
    // All of them have it at hand, and it is one.
    let rule::Meters::Many(map) = &quota.calls[0].meters else { panic!("a map") };
    assert_eq!((map.len(), map.held()), (1, 1));
    // What was remembered is forgotten, and the bucket is as empty as it was.
    drop((one, two, three));
    assert_eq!((map.len(), map.held()), (1, 0));
    assert_eq!(told(quota.admit(QuotaCall::by(&named("alice")))), "caller 10000");
    clock.advance(Duration::from_secs(10));
    assert_eq!(told(quota.admit(QuotaCall::by(&named("alice")))), "passes");
}

#[test]
fn what_one_quota_remembers_is_nothing_to_another() {
    let [(one, _), (two, _)] = [quota(), quota()];
    let one = one.per_caller(a_minute(3)).expect("a quota");
    let two = two.per_caller(a_minute(4)).expect("a quota");
    let alice = named("alice");
    let passed =
        |quota: &Quota| (0..10).filter(|_| quota.admit(QuotaCall::by(&alice)).is_ok()).count();
    assert_eq!((passed(&one), passed(&two)), (3, 4));
    // A quota that was given one more limit shares those that it had.
    let more = one.clone().per_caller(a_minute(100)).expect("a quota");
    assert_eq!(passed(&more), 0);
}

#[test]
fn limits_of_methods_hold_for_the_calls_that_they_are_for() {
    let (quota, _) = quota();
    let quota = quota
        .per_method(PLACE, a_minute(3))
        .and_then(|quota| quota.per_caller_of("/orders.v1.Orders/*", a_minute(2)))
        .and_then(|quota| quota.per_caller_of("/*/Get*", a_minute(1)))
        .expect("a quota");
    let callers = ["alice", "bob", "carol"].map(named);
    let [alice, bob, carol] = &callers;
    for (caller, path, expected) in [
        (alice, PLACE, "passes"),
        (alice, GET, "passes"),
        (alice, PLACE, "caller of /orders.v1.Orders/* 30000"),
        // Two limits refuse it; this is the one that does so longer.
        (alice, GET, "caller of /*/Get* 60000"),
        (alice, HEALTH, "passes"),
        (bob, PLACE, "passes"),
        (bob, PLACE, "passes"),
        (carol, PLACE, "method /orders.v1.Orders/Place 20000"),
        (carol, GET, "passes"),
    ] {
        let outcome = quota.admit(QuotaCall::by(caller).to(to(path)));
        assert_eq!(told(outcome), expected, "{caller} {path}");
    }
    // Whoever it is, unless the call is denied.
    let somewhere = tcp("192.0.2.1:1");
    let call = QuotaCall::from(&somewhere).to(to(PLACE));
    assert_eq!(told(quota.admit(call)), "method /orders.v1.Orders/Place 20000");
    assert_eq!(told(quota.admit(call.denied())), "passes");
    assert!(quota.charges(call.denied()).is_empty());
}

#[test]
fn tenants_share_a_bucket_and_so_do_all_who_have_none() {
    let (quota, _) = quota();
    let strict = quota.clone().per_tenant(Tenant::claim("org"), a_minute(2)).expect("a quota");
    let alike = Tenant::claim("org").or_unlimited();
    let loose = quota.per_tenant(alike, a_minute(2)).expect("a quota");
    for (caller, in_strict, in_loose) in [
        (of("acme", "alice"), "passes", "passes"),
        (of("acme", "bob"), "passes", "passes"),
        (of("acme", "carol"), "tenant 30000", "tenant 30000"),
        (of("other", "carol"), "passes", "passes"),
        (named("one"), "passes", "passes"),
        (named("two"), "passes", "passes"),
        (named("three"), "tenant 30000", "passes"),
    ] {
        assert_eq!(told(strict.admit(QuotaCall::by(&caller))), in_strict, "{caller}");
        assert_eq!(told(loose.admit(QuotaCall::by(&caller))), in_loose, "{caller}");
    }
    // The name is copied into the room, which knows no authenticator.
    let owner = Principal::new("ci", ApiKeys::NAME);
    assert_eq!(Tenant::owner().of(&owner), Some(Some("ci".into())));
}

#[test]
fn addresses_count_where_nobody_is_proven_and_only_there() {
    let (quota, _) = quota();
    let quota = quota.per_address(a_minute(1)).expect("a quota");
    for (address, expected) in [
        ("192.0.2.1:1000", "passes"),
        ("192.0.2.1:2000", "address 60000"),
        ("[::ffff:192.0.2.1]:1", "address 60000"),
        ("192.0.2.2:1000", "passes"),
        ("[2001:db8::1]:1", "passes"),
        ("[2001:db8::2]:1", "address 60000"),
        ("[2001:db8:0:1::1]:1", "passes"),
    ] {
        assert_eq!(told(quota.admit(QuotaCall::from(&tcp(address)))), expected, "{address}");
    }
    // All that are not told are one.
    assert_eq!(told(quota.admit(QuotaCall::from(&PeerAddress::Unknown))), "passes");
    assert_eq!(told(quota.admit(QuotaCall::from(&PeerAddress::Unknown))), "address 60000");
    for _ in 0..3 {
        assert_eq!(told(quota.admit(QuotaCall::by(&named("alice")))), "passes");
    }
}

#[test]
fn a_call_costs_what_its_method_does_and_nothing_where_that_is_nothing() {
    let (quota, _) = quota();
    let quota = quota
        .per_caller(a_minute(10))
        .and_then(|quota| quota.cost("/orders.v1.Orders/*", 3))
        .and_then(|quota| quota.cost(PLACE, 7))
        .and_then(|quota| quota.cost(HEALTH, 0))
        .expect("a quota");
    let alice = named("alice");
    for (path, expected) in [
        (PLACE, "passes"),
        (PLACE, "caller 24000"),
        (GET, "passes"),
        (GET, "caller 18000"),
        ("/a.B/C", "caller 6000"),
        (HEALTH, "passes"),
    ] {
        assert_eq!(told(quota.admit(QuotaCall::by(&alice).to(to(path)))), expected, "{path}");
    }
}

#[test]
fn what_could_never_be_called_is_refused_while_it_is_built() {
    let build = |cost, burst| {
        let limit = a_minute(100).with_burst(burst);
        Quota::new().cost(PLACE, cost).and_then(|quota| quota.per_caller(limit))
    };
    assert!(build(5, 5).is_ok());
    let error = build(6, 5).expect_err("never allowed");
    assert!(matches!(&error, QuotaError::Cost { cost: 6, burst: 5, .. }), "{error:?}");
    assert!(error.to_string().contains(PLACE), "{error}");
    let of = |pattern| {
        let quota = Quota::new().per_method(pattern, a_minute(5)).expect("a quota");
        quota.cost(PLACE, 6)
    };
    assert!(matches!(of("/orders.v1.*/*"), Err(QuotaError::Cost { .. })));
    assert!(of("/orders.v1.Orders/Get*").is_ok());
    let twice = Quota::new().cost(PLACE, 1).and_then(|quota| quota.cost(PLACE, 2));
    assert!(matches!(twice, Err(QuotaError::TwoCosts { .. })));
    assert!(matches!(Quota::new().cost("Place", 1), Err(QuotaError::Pattern(_))));
    let none = Quota::new().concurrent_streams_per_caller(0);
    assert!(matches!(none, Err(QuotaError::Nothing { .. })));
    let none = Quota::new().bytes_per_caller(a_minute(1).with_burst(0));
    assert!(matches!(none, Err(QuotaError::Nothing { .. })));
    let many = (0..=Quota::MAX_LIMITS)
        .try_fold(Quota::new(), |quota, _| quota.per_caller(a_minute(1)))
        .expect_err("too many");
    assert_eq!(many, QuotaError::TooMany);
}

#[test]
fn where_one_limit_refuses_nothing_is_taken_from_the_others() {
    let (quota, clock) = quota();
    let quota = quota
        .per_caller(a_minute(4))
        .and_then(|quota| quota.per_tenant(Tenant::claim("org"), a_minute(2)))
        .and_then(|quota| quota.per_method(PLACE, a_minute(1)))
        .and_then(|quota| quota.concurrent_streams_per_caller(1))
        .expect("a quota");
    let alice = of("acme", "alice");
    let call = QuotaCall::by(&alice);
    let open = quota.admit(call.to(to(PLACE))).expect("the first");
    for _ in 0..50 {
        assert_eq!(told(quota.admit(call.to(to(GET)))), "streams 1000");
    }
    drop(open);
    for _ in 0..50 {
        assert_eq!(told(quota.admit(call.to(to(PLACE)))), "method /orders.v1.Orders/Place 60000");
    }
    assert_eq!(told(quota.admit(call.to(to(GET)))), "passes");
    assert_eq!(told(quota.admit(call.to(to(GET)))), "tenant 30000");
    // One of four, and one more, whatever was refused; so there are two.
    let other = quota.announced_for(&alice);
    assert_eq!(other, "\"caller\";r=2;t=30, \"streams\";r=1");
    clock.advance(Duration::from_secs(60));
    assert_eq!(told(quota.admit(call.to(to(PLACE)))), "passes");
}

impl Quota {
    fn announced_for(&self, caller: &Principal) -> String {
        let quota = self.clone().with_rate_limit_fields();
        quota.announce(QuotaCall::by(caller), None).map(|(_, left)| left).unwrap_or_default()
    }
}

#[test]
fn limits_of_one_kind_have_names_of_their_own() {
    let quota = Quota::new()
        .per_caller(a_minute(1))
        .and_then(|quota| quota.per_caller(a_minute(2)))
        .and_then(|quota| quota.per_caller_of("*", a_minute(3)))
        .and_then(|quota| quota.per_caller(a_minute(4)))
        .expect("a quota");
    let alice = named("alice");
    let charges = quota.charges(QuotaCall::by(&alice).to(to(GET)));
    let names: Vec<_> = charges.iter().map(|charge| charge.name()).collect();
    assert_eq!(names, ["caller", "caller#2", "caller of *", "caller#3"]);
    assert!(charges.iter().all(|charge| charge.cost() == 1));
}

#[test]
fn charges_are_those_that_memory_would_take() {
    let (quota, _) = quota();
    let quota = quota
        .per_caller(a_minute(9))
        .and_then(|quota| quota.per_tenant(Tenant::claim("org"), a_minute(9)))
        .and_then(|quota| quota.per_method(PLACE, a_minute(9)))
        .and_then(|quota| quota.per_address(a_minute(9)))
        .and_then(|quota| quota.bytes_per_caller(a_minute(9)))
        .and_then(|quota| quota.cost(PLACE, 2))
        .and_then(|quota| quota.cost(HEALTH, 0))
        .expect("a quota");
    let charged = |call: QuotaCall<'_>| {
        let words = |charge: &call::Charge<'_>| {
            let entries = charge.subject().entries();
            let entries: Vec<_> =
                entries.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("{}*{}[{}]", charge.name(), charge.cost(), entries.join(","))
        };
        quota.charges(call).iter().map(words).collect::<Vec<_>>().join(" ")
    };
    let (alice, somewhere) = (of("acme", "alice"), tcp("192.0.2.1:1"));
    assert_eq!(
        charged(QuotaCall::by(&alice).to(to(PLACE))),
        "caller*2[authenticator=tokens,caller=alice] tenant*2[tenant=acme] \
         method /orders.v1.Orders/Place*2[]"
    );
    assert_eq!(charged(QuotaCall::by(&alice).to(to(HEALTH))), "");
    assert_eq!(charged(QuotaCall::from(&somewhere).to(to(GET))), "address*1[address=192.0.2.1]");
}

#[test]
fn bytes_are_owed_and_the_next_call_waits_for_them() {
    let (quota, clock) = quota();
    let second = Limit::new(1_000, Duration::from_secs(1)).expect("a limit");
    let quota = quota.bytes_per_caller(second).expect("a quota");
    let [alice, bob] = ["alice", "bob"].map(named);
    let call = QuotaCall::by(&alice);
    let open = quota.admit(call).expect("the first");
    let other = quota.admit(call).expect("nothing flowed yet");
    open.charge_bytes(999);
    assert_eq!(told(quota.admit(call)), "passes");
    // What goes on goes on, and is counted.
    open.charge_bytes(2_000);
    other.charge_bytes(1_001);
    assert_eq!(told(quota.admit(call)), "bytes 3001");
    assert_eq!(told(quota.admit(QuotaCall::by(&bob))), "passes");
    // The debt outlives the calls and whatever remembered the caller.
    drop((open, other));
    drop(alice);
    let alice = named("alice");
    assert_eq!(told(quota.admit(QuotaCall::by(&alice))), "bytes 3001");
    clock.advance(Duration::from_millis(3_001));
    assert_eq!(told(quota.admit(QuotaCall::by(&alice))), "passes");
}

#[test]
fn an_address_that_fails_waits_and_its_neighbours_do_not() {
    let (quota, clock) = quota();
    let quota = quota.failures_per_address(a_minute(2)).expect("a quota");
    let there = tcp("192.0.2.1:1000");
    let wait =
        |address: &PeerAddress| quota.held_up(address).and_then(|exceeded| exceeded.retry_after());
    for _ in 0..2 {
        assert_eq!(wait(&there), None);
        quota.failed(&there);
    }
    let half_a_minute = Some(Duration::from_secs(30));
    for (address, expected) in [
        ("192.0.2.1:2000", half_a_minute),
        ("[::ffff:192.0.2.1]:1", half_a_minute),
        ("192.0.2.2:1000", None),
    ] {
        assert_eq!(wait(&tcp(address)), expected, "{address}");
    }
    // More failures do not make it longer.
    quota.failed(&there);
    clock.advance(Duration::from_secs(30));
    assert_eq!(wait(&there), None);
    // Nobody is to blame where nobody is told.
    for _ in 0..5 {
        quota.failed(&PeerAddress::Unknown);
    }
    assert_eq!(wait(&PeerAddress::Unknown), None);
}

#[test]
fn a_burst_of_nothing_still_limits_failures() {
    let (quota, _) = quota();
    let quota = quota.failures_per_address(a_minute(1).with_burst(0)).expect("a quota");
    let there = tcp("192.0.2.1:1000");
    assert!(quota.held_up(&there).is_none());
    quota.failed(&there);
    let exceeded = quota.held_up(&there).expect("held up");
    assert_eq!(exceeded.retry_after(), Some(Duration::from_secs(60)));
    assert_eq!(exceeded.fields(), (None, "\"failures\";r=0;t=60".to_owned()));
}

#[test]
fn two_threads_get_no_more_than_one_from_several_limits() {
    let (quota, _) = quota();
    let quota = quota
        .per_caller(a_minute(400))
        .and_then(|quota| quota.per_tenant(Tenant::claim("org"), a_minute(700)))
        .and_then(|quota| quota.per_method(PLACE, a_minute(600)))
        .expect("a quota");
    let callers = [of("acme", "alice"), of("acme", "bob")];
    let passed = [(); 2].map(|()| AtomicU64::new(0));
    std::thread::scope(|scope| {
        for offset in 0..2_usize {
            let (quota, callers, passed) = (&quota, &callers, &passed);
            scope.spawn(move || {
                for call in 0..4_000_usize {
                    let (who, path) = ((call + offset) % 2, [PLACE, GET][call / 2 % 2]);
                    let outcome = quota.admit(QuotaCall::by(&callers[who]).to(to(path)));
                    passed[who].fetch_add(u64::from(outcome.is_ok()), Ordering::Relaxed);
                }
            });
        }
    });
    let [alice, bob] = passed.map(AtomicU64::into_inner);
    assert!(alice <= 400 && bob <= 400, "{alice} {bob}");
    // Everything that could be given was given: what was taken in vain was given back.
    assert_eq!(alice + bob, 700);
}

/// A million strangers come by; one of them comes all the time.
#[test]
fn a_million_callers_take_sixteen_bytes_each_and_an_abuser_stays_limited() {
    const CALLERS: u64 = 1_000_000;
    let pace = Pace::new(a_minute(10)).expect("in range");
    let map = MeterMap::new(pace, Quota::MAX_CALLERS);
    let abuser = map.key("abuser");
    let mut passed = 0;
    for caller in 0..CALLERS - 1 {
        // Three seconds in all.
        let now = Duration::from_secs(100) + Duration::from_micros(caller * 3);
        assert!(map.take(map.key(caller), now, 1).allowed, "{caller}");
        if caller % 100 == 0 {
            passed += u64::from(map.take(abuser, now, 1).allowed);
        }
    }
    assert_eq!(passed, 10);
    assert_eq!(map.without_place(), 0);
    assert_eq!(u64::try_from(map.len()), Ok(CALLERS));
    // An eighth and a little of the places are free.
    let most = 16 * (Quota::MAX_CALLERS.get() * 8 / 7 + 128);
    let bytes = map.table_bytes();
    assert!(bytes <= most, "{bytes}");
    // More than there are places, while the abuser still owes: whose bucket is full makes room.
    for caller in CALLERS..CALLERS + 100_000 {
        let now = Duration::from_secs(110) + Duration::from_micros(10 * (caller - CALLERS));
        map.take(map.key(caller), now, 1);
        if caller % 100 == 0 {
            passed += u64::from(map.take(abuser, now, 1).allowed);
        }
    }
    // It earned one every six seconds, and there were eleven.
    assert_eq!(passed, 11);
    assert!(map.len() <= Quota::MAX_CALLERS.get());
    assert!(map.table_bytes() <= most);
}

/// One limit alone is asked on a shorter way once a caller is remembered; what is more than that
/// leaves it.
#[test]
fn one_limit_alone_says_to_the_remembered_what_it_says_among_others() {
    let (plain, clock) = quota();
    let plain = plain.per_caller(a_minute(3)).expect("a quota");
    let (long, hand) = quota();
    let long = long.per_caller(a_minute(3)).expect("a quota");
    let long = long.per_caller_of("/other.v1.Other/*", a_minute(1)).expect("a quota");
    assert!(plain.alone.is_some() && long.alone.is_none());
    let [one, two] = [(); 2].map(|()| named("alice"));
    let (mut passed, mut refused) = (0, 0);
    for step in 0..200_u32 {
        let ask = |quota: &Quota, caller| {
            let call = QuotaCall::by(caller).to(to(PLACE));
            told(quota.admit(if step % 5 == 0 { call.denied() } else { call }))
        };
        let said = ask(&plain, &one);
        assert_eq!(said, ask(&long, &two), "{step}");
        *(if said == "passes" { &mut passed } else { &mut refused }) += 1;
        for clock in [&clock, &hand] {
            clock.advance(Duration::from_millis(u64::from(step * 7_919 % 20_000)));
        }
    }
    assert!(passed > 50 && refused > 50, "{passed} {refused}");
}

#[test]
fn a_limit_is_not_alone_beside_anything_that_a_call_has_to_be_asked_for() {
    let alone = || quota().0.per_caller(a_minute(2)).expect("a quota");
    let alice = named("alice");
    let remembered = |quota: &Quota| {
        for _ in 0..2 {
            drop(quota.admit(QuotaCall::by(&alice)));
        }
    };
    assert!(alone().alone.is_some());

    let free = alone().cost(HEALTH, 0).expect("a quota");
    remembered(&free);
    assert_eq!(told(free.admit(QuotaCall::by(&alice).to(to(HEALTH)))), "passes");
    assert_eq!(told(free.admit(QuotaCall::by(&alice).to(to(GET)))), "caller 30000");

    let streams = alone().concurrent_streams_per_caller(1).expect("a quota");
    let bob = named("bob");
    let first = streams.admit(QuotaCall::by(&bob)).expect("the first");
    assert_eq!(told(streams.admit(QuotaCall::by(&bob))), "streams 1000");
    drop(first);
    assert_eq!(told(streams.admit(QuotaCall::by(&bob))), "passes");

    let bytes = alone().bytes_per_caller(a_minute(60)).expect("a quota");
    let carol = named("carol");
    bytes.admit(QuotaCall::by(&carol)).expect("the first").charge_bytes(120);
    assert!(told(bytes.admit(QuotaCall::by(&carol))).starts_with("bytes "));

    let address = quota().0.per_address(a_minute(1)).expect("a quota");
    for _ in 0..3 {
        assert_eq!(told(address.admit(QuotaCall::by(&named("dan")))), "passes", "proven");
    }
    let from = tcp("192.0.2.1:1");
    assert_eq!(told(address.admit(QuotaCall::from(&from))), "passes");
    assert_eq!(told(address.admit(QuotaCall::from(&from))), "address 60000");
}

#[test]
fn two_threads_get_no_more_than_one_from_a_limit_alone() {
    let quota = quota().0.per_caller(a_minute(700)).expect("a quota");
    let alice = named("alice");
    let passed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..2_000 {
                    let told = quota.admit(QuotaCall::by(&alice));
                    passed.fetch_add(u64::from(told.is_ok()), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(passed.into_inner(), 700);
}
