use std::sync::Arc;
use std::time::Duration;

use super::admission::{Admission, ByteMeters, GoingOn};
use super::atomic::{AtomicMeter, Refused, Taken};
use super::builder::{Quota, STREAMS};
use super::call::{Charge, QuotaCall};
use super::exceeded::{Exceeded, Over};
use super::fields;
use super::kept::{Kept, KeptMeter};
use super::map::{Hold, MeterKey, MeterMap, Place};
use super::rule::{Meters, Rule};
use super::subject::Subject;
use crate::identity::{MethodPath, PeerAddress, Principal, Source};

/// Where one of a call's meters is.
#[derive(Clone, Copy)]
enum Meter<'a> {
    At(&'a AtomicMeter),
    In(&'a Arc<MeterMap>, MeterKey),
}

impl Meter<'_> {
    #[inline]
    fn try_take(self, rule: &Rule, now: u64, cost: u64) -> Result<(Taken, Place), Refused> {
        let now = rule.pace.at_ns(now);
        match self {
            Self::At(meter) => {
                meter.try_take(&rule.pace, now, cost).map(|taken| (taken, Place::Own))
            }
            Self::In(map, key) => map.try_take(key, now, cost),
        }
    }

    fn would_take(self, rule: &Rule, now: u64, cost: u64) -> Result<(), Refused> {
        let now = rule.pace.at_ns(now);
        match self {
            Self::At(meter) => meter.would_take(&rule.pace, now, cost),
            Self::In(map, key) => map.would_take(key, now, cost),
        }
    }

    fn give_back(self, rule: &Rule, now: u64, (taken, place): (Taken, Place)) {
        let now = rule.pace.at_ns(now);
        match self {
            Self::At(meter) => meter.give_back(taken, now),
            Self::In(map, key) => map.give_back(key, taken, place, now),
        }
    }

    fn remaining(self, rule: &Rule, now: u64) -> u64 {
        let now = rule.pace.at_ns(now);
        match self {
            Self::At(meter) => meter.remaining(&rule.pace, now),
            Self::In(map, key) => map.remaining(key, now),
        }
    }
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
        let kept = self.kept(call);
        // Most quotas have one limit, and most callers came before.
        if let Some(rule) = &self.alone
            && let Some(KeptMeter::At(hold)) = kept.and_then(Kept::first)
        {
            let now = rule.pace.at_ns(self.clock.now());
            return match hold.meter().try_take(&rule.pace, now, 1) {
                Ok(_) => Ok(Admission { going_on: None }),
                Err(refused) => Err(self.refused(rule, refused)),
            };
        }
        self.admit_by_all(call, kept)
    }

    /// The same by however many limits.
    #[inline(never)]
    fn admit_by_all<'a>(
        &'a self,
        call: QuotaCall<'a>,
        kept: Option<&'a Kept>,
    ) -> Result<Admission, Exceeded> {
        let asked = self.ask_with(call, kept);
        let going_on = asked.going_on()?;
        match asked.take_all() {
            Ok(()) => Ok(Admission { going_on }),
            Err((number, refused)) => Err(self.refused(&self.calls[number], refused)),
        }
    }

    /// The same for what no store counts: bytes, and calls under way.
    pub(super) fn admit_but_for_calls(&self, call: QuotaCall<'_>) -> Result<Admission, Exceeded> {
        Ok(Admission { going_on: self.ask(call).going_on()? })
    }

    /// What a call takes from which buckets, in words that are the same in every process. For
    /// stores; in memory nothing is taken.
    pub(super) fn charges<'a>(&'a self, call: QuotaCall<'a>) -> Vec<Charge<'a>> {
        let asked = self.ask(call);
        let cost = asked.cost;
        let rules = asked.calls().filter(|_| cost > 0).map(|(_, rule)| rule);
        let charge = |rule: &'a Arc<Rule>| {
            let subject = asked.subject(rule)?;
            Some(Charge { rule, subject, cost })
        };
        rules.filter_map(charge).collect()
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
        for (number, rule) in asked.calls().chain(asked.bytes()) {
            let meter = asked.meter(number, rule).filter(|_| rule.is_the_callers_own());
            let Some(meter) = meter else { continue };
            let left = match said {
                Some(said) if number < self.calls.len() => said.of(rule),
                _ => Some(meter.remaining(rule, asked.now)),
            };
            let Some(left) = left else { continue };
            policies.push(fields::policy(rule));
            // Who has nothing left waits for one; who has, spreads it.
            let window = rule.limit().time_of(left.max(1));
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

    fn ask<'a>(&'a self, call: QuotaCall<'a>) -> Asked<'a> {
        self.ask_with(call, self.kept(call))
    }

    /// What is kept with a remembered caller. Asking is how a caller comes to be remembered.
    #[inline]
    fn kept<'a>(&self, call: QuotaCall<'a>) -> Option<&'a Kept> {
        let kept = call.caller?.keep(|| Kept::new(self))?;
        // One quota's alone: whoever has another one is looked up.
        kept.is_of(self).then_some(kept)
    }

    #[inline]
    fn ask_with<'a>(&'a self, call: QuotaCall<'a>, kept: Option<&'a Kept>) -> Asked<'a> {
        let now = self.clock.now();
        let (methods, cost) = match call.path {
            Some(path) if self.knows_methods() => self.of_method(path),
            _ => (0, 1),
        };
        Asked { quota: self, call, now, cost, methods, kept }
    }

    /// Which of the limits of methods are for a method, and what a call costs.
    fn of_method(&self, path: MethodPath<'_>) -> (u32, u64) {
        let limits = self.methods.matching(path).fold(0, |all, number| all | 1 << number);
        (limits, self.costs.closest(path).unwrap_or(1))
    }

    #[cold]
    fn exceeded(&self, over: Over, refused: Refused) -> Exceeded {
        Exceeded::new(over, refused.retry_after().map(|wait| wait + self.clock.lag()))
    }

    #[cold]
    fn refused(&self, rule: &Arc<Rule>, refused: Refused) -> Exceeded {
        self.exceeded(Over::Rule(Arc::clone(rule)), refused)
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
    /// The limits of calls that are for the method.
    #[inline]
    fn calls(&self) -> impl Iterator<Item = (usize, &'a Arc<Rule>)> + use<'a> {
        let methods = self.methods;
        let all = self.quota.calls.iter().enumerate();
        all.filter(move |(number, rule)| !rule.of_methods || methods >> number & 1 == 1)
    }

    fn bytes(&self) -> impl Iterator<Item = (usize, &'a Arc<Rule>)> + use<'a> {
        let before = self.quota.calls.len();
        self.quota.bytes.iter().enumerate().map(move |(number, rule)| (before + number, rule))
    }

    /// The caller's meter under a limit; `None`: it is not for this call.
    #[inline]
    fn meter(&self, number: usize, rule: &'a Rule) -> Option<Meter<'a>> {
        let map = match &rule.meters {
            Meters::One(meter) => return (!self.call.is_denied).then_some(Meter::At(meter)),
            Meters::Many(map) => map,
        };
        if let Some(kept) = self.kept {
            let kept = kept.meter(number);
            match kept.get().unwrap_or_else(|| kept.get_or_init(|| self.find(rule, map))) {
                KeptMeter::At(hold) => return Some(Meter::At(hold.meter())),
                KeptMeter::None => return None,
                KeptMeter::Elsewhere => {}
            }
        }
        Some(Meter::In(map, map.key(self.subject(rule)?)))
    }

    fn subject(&self, rule: &Rule) -> Option<Subject<'a>> {
        let QuotaCall { caller, address, is_denied, .. } = self.call;
        rule.subject(caller, address).filter(|it| !is_denied || *it != Subject::Everybody)
    }

    #[cold]
    fn find(&self, rule: &Rule, map: &Arc<MeterMap>) -> KeptMeter {
        let Some(subject) = self.subject(rule) else { return KeptMeter::None };
        let hold = map.hold(map.key(subject), rule.pace.at_ns(self.now), true);
        hold.map_or(KeptMeter::Elsewhere, KeptMeter::At)
    }

    #[inline]
    fn take_all(&self) -> Result<(), (usize, Refused)> {
        if self.cost == 0 {
            return Ok(());
        }
        if self.quota.calls.len() > 1 {
            self.look_at_all()?;
        }
        self.take_from(0)
    }

    /// Refuses what a limit surely would, so that hardly ever something has to be given back.
    fn look_at_all(&self) -> Result<(), (usize, Refused)> {
        let mut longest: Option<(usize, Refused)> = None;
        for (number, rule) in self.calls() {
            let Some(meter) = self.meter(number, rule) else { continue };
            if let Err(refused) = meter.would_take(rule, self.now, self.cost)
                && longest.is_none_or(|(_, known)| known < refused)
            {
                longest = Some((number, refused));
            }
        }
        longest.map_or(Ok(()), Err)
    }

    /// Takes from this limit and all after it, or from none of them.
    #[inline]
    fn take_from(&self, first: usize) -> Result<(), (usize, Refused)> {
        let found = self.calls().find_map(|(number, rule)| match number < first {
            true => None,
            false => self.meter(number, rule).map(|meter| (number, rule, meter)),
        });
        let Some((number, rule, meter)) = found else { return Ok(()) };
        let taken = meter.try_take(rule, self.now, self.cost);
        let taken = taken.map_err(|refused| (number, refused))?;
        if number + 1 == self.quota.calls.len() {
            return Ok(());
        }
        self.take_rest(number + 1).inspect_err(|_| {
            // Looked at again: time may have given it back by itself.
            meter.give_back(rule, self.quota.clock.now(), taken);
        })
    }

    #[inline(never)]
    fn take_rest(&self, first: usize) -> Result<(), (usize, Refused)> {
        self.take_from(first)
    }

    /// What there is to do while the call goes on, where the quota looks at that.
    #[inline]
    fn going_on(&self) -> Result<Option<Box<GoingOn>>, Exceeded> {
        match self.quota.streams.is_none() && self.quota.bytes.is_empty() {
            true => Ok(None),
            false => self.go_on(),
        }
    }

    fn go_on(&self) -> Result<Option<Box<GoingOn>>, Exceeded> {
        let Some(caller) = self.call.caller else { return Ok(None) };
        let bytes = match self.quota.bytes.is_empty() {
            true => None,
            false => Some(self.byte_meters(caller)?),
        };
        let place = match &self.quota.streams {
            None => None,
            Some(streams) => Some(streams.enter(caller).ok_or_else(|| {
                let over = Over::Streams(streams.most().get());
                Exceeded::new(over, Some(Quota::STREAM_RETRY))
            })?),
        };
        Ok(Some(Box::new(GoingOn { _place: place, bytes })))
    }

    /// Where the call's bytes will be counted, unless the caller owes some.
    fn byte_meters(&self, caller: &Principal) -> Result<ByteMeters, Exceeded> {
        let mut meters = Vec::new();
        for (number, rule) in self.bytes() {
            let meter = self.byte_meter(number, rule, caller);
            let looked = meter.and_then(|(map, hold)| {
                let meter = hold.as_ref().map_or_else(|| map.shared_meter(), Hold::meter);
                meter.would_take(&rule.pace, rule.pace.at_ns(self.now), 1).map(|()| hold)
            });
            let hold = looked.map_err(|refused| self.quota.refused(rule, refused))?;
            meters.push((Arc::clone(rule), hold));
        }
        Ok(ByteMeters { clock: self.quota.clock.clone(), meters: meters.into() })
    }

    /// A caller's meter of bytes, held while the call goes on; without one, it is the one that is
    /// shared by all without a place.
    fn byte_meter(
        &self,
        number: usize,
        rule: &'a Rule,
        caller: &Principal,
    ) -> Result<(&'a Arc<MeterMap>, Option<Hold>), Refused> {
        let Meters::Many(map) = &rule.meters else { return Err(Refused::NEVER) };
        let kept = self.kept.map(|kept| kept.meter(number).get_or_init(|| self.find(rule, map)));
        if let Some(KeptMeter::At(hold)) = kept {
            return Ok((map, Some(hold.again())));
        }
        let key = map.key(Subject::Caller(caller));
        match map.hold(key, rule.pace.at_ns(self.now), false) {
            Some(hold) => Ok((map, Some(hold))),
            None if map.shared().is_some() => Ok((map, None)),
            None => Err(map.full(1)),
        }
    }
}
