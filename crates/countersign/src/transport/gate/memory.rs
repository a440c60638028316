//! What a connection remembers, so that a caller who was proven a moment ago is not proven again.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use http::HeaderValue;

use super::context::AuthContext;
use crate::authentication::{Authenticated, Carrier};
use crate::clock::Clock;
use crate::secret::{Secret, constant_time_eq};

/// A credential that was proven over one connection, and the methods that it was let call.
///
/// It is the only one that comes, or one of several that come. It is kept as it was sent, for as
/// long as the connection lives or until another one takes its place, and wiped then. It is
/// compared with what a call presents, all bytes, in constant time. Nobody but the connection's own
/// peer can profit: there is no way from one connection's memory to another's.
///
/// A refused credential leaves no trace, so it costs its sender the verification and nobody
/// anything else.
#[derive(Default)]
pub(crate) struct Memory {
    /// A connection's calls are decided one after the other, so that nobody waits here.
    known: Mutex<Option<Box<Known>>>,
}

/// Tells gates apart: several may stand on one connection's way.
#[derive(Debug, Default)]
pub(super) struct GateMark {
    /// Addresses of what has no size need not differ.
    _one_byte: u8,
}

struct Known {
    gate: Arc<GateMark>,
    proven: Option<Proven>,
    passes: Vec<Pass>,
    /// Methods that there was no place for.
    missed: usize,
    /// Credentials that were proven while another one was remembered.
    others: usize,
}

/// A credential and whom it proved.
struct Proven {
    /// `None`: the connection alone proved them.
    credential: Option<(Carrier, Secret<Vec<u8>>)>,
    callers: Arc<[Authenticated]>,
    /// The earliest end of all leases and of what they were granted for.
    ends: Option<SystemTime>,
}

/// A method that was let pass before. For public methods nobody has to be proven.
struct Pass {
    mix: u64,
    path: Box<str>,
    public: bool,
    context: AuthContext,
}

/// What is remembered about a call.
pub(super) enum Recalled {
    /// It may pass.
    Pass(AuthContext),
    /// Who calls; the method is new.
    Callers(Arc<[Authenticated]>),
    /// Nothing.
    Nothing,
}

/// A call's one credential, as it was sent.
pub(super) type Credential<'a> = Option<(Carrier, &'a HeaderValue)>;

impl Memory {
    /// Longer credentials are proven for each call, so that idle connections stay small.
    const MAX_CREDENTIAL_BYTES: usize = 4 * 1024;
    /// Longer paths are looked up for each call, for the same reason.
    const MAX_PATH_BYTES: usize = 128;
    /// How many methods are remembered.
    const MAX_PASSES: usize = 8;
    /// Of the credentials and methods that there is no place for, one in so many takes another's:
    /// who sends many in turn would do nothing but remember and forget.
    const ONE_IN: usize = 16;

