//! Authenticators made of authenticators.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    Authenticated, AuthenticationError, Authenticator, Evidence, EvidenceKinds, Judged, Lease,
    Outcome, Proof, Readiness, Reason,
};
use crate::identity::Principal;

/// One of several authenticators has to accept; the first in the list that does names the
/// principal.
///
/// A gate with several authenticators works like this by itself. This is for where a rule or
/// [`all_of`] needs one name for several. Principals keep their names and are proven in the name
/// of the combination: list only authenticators that mean the same callers by the same names.
///
/// As in a gate, a credential in the metadata has to be accepted by one that reads it, and never
/// falls back to a certificate.
pub fn any_of(
    name: impl Into<String>,
    authenticators: impl IntoIterator<Item = Arc<dyn Authenticator>>,
) -> AnyOf {
    AnyOf { members: Members::new(name.into(), authenticators) }
}

/// Every one of several authenticators has to accept, for instance a certificate *and* a token.
///
/// The principal is the first one's, proven in the name of the combination. It ends when the
/// first of them all does, and is known without another look only while all of them are.
pub fn all_of(
    name: impl Into<String>,
    authenticators: impl IntoIterator<Item = Arc<dyn Authenticator>>,
) -> AllOf {
    AllOf { members: Members::new(name.into(), authenticators) }
}

/// What [`any_of`] makes.
#[derive(Debug)]
pub struct AnyOf {
    members: Members,
}

/// What [`all_of`] makes. Without members it accepts nobody.
#[derive(Debug)]
pub struct AllOf {
    members: Members,
}

#[derive(Debug)]
struct Members {
    name: String,
    all: Vec<Arc<dyn Authenticator>>,
    challenges: Vec<&'static str>,
}

impl Members {
    fn new(name: String, all: impl IntoIterator<Item = Arc<dyn Authenticator>>) -> Self {
        let all: Vec<_> = all.into_iter().collect();
        let challenges = all.iter().flat_map(|one| one.challenges()).copied().collect();
        Self { name, all, challenges }
    }

    fn reads(&self) -> EvidenceKinds {
        self.all.iter().fold(EvidenceKinds::default(), |kinds, one| kinds.or(one.reads()))
    }

    fn is_repeatable(&self) -> bool {
        self.all.iter().all(|one| one.is_repeatable())
    }

    fn readiness(&self) -> Readiness {
        let all = self.all.iter().map(|one| one.readiness());
        all.into_iter().find(|one| !one.is_ready()).unwrap_or(Readiness::Ready)
    }

    fn ask_now(&self, evidence: &Evidence<'_>) -> Option<Vec<Outcome>> {
        self.all.iter().map(|one| one.authenticate_now(evidence)).collect()
    }

    async fn ask(&self, evidence: &Evidence<'_>) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(self.all.len());
        for one in &self.all {
            outcomes.push(match one.authenticate_now(evidence) {
                Some(outcome) => outcome,
                None => one.authenticate(evidence).await,
            });
        }
        outcomes
    }

    /// The first that accepts, in the order of the list among those that read the same.
    fn any(&self, evidence: &Evidence<'_>, outcomes: Vec<Outcome>) -> Outcome {
        let nothing = outcomes.iter().all(|outcome| matches!(outcome, Ok(None)));
        if nothing {
            return Ok(None);
        }
        let mut judged = Judged::default();
        for (one, outcome) in self.all.iter().zip(outcomes) {
            judged.add(&**one, evidence, outcome);
        }
        let lasts = judged.lasts();
        let first = judged.callers()?.into_iter().next();
        Ok(first.map(|caller| {
            let caller = caller.vouched_by(&self.name);
            if lasts { caller } else { caller.not_leased() }
        }))
    }

