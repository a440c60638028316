use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::atomic::{AtomicMeter, Refused, Taken};
use super::builder::{FAILURES, Mark, Quota, STREAMS};
use super::fields;
use super::map::{Hold, MeterKey, MeterMap, Place};
use super::rule::{Meters, Rule, Scope, Unit};
use super::steady::SteadyClock;
use super::streams::StreamPlace;
use super::subject::Subject;
use crate::identity::{MethodPath, PeerAddress, Principal, Source};

/// One call, as far as a quota looks at it.
#[derive(Clone, Copy, Debug)]
pub struct QuotaCall<'a> {
    caller: Option<&'a Principal>,
    address: &'a PeerAddress,
    path: Option<MethodPath<'a>>,
}

impl<'a> QuotaCall<'a> {
    /// A proven caller's.
    pub fn by(caller: &'a Principal) -> Self {
        Self { caller: Some(caller), address: &PeerAddress::Unknown, path: None }
    }

    /// One of whom nobody is proven, from an address.
    pub fn from(address: &'a PeerAddress) -> Self {
        Self { caller: None, address, path: None }
    }

    /// The same call of a method. Without one no limit of methods is for it, and it costs 1.
    #[must_use]
    pub fn to(mut self, path: MethodPath<'a>) -> Self {
        self.path = Some(path);
        self
    }
}

/// The right to one call. It holds the call's place among those under way, for as long as it is.
#[derive(Debug)]
#[must_use = "the call's place is given back when this is dropped"]
pub struct Admission {
    _place: Option<StreamPlace>,
    bytes: Option<ByteMeters>,
}

impl Admission {
    /// Takes bytes that flowed in either direction. What is not there is owed.
    pub fn charge_bytes(&self, bytes: u64) {
        if let Some(meters) = &self.bytes {
            meters.charge(bytes);
        }
    }

    /// What the call's other half charges its bytes to; `None`: nobody counts them.
    pub(crate) fn bytes(&self) -> Option<&ByteMeters> {
        self.bytes.as_ref()
    }

    /// Whether there is nothing to do while the call goes on.
    pub(crate) fn is_over(&self) -> bool {
        self._place.is_none() && self.bytes.is_none()
    }
}

/// Where a call's bytes are counted.
#[derive(Clone, Debug)]
pub(crate) struct ByteMeters {
    clock: SteadyClock,
    meters: Arc<[ByteMeter]>,
}

/// A limit of bytes, and the caller's meter under it; `None`: the one that is shared by all
/// without a place.
type ByteMeter = (Arc<Rule>, Option<Arc<Hold>>);

impl ByteMeters {
    pub(crate) fn charge(&self, bytes: u64) {
        let now = self.clock.now();
        for (rule, hold) in &*self.meters {
            let meter = match (hold, &rule.meters) {
                (Some(hold), _) => hold.meter(),
                (None, Meters::Many(map)) => map.shared_meter(),
                (None, Meters::One(meter)) => meter,
            };
            meter.charge(&rule.pace, rule.pace.at_ns(now), bytes);
        }
    }
}

/// A limit refuses a call. `Display` names the limit and no one's numbers but the limit's own.
#[derive(Clone, Debug)]
pub struct Exceeded {
    over: Over,
    retry_after: Option<Duration>,
}

#[derive(Clone, Debug)]
enum Over {
    Rule(Arc<Rule>),
    Streams(u32),
    Failures,
}

impl Exceeded {
    /// The limit's name: `caller`, `caller of <pattern>`, `method <pattern>`, `tenant`,
    /// `address`, `bytes`, `streams` or `failures`; the second of one name ends in `#2`.
    pub fn limit(&self) -> &str {
        match &self.over {
            Over::Rule(rule) => &rule.name,
            Over::Streams(_) => STREAMS,
            Over::Failures => FAILURES,
        }
    }

    /// When the same call is worth trying again; `None`: never.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// `ratelimit-policy` where the caller is known, and `ratelimit`.
    pub(crate) fn fields(&self) -> (Option<String>, String) {
        let policy = match &self.over {
            // Strangers are not told how many addresses it takes.
            Over::Rule(rule) if rule.scope == Scope::Address => None,
            Over::Rule(rule) => Some(fields::policy(rule)),
            Over::Streams(most) => Some(fields::streams_policy(*most)),
            Over::Failures => None,
        };
        (policy, fields::available(self.limit(), 0, self.retry_after))
    }
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.over {
            Over::Rule(_) | Over::Failures => write!(f, "the limit {:?} is used up", self.limit()),
            Over::Streams(most) => write!(f, "{most} calls are under way already"),
        }
    }
}

impl std::error::Error for Exceeded {}

/// What a remembered caller keeps: its meters under each limit, found once.
struct Kept {
    mark: Arc<Mark>,
    meters: Box<[OnceLock<KeptMeter>]>,
}

