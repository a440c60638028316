use std::borrow::Cow;
use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::quota::limit::Limit;

/// One of the buckets that a call takes from, known by the same name in every process.
///
/// Entries say whose bucket it is, from the widest to the narrowest. Two buckets with the same
/// entries are one; so that two limits of one caller do not share, one of them has an entry more.
/// Entries go to the store as they are: no secret belongs there.
///
/// ```
/// use std::time::Duration;
/// use countersign::quota::Limit;
/// use countersign::quota::store::Bucket;
///
/// # fn main() -> Result<(), countersign::quota::InvalidLimit> {
/// let limit = Limit::new(100, Duration::from_secs(1))?;
/// let bucket = Bucket::new(limit).entry("caller", "alice").entry("method", "/shop.Orders/List");
/// assert_eq!(bucket.name(), "caller=alice,method=/shop.Orders/List");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a bucket does nothing until it is taken from"]
pub struct Bucket<'a> {
    entries: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    limit: Limit,
    cost: u64,
}

impl<'a> Bucket<'a> {
    /// The longest name. What would be longer is known by its SHA-256.
    pub const MAX_NAME_BYTES: usize = 160;

    /// Everybody's bucket, so far, and a cost of 1.
    pub fn new(limit: Limit) -> Self {
        Self { entries: Vec::new(), limit, cost: 1 }
    }

    /// Tells it from others: `caller`, `method`, `tenant`, `address`, or what you like.
    pub fn entry(mut self, key: &'a str, value: impl Into<Cow<'a, str>>) -> Self {
        self.entries.push((key.into(), value.into()));
        self
    }

    /// What the call takes. Default: 1.
    pub fn cost(mut self, cost: u64) -> Self {
        self.cost = cost;
        self
    }

    /// Whose it is, in the order given.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.entries.iter().map(|(key, value)| (&**key, &**value))
    }

    /// The limit that it fills by.
    pub fn limit(&self) -> Limit {
        self.limit
    }

    /// What the call takes from it.
    pub fn taken(&self) -> u64 {
        self.cost
    }

    /// The same, for longer than what it was made of.
    pub(super) fn to_owned(&self) -> Bucket<'static> {
        let owned = |text: &str| Cow::Owned(text.to_owned());
        let entries = self.entries().map(|(key, value)| (owned(key), owned(value))).collect();
        Bucket { entries, limit: self.limit, cost: self.cost }
    }

    /// Its name: entries as `key=value`, with commas between, and every byte but ASCII letters,
    /// digits and `-._~/@:` as `%` and two digits, so that no two buckets have one name and no
    /// value can pretend to be two. At most [`MAX_NAME_BYTES`](Self::MAX_NAME_BYTES); a longer
    /// one becomes `sha256=` and the hash of it.
    pub fn name(&self) -> String {
        let mut name = String::with_capacity(64);
        for (at, (key, value)) in self.entries().enumerate() {
            if at > 0 {
                name.push(',');
            }
            write_escaped(&mut name, key);
            name.push('=');
            write_escaped(&mut name, value);
        }
        if name.len() > Self::MAX_NAME_BYTES {
            // An entry whose key is `sha256` has a shorter name than this one's, or is hashed too.
            let hash = digest(&SHA256, name.as_bytes());
            name = format!("sha256={}", URL_SAFE_NO_PAD.encode(hash));
        }
        name
    }
}

fn write_escaped(name: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/@:".contains(&byte) {
            name.push(char::from(byte));
        } else {
            write!(name, "%{byte:02x}").expect("a string takes everything");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::*;

    fn of<'a>(entries: &[(&'a str, &'a str)]) -> Bucket<'a> {
        let limit = Limit::new(1, Duration::from_secs(1)).expect("a limit");
        entries.iter().fold(Bucket::new(limit), |bucket, (key, value)| bucket.entry(key, *value))
    }

    #[test]
    fn no_two_buckets_have_one_name() {
        let long = "x".repeat(10_000);
        let long_too = format!("{}y", "x".repeat(9_999));
        let names: Vec<String> = [
            &[][..],
            &[("caller", "alice")],
            &[("caller", "alice"), ("method", "/a.B/C")],
            &[("caller", "alice,method=/a.B/C")],
            &[("caller", "alice%2cmethod")],
            &[("caller", ""), ("", "alice")],
            &[("caller", "älice")],
            &[("caller", "{alice}")],
            &[("caller", &long)],
            &[("caller", &long_too)],
        ]
        .iter()
        .map(|entries| of(entries).name())
        .collect();
        let different: HashSet<&String> = names.iter().collect();
        assert_eq!(different.len(), names.len(), "{names:?}");
        for name in &names {
            assert!(name.len() <= Bucket::MAX_NAME_BYTES, "{name}");
            // Nothing that a cluster would take for a hash tag, and nothing to break a line.
            assert!(name.bytes().all(|b| b.is_ascii_graphic() && !b"{}\"*".contains(&b)), "{name}");
        }
        assert_eq!(names[2], "caller=alice,method=/a.B/C");
        assert_eq!(names[7], "caller=%7balice%7d");
        assert!(names[8].starts_with("sha256="), "{}", names[8]);
    }

    #[test]
    fn what_stands_for_a_hash_is_no_short_names_own() {
        let long = "x".repeat(200);
        let hashed = of(&[("caller", &long)]).name();
        let pretended = hashed.strip_prefix("sha256=").expect("hashed");
        // Who may choose a key could take this name; callers choose values alone.
        assert_eq!(of(&[("sha256", pretended)]).name(), hashed);
        assert_ne!(of(&[("caller", &hashed)]).name(), hashed);
    }
}