    /// `present` finds the call's one credential. `Err` when it is none that could be known.
    /// What was let pass by another generation of the gate's policy is not known any more.
    #[inline]
    pub(super) fn recall<'a>(
        &self,
        gate: &Arc<GateMark>,
        path: &str,
        generation: u64,
        clock: &dyn Clock,
        present: impl FnOnce() -> Result<Credential<'a>, ()>,
    ) -> Recalled {
        let mut slot = self.lock();
        let Some(known) = slot.as_deref_mut().filter(|known| Arc::ptr_eq(&known.gate, gate)) else {
            return Recalled::Nothing;
        };
        let mix = mix(path);
        let pass = known.passes.iter().find(|pass| pass.is_of(mix, path));
        let pass = pass.filter(|pass| pass.context.generation() == generation);
        if let Some(pass) = pass.filter(|pass| pass.public) {
            return Recalled::Pass(pass.context.clone());
        }
        let Some(proven) = &known.proven else { return Recalled::Nothing };
        match present() {
            Ok(credential) if proven.is_by(credential) => {}
            _ => return Recalled::Nothing,
        }
        if !proven.holds(clock) {
            known.proven = None;
            known.passes.retain(|pass| pass.public);
            return Recalled::Nothing;
        }
        match pass {
            Some(pass) => Recalled::Pass(pass.context.clone()),
            None => Recalled::Callers(Arc::clone(&proven.callers)),
        }
    }

    /// Remembers whom a credential proved. Each of the callers has a lease.
    pub(super) fn prove(
        &self,
        gate: &Arc<GateMark>,
        clock: &dyn Clock,
        credential: Credential<'_>,
        callers: &Arc<[Authenticated]>,
    ) {
        if credential.is_some_and(|(_, value)| value.len() > Self::MAX_CREDENTIAL_BYTES) {
            return;
        }
        let mut slot = self.lock();
        let known = Known::of(&mut slot, gate);
        if known.proven.as_ref().is_some_and(|one| one.holds(clock)) {
            known.others = known.others.wrapping_add(1);
            if !known.others.is_multiple_of(Self::ONE_IN) {
                return;
            }
        }
        let credential =
            credential.map(|(kind, value)| (kind, Secret::new(value.as_bytes().to_vec())));
        let ends = callers.iter().filter_map(Authenticated::ends).min();
        let proven = Proven { credential, callers: Arc::clone(callers), ends };
        if proven.holds(clock) {
            known.passes.retain(|pass| pass.public);
            known.proven = Some(proven);
        }
    }

    /// Remembers that a method may be called by those who are known now, or by everybody.
    pub(super) fn pass(
        &self,
        gate: &Arc<GateMark>,
        path: &str,
        public: bool,
        context: &AuthContext,
    ) {
        if path.len() > Self::MAX_PATH_BYTES {
            return;
        }
        let mut slot = self.lock();
        let known = Known::of(&mut slot, gate);
        let same = known.proven.as_ref().is_some_and(|one| context.is_about(&one.callers));
        if !public && !same {
            return;
        }
        let mix = mix(path);
        if let Some(pass) = known.passes.iter_mut().find(|pass| pass.is_of(mix, path)) {
            // Another policy let it pass.
            pass.context = context.clone();
            return;
        }
        // Nobody will ask for what an earlier policy let pass.
        let generation = context.generation();
        known.passes.retain(|pass| pass.public || pass.context.generation() == generation);
        if known.passes.len() == Self::MAX_PASSES {
            known.missed = known.missed.wrapping_add(1);
            if !known.missed.is_multiple_of(Self::ONE_IN) {
                return;
            }
            known.passes.remove(0);
        }
        // Most connections call few methods, and there are many connections.
        known.passes.reserve_exact(1);
        known.passes.push(Pass { mix, path: path.into(), public, context: context.clone() });
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<Known>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// What is known for this gate. What was known for another one is forgotten.
    fn of<'a>(slot: &'a mut Option<Box<Self>>, gate: &Arc<GateMark>) -> &'a mut Self {
        if slot.as_ref().is_some_and(|known| !Arc::ptr_eq(&known.gate, gate)) {
            *slot = None;
        }
        slot.get_or_insert_with(|| {
            let gate = Arc::clone(gate);
            Box::new(Self { gate, proven: None, passes: Vec::new(), missed: 0, others: 0 })
        })
    }
}

impl Pass {
    fn is_of(&self, mix: u64, path: &str) -> bool {
        self.mix == mix && *self.path == *path
    }
}

/// A number that most other paths have not got. It spares comparing with them, and decides
/// nothing: whoever finds a collision pays for a comparison.
fn mix(path: &str) -> u64 {
    path.as_bytes().chunks(8).fold(path.len() as u64, |mixed, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        (mixed.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    })
}

impl Proven {
    fn is_by(&self, presented: Credential<'_>) -> bool {
        match (&self.credential, presented) {
            (None, None) => true,
            (Some((kind, known)), Some((carrier, value))) => {
                *kind == carrier && constant_time_eq(known.expose(), value.as_bytes())
            }
            _ => false,
        }
    }

    fn holds(&self, clock: &dyn Clock) -> bool {
        self.ends.is_none_or(|end| clock.now() < end)
            && self.callers.iter().all(|one| one.lease().is_some_and(|lease| lease.is_current()))
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory(..)")
    }
}