enum KeptMeter {
    At(Arc<Hold>),
    /// There was no place for one more.
    Elsewhere,
    /// The limit is not for this caller.
    None,
}

/// Where one of a call's meters is.
#[derive(Clone, Copy)]
enum Meter<'a> {
    At(&'a AtomicMeter),
    In(&'a Arc<MeterMap>, MeterKey),
}

/// One call and what had to be found out about it.
struct Asked<'a> {
    quota: &'a Quota,
    call: QuotaCall<'a>,
    now: u64,
    cost: u64,
    /// Which of the limits of methods are for it.
    methods: u32,
    kept: Option<&'a Kept>,
}

impl Quota {
    /// How long somebody waits for one of its own calls to end; nobody knows.
    const STREAM_RETRY: Duration = Duration::from_secs(1);

    /// Takes a call from every limit that is for it, or from none.
    ///
    /// For those who stand no [`Gate`](crate::Gate) before a service; gates do this themselves.
    /// No [store](Self::shared) is asked: calls are counted in this process.
    ///
    /// # Errors
    ///
    /// A limit refuses it; of several the one that does so longest.
    #[inline]
    pub fn admit(&self, call: QuotaCall<'_>) -> Result<Admission, Exceeded> {
        let asked = self.ask(call);
        let admission = asked.admit_but_for_calls()?;
        if asked.cost > 0 {
            asked.take_all()?;
        }
        Ok(admission)
    }

    /// The same for what no store counts: bytes, and calls under way.
    pub(super) fn admit_but_for_calls(&self, call: QuotaCall<'_>) -> Result<Admission, Exceeded> {
        self.ask(call).admit_but_for_calls()
    }

    /// What a call takes from which buckets, in words that are the same in every process. For
    /// stores; in memory nothing is taken.
    pub(super) fn charges<'a>(
        &'a self,
        call: QuotaCall<'a>,
    ) -> impl Iterator<Item = Charge<'a>> + use<'a> {
        let asked = self.ask(call);
        let cost = asked.cost;
        let rules: Vec<_> = asked.rules(Unit::Calls).map(|(_, rule)| rule).collect();
        rules.into_iter().filter_map(move |rule| {
            let subject = rule.subject(call.caller, call.address)?;
            (cost > 0).then_some(Charge { rule, subject, cost })
        })
    }

    /// What is left of a caller's own limits: `ratelimit-policy` and `ratelimit`, where it is
    /// wanted and there are any. `said`: what a store has said of those of calls, if one was
    /// asked; of what it has not spoken of, nothing is told.
    pub(crate) fn announce(
        &self,
        call: QuotaCall<'_>,
        said: Option<&Left<'_>>,
    ) -> Option<(String, String)> {
        let caller = call.caller.filter(|_| self.announced)?;
        let asked = self.ask(call);
        let (mut policies, mut available) = (Vec::new(), Vec::new());
        for (number, rule) in asked.rules(Unit::Calls).chain(asked.rules(Unit::Bytes)) {
            let Some(meter) = asked.meter(number, rule).filter(|_| rule.is_the_callers_own())
            else {
                continue;
            };
            let now = rule.pace.at_ns(asked.now);
            let left = match (said, rule.unit, meter) {
                (Some(said), Unit::Calls, _) => said.of(rule),
                (_, _, Meter::At(meter)) => Some(meter.remaining(&rule.pace, now)),
                (_, _, Meter::In(map, key)) => Some(map.remaining(key, now)),
            };
            let Some(left) = left else { continue };
            policies.push(fields::policy(rule));
            let window = match left {
                0 => rule.limit().time_of(1),
                left => rule.limit().time_of(left),
            };
            available.push(fields::available(&rule.name, left, Some(window)));
        }
        if let Some(streams) = &self.streams {
            policies.push(fields::streams_policy(streams.most().get()));
            let left = streams.remaining(caller).into();
            available.push(fields::available(STREAMS, left, None));
        }
        (!policies.is_empty()).then(|| (policies.join(", "), available.join(", ")))
    }

    /// An address has to wait before a credential from there is looked at.
    pub(crate) fn held_up(&self, address: &PeerAddress) -> Option<Exceeded> {
        let (failures, source) = self.failures.as_ref().zip(Source::of(address))?;
        let now = failures.pace().at_ns(self.clock.now());
        let refused = failures.would_take(failures.key(source), now, 1).err()?;
        Some(self.exceeded(Over::Failures, refused))
    }

    /// A credential from an address was bad.
    pub(crate) fn failed(&self, address: &PeerAddress) {
        if let Some((failures, source)) = self.failures.as_ref().zip(Source::of(address)) {
            let now = failures.pace().at_ns(self.clock.now());
            // Where it is used up already it does not take longer.
            let _ = failures.try_take(failures.key(source), now, 1);
        }
    }

    #[inline]
    fn ask<'a>(&'a self, call: QuotaCall<'a>) -> Asked<'a> {
        let (mut methods, mut cost) = (0, 1);
        if let Some(path) = call.path {
            if !self.methods.is_empty() {
                methods = self.methods.matching(path).fold(0, |all, number| all | 1 << number);
            }
            if !self.costs.is_empty() {
                cost = self.costs.closest(path).unwrap_or(1);
            }
        }
        let kept = call.caller.and_then(|caller| {
            let make = || Kept {
                mark: Arc::clone(&self.mark),
                meters: (0..self.rules.len()).map(|_| OnceLock::new()).collect(),
            };
            // One quota's alone: whoever has another one is looked up.
            caller.keep(make).filter(|kept| Arc::ptr_eq(&kept.mark, &self.mark))
        });
        Asked { quota: self, call, now: self.clock.now(), cost, methods, kept }
    }

    fn exceeded(&self, over: Over, refused: Refused) -> Exceeded {
        let retry_after = refused.retry_after().map(|wait| wait + self.clock.lag());
        Exceeded { over, retry_after }
    }
}

