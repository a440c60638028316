use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use super::check::Instant;
use crate::authentication::Generation;

/// Tokens, subjects and keys that are taken back before their time.
///
/// Shared with the [`Jwt`](super::Jwt) that was built with it; cloning shares it. A change counts
/// at once, also for tokens that were proven before and for open streams. Bounded by
/// [`Revocations::MAX_ENTRIES`]: no entry makes room for another before its time, so a full list
/// takes no more and says so.
#[derive(Clone, Default)]
pub struct Revocations {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    entries: RwLock<HashMap<Entry, Until>>,
    generation: Generation,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Entry {
    /// One token: issuer and `jti`.
    Token(String, String),
    /// Whatever was issued to a subject: issuer and `sub`.
    Subject(String, String),
    /// Whatever a key signed: issuer and `kid`.
    Key(String, String),
}

#[derive(Clone, Copy, Debug)]
struct Until {
    /// When the entry may be forgotten.
    forget: SystemTime,
    /// Tokens that were issued at this time or later are good again.
    issued_before: Option<Instant>,
}

impl Until {
    /// What holds when both were said of one entry.
    fn and(self, other: Self) -> Self {
        Self {
            forget: self.forget.max(other.forget),
            // Nothing is every time.
            issued_before: self.issued_before.zip(other.issued_before).map(|(a, b)| a.max(b)),
        }
    }
}

/// There are as many entries as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} entries are revoked already", Revocations::MAX_ENTRIES)]
pub struct RevocationsFull;

impl Revocations {
    /// The most entries.
    pub const MAX_ENTRIES: usize = 100_000;

    /// Nothing is revoked.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes back one token by its `jti`. `until` is its `exp`, or later.
    ///
    /// # Errors
    ///
    /// [`RevocationsFull`].
    pub fn revoke_token(
        &self,
        issuer: &str,
        id: &str,
        until: SystemTime,
    ) -> Result<(), RevocationsFull> {
        let entry = Entry::Token(issuer.to_owned(), id.to_owned());
        self.add(entry, Until { forget: until, issued_before: None })
    }

    /// Takes back what was issued to a subject before a time; tokens without `iat` too. `until`
    /// is when the last of them ends. A subject is known by `sub`, and by the claim that counts
    /// as one where [`claim_names`](super::Issuer::claim_names) say so.
    ///
    /// # Errors
    ///
    /// [`RevocationsFull`].
    pub fn revoke_subject(
        &self,
        issuer: &str,
        subject: &str,
        issued_before: SystemTime,
        until: SystemTime,
    ) -> Result<(), RevocationsFull> {
        let entry = Entry::Subject(issuer.to_owned(), subject.to_owned());
        let issued_before = Some(Instant::of(issued_before));
        self.add(entry, Until { forget: until, issued_before })
    }

    /// Takes back what a key signed, until the issuer's own key set does.
    ///
    /// # Errors
    ///
    /// [`RevocationsFull`].
    pub fn revoke_key(
        &self,
        issuer: &str,
        kid: &str,
        until: SystemTime,
    ) -> Result<(), RevocationsFull> {
        let entry = Entry::Key(issuer.to_owned(), kid.to_owned());
        self.add(entry, Until { forget: until, issued_before: None })
    }

    /// Forgets entries whose time is over.
    pub fn forget_before(&self, now: SystemTime) {
        let mut entries = self.inner.entries.write().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|_, until| now < until.forget);
    }

    fn add(&self, entry: Entry, until: Until) -> Result<(), RevocationsFull> {
        {
            let mut entries = self.inner.entries.write().unwrap_or_else(PoisonError::into_inner);
            if entries.len() >= Self::MAX_ENTRIES && !entries.contains_key(&entry) {
                return Err(RevocationsFull);
            }
            // What is said again, late or by somebody else, takes nothing back.
            let until = entries.get(&entry).map_or(until, |known| known.and(until));
            entries.insert(entry, until);
        }
        self.inner.generation.advance();
        Ok(())
    }

    pub(super) fn generation(&self) -> &Generation {
        &self.inner.generation
    }

