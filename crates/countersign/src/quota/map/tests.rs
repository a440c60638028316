use super::*;
use crate::quota::{Limit, Meter};
use std::collections::HashMap;

const SECOND: Duration = Duration::from_secs(1);

fn map(rate: u64, burst: u64, callers: usize) -> MeterMap {
    let limit = Limit::new(rate, SECOND).expect("a limit").with_burst(burst);
    let callers = NonZeroUsize::new(callers).expect("not none");
    MeterMap::new(Pace::new(limit).expect("in range"), callers)
}

#[test]
fn each_caller_has_its_own_bucket() {
    let map = map(1, 2, 100);
    for caller in ["a", "b"] {
        let key = map.key(caller);
        assert_eq!(key, map.key(caller));
        assert_eq!(map.take(key, SECOND, 1).remaining, 1);
        assert!(map.take(key, SECOND, 1).allowed);
        assert!(!map.take(key, SECOND, 1).allowed);
    }
    assert_eq!(map.len(), 2);
}

#[test]
fn who_owes_is_never_made_to_leave() {
    let map = map(1, 1, 64);
    let abuser = map.key("abuser");
    assert!(map.take(abuser, SECOND, 1).allowed);
    // Others come by for half a second, a thousand times as many as there are places.
    for other in 0..64_000_u64 {
        let now = SECOND + Duration::from_nanos(other * 7_800);
        map.take(map.key(other), now, 1);
        assert!(map.len() <= 64);
    }
    assert!(!map.take(abuser, SECOND + SECOND / 2, 1).allowed);
    assert!(map.without_place() > 60_000);
    assert!(map.take(abuser, SECOND * 2, 1).allowed);
}

#[test]
fn a_full_map_refuses_or_shares_and_frees_places_in_time() {
    for (when_full, passed) in [(WhenFull::Refuse, 0), (WhenFull::Share, 1)] {
        let map = map(1, 1, 8).when_full(when_full);
        for caller in 0..8 {
            assert!(map.take(map.key(caller), SECOND, 1).allowed);
        }
        let new = (8..20).filter(|caller| map.take(map.key(caller), SECOND, 1).allowed);
        assert_eq!(new.count(), passed, "{when_full:?}");
        assert_eq!(map.len(), 8);
        assert_eq!(map.without_place(), 12);
        let later = (20..28).filter(|caller| map.take(map.key(caller), SECOND * 3, 1).allowed);
        assert_eq!(later.count(), 8, "{when_full:?}");
    }
}

/// With room for all, the map says what a meter for each caller says.
#[test]
fn nothing_is_lost_while_callers_come_and_leave() {
    let map = map(10, 3, 600);
    let mut exact: HashMap<u64, Meter> = HashMap::new();
    let mut state = 1_u64;
    for step in 0..60_000_u64 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // Far more callers than places, of whom few owe at any time.
        let caller = (state >> 33) % 5_000;
        let now = SECOND + Duration::from_micros(step * 500);
        let told = map.take(map.key(caller), now, 1);
        let meter = exact.entry(caller).or_insert_with(|| Meter::new(map.pace().limit()));
        assert_eq!(told, meter.take(now, 1), "{step}");
    }
    assert_eq!(map.without_place(), 0);
    assert!(map.len() <= 600);
}

#[test]
fn a_place_takes_sixteen_bytes() {
    let map = map(1, 1, 1_000);
    for caller in 0..1_000 {
        map.take(map.key(caller), SECOND, 1);
    }
    let bytes = map.table_bytes();
    assert!(bytes <= SLOT_BYTES * (1_000 * 8 / 7 + 64), "{bytes}");
}

#[test]
fn two_threads_get_no_more_than_one() {
    let map = map(1, 100, 10);
    let passed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for call in 0..3_000_u64 {
                    if map.take(map.key(call % 10), SECOND, 1).allowed {
                        passed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(passed.into_inner(), 1_000);
}

#[test]
fn a_held_meter_is_the_one_that_is_found_and_comes_back_as_it_was() {
    let map = Arc::new(map(1, 3, 8));
    let key = map.key("alice");
    let now = map.pace().at(SECOND);
    assert!(map.take(key, SECOND, 1).allowed);
    let [one, two] = [true, false].map(|sparing| map.hold(key, now, sparing).expect("a place"));
    assert!(std::ptr::eq(one.meter(), two.meter()));
    assert_eq!((map.len(), map.held()), (1, 1));
    one.meter().try_take(map.pace(), now, 1).expect("the second");
    assert_eq!(map.take(key, SECOND, 1).remaining, 0);
    drop(one);
    assert_eq!(map.held(), 1);
    assert!(two.meter().try_take(map.pace(), now, 1).is_err());
    drop(two);
    assert_eq!((map.len(), map.held()), (1, 0));
    assert!(!map.take(key, SECOND, 1).allowed);
}

#[test]
fn whose_meter_is_held_is_not_made_to_leave() {
    let map = Arc::new(map(1, 1, 8));
    let key = map.key("alice");
    let hold = map.hold(key, map.pace().at(SECOND), true).expect("a place");
    // Full again after a second, so that anybody else would have left.
    for other in 0..1_000_u64 {
        map.take(map.key(other), SECOND * 3 + SECOND * u32::try_from(other).expect("few"), 1);
    }
    assert!(map.len() <= 8);
    let late = SECOND * 2_000;
    assert!(map.take(key, late, 1).allowed);
    assert!(hold.meter().try_take(map.pace(), map.pace().at(late), 1).is_err());
}

#[test]
fn the_last_places_are_for_those_who_are_not_remembered() {
    let map = Arc::new(map(1, 1, 8));
    let now = map.pace().at(SECOND);
    let holds: Vec<_> = (0..8).filter_map(|n| map.hold(map.key(n), now, true)).collect();
    assert_eq!(holds.len(), 7);
    assert!(map.take(map.key(10), SECOND, 1).allowed);
    assert!(map.hold(map.key(20), now, false).is_none(), "all owe or are held");
    assert!(!map.take(map.key(20), SECOND, 1).allowed);
    drop(holds);
    assert!(map.take(map.key(20), SECOND, 1).allowed);
}

#[test]
fn two_threads_get_no_more_than_one_while_meters_are_held_and_let_go() {
    let map = Arc::new(map(1, 500, 4));
    let passed = AtomicU64::new(0);
    let now = map.pace().at(SECOND);
    std::thread::scope(|scope| {
        for held in [true, false] {
            let (map, passed) = (&map, &passed);
            scope.spawn(move || {
                for call in 0..4_000_u64 {
                    let key = map.key(call % 2);
                    let took = match held {
                        true => {
                            let hold = map.hold(key, now, false).expect("a place");
                            hold.meter().try_take(map.pace(), now, 1).is_ok()
                        }
                        false => map.try_take(key, now, 1).is_ok(),
                    };
                    passed.fetch_add(u64::from(took), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(passed.into_inner(), 1_000);
}