/// What a store has left under which limits.
#[derive(Debug, Default)]
pub(crate) struct Left<'a>(pub(super) Vec<(Charge<'a>, u64)>);

impl Left<'_> {
    fn of(&self, rule: &Arc<Rule>) -> Option<u64> {
        let found = self.0.iter().find(|(charge, _)| Arc::ptr_eq(charge.rule, rule));
        found.map(|(_, left)| *left)
    }
}

impl<'a> Asked<'a> {
    #[inline]
    fn admit_but_for_calls(&self) -> Result<Admission, Exceeded> {
        let bytes = self.bytes()?;
        let place = self.place()?;
        Ok(Admission { _place: place, bytes })
    }

    /// The limits that are for the call's method.
    fn rules(&self, unit: Unit) -> impl Iterator<Item = (usize, &'a Arc<Rule>)> + use<'a> {
        let methods = self.methods;
        self.quota.rules.iter().enumerate().filter(move |(number, rule)| {
            rule.unit == unit && (!rule.of_methods || methods >> number & 1 == 1)
        })
    }

    /// The caller's meter under a limit; `None`: it is not for this call.
    #[inline]
    fn meter(&self, number: usize, rule: &'a Rule) -> Option<Meter<'a>> {
        let map = match &rule.meters {
            Meters::One(meter) => return Some(Meter::At(meter)),
            Meters::Many(map) => map,
        };
        let subject = || rule.subject(self.call.caller, self.call.address);
        if let Some(kept) = self.kept {
            let meter = kept.meters[number].get_or_init(|| match subject() {
                Some(subject) => self.hold(map, rule, &subject, true),
                None => KeptMeter::None,
            });
            match meter {
                KeptMeter::At(hold) => return Some(Meter::At(hold.meter())),
                KeptMeter::None => return None,
                KeptMeter::Elsewhere => {}
            }
        }
        Some(Meter::In(map, map.key(subject()?)))
    }

    fn hold(
        &self,
        map: &Arc<MeterMap>,
        rule: &Rule,
        subject: &Subject<'_>,
        sparing: bool,
    ) -> KeptMeter {
        match map.hold(map.key(subject), rule.pace.at_ns(self.now), sparing) {
            Some(hold) => KeptMeter::At(Arc::new(hold)),
            None => KeptMeter::Elsewhere,
        }
    }

    fn exceeded(&self, rule: &Arc<Rule>, refused: Refused) -> Exceeded {
        self.quota.exceeded(Over::Rule(Arc::clone(rule)), refused)
    }

    #[inline]
    fn take_all(&self) -> Result<(), Exceeded> {
        if self.quota.rules.len() > 1 {
            self.look_at_all()?;
        }
        self.take_from(0)
    }

    /// Refuses what a limit surely would, so that hardly ever something has to be given back.
    fn look_at_all(&self) -> Result<(), Exceeded> {
        let mut worst: Option<(&Arc<Rule>, Refused)> = None;
        for (number, rule) in self.rules(Unit::Calls) {
            let Some(meter) = self.meter(number, rule) else { continue };
            let now = rule.pace.at_ns(self.now);
            let looked = match meter {
                Meter::At(meter) => meter.would_take(&rule.pace, now, self.cost),
                Meter::In(map, key) => map.would_take(key, now, self.cost),
            };
            if let Err(refused) = looked
                && worst.is_none_or(|(_, known)| known < refused)
            {
                worst = Some((rule, refused));
            }
        }
        worst.map_or(Ok(()), |(rule, refused)| Err(self.exceeded(rule, refused)))
    }

    /// Takes from the limits from this one on, or from none of them.
    fn take_from(&self, first: usize) -> Result<(), Exceeded> {
        let mut rules = self.rules(Unit::Calls).skip_while(|(number, _)| *number < first);
        let found = rules.find_map(|(number, rule)| {
            let meter = self.meter(number, rule)?;
            Some((number, rule, meter))
        });
        let Some((number, rule, meter)) = found else { return Ok(()) };
        let (pace, now) = (&rule.pace, rule.pace.at_ns(self.now));
        let outcome = match meter {
            Meter::At(meter) => {
                meter.try_take(pace, now, self.cost).map(|taken| (taken, Place::Own))
            }
            Meter::In(map, key) => map.try_take(key, now, self.cost),
        };
        let (taken, place) = outcome.map_err(|refused| self.exceeded(rule, refused))?;
        if number + 1 == self.quota.rules.len() {
            return Ok(());
        }
        self.take_from(number + 1).inspect_err(|_| self.give_back(rule, meter, taken, place))
    }

    #[cold]
    fn give_back(&self, rule: &Rule, meter: Meter<'_>, taken: Taken, place: Place) {
        // Looked at again: time may have given it back by itself.
        let now = rule.pace.at_ns(self.quota.clock.now());
        match meter {
            Meter::At(meter) => meter.give_back(taken, now),
            Meter::In(map, key) => map.give_back(key, taken, place, now),
        }
    }

    /// A place among the caller's calls under way.
    #[inline]
    fn place(&self) -> Result<Option<StreamPlace>, Exceeded> {
        let Some((streams, caller)) = self.quota.streams.as_ref().zip(self.call.caller) else {
            return Ok(None);
        };
        let over = || Over::Streams(streams.most().get());
        let retry_after = Some(Quota::STREAM_RETRY);
        let place = streams.enter(caller);
        place.map(Some).ok_or_else(|| Exceeded { over: over(), retry_after })
    }

    /// Where the call's bytes will be counted, unless the caller owes some.
    #[inline]
    fn bytes(&self) -> Result<Option<ByteMeters>, Exceeded> {
        if self.call.caller.is_none() || self.rules(Unit::Bytes).next().is_none() {
            return Ok(None);
        }
        let mut meters = Vec::new();
        for (number, rule) in self.rules(Unit::Bytes) {
            let hold = self.byte_meter(number, rule)?;
            let now = rule.pace.at_ns(self.now);
            let looked = match (&hold, &rule.meters) {
                (Some(hold), _) => hold.meter().would_take(&rule.pace, now, 1),
                (None, Meters::Many(map)) => map.shared_meter().would_take(&rule.pace, now, 1),
                (None, Meters::One(meter)) => meter.would_take(&rule.pace, now, 1),
            };
            looked.map_err(|refused| self.exceeded(rule, refused))?;
            meters.push((Arc::clone(rule), hold));
        }
        Ok(Some(ByteMeters { clock: self.quota.clock.clone(), meters: meters.into() }))
    }

    /// A caller's meter of bytes, held while the call goes on; `None`: one that is shared by all
    /// without a place.
    fn byte_meter(&self, number: usize, rule: &Arc<Rule>) -> Result<Option<Arc<Hold>>, Exceeded> {
        let (Meters::Many(map), Some(caller)) = (&rule.meters, self.call.caller) else {
            return Ok(None);
        };
        let subject = Subject::Caller(caller);
        if let Some(kept) = self.kept
            && let KeptMeter::At(hold) =
                kept.meters[number].get_or_init(|| self.hold(map, rule, &subject, true))
        {
            return Ok(Some(Arc::clone(hold)));
        }
        match self.hold(map, rule, &subject, false) {
            KeptMeter::At(hold) => Ok(Some(hold)),
            _ if map.shared().is_some() => Ok(None),
            _ => Err(self.exceeded(rule, map.full(1))),
        }
    }
}

/// What a call takes from one bucket of a store.
#[derive(Debug)]
pub(crate) struct Charge<'a> {
    rule: &'a Arc<Rule>,
    subject: Subject<'a>,
    cost: u64,
}

impl<'a> Charge<'a> {
    /// The limit's name.
    pub(crate) fn name(&self) -> &'a str {
        &self.rule.name
    }

    pub(crate) fn limit(&self) -> super::Limit {
        self.rule.limit()
    }

    pub(crate) fn cost(&self) -> u64 {
        self.cost
    }

    /// Whose bucket it is: with the limit's name, the same in every process of a fleet whose
    /// quota is built alike, and another one's for no other bucket.
    pub(crate) fn subject(&self) -> &Subject<'a> {
        &self.subject
    }

    /// The refusal of a call by this limit.
    pub(crate) fn exceeded(&self, retry_after: Option<Duration>) -> Exceeded {
        Exceeded { over: Over::Rule(Arc::clone(self.rule)), retry_after }
    }
}
