use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;

use super::atomic::{Pace, PaceError};
use super::limit::{InvalidLimit, Limit};
use super::map::{MeterMap, WhenFull};
use super::methods::Methods;
use super::rule::{Rule, Scope, Unit};
use super::steady::SteadyClock;
use super::store::SharedQuota;
use super::streams::Streams;
use super::tenant::Tenant;
use crate::authorization::{InvalidPattern, Pattern};
use crate::identity::MethodPath;

/// How much callers may ask for, and how often an address may fail to prove one.
///
/// What is not limited here is not limited. Every limit that is for a call holds: where one
/// refuses it, nothing is taken from the others. A limit of one kind may be said several times,
/// as one for a second and one for a day. Clones share their buckets, so that several gates with
/// one quota allow no more than one.
///
/// ```
/// use countersign::quota::{Limit, Quota, QuotaError, Tenant};
///
/// # fn main() -> Result<(), QuotaError> {
/// let quota = Quota::new()
///     .per_caller(Limit::per_second(100)?.with_burst(20))?
///     .per_caller(Limit::per_day(100_000)?)?
///     .per_tenant(Tenant::claim("org"), Limit::per_second(1_000)?)?
///     .per_method("/orders.v1.Orders/Export", Limit::per_second(50)?)?
///     .per_caller_of("/orders.v1.Orders/Place", Limit::per_second(10)?)?
///     .cost("/orders.v1.Orders/Export", 20)?
///     .cost("/grpc.health.v1.Health/*", 0)?
///     .per_address(Limit::per_second(10)?.with_burst(20))?
///     .failures_per_address(Limit::per_minute(10)?)?
///     .bytes_per_caller(Limit::per_second(1 << 20)?)?
///     .concurrent_streams_per_caller(16)?;
/// # drop(quota);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a quota does nothing until a gate has it"]
pub struct Quota {
    pub(super) clock: SteadyClock,
    /// Limits of calls.
    pub(super) calls: Vec<Arc<Rule>>,
    /// Limits of bytes.
    pub(super) bytes: Vec<Arc<Rule>>,
    /// Which limits of calls are for which methods, by number.
    pub(super) methods: Methods<u32>,
    pub(super) costs: Methods<u64>,
    pub(super) streams: Option<Arc<Streams>>,
    pub(super) failures: Option<Arc<MeterMap>>,
    pub(super) announced: bool,
    /// Where calls are counted, if not here.
    pub(super) store: Option<SharedQuota>,
    when_full: WhenFull,
    /// The one limit, where a call takes 1 from it whatever its method, and nothing else is to
    /// be done.
    pub(super) alone: Option<Arc<Rule>>,
    /// Tells quotas apart that are not the same, for what is kept with callers.
    pub(super) mark: Arc<Mark>,
}