    fn every(&self, evidence: &Evidence<'_>, outcomes: Vec<Outcome>) -> Outcome {
        let mut callers: Vec<Authenticated> = Vec::with_capacity(outcomes.len());
        let mut silent = None;
        for (one, outcome) in self.all.iter().zip(outcomes) {
            match outcome? {
                Some(caller) if caller.principal().authenticator() == one.name() => {
                    callers.push(caller);
                }
                Some(_) => {
                    let what = "an authenticator vouches in the name of another";
                    return Err(AuthenticationError::unavailable(what));
                }
                None => silent = Some(one.name()),
            }
        }
        if let Some(silent) = silent {
            // A certificate alone is no attempt at the whole, and others may read it too.
            return match evidence.call().is_read_by(self.reads()) {
                false => Ok(None),
                true => Err(AuthenticationError::new(
                    Reason::CredentialsMissing,
                    format!("{:?} asks for {silent:?} too, which has no evidence", self.name),
                )),
            };
        }
        let mut callers = callers.into_iter();
        let Some(first) = callers.next() else { return Ok(None) };
        let first = first.vouched_by(&self.name);
        Ok(Some(callers.fold(first, |first, other| first.bound_to(&other))))
    }
}

macro_rules! combination {
    ($name:ident, $judge:ident) => {
        #[async_trait]
        impl Authenticator for $name {
            fn name(&self) -> &str {
                &self.members.name
            }

            fn reads(&self) -> EvidenceKinds {
                self.members.reads()
            }

            fn authenticate_now(&self, evidence: &Evidence<'_>) -> Option<Outcome> {
                let outcomes = self.members.ask_now(evidence)?;
                Some(self.members.$judge(evidence, outcomes))
            }

            async fn authenticate(&self, evidence: &Evidence<'_>) -> Outcome {
                let outcomes = self.members.ask(evidence).await;
                self.members.$judge(evidence, outcomes)
            }

            fn is_repeatable(&self) -> bool {
                self.members.is_repeatable()
            }

            fn readiness(&self) -> Readiness {
                self.members.readiness()
            }

            fn challenges(&self) -> &[&'static str] {
                &self.members.challenges
            }
        }
    };
}

combination!(AnyOf, any);
combination!(AllOf, every);

/// Knows a call without any evidence as the principal `anonymous`, so that handlers behind
/// [`Rules::optional`](crate::Rules::optional) always have one.
///
/// Evidence that is there and bad is refused: it never counts as absent. A rule lets `anonymous`
/// in only where it is optional or names this authenticator; for `authenticated` rules it is
/// nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Anonymous;

impl Anonymous {
    /// What rules call it, and the principal's name.
    pub const NAME: &'static str = "anonymous";
}

impl Authenticator for Anonymous {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn reads(&self) -> EvidenceKinds {
        EvidenceKinds { certificate: true, authorization: true, api_key: true }
    }

    fn is_repeatable(&self) -> bool {
        true
    }

