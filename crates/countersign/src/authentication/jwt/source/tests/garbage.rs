//! Key sets that somebody tampered with: whatever comes, it is read or refused.

use countersign_testkit::issuer::{Algorithm as Kind, SigningKey};
use serde_json::{Value, json};

use super::super::super::keys::{Found, KeyUse};
use super::super::super::{Algorithm, KeySet};

/// A sequence without a pattern that is the same in every run (xorshift64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % most as u64).expect("below a usize")
    }
}

fn good() -> Value {
    let keys = [
        SigningKey::rsa(Kind::RS256, "RS256"),
        SigningKey::generate(Kind::ES256, "ES256"),
        SigningKey::generate(Kind::ES384, "ES384"),
        SigningKey::generate(Kind::ES512, "ES512"),
        SigningKey::generate(Kind::EdDSA, "EdDSA"),
    ];
    json!({ "keys": keys.iter().map(SigningKey::jwk).collect::<Vec<_>>() })
}

fn read(text: &str) -> Option<KeySet> {
    let set = KeySet::read(text, KeyUse::Signature).ok()?;
    let there = serde_json::from_str::<Value>(text).expect("only JSON is a key set");
    let there = there["keys"].as_array().expect("only a set has keys").len();
    assert_eq!(set.len() + set.skipped().len(), there, "every key is used or reported: {text}");
    Some(set)
}

#[test]
fn a_set_with_a_wrong_byte_is_read_or_refused() {
    let text = good().to_string();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut readable = 0;
    for _ in 0..3000 {
        let mut bytes = text.clone().into_bytes();
        for _ in 0..=dice.below(3) {
            let at = dice.below(bytes.len());
            match dice.below(3) {
                0 => bytes[at] = u8::try_from(dice.below(128)).expect("ASCII"),
                1 => drop(bytes.remove(at)),
                _ => bytes.truncate(at.max(1)),
            }
        }
        let text = String::from_utf8(bytes).expect("ASCII");
        readable += usize::from(read(&text).is_some());
    }
    assert!(readable > 100, "most of it was too broken to test anything: {readable}");
}

#[test]
fn a_set_with_a_wrong_member_keeps_its_other_keys() {
    let strange = [
        json!(null),
        json!(true),
        json!(-1),
        json!(""),
        json!("AA"),
        json!("none"),
        json!("HS256"),
        json!("x".repeat(10_000)),
        json!([]),
        json!({}),
        json!([["verify"]]),
    ];
    let good = good();
    for index in 0..5 {
        let key = good["keys"][index].as_object().expect("a key");
        let kid = key["kid"].as_str().expect("text").to_owned();
        let algorithm = Algorithm::from_name(&kid).expect("an algorithm");
        let names = key.keys().cloned().chain(["key_ops".to_owned()]);
        for name in names.collect::<Vec<_>>() {
            for value in &strange {
                let mut set = good.clone();
                set["keys"][index][&name] = value.clone();
                let read = read(&set.to_string()).expect("still a key set");
                assert!(read.len() >= 4, "{kid} {name} {value}");
                // `kid` is a name, and any text will do.
                if name != "kid" {
                    let found = read.find(Some(&kid), algorithm);
                    assert!(matches!(found, Found::Unknown), "{kid} {name} {value}: {found:?}");
                }
            }
        }
    }
}
