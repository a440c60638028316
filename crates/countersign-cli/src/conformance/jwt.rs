use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use countersign::Clock;
use countersign::authentication::Authenticated;
use countersign::authentication::jwt::{
    Algorithm, Issuer, IssuerWithoutAudience, Jwt, KeySet, KeySource, Profile,
};
use countersign::authentication::{
    AuthenticationError, Authenticator, CallEvidence, Evidence, EvidenceKinds, Reason,
};
use countersign::identity::{PeerIdentity, TokenClaims};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::lines::Id;

#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    id: Id,
    verdict: &'static str,
    reason: Option<&'static str>,
    claims: Option<Map<String, Value>>,
    /// What is wrong with the case itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

pub(super) fn answer(line: Result<&str, String>) -> Verdict {
    let (id, judged) = match line {
        Err(error) => (Id::default(), Err(Refused::case(error))),
        Ok(line) => match serde_json::from_str::<Case>(line) {
            Ok(case) => (case.id.clone(), case.judge()),
            Err(error) => (Id::of(line), Err(Refused::case(format!("this is no case: {error}")))),
        },
    };
    match judged {
        Ok(claims) => Verdict {
            id,
            verdict: "accept",
            reason: None,
            claims: Some(claims.object().clone()),
            error: None,
        },
        Err(Refused { reason, error }) => {
            let reason = Some(reason.as_str());
            Verdict { id, verdict: "reject", reason, claims: None, error }
        }
    }
}

#[derive(Deserialize)]
struct Case {
    #[serde(default)]
    id: Id,
    token: Option<String>,
    /// The values of `authorization`, in place of the token.
    authorization: Option<Vec<String>>,
    verifier: Settings,
}

#[derive(Deserialize)]
struct Settings {
    providers: Option<Vec<Provider>>,
    /// By trust domain, for JWT-SVIDs.
    bundles: Option<BTreeMap<String, Box<RawValue>>>,
    profile: Option<String>,
    audiences: Option<Vec<String>>,
    algorithms: Option<Vec<String>>,
    leeway: Option<f64>,
    required_claims: Option<Vec<String>>,
    typ: Option<String>,
    now: f64,
}

#[derive(Deserialize)]
struct Provider {
    issuer: String,
    /// As it was written, so that a member that is there twice is not lost on the way.
    jwks: Option<Box<RawValue>>,
}

/// Why there are no claims; `error` where the case itself cannot be judged as it stands.
struct Refused {
    reason: Reason,
    error: Option<String>,
}

impl Refused {
    fn because(reason: Reason) -> Self {
        Self { reason, error: None }
    }

    fn case(error: String) -> Self {
        Self { reason: Reason::VerifierUnavailable, error: Some(error) }
    }
}

impl From<AuthenticationError> for Refused {
    fn from(error: AuthenticationError) -> Self {
        Self::because(error.reason())
    }
}

impl Case {
    fn judge(&self) -> Result<TokenClaims, Refused> {
        let jwt = self.verifier.build()?;
        let peer = PeerIdentity::unknown();
        match (&self.token, &self.authorization) {
            (Some(token), None) => prove(&jwt, &Evidence::new(&peer, CallEvidence::Bearer(token))),
            (None, Some(values)) => {
                let mut metadata = HeaderMap::new();
                for value in values {
                    let value = HeaderValue::from_bytes(value.as_bytes())
                        .map_err(|_| Refused::because(Reason::CredentialsMalformed))?;
                    metadata.append(AUTHORIZATION, value);
                }
                let kinds = EvidenceKinds { authorization: true, ..EvidenceKinds::default() };
                let evidence = Evidence::from_metadata(&metadata, &peer, kinds)?;
                if matches!(evidence.call(), CallEvidence::None) {
                    return Err(Refused::because(Reason::CredentialsMissing));
                }
                prove(&jwt, &evidence)
            }
            _ => Err(Refused::case("a case has either a token or metadata values".to_owned())),
        }
    }
}

fn prove(jwt: &Jwt, evidence: &Evidence<'_>) -> Result<TokenClaims, Refused> {
    let outcome = jwt.authenticate_now(evidence);
    let waits = || Refused::case("the verifier would have to ask for keys".to_owned());
    let caller: Option<Authenticated> = outcome.ok_or_else(waits)??;
    // Another scheme is nothing that a token's verifier knows.
    let caller = caller.ok_or_else(|| Refused::because(Reason::CredentialsMalformed))?;
    let claims = caller.principal().token().cloned();
    claims.ok_or_else(|| Refused::case("a token has claims".to_owned()))
}

