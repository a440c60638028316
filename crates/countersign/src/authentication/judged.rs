//! What the authenticators make of one call's evidence, taken together.

use super::{Authenticated, AuthenticationError, Authenticator, Evidence, Outcome, Reason};

/// Outcomes so far.
///
/// A credential in the metadata has to be accepted by one of those who read its kind: evidence
/// that is bad never counts as evidence that is absent. A certificate was verified already, and
/// an authenticator may still refuse it.
#[derive(Default)]
pub(crate) struct Judged {
    by_call: Vec<Authenticated>,
    by_connection: Vec<Authenticated>,
    refused: Option<AuthenticationError>,
    refused_for_good: Option<AuthenticationError>,
}

impl Judged {
    pub(crate) fn add(
        &mut self,
        authenticator: &dyn Authenticator,
        evidence: &Evidence<'_>,
        outcome: Outcome,
    ) {
        let about_call = evidence.call().is_read_by(authenticator.reads());
        // Rules ask for authenticators by name: none may vouch in another's.
        let outcome = outcome.and_then(|caller| match caller {
            Some(caller) if caller.principal().authenticator() != authenticator.name() => {
                Err(AuthenticationError::unavailable(format!(
                    "the authenticator {:?} vouches in the name of {:?}",
                    authenticator.name(),
                    caller.principal().authenticator()
                )))
            }
            caller => Ok(caller),
        });
        match outcome {
            Ok(Some(caller)) if about_call => self.by_call.push(caller),
            Ok(Some(caller)) => self.by_connection.push(caller),
            Ok(None) if about_call => {
                let error = AuthenticationError::new(
                    Reason::CredentialsMalformed,
                    "no authenticator knows this kind of credential",
                );
                keep_worse(&mut self.refused, error);
            }
            Ok(None) => {}
            Err(error) if about_call => keep_worse(&mut self.refused, error),
            Err(error) => keep_worse(&mut self.refused_for_good, error),
        }
    }

    /// Whether the same evidence would be judged alike a moment later: somebody is proven, each
    /// of them has a lease, and nobody could not tell.
    pub(crate) fn lasts(&self) -> bool {
        let all = || self.by_call.iter().chain(&self.by_connection);
        let could_not_tell =
            |error: &AuthenticationError| error.reason() == Reason::VerifierUnavailable;
        all().next().is_some()
            && all().all(|caller| caller.lease().is_some())
            && !self.refused.as_ref().is_some_and(could_not_tell)
    }

    pub(crate) fn callers(self) -> Result<Vec<Authenticated>, AuthenticationError> {
        if let Some(error) = self.refused_for_good {
            return Err(error);
        }
        match self.refused {
            Some(error) if self.by_call.is_empty() => Err(error),
            _ => {
                let mut callers = self.by_call;
                callers.extend(self.by_connection);
                Ok(callers)
            }
        }
    }
}

/// Of two refusals the one that says more: first that it cannot be told, then what is wrong
/// with the credential, and last that its kind is unknown.
fn keep_worse(known: &mut Option<AuthenticationError>, error: AuthenticationError) {
    let weight = |error: &AuthenticationError| match error.reason() {
        Reason::VerifierUnavailable => 3,
        Reason::CredentialsMalformed => 0,
        Reason::TokenInvalid => 1,
        _ => 2,
    };
    if known.as_ref().is_none_or(|known| weight(&error) > weight(known)) {
        *known = Some(error);
    }
}
