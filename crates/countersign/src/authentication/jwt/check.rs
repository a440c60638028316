//! The checks of a token's claims, each of them always made: no setting switches another off.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::error::TokenError;
use super::issuer::Issuer;
use super::profile::Profile;
use super::token::Header;
use crate::jose::json::{Members, Seen};

/// A time as tokens write it (RFC 7519 §2, "NumericDate"), in nanoseconds since 1970. Wide enough
/// for every number that can be written; beyond its ends it stays at them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Instant(i128);

impl Instant {
    pub(super) fn of(time: SystemTime) -> Self {
        let nanos = |apart: Duration| i128::try_from(apart.as_nanos()).unwrap_or(i128::MAX);
        Self(match time.duration_since(UNIX_EPOCH) {
            Ok(since) => nanos(since),
            Err(before) => -nanos(before.duration()),
        })
    }

    fn read(value: &Value) -> Option<Self> {
        const NANOS: i128 = 1_000_000_000;
        if let Some(seconds) = value.as_i64() {
            return Some(Self(i128::from(seconds) * NANOS));
        }
        if let Some(seconds) = value.as_u64() {
            return Some(Self(i128::from(seconds) * NANOS));
        }
        let seconds = value.as_f64()?;
        // A cast of a float stops at the ends.
        #[expect(clippy::cast_possible_truncation, reason = "that is what is wanted")]
        Some(Self((seconds * 1e9) as i128))
    }

    fn plus(self, time: Duration) -> Self {
        let nanos = i128::try_from(time.as_nanos()).unwrap_or(i128::MAX);
        Self(self.0.saturating_add(nanos))
    }

    fn since(self, earlier: Self) -> Duration {
        let nanos = self.0.saturating_sub(earlier.0).max(0);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// As a clock shows it; what no clock shows is far away.
    pub(super) fn to_system_time(self) -> SystemTime {
        const FAR: Duration = Duration::from_secs(1 << 38);
        let apart = Duration::from_nanos(u64::try_from(self.0.unsigned_abs()).unwrap_or(u64::MAX));
        match self.0 {
            0.. if self.0 > i128::from(u64::MAX) => UNIX_EPOCH + FAR,
            0.. => UNIX_EPOCH + apart,
            _ => UNIX_EPOCH,
        }
    }
}

/// What the checks leave for later.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// `exp` and the leeway.
    pub(super) end: Instant,
    pub(super) issued_at: Option<Instant>,
}

/// Every check that needs no key.
pub(super) fn claims(
    issuer: &Issuer,
    header: &Header<'_>,
    claims: &Members<'_>,
    now: SystemTime,
) -> Result<Times, TokenError> {
    issuer.profile.check_header(header)?;
    if issuer.token_type.as_ref().is_some_and(|name| !header.is_kind(name)) {
        let (found, profile) = (header.kind.as_deref().map(str::to_owned), issuer.profile.name());
        return Err(TokenError::Type { found, profile });
    }
    let times = times(issuer, claims, Instant::of(now))?;
    audience(issuer, claims)?;
    for name in ["sub", "jti", "client_id", "azp"] {
        text(claims, name)?;
    }
    subject(issuer, claims)?;
    let required = issuer.profile.required().iter().copied();
    for name in required.chain(issuer.required.iter().map(String::as_str)) {
        if claims.look_up(name).is_none_or(Seen::is_null) {
            return Err(TokenError::MissingClaim { name: name.to_owned() });
        }
    }
    issuer.profile.check_claims(header, claims, &issuer.audiences)?;
    Ok(times)
}

/// Text, or nothing at all.
pub(super) fn text<'a>(claims: &'a Members<'_>, name: &str) -> Result<Option<&'a str>, TokenError> {
    match claims.get(name) {
        None => Ok(None),
        Some(Seen::Text(text)) => Ok(Some(text)),
        Some(_) => Err(TokenError::Claim { name: name.to_owned(), expected: "text" }),
    }
}