    fn authenticate_now(&self, evidence: &Evidence<'_>) -> Option<Outcome> {
        let nothing = matches!(evidence.call(), super::CallEvidence::None)
            && matches!(evidence.proof(), Proof::None)
            && evidence.peer().certificate().is_none();
        let anonymous = || Principal::new(Self::NAME, Self::NAME);
        let accepted = || evidence.accept(anonymous()).made_anonymous().leased(Lease::unlimited());
        Some(Ok(nothing.then(accepted)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::authentication::{CallEvidence, Generation, StaticTokens};
    use crate::identity::PeerIdentity;

    /// Accepts one bearer token; its caller ends after so many seconds.
    #[derive(Debug)]
    struct Knows(&'static str, &'static str, u64, Generation);

    #[async_trait]
    impl Authenticator for Knows {
        fn name(&self) -> &str {
            self.0
        }
        fn reads(&self) -> EvidenceKinds {
            EvidenceKinds { authorization: true, ..EvidenceKinds::default() }
        }
        fn is_repeatable(&self) -> bool {
            true
        }
        fn authenticate_now(&self, evidence: &Evidence<'_>) -> Option<Outcome> {
            let end = UNIX_EPOCH + Duration::from_secs(self.2);
            Some(match evidence.call() {
                CallEvidence::Bearer(token) if token == self.1 => {
                    let lease = Lease::until(end).within(&self.3, self.3.now());
                    let caller = evidence.accept(Principal::new(format!("by {}", self.0), self.0));
                    Ok(Some(caller.expiring_at(end).leased(lease)))
                }
                CallEvidence::Bearer(_) => {
                    Err(AuthenticationError::new(Reason::TokenInvalid, "another"))
                }
                _ => Ok(None),
            })
        }
        fn challenges(&self) -> &[&'static str] {
            &["Bearer"]
        }
    }

    fn knows(name: &'static str, token: &'static str, end: u64) -> Arc<dyn Authenticator> {
        Arc::new(Knows(name, token, end, Generation::new()))
    }

    fn judged(one: &dyn Authenticator, call: CallEvidence<'_>) -> Result<String, Reason> {
        let peer = PeerIdentity::unknown();
        let outcome = one.authenticate_now(&Evidence::new(&peer, call)).expect("at once");
        match outcome {
            Ok(Some(caller)) => Ok(format!("{:?}", caller.principal())),
            Ok(None) => Ok("nothing".to_owned()),
            Err(error) => Err(error.reason()),
        }
    }

    #[test]
    fn any_of_takes_whom_one_of_them_takes() {
        let any = any_of("any", [knows("a", "t", 1), knows("b", "t", 2), knows("c", "u", 3)]);
        for (token, told) in [
            ("t", Ok(r#"Principal("by a" by any)"#.to_owned())),
            ("u", Ok(r#"Principal("by c" by any)"#.to_owned())),
            ("v", Err(Reason::TokenInvalid)),
        ] {
            assert_eq!(judged(&any, CallEvidence::Bearer(token)), told, "{token}");
        }
        assert_eq!(judged(&any, CallEvidence::None), Ok("nothing".to_owned()));
        assert_eq!(any.challenges(), ["Bearer"; 3]);
        let nobody = any_of("none", []);
        assert_eq!(judged(&nobody, CallEvidence::Bearer("t")), Ok("nothing".to_owned()));
    }

    #[test]
    fn all_of_takes_whom_all_of_them_take_until_the_first_of_them_ends() {
        let all = all_of("all", [knows("a", "t", 9), knows("b", "t", 5)]);
        assert_eq!(
            judged(&all, CallEvidence::Bearer("t")),
            Ok(r#"Principal("by a" by all)"#.to_owned())
        );
        assert_eq!(judged(&all, CallEvidence::Bearer("u")), Err(Reason::TokenInvalid));
        assert_eq!(judged(&all, CallEvidence::None), Ok("nothing".to_owned()));
        let one_of_two = all_of("all", [knows("a", "t", 9), knows("b", "u", 5)]);
        assert_eq!(judged(&one_of_two, CallEvidence::Bearer("t")), Err(Reason::TokenInvalid));
        let certificate_is_missing =
            all_of("all", [knows("a", "t", 9), Arc::new(crate::MutualTls::new()) as _]);
        let told = judged(&certificate_is_missing, CallEvidence::Bearer("t"));
        assert_eq!(told, Err(Reason::CredentialsMissing));
        assert_eq!(
            judged(&all_of("none", []), CallEvidence::Bearer("t")),
            Ok("nothing".to_owned())
        );

        let peer = PeerIdentity::unknown();
        let evidence = Evidence::new(&peer, CallEvidence::Bearer("t"));
        let caller = all.authenticate_now(&evidence).expect("at once").expect("taken");
        let caller = caller.expect("somebody");
        let end = UNIX_EPOCH + Duration::from_secs(5);
        assert_eq!(caller.expires_at(), Some(end));
        assert_eq!(caller.lease().expect("both have one").ends_at(), Some(end));
    }

    #[test]
    fn anonymous_is_who_shows_nothing_and_nobody_else() {
        let tokens: Arc<dyn Authenticator> = Arc::new(StaticTokens::new().with_token("ci", "t"));
        let either = any_of("either", [tokens, Arc::new(Anonymous)]);
        for (call, told) in [
            (CallEvidence::None, Ok(r#"Principal("anonymous" by either)"#.to_owned())),
            (CallEvidence::Bearer("t"), Ok(r#"Principal("ci" by either)"#.to_owned())),
            (CallEvidence::Bearer("u"), Err(Reason::TokenInvalid)),
            (CallEvidence::ApiKey("u"), Err(Reason::TokenInvalid)),
        ] {
            assert_eq!(judged(&either, call), told, "{call:?}");
        }
        let peer = PeerIdentity::unknown();
        let evidence = Evidence::new(&peer, CallEvidence::None);
        // Whatever name it goes by: rules for proven callers are not for it.
        let caller = either.authenticate_now(&evidence).expect("at once").expect("taken");
        assert!(caller.expect("somebody").is_anonymous());
        let with_proof = Anonymous.authenticate_now(&evidence.with_proof(Proof::One("p")));
        assert!(with_proof.expect("at once").expect("no error").is_none());
    }
}
