use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::source::FetchedToken;
use super::windows::{Phase, Windows};
use super::{RefreshWindows, TokenError};
use crate::clock::Clock;
use crate::digest::sha256;

/// What is assumed of a token that nobody says the end of.
const ASSUMED: Duration = Duration::from_secs(5 * 60);

/// No token is counted on for longer than this.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3_600);

/// The longest token, in bytes: what our own gate accepts.
const MAX_BYTES: usize = 16 * 1024;

/// When a fetch began, on both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Began {
    pub(super) at: Instant,
    pub(super) wall: SystemTime,
}

impl Began {
    pub(super) fn now(clock: &dyn Clock) -> Self {
        Self { at: Instant::now(), wall: clock.now() }
    }
}

/// A token that may be sent, and how long.
pub(crate) struct Held {
    value: HeaderValue,
    scheme: &'static str,
    name: TokenName,
    life: Life,
    /// A [`Standing`].
    standing: AtomicU8,
}

/// What servers make of a token, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Standing {
    /// Nobody said anything against it.
    Good = 0,
    /// A server did not accept it: calls wait for the fetch of another.
    Rejected = 1,
    /// The same, and that fetch failed: another is asked for as ever, and nobody waits. It is one
    /// server's word, and the token may be good everywhere else.
    RejectedInVain = 2,
}

enum Life {
    /// Both clocks bound it: the monotonic one, since the other may step back, and the wall
    /// clock, since the other stands still while the machine sleeps. The earlier wins.
    Ends { at: Instant, wall: SystemTime, windows: Windows },
    /// No end; asked for again from time to time.
    Open { recheck: Instant, overdue: Instant },
}

impl Held {
    /// What a source got, if it can be used.
    pub(super) fn judge(
        fetched: &FetchedToken,
        began: Began,
        now: Began,
        windows: &RefreshWindows,
    ) -> Result<Self, TokenError> {
        let token = fetched.token.expose();
        if token.is_empty() {
            return Err(TokenError::permanent("the source gave an empty token"));
        }
        if token.len() > MAX_BYTES {
            return Err(TokenError::permanent("the token is longer than 16 KiB"));
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            let words = "the token has a character that is not visible ASCII";
            return Err(TokenError::permanent(words));
        }
        let life = match (fetched.expires_in, fetched.expires_at, fetched.recheck_after) {
            (None, None, Some(delay)) => {
                let delay = delay.min(LONGEST);
                Life::Open { recheck: now.at + delay, overdue: now.at + delay * 2 }
            }
            (None, None, None) => match jwt_expiry(token) {
                Some(end) => Self::ends(None, Some(end), began, now, windows)?,
                None => {
                    tracing::debug!("nobody says when the token ends: five minutes are assumed");
                    Self::ends(Some(ASSUMED), None, began, now, windows)?
                }
            },
            (lifetime, end, _) => Self::ends(lifetime, end, began, now, windows)?,
        };
        let text = Zeroizing::new([fetched.scheme, " ", token].concat());
        let mut value = HeaderValue::from_str(&text).expect("visible ASCII");
        value.set_sensitive(true);
        Ok(Self {
            value,
            scheme: fetched.scheme,
            name: TokenName::of(token),
            life,
            standing: AtomicU8::new(Standing::Good as u8),
        })
    }

    fn ends(
        lifetime: Option<Duration>,
        end: Option<SystemTime>,
        began: Began,
        now: Began,
        windows: &RefreshWindows,
    ) -> Result<Life, TokenError> {
        // Each bound on both clocks.
        let from_lifetime = lifetime.map(|lifetime| {
            let lifetime = lifetime.min(LONGEST);
            (began.at + lifetime, began.wall + lifetime)
        });
        let from_end = end.map(|end| {
            let left = end.duration_since(now.wall).unwrap_or_default().min(LONGEST);
            (now.at + left, now.wall + left)
        });
        let (at, wall) = match (from_lifetime, from_end) {
            (Some((at, wall)), Some((other_at, other_wall))) => {
                (at.min(other_at), wall.min(other_wall))
            }
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => (now.at, now.wall),
        };
        let left = left(at, wall, now);
        if left.is_zero() {
            let words = "the source gave a token that has expired already";
            // That the end is past is in the token or the file, and stays so; a lifetime that
            // was used up on the way is another one next time.
            let in_writing = from_end.is_some_and(|(_, end)| end <= now.wall);
            return Err(match in_writing {
                true => TokenError::permanent(words),
                false => TokenError::transient(words),
            });
        }
        Ok(Life::Ends { at, wall, windows: windows.of(left) })
    }

