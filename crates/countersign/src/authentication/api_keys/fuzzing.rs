//! What `fuzz/` asks of the format of keys.

use super::format::{Environment, KeyId, KeyPrefix, PresentedKey};

/// A text, or after a line break one that still wants its checksum: bytes that are changed rarely
/// find it by themselves.
///
/// A key is its parts joined, its checksum is that of the rest, and no slip of the hand makes it
/// another key.
pub fn api_key(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    prefix_and_id(text);
    let text = match text.strip_prefix('\n') {
        Some(text) => format!("{text}{}", checksum(text.as_bytes())),
        None => text.to_owned(),
    };
    let Ok(key) = PresentedKey::parse(&text) else { return };
    assert_eq!(key.whole, text, "all of it is hashed");
    assert!(text.len() <= PresentedKey::MAX_BYTES, "too long");
    let environment = match key.environment {
        Environment::Live => "live",
        Environment::Test => "test",
    };
    let start = format!("{}_{environment}_{}_", key.vendor, key.id);
    let tail = text.strip_prefix(&start).expect("one spelling");
    assert!(tail.len() == 49 && tail.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{tail}");
    let (before, sum) = text.split_at(text.len() - 6);
    assert_eq!(sum, checksum(before.as_bytes()), "the checksum holds");

    let (live, test) = (KeyPrefix::live(key.vendor), KeyPrefix::test(key.vendor));
    let [live, test] = [live, test].map(|prefix| prefix.expect("a key has a vendor"));
    assert!(live.claims(&text) && test.claims(&text), "either is asked about it");
    assert_ne!(key.has_prefix(&live), key.has_prefix(&test), "and one of them takes it");

    for at in 0..text.len() {
        let mut slip = text.clone().into_bytes();
        slip[at] = if slip[at] == b'x' { b'y' } else { b'x' };
        let slip = String::from_utf8(slip).expect("still ASCII");
        assert!(PresentedKey::parse(&slip).is_err(), "a slip of the hand at {at}");
    }
}

/// What is read as a part of a key is written as it was.
fn prefix_and_id(text: &str) {
    if let Ok(prefix) = text.parse::<KeyPrefix>() {
        assert_eq!(prefix.to_string(), text, "one spelling");
    }
    if let Ok(id) = text.parse::<KeyId>() {
        assert_eq!(id.to_string(), text, "one spelling");
    }
}

/// CRC-32 bit by bit, in base62.
fn checksum(bytes: &[u8]) -> String {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    let mut rest = !crc;
    let mut digits = Vec::new();
    for _ in 0..6 {
        let digits_of_base62 = ('0'..='9').chain('A'..='Z').chain('a'..='z');
        let digit = digits_of_base62.into_iter().nth((rest % 62) as usize);
        digits.push(digit.expect("less than 62"));
        rest /= 62;
    }
    digits.into_iter().rev().collect()
}
