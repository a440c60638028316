//! An API key's verification, among so many keys that are known.

use std::any::Any;
use std::hint::black_box;
use std::time::SystemTime;

use countersign::authentication::api_keys::{ApiKeys, KeyIssuer, MemoryKeys, NewKey, Peppers};
use countersign::authentication::{Authenticator as _, CallEvidence, Evidence};
use countersign::{Clock, PeerIdentity, Secret, SystemClock};

use super::{Subject, Turn, block_on, repeat};

/// A right key of one of so many owners, another one each time; every record is at hand.
///
/// # Panics
///
/// On more than [`MemoryKeys::MAX_KEYS`].
pub fn verification(count: usize) -> Box<dyn Subject> {
    let (keys, issued) = block_on(issued(count));
    let peer = PeerIdentity::unknown();
    let mut turn = Turn::among(issued.len());
    repeat(move || {
        assert!(proven(&keys, &peer, black_box(&issued[turn.next()])), "a right key");
    })
}

/// Makes so many keys whose records are at hand, and keeps them: for what a key takes. That is
/// twice its record: in the store, which is in memory here, and in the authenticator.
pub fn hold(count: usize) -> Box<dyn Any> {
    let (keys, _) = block_on(issued(count));
    Box::new(keys)
}

async fn issued(count: usize) -> (ApiKeys, Vec<String>) {
    let store = MemoryKeys::new();
    let pepper = Secret::new(b"0123456789abcdef0123456789abcdef".to_vec());
    let peppers = Peppers::new("1", pepper).expect("a pepper of 32 bytes");
    let issuer = KeyIssuer::new(store.clone()).with_peppers(peppers.clone());
    // A record is used for half a minute, and a run may take longer.
    let clock = Standing(SystemClock.now());
    let keys = ApiKeys::builder(store).peppers(peppers).capacity(2 * count + 1).clock(clock);
    let keys = keys.build();
    let peer = PeerIdentity::unknown();
    let mut issued = Vec::with_capacity(count);
    for n in 0..count {
        let key = issuer.create(NewKey::new(format!("owner-{n:06}")).scope("orders:read")).await;
        let text = key.expect("a key").key().expose().clone();
        // The first time, the store is asked.
        let evidence = Evidence::new(&peer, CallEvidence::ApiKey(&text));
        assert!(matches!(keys.authenticate(&evidence).await, Ok(Some(_))), "a right key");
        issued.push(text);
    }
    (keys, issued)
}

fn proven(keys: &ApiKeys, peer: &PeerIdentity, key: &str) -> bool {
    let evidence = Evidence::new(peer, CallEvidence::ApiKey(key));
    matches!(keys.authenticate_now(&evidence), Some(Ok(Some(_))))
}

/// The time at which the keys were made.
#[derive(Debug)]
struct Standing(SystemTime);

impl Clock for Standing {
    fn now(&self) -> SystemTime {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_key_passes_and_a_changed_one_does_not() {
        let (keys, issued) = block_on(issued(3));
        let peer = PeerIdentity::unknown();
        assert!(issued.iter().all(|key| proven(&keys, &peer, key)));
        let wrong = issued[0].replace(|c: char| c.is_ascii_digit(), "x");
        assert!(!proven(&keys, &peer, &wrong));
    }
}