    pub(super) fn has(&self, token: &Revocable<'_>) -> bool {
        let entries = self.inner.entries.read().unwrap_or_else(PoisonError::into_inner);
        if entries.is_empty() {
            return false;
        }
        let issuer = || token.issuer.to_owned();
        let find = |entry: Option<Entry>| entry.and_then(|entry| entries.get(&entry));
        let by_subject = |subject: Option<&str>| {
            find(subject.map(|subject| Entry::Subject(issuer(), subject.to_owned()))).is_some_and(
                |until| {
                    let issued_at = token.issued_at;
                    until.issued_before.is_none_or(|before| issued_at.is_none_or(|at| at < before))
                },
            )
        };
        by_subject(token.subject)
            || token.mapped_subject != token.subject && by_subject(token.mapped_subject)
            || find(token.id.map(|id| Entry::Token(issuer(), id.to_owned()))).is_some()
            || find(token.kid.map(|kid| Entry::Key(issuer(), kid.to_owned()))).is_some()
    }
}

/// By what a token may be found here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Revocable<'a> {
    pub(super) issuer: &'a str,
    /// `sub`.
    pub(super) subject: Option<&'a str>,
    /// What counts as the subject by the names of claims that were set.
    pub(super) mapped_subject: Option<&'a str>,
    pub(super) id: Option<&'a str>,
    pub(super) kid: Option<&'a str>,
    pub(super) issued_at: Option<Instant>,
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.inner.entries.read().unwrap_or_else(PoisonError::into_inner);
        write!(f, "Revocations({} entries)", entries.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    const TOKEN: Revocable<'static> = Revocable {
        issuer: "https://id.example",
        subject: Some("alice"),
        mapped_subject: Some("alice"),
        id: Some("j1"),
        kid: Some("k1"),
        issued_at: None,
    };

    #[test]
    fn a_token_is_found_by_its_id_its_subject_and_its_key() {
        let issuer = TOKEN.issuer;
        for revoke in [
            |all: &Revocations| all.revoke_token("https://id.example", "j1", at(9)),
            |all: &Revocations| all.revoke_key("https://id.example", "k1", at(9)),
            |all: &Revocations| all.revoke_subject("https://id.example", "alice", at(5), at(9)),
        ] {
            let all = Revocations::new();
            assert!(!all.has(&TOKEN));
            let before = all.generation().now();
            revoke(&all).expect("there is room");
            assert!(all.has(&TOKEN) && all.generation().now() > before);
            assert!(!all.has(&Revocable { issuer: "https://other.example", ..TOKEN }));
            all.forget_before(at(9));
            assert!(!all.has(&TOKEN));
        }
        let other = Revocations::new();
        other.revoke_token(issuer, "j2", at(9)).expect("there is room");
        other.revoke_key(issuer, "alice", at(9)).expect("there is room");
        assert!(!other.has(&TOKEN));
    }

    #[test]
    fn what_a_subject_got_since_is_good() {
        let all = Revocations::new();
        all.revoke_subject(TOKEN.issuer, "alice", at(5), at(9)).expect("there is room");
        let issued = |time| Revocable { issued_at: Some(Instant::of(time)), ..TOKEN };
        assert!(all.has(&issued(at(4))));
        assert!(!all.has(&issued(at(5))));
    }

    #[test]
    fn an_entry_that_comes_late_takes_nothing_back() {
        let all = Revocations::new();
        let issued = |time| Revocable { issued_at: Some(Instant::of(at(time))), ..TOKEN };
        all.revoke_subject(TOKEN.issuer, "alice", at(8), at(20)).expect("there is room");
        all.revoke_subject(TOKEN.issuer, "alice", at(5), at(9)).expect("there is room");
        assert!(all.has(&issued(7)), "issued before the later of the two");
        assert!(!all.has(&issued(8)));
        all.forget_before(at(19));
        assert!(all.has(&issued(7)), "remembered until the later of the two");
        all.forget_before(at(20));
        assert!(!all.has(&issued(7)));
    }

    #[test]
    fn there_is_a_bound() {
        let all = Revocations::new();
        for index in 0..Revocations::MAX_ENTRIES {
            all.revoke_token("i", &index.to_string(), at(9)).expect("there is room");
        }
        all.revoke_token("i", "0", at(9)).expect("it is there already");
        assert_eq!(all.revoke_token("i", "more", at(9)), Err(RevocationsFull));
    }
}