fn subject(issuer: &Issuer, claims: &Members<'_>) -> Result<(), TokenError> {
    let name = || issuer.names.subject.clone();
    match claims.look_up(&issuer.names.subject) {
        None | Some(Seen::Other(Value::Null)) => Err(TokenError::MissingClaim { name: name() }),
        Some(Seen::Text(text)) if !text.is_empty() => Ok(()),
        Some(_) => Err(TokenError::Claim { name: name(), expected: "text that is not empty" }),
    }
}

fn times(issuer: &Issuer, claims: &Members<'_>, now: Instant) -> Result<Times, TokenError> {
    let time = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => match value {
            Seen::Text(_) => None,
            Seen::Other(value) => Instant::read(value),
        }
        .map(Some)
        .ok_or_else(|| TokenError::Claim { name: name.to_owned(), expected: "a number" }),
    };
    let leeway = issuer.leeway;
    let missing = || TokenError::MissingClaim { name: "exp".to_owned() };
    let expires_at = time("exp")?.ok_or_else(missing)?;
    let end = expires_at.plus(leeway);
    if now >= end {
        return Err(TokenError::Expired { ago: now.since(expires_at), leeway });
    }
    // RFC 7519 §4.1.5: on or after `nbf`.
    if let Some(begin) = time("nbf")?.filter(|begin| now.plus(leeway) < *begin) {
        return Err(TokenError::NotYetValid { ahead: begin.since(now), leeway });
    }
    // A future `iat` alone refuses nobody: that only ever cost callers with a slow clock.
    let issued_at = time("iat")?;
    if let Some(most) = issuer.max_lifetime {
        let begin = issued_at.ok_or_else(|| TokenError::MissingClaim { name: "iat".to_owned() })?;
        if expires_at > begin.plus(most) {
            return Err(TokenError::Lifetime { most });
        }
    }
    Ok(Times { end, issued_at })
}

/// RFC 7519 §4.1.3: text, or a list of texts, of which one has to be ours.
fn audience(issuer: &Issuer, claims: &Members<'_>) -> Result<(), TokenError> {
    let wrong =
        || TokenError::Claim { name: "aud".to_owned(), expected: "text or a list of texts" };
    let found: Vec<&str> = match claims.get("aud") {
        None => Vec::new(),
        // What nearly all tokens have.
        Some(Seen::Text(one)) if issuer.audiences.iter().any(|audience| audience == one) => {
            return Ok(());
        }
        Some(Seen::Text(one)) => vec![one],
        Some(Seen::Other(Value::Array(all))) => {
            all.iter().map(Value::as_str).collect::<Option<_>>().ok_or_else(wrong)?
        }
        Some(_) => return Err(wrong()),
    };
    let ours = |one: &&str| issuer.audiences.iter().any(|audience| audience == one);
    if issuer.any_audience && issuer.profile != Profile::JwtSvid || found.iter().any(ours) {
        return Ok(());
    }
    Err(TokenError::Audience {
        found: found.into_iter().map(str::to_owned).collect(),
        accepted: issuer.audiences.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_number_is_a_time() {
        let read = |value: Value| Instant::read(&value).map(|instant| instant.0);
        assert_eq!(read(json!(1)), Some(1_000_000_000));
        assert_eq!(read(json!(-1)), Some(-1_000_000_000));
        assert_eq!(read(json!(1.5)), Some(1_500_000_000));
        assert_eq!(read(json!(u64::MAX)), Some(i128::from(u64::MAX) * 1_000_000_000));
        assert_eq!(read(json!(1e300)), Some(i128::MAX));
        for value in [json!("1"), json!(true), json!(null), json!([1])] {
            assert_eq!(read(value), None);
        }
    }

    #[test]
    fn times_that_no_clock_shows_are_far_away() {
        assert!(Instant(i128::MAX).to_system_time() > UNIX_EPOCH + Duration::from_secs(1 << 37));
        assert_eq!(Instant(i128::MIN).to_system_time(), UNIX_EPOCH);
        let time = UNIX_EPOCH + Duration::new(1_800_000_000, 5);
        assert_eq!(Instant::of(time).to_system_time(), time);
    }
}