impl Settings {
    fn build(&self) -> Result<Jwt, Refused> {
        let profile = match self.profile.as_deref() {
            None => Profile::default(),
            Some(name) => Profile::from_name(name)
                .ok_or_else(|| Refused::case(format!("{name:?} is not a profile")))?,
        };
        // Nobody's name: no token is for it.
        let Some((audience, more)) = self.audiences.as_deref().and_then(<[_]>::split_first) else {
            return Err(Refused {
                reason: Reason::TokenAudience,
                error: Some("a verifier without an audience takes nothing".to_owned()),
            });
        };
        let now = time(self.now)?;
        let mut builder = Jwt::builder().clock(At(now));
        let issuers = self.issuers(profile);
        if issuers.is_empty() {
            return Err(Refused {
                reason: Reason::TokenInvalid,
                error: Some("no provider has a key that can be used".to_owned()),
            });
        }
        for (issuer, profile) in issuers {
            let mut issuer = issuer.audience(audience);
            for audience in more {
                issuer = issuer.audience(audience);
            }
            builder = builder.issuer(self.complete(issuer, profile)?);
        }
        builder.build().map_err(|error| Refused::case(error.to_string()))
    }

    /// An issuer without a key that can be used is one that nobody knows.
    fn issuers(&self, profile: Profile) -> Vec<(IssuerWithoutAudience, Profile)> {
        let usable = |keys: KeySet| (!keys.is_empty()).then(|| KeySource::given(keys));
        if profile == Profile::JwtSvid {
            let trusted = |(domain, keys): (&String, &RawValue)| {
                let bundle = usable(KeySet::from_spiffe_bundle(keys.get()).unwrap_or_default())?;
                Some((Jwt::trust_domain(domain, bundle), Profile::JwtSvid))
            };
            let bundles = self.bundles.iter().flatten().map(|(domain, keys)| (domain, &**keys));
            return bundles.filter_map(trusted).collect();
        }
        let trusted = |one: &Provider| {
            let text = one.jwks.as_deref().map_or("", RawValue::get);
            let keys = usable(KeySet::from_json(text).unwrap_or_default())?;
            Some((Jwt::issuer(&one.issuer).keys(keys), profile))
        };
        self.providers.iter().flatten().filter_map(trusted).collect()
    }

    fn complete(&self, mut issuer: Issuer, profile: Profile) -> Result<Issuer, Refused> {
        if profile != Profile::JwtSvid {
            issuer = issuer.profile(profile);
        }
        if let Some(names) = &self.algorithms {
            // A name that is not known allows nothing.
            let known: Vec<_> = names
                .iter()
                .filter_map(|name| Algorithm::from_name(name))
                // JWT-SVID §2.2 has no EdDSA.
                .filter(|one| profile != Profile::JwtSvid || *one != Algorithm::EdDSA)
                .collect();
            if known.is_empty() {
                return Err(Refused {
                    reason: Reason::TokenInvalid,
                    error: Some("none of the algorithms is known here".to_owned()),
                });
            }
            issuer = issuer.algorithms(known);
        }
        if let Some(leeway) = self.leeway {
            let leeway = Duration::try_from_secs_f64(leeway)
                .map_err(|_| Refused::case("the leeway is no number of seconds".to_owned()))?;
            issuer = issuer.leeway(leeway);
        }
        if let Some(name) = &self.typ {
            issuer = issuer.token_type(name);
        }
        for name in self.required_claims.iter().flatten() {
            issuer = issuer.required_claim(name);
        }
        Ok(issuer)
    }
}

fn time(seconds: f64) -> Result<SystemTime, Refused> {
    Duration::try_from_secs_f64(seconds)
        .ok()
        .and_then(|since| UNIX_EPOCH.checked_add(since))
        .ok_or_else(|| Refused::case("`now` is no time that a clock shows".to_owned()))
}

/// A clock that stands.
#[derive(Debug)]
struct At(SystemTime);

impl Clock for At {
    fn now(&self) -> SystemTime {
        self.0
    }
}