    /// Where it stands.
    pub(super) fn phase(&self, clock: &dyn Clock) -> Phase {
        let phase = match &self.life {
            Life::Ends { at, wall, windows } => windows.phase(left(*at, *wall, Began::now(clock))),
            Life::Open { recheck, overdue } => match Instant::now() {
                now if now < *recheck => Phase::Fresh,
                now if now < *overdue => Phase::Advisory,
                _ => Phase::Mandatory,
            },
        };
        match (self.standing(), phase) {
            (Standing::Rejected, Phase::Fresh | Phase::Advisory) => Phase::Mandatory,
            (Standing::RejectedInVain, Phase::Fresh) => Phase::Advisory,
            (_, phase) => phase,
        }
    }

    /// How long it stays in the phase in which it is, if nobody rejects it.
    pub(super) fn phase_lasts(&self, clock: &dyn Clock) -> Duration {
        match &self.life {
            Life::Ends { at, wall, windows } => {
                windows.phase_lasts(left(*at, *wall, Began::now(clock)))
            }
            Life::Open { recheck, overdue } => match Instant::now() {
                now if now < *recheck => *recheck - now,
                now => overdue.saturating_duration_since(now),
            },
        }
    }

    /// How long it may still be sent; `None` when it has no end.
    pub(super) fn left(&self, clock: &dyn Clock) -> Option<Duration> {
        match &self.life {
            Life::Ends { at, wall, .. } => Some(left(*at, *wall, Began::now(clock))),
            Life::Open { .. } => None,
        }
    }

    /// `authorization`, marked sensitive.
    pub(crate) fn value(&self) -> &HeaderValue {
        &self.value
    }

    /// The token without its scheme.
    pub(crate) fn token(&self) -> &str {
        let text = self.value.to_str().unwrap_or_default();
        text.get(self.scheme.len() + 1..).unwrap_or_default()
    }

    pub(super) fn name(&self) -> TokenName {
        self.name
    }

    /// Whether the other is the same token with no later end: then nothing was won.
    pub(super) fn is_no_newer_than(&self, other: &Self) -> bool {
        self.value == other.value
            && match (&self.life, &other.life) {
                (Life::Ends { at, wall, .. }, Life::Ends { at: then, wall: then_wall, .. }) => {
                    // Counted from another beginning, the same end is off by a little.
                    let slack = Duration::from_secs(1);
                    *at <= *then + slack || *wall <= *then_wall + slack
                }
                _ => false,
            }
    }

    pub(super) fn standing(&self) -> Standing {
        match self.standing.load(Ordering::Acquire) {
            0 => Standing::Good,
            1 => Standing::Rejected,
            _ => Standing::RejectedInVain,
        }
    }

    pub(super) fn set_standing(&self, standing: Standing) {
        self.standing.store(standing as u8, Ordering::Release);
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Held({} {})", self.scheme, self.name)
    }
}

fn left(at: Instant, wall: SystemTime, now: Began) -> Duration {
    let by_wall = wall.duration_since(now.wall).unwrap_or_default();
    at.saturating_duration_since(now.at).min(by_wall)
}

/// What logs call a token: the first 8 hex digits of its SHA-256.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct TokenName([u8; 4]);

impl TokenName {
    fn of(token: &str) -> Self {
        let [a, b, c, d, ..] = sha256(token.as_bytes());
        Self([a, b, c, d])
    }
}

impl fmt::Display for TokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// `exp`, if the token is a JWT that has one. Nothing else of it is believed or looked at.
pub(crate) fn jwt_expiry(token: &str) -> Option<SystemTime> {
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let claims = URL_SAFE_NO_PAD.decode(claims).map(Zeroizing::new).ok()?;
    let seconds = serde_json::from_slice::<Expiry>(&claims).ok()?.exp;
    // RFC 7519 §2 lets a NumericDate have a fraction.
    SystemTime::UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(seconds).ok()?)
}

#[derive(serde::Deserialize)]
struct Expiry {
    exp: f64,
}