/// Has an address of its own.
#[derive(Debug, Default)]
pub(super) struct Mark(#[allow(dead_code, reason = "so that it has a size")] u8);

/// Why a limit cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuotaError {
    /// The whole burst takes longer to earn than a meter can count.
    #[error(transparent)]
    Pace(#[from] PaceError),
    /// A limit means nothing.
    #[error(transparent)]
    Limit(#[from] InvalidLimit),
    /// A method pattern cannot be read.
    #[error(transparent)]
    Pattern(#[from] InvalidPattern),
    /// Two costs are said for one pattern, and only one of them would count.
    #[error("two costs are given for {pattern:?}")]
    TwoCosts {
        /// The pattern.
        pattern: String,
    },
    /// The methods could never be called.
    #[error(
        "a call of {pattern:?} costs {cost}, and the limit {limit:?} has never more than {burst}"
    )]
    Cost {
        /// The methods.
        pattern: String,
        /// What a call costs.
        cost: u64,
        /// The limit's name.
        limit: String,
        /// Its burst.
        burst: u64,
    },
    /// Nothing would ever pass.
    #[error("the limit {limit:?} is 0")]
    Nothing {
        /// The limit's name.
        limit: String,
    },
    /// The [store](Quota::shared) cannot count by a limit.
    #[error("the store cannot keep the limit {limit:?}: {problem}")]
    Store {
        /// The limit's name.
        limit: String,
        /// What the store says of it.
        problem: String,
    },
    /// There are more limits than a quota has room for.
    #[error("a quota has {} limits at most", Quota::MAX_LIMITS)]
    TooMany,
}

impl Quota {
    /// How many callers, and how many tenants, are told apart under each limit while they owe;
    /// [`when_full`](Self::when_full) says what becomes of more. Places are divided by a hash,
    /// so that a million find theirs and a few of the last ones may not.
    pub const MAX_CALLERS: NonZeroUsize = NonZeroUsize::new(1 << 20).expect("not zero");
    /// How many addresses are told apart while they owe. Failures of more are not counted, or a
    /// flood from many addresses could lock everybody out.
    pub const MAX_ADDRESSES: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");
    /// How many limits there may be, those of failures and streams apart.
    pub const MAX_LIMITS: usize = 32;

    /// Limits nothing yet.
    pub fn new() -> Self {
        Self {
            clock: SteadyClock::system(),
            calls: Vec::new(),
            bytes: Vec::new(),
            methods: Methods::default(),
            costs: Methods::default(),
            streams: None,
            failures: None,
            announced: false,
            store: None,
            when_full: WhenFull::default(),
            alone: None,
            mark: Arc::default(),
        }
    }

    /// The time that it counts in, to be said before it is used. Default:
    /// [`SteadyClock::system`].
    pub fn with_clock(mut self, clock: SteadyClock) -> Self {
        self.clock = clock;
        self
    }

    /// What becomes of callers, tenants and addresses for whom there is no place, under the
    /// limits that are said after this. Default: [`WhenFull::Refuse`].
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }

    /// Says on responses that are not refused how much of the caller's own limits is left, in
    /// the fields `ratelimit-policy` and `ratelimit` (draft-ietf-httpapi-ratelimit-headers-11).
    /// Default: refusals alone say so.
    ///
    /// Of limits that a caller shares with others they say nothing: what is left would tell how
    /// busy those are.
    pub fn with_rate_limit_fields(mut self) -> Self {
        self.announced = true;
        self
    }

    /// How often a proven caller may call, whatever and over whichever connection. A caller is
    /// its name and the authenticator that proved it, so that a fresh token fills no bucket.
    ///
    /// # Errors
    ///
    /// The whole burst takes longer to earn than a meter can count, or a call's
    /// [cost](Self::cost) is beyond it.
    pub fn per_caller(self, limit: Limit) -> Result<Self, QuotaError> {
        self.rule("caller", (Scope::Caller, Unit::Calls), None, limit)
    }

    /// How often each proven caller may call these methods, all of them together. Patterns are
    /// as in [`Rules`](crate::Rules), and every one that fits a call holds.
    ///
    /// # Errors
    ///
    /// The pattern cannot be read; else as [`per_caller`](Self::per_caller).
    pub fn per_caller_of(self, pattern: &str, limit: Limit) -> Result<Self, QuotaError> {
        self.rule("caller of", (Scope::Caller, Unit::Calls), Some(pattern), limit)
    }

    /// How often these methods may be called, all of them together and by all callers together.
    /// Calls that are denied do not count. Patterns are as in [`Rules`](crate::Rules), and every
    /// one that fits a call holds.
    ///
    /// One caller can use it up for all. Where that matters,
    /// [`per_caller_of`](Self::per_caller_of) with a smaller limit stands before it.
    ///
    /// # Errors
    ///
    /// The pattern cannot be read; else as [`per_caller`](Self::per_caller).
    pub fn per_method(self, pattern: &str, limit: Limit) -> Result<Self, QuotaError> {
        self.rule("method", (Scope::Everybody, Unit::Calls), Some(pattern), limit)
    }

    /// How often the callers of one tenant may call, all of them together.
    ///
    /// # Errors
    ///
    /// As [`per_caller`](Self::per_caller).
    pub fn per_tenant(self, by: Tenant, limit: Limit) -> Result<Self, QuotaError> {
        self.rule("tenant", (Scope::Tenant(by), Unit::Calls), None, limit)
    }

    /// How often an address may call without proving anybody: public methods, and calls that are
    /// refused for want of good credentials. Those of proven callers do not count.
    ///
    /// An IPv6 /64 is one address, and so is a user over a Unix socket. Where addresses are not
    /// told, as over a listener of somebody else's, all such calls share one bucket. Behind a
    /// proxy everybody has the proxy's: leave it off there.
    ///
    /// # Errors
    ///
    /// As [`per_caller`](Self::per_caller).
    pub fn per_address(self, limit: Limit) -> Result<Self, QuotaError> {
        self.rule("address", (Scope::Address, Unit::Calls), None, limit)
    }

    /// How many bytes of messages a proven caller may send and be sent, both together: what
    /// flows in the bodies of its calls, compressed if it is, with five bytes before each
    /// message.
    ///
    /// Bytes are counted as they flow, and no call is stopped or slowed by it. So a big message
    /// may take more than there is. What is missing is owed, and until it is earned the caller's
    /// next calls are refused. A call is let in where there is at least one byte.
    ///
    /// # Errors
    ///
    /// The burst is 0, or takes longer to earn than a meter can count.
    pub fn bytes_per_caller(self, limit: Limit) -> Result<Self, QuotaError> {
        if limit.burst() == 0 {
            return Err(QuotaError::Nothing { limit: "bytes".to_owned() });
        }
        self.rule("bytes", (Scope::Caller, Unit::Bytes), None, limit)
    }

    /// How many calls a proven caller may have under way at once, over all its connections. Said
    /// twice, the last counts.
    ///
    /// A call is under way from its admission until its response has ended or was dropped, also
    /// with its connection.
    ///
    /// # Errors
    ///
    /// None may be.
    pub fn concurrent_streams_per_caller(mut self, most: u32) -> Result<Self, QuotaError> {
        let nothing = || QuotaError::Nothing { limit: STREAMS.to_owned() };
        let most = NonZeroU32::new(most).ok_or_else(nothing)?;
        self.streams = Some(Arc::new(Streams::new(most)));
        Ok(self.settled())
    }

    /// What a call of these methods takes from each limit of calls that is for it. Default: 1.
    /// With 0 it takes nothing and none of these limits holds it up, as for health checks.
    ///
    /// Patterns are as in [`Rules`](crate::Rules). An exact one goes first, and then the one with
    /// the most characters given; among equals the greatest cost.
    ///
    /// # Errors
    ///
    /// The pattern cannot be read or has a cost, or the cost is beyond the burst of a limit that
    /// is surely for such calls, whichever of the two was said first.
    pub fn cost(mut self, pattern: &str, cost: u64) -> Result<Self, QuotaError> {
        let parsed = Pattern::parse(pattern)?;
        if self.costs.all().any(|(known, _)| *known == parsed) {
            return Err(QuotaError::TwoCosts { pattern: pattern.to_owned() });
        }
        self.costs.add(parsed, cost);
        self.checked()
    }

    /// How often a credential from one address may be bad before others from there are refused
    /// unseen. A burst of 0 counts as 1. Said twice, the last counts.
    ///
    /// Whoever shares an address shares its failures: leave it off behind a proxy. An IPv6 /64
    /// is one address, and so is a user over a Unix socket. Callers whose connection has proven
    /// them already, calls without credentials and public methods are not held up. What is being
    /// looked at at the same moment is not counted yet, and what is given up before it was looked
    /// at never is. A good token's proof that lacks a nonce is not bad.
    ///
    /// # Errors
    ///
    /// The whole burst takes longer to earn than a meter can count.
    pub fn failures_per_address(mut self, limit: Limit) -> Result<Self, QuotaError> {
        let pace = Pace::new(limit.with_burst(limit.burst().max(1)))?;
        self.failures = Some(Arc::new(MeterMap::new(pace, Self::MAX_ADDRESSES)));
        Ok(self)
    }

    /// Whether anything depends on the method.
    pub(crate) fn knows_methods(&self) -> bool {
        !self.methods.is_empty() || !self.costs.is_empty()
    }

    fn rule(
        mut self,
        name: &str,
        (scope, unit): (Scope, Unit),
        pattern: Option<&str>,
        limit: Limit,
    ) -> Result<Self, QuotaError> {
        if self.calls.len() + self.bytes.len() >= Self::MAX_LIMITS {
            return Err(QuotaError::TooMany);
        }
        let name = pattern.map_or_else(|| name.to_owned(), |pattern| format!("{name} {pattern}"));
        let alike = |known: &str| known.split('#').next() == Some(&name);
        let known = self.calls.iter().chain(&self.bytes);
        let name = match known.filter(|rule| alike(&rule.name)).count() {
            0 => name,
            before => format!("{name}#{}", before + 1),
        };
        let places = match scope {
            Scope::Address => Self::MAX_ADDRESSES,
            Scope::Everybody | Scope::Caller | Scope::Tenant(_) => Self::MAX_CALLERS,
        };
        let pace = Pace::new(limit)?;
        let mut rule = Rule::new(name, (scope, unit), pace, (places, self.when_full));
        if let Some(pattern) = pattern {
            rule.of_methods = true;
            let number = u32::try_from(self.calls.len()).expect("few");
            self.methods.add(Pattern::parse(pattern)?, number);
        }
        match unit {
            Unit::Calls => self.calls.push(Arc::new(rule)),
            Unit::Bytes => self.bytes.push(Arc::new(rule)),
        }
        self.mark = Arc::default();
        self.kept_by_store()?.checked()
    }

    /// Refuses costs that a limit could never bear.
    fn checked(self) -> Result<Self, QuotaError> {
        for (of, cost) in self.costs.all() {
            let patterns = |number: usize| {
                self.methods.all().filter(move |(_, rule)| *rule as usize == number)
            };
            let too_small = self.calls.iter().enumerate().find(|(number, rule)| {
                let applies = !rule.of_methods || patterns(*number).any(|(it, _)| covers(it, of));
                applies && cost > rule.limit().burst()
            });
            if let Some((_, rule)) = too_small {
                return Err(QuotaError::Cost {
                    pattern: of.text(),
                    cost,
                    limit: rule.name.clone(),
                    burst: rule.limit().burst(),
                });
            }
        }
        Ok(self.settled())
    }

    /// Looks whether one limit is all there is.
    fn settled(mut self) -> Self {
        let nothing_else = self.bytes.is_empty() && self.streams.is_none() && !self.knows_methods();
        self.alone = match &*self.calls {
            [rule] if nothing_else => Some(Arc::clone(rule)),
            _ => None,
        };
        self
    }
}

/// Whether every method of the one pattern is surely one of the other's.
fn covers(wide: &Pattern, narrow: &Pattern) -> bool {
    let matches = |path: &String| MethodPath::parse(path).is_ok_and(|path| wide.matches(&path));
    wide == narrow || matches!(narrow, Pattern::Exact(path) if matches(path))
}

/// The name of the limit of calls under way.
pub(super) const STREAMS: &str = "streams";
/// The name of the limit of bad credentials.
pub(super) const FAILURES: &str = "failures";

impl Default for Quota {
    fn default() -> Self {
        Self::new()
    }
}
