mod holder;

use std::sync::Barrier;
use std::time::UNIX_EPOCH;

use aws_lc_rs::digest;
use countersign_testkit::clock::ManualClock;
use serde_json::json;

use self::holder::{Holder, base64url};
use super::*;
use crate::authentication::jwt::{Algorithm, thumbprint};
use crate::identity::MethodPath;
use crate::secret::Secret;

const TOKEN: &str = "header.payload.signature";
const NOW: u64 = 1_800_000_000;

// --- a caller and a server -----------------------------------------------------------------------

/// The testkit's clock is one for the crate that it was built with, and this is another.
#[derive(Debug)]
struct HandedIn(ManualClock);

impl Clock for HandedIn {
    fn now(&self) -> SystemTime {
        self.0.now()
    }
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn claims(id: &str) -> serde_json::Value {
    json!({
        "jti": id,
        "htm": "POST",
        "htu": "https://api.example/orders.v1.Orders/Get",
        "iat": NOW,
        "ath": base64url(digest::digest(&digest::SHA256, TOKEN.as_bytes())),
    })
}

struct Server {
    verifier: DpopVerifier,
    clock: ManualClock,
}

impl Server {
    fn new(settings: DpopSettings) -> Self {
        let clock = ManualClock::new(at(NOW));
        Self { verifier: DpopVerifier::new(settings, Arc::new(HandedIn(clock.clone()))), clock }
    }

    fn shown(&self, proof: Proof<'_>, jkt: &str) -> Result<(), AuthenticationError> {
        self.told(proof, jkt).map(drop)
    }

    /// The nonce that comes with the answer, if the proof is good.
    fn told(&self, proof: Proof<'_>, jkt: &str) -> Result<Option<String>, AuthenticationError> {
        let path = MethodPath::parse("/orders.v1.Orders/Get").expect("canonical");
        let target = CallTarget { authority: "api.example", path };
        self.verifier.verify(proof, TOKEN, jkt, Some(target))
    }

    /// The flaw that it finds, without what becomes of it.
    fn flaw(&self, proof: &str, jkt: &str) -> Option<Flaw> {
        let path = MethodPath::parse("/orders.v1.Orders/Get").expect("canonical");
        let target = CallTarget { authority: "api.example", path };
        self.verifier.check(proof, TOKEN, jkt, Some(target), self.clock.now()).err()
    }
}

fn server() -> Server {
    Server::new(DpopSettings::new())
}

fn reason(outcome: Result<(), AuthenticationError>) -> Option<Reason> {
    outcome.err().map(|error| error.reason())
}

// --- what is accepted ----------------------------------------------------------------------------

#[test]
fn a_proof_of_each_algorithm_is_accepted_and_an_altered_one_is_not() {
    for algorithm in Algorithm::ALL {
        let holder = Holder::of(algorithm);
        let (server, jkt) = (server(), holder.jkt());
        let proof = holder.proof(&claims("1"));
        let (signed, signature) = proof.rsplit_once('.').expect("three parts");
        let mut signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
        signature[7] ^= 1;
        let altered = format!("{signed}.{}", base64url(signature));
        assert_eq!(server.flaw(&altered, &jkt), Some(Flaw::Signature), "{algorithm}");
        assert_eq!(server.flaw(&proof, &jkt), None, "{algorithm}");
    }
}

#[test]
fn what_a_proof_may_say_beside_is_not_looked_at() {
    let holder = Holder::new();
    let (server, jkt) = (server(), holder.jkt());
    let mut header = holder.header();
    header["typ"] = json!("DPoP+JWT");
    header["kid"] = json!("mine");
    header["jku"] = json!("https://evil.example/keys");
    header["jwk"]["alg"] = json!("ES256");
    header["jwk"]["use"] = json!("sig");
    let mut more = claims("1");
    more["nonce"] = json!("of somebody else");
    more["aud"] = json!(["x"]);
    more["iat"] = json!(NOW as f64 + 0.5);
    assert_eq!(server.flaw(&holder.proof_of(&header.to_string(), &more.to_string()), &jkt), None);
}

// --- what is not ---------------------------------------------------------------------------------

#[test]
fn a_bound_token_needs_exactly_one_proof() {
    let holder = Holder::new();
    let (server, jkt) = (server(), holder.jkt());
    assert_eq!(reason(server.shown(Proof::None, &jkt)), Some(Reason::ProofRequired));
    assert_eq!(reason(server.shown(Proof::Malformed, &jkt)), Some(Reason::ProofInvalid));
    let proof = holder.proof(&claims("1"));
    assert_eq!(reason(server.shown(Proof::One(&proof), &jkt)), None);
}

#[test]
fn a_proof_has_one_form() {
    let holder = Holder::new();
    let (server, jkt) = (server(), holder.jkt());
    let proof = holder.proof(&claims("1"));
    let parts: Vec<&str> = proof.split('.').collect();
    let &[header, payload, signature] = &parts[..] else { panic!("three parts") };
    // The last character of a 64-byte signature holds four bits that mean nothing.
    let (start, last) = signature.split_at(signature.len() - 1);
    let trailing = format!("{start}{}", if last == "A" { "B" } else { "_" });
    for (name, text, flaw) in [
        ("empty", String::new(), Flaw::Form),
        ("two parts", format!("{header}.{payload}"), Flaw::Form),
        ("four parts", format!("{proof}.{signature}"), Flaw::Form),
        ("five parts, as encrypted", format!("{header}.a.b.{payload}.{signature}"), Flaw::Form),
        ("empty header", format!(".{payload}.{signature}"), Flaw::Json("header")),
        ("empty payload", format!("{header}..{signature}"), Flaw::Json("payload")),
        ("empty signature", format!("{header}.{payload}."), Flaw::Signature),
        ("padding", format!("{proof}=="), Flaw::Form),
        ("trailing bits", format!("{header}.{payload}.{trailing}"), Flaw::Form),
        ("other alphabet", format!("{header}.{payload}.+/{}", &signature[2..]), Flaw::Form),
        ("space before", format!(" {proof}"), Flaw::Form),
        ("line end", format!("{proof}\n"), Flaw::Form),
        ("not ASCII", format!("é{proof}"), Flaw::Form),
        ("two, joined by a proxy", format!("{proof},{proof}"), Flaw::Form),
        ("too long", "a".repeat(8 * 1024 + 1), Flaw::TooLong),
        ("as long as may be", "a".repeat(8 * 1024), Flaw::Form),
    ] {
        assert_eq!(server.flaw(&text, &jkt), Some(flaw), "{name}");
    }
    assert_eq!(server.flaw(&proof, &jkt), None, "the twin of them all");
}

#[test]
fn a_proof_is_two_json_objects_without_a_member_twice() {
    let holder = Holder::new();
    let (server, jkt) = (server(), holder.jkt());
    let (header, payload) = (holder.header().to_string(), claims("1").to_string());
    for (name, header, payload, part) in [
        ("header an array", "[]", &*payload, "header"),
        ("payload an array", &*header, "[]", "payload"),
        ("payload a text", &header, "\"x\"", "payload"),
        ("alg twice", &header.replacen('{', r#"{"alg":"none","#, 1), &payload, "header"),
        (
            "member of the key twice",
            &header.replacen(r#""kty""#, r#""kty":"oct","kty""#, 1),
            &payload,
            "header",
        ),
        ("jti twice", &header, &payload.replacen('{', r#"{"jti":"2","#, 1), "payload"),
        ("text after", &header, &format!("{payload} {{}}"), "payload"),
    ] {
        let proof = holder.proof_of(header, payload);
        assert_eq!(server.flaw(&proof, &jkt), Some(Flaw::Json(part)), "{name}");
    }
    assert_eq!(server.flaw(&holder.proof_of(&header, &payload), &jkt), None);
}

#[test]
fn each_part_of_the_header_is_needed_and_right() {
    let holder = Holder::new();
    let jkt = holder.jkt();
    let no_object = || Flaw::Key("it is missing or not an object");
    let rows = [
        ("typ", None, Flaw::Type),
        ("typ", Some(json!(1)), Flaw::Type),
        ("typ", Some(json!("JWT")), Flaw::Type),
        ("typ", Some(json!("application/dpop+jwt")), Flaw::Type),
        ("alg", None, Flaw::Algorithm),
        ("alg", Some(json!(1)), Flaw::Algorithm),
        ("alg", Some(json!("none")), Flaw::Algorithm),
        ("alg", Some(json!("HS256")), Flaw::Algorithm),
        ("alg", Some(json!("es256")), Flaw::Algorithm),
        ("alg", Some(json!("ES384")), Flaw::Key("its `alg` does not fit its `kty`")),
        ("alg", Some(json!("RS256")), Flaw::Key("its `alg` does not fit its `kty`")),
        ("jwk", None, no_object()),
        ("jwk", Some(json!(null)), no_object()),
        ("jwk", Some(json!([holder.jwk])), no_object()),
        ("jwk", Some(Holder::new().jwk), Flaw::OtherKey),
        ("crit", Some(json!(["exp"])), Flaw::Critical),
        ("crit", Some(json!([])), Flaw::Critical),
    ];
    for (name, value, flaw) in rows {
        let mut header = holder.header();
        match &value {
            Some(value) => header[name] = value.clone(),
            None => drop(header.as_object_mut().and_then(|header| header.remove(name))),
        }
        let proof = holder.proof_of(&header.to_string(), &claims("1").to_string());
        assert_eq!(server().flaw(&proof, &jkt), Some(flaw), "{name}: {value:?}");
    }
    assert_eq!(server().flaw(&holder.proof(&claims("1")), &jkt), None, "the twin of them all");
}

#[test]
fn the_key_is_public_and_for_signatures() {
    let holder = Holder::new();
    let jkt = holder.jkt();
    let private = || Flaw::Key("it is not a public key alone");
    let rows = [
        ("d", json!("ZA"), private()),
        ("d", json!(null), private()),
        ("p", json!("ZA"), private()),
        ("oth", json!([]), private()),
        ("k", json!("aw"), private()),
        ("kty", json!("oct"), Flaw::Key("its `kty` is not RSA, EC or OKP")),
        ("kty", json!(1), Flaw::Key("its `kty` is not RSA, EC or OKP")),
        ("x", json!(1), Flaw::Key("a member of the key is missing or no text")),
        ("x", json!("AAAA"), Flaw::OtherKey),
        ("use", json!("enc"), Flaw::Key("it is for another use")),
        ("key_ops", json!(["sign"]), Flaw::Key("its `key_ops` have no `verify`")),
        ("alg", json!("ES384"), Flaw::Key("its `alg` does not fit its `kty`")),
    ];
    for (name, value, flaw) in rows {
        let mut header = holder.header();
        header["jwk"][name] = value.clone();
        let proof = holder.proof_of(&header.to_string(), &claims("1").to_string());
        assert_eq!(server().flaw(&proof, &jkt), Some(flaw), "{name}: {value}");
    }
}

#[test]
fn a_key_that_is_bound_to_an_algorithm_is_for_no_other() {
    let holder = Holder::of(Algorithm::PS256);
    let mut header = holder.header();
    header["jwk"]["alg"] = json!("RS256");
    let proof = holder.proof_of(&header.to_string(), &claims("1").to_string());
    let flaw = Flaw::Key("it is not for the proof's `alg`");
    assert_eq!(server().flaw(&proof, &holder.jkt()), Some(flaw));
    header["jwk"]["alg"] = json!("PS256");
    let proof = holder.proof_of(&header.to_string(), &claims("1").to_string());
    assert_eq!(server().flaw(&proof, &holder.jkt()), None);
}

#[test]
fn a_point_off_the_curve_is_no_key() {
    let holder = Holder::new();
    let mut header = holder.header();
    header["jwk"]["y"] = header["jwk"]["x"].clone();
    let jkt = thumbprint(header["jwk"].as_object().expect("an object")).expect("a thumbprint");
    let proof = holder.proof_of(&header.to_string(), &claims("1").to_string());
    assert_eq!(server().flaw(&proof, &jkt), Some(Flaw::Key("the key itself is not valid")));
}

#[test]
fn each_claim_is_needed_and_right() {
    let holder = Holder::new();
    let jkt = holder.jkt();
    let elsewhere = |htu: &str| Flaw::Target {
        proof: htu.to_owned(),
        call: "https://api.example/orders.v1.Orders/Get".to_owned(),
    };
    let other_hash = base64url(digest::digest(&digest::SHA256, b"another token"));
    let padded = base64::engine::general_purpose::URL_SAFE
        .encode(digest::digest(&digest::SHA256, TOKEN.as_bytes()));
    let rows = [
        ("jti", None, Flaw::Claim("jti")),
        ("jti", Some(json!(1)), Flaw::Claim("jti")),
        ("jti", Some(json!("")), Flaw::Id),
        ("jti", Some(json!("j".repeat(257))), Flaw::Id),
        ("htm", None, Flaw::Claim("htm")),
        ("htm", Some(json!(["POST"])), Flaw::Claim("htm")),
        ("htm", Some(json!("GET")), Flaw::Method),
        ("htm", Some(json!("post")), Flaw::Method),
        ("htu", None, Flaw::Claim("htu")),
        ("htu", Some(json!(null)), Flaw::Claim("htu")),
        (
            "htu",
            Some(json!("https://api.example/orders.v1.Orders/Set")),
            elsewhere("https://api.example/orders.v1.Orders/Set"),
        ),
        ("iat", None, Flaw::Claim("iat")),
        ("iat", Some(json!(NOW.to_string())), Flaw::Claim("iat")),
        ("iat", Some(json!(1e300)), Flaw::Claim("iat")),
        ("iat", Some(json!(-1)), Flaw::Old(NOW + 1)),
        ("iat", Some(json!(NOW - 61)), Flaw::Old(61)),
        ("iat", Some(json!(NOW + 61)), Flaw::Early(61)),
        ("ath", None, Flaw::Claim("ath")),
        ("ath", Some(json!(1)), Flaw::Claim("ath")),
        ("ath", Some(json!("")), Flaw::OtherToken),
        ("ath", Some(json!(other_hash)), Flaw::OtherToken),
        ("ath", Some(json!(padded)), Flaw::OtherToken),
        ("nonce", Some(json!(1)), Flaw::Claim("nonce")),
    ];
    for (name, value, flaw) in rows {
        let mut changed = claims("1");
        match &value {
            Some(value) => changed[name] = value.clone(),
            None => drop(changed.as_object_mut().and_then(|claims| claims.remove(name))),
        }
        let server = server();
        assert_eq!(server.flaw(&holder.proof(&changed), &jkt), Some(flaw), "{name}: {value:?}");
        assert_eq!(server.flaw(&holder.proof(&claims("1")), &jkt), None, "{name}, the twin");
    }
    for (name, value) in
        [("jti", json!("j".repeat(256))), ("iat", json!(NOW - 60)), ("iat", json!(NOW + 60))]
    {
        let mut changed = claims("1");
        changed[name] = value.clone();
        assert_eq!(server().flaw(&holder.proof(&changed), &jkt), None, "{name} at its limit");
    }
}

#[test]
fn the_window_is_as_wide_as_it_was_set_and_not_wider_than_five_minutes() {
    let holder = Holder::new();
    let jkt = holder.jkt();
    for (window, age, flaw) in [
        (10, 10, None),
        (10, 11, Some(Flaw::Old(11))),
        (9_999, 300, None),
        (9_999, 301, Some(Flaw::Old(301))),
    ] {
        let server = Server::new(DpopSettings::new().with_window(Duration::from_secs(window)));
        let mut old = claims("1");
        old["iat"] = json!(NOW - age);
        assert_eq!(server.flaw(&holder.proof(&old), &jkt), flaw, "{window} s, {age} s old");
    }
}

#[test]
fn a_proof_by_another_key_is_not_the_bound_ones() {
    let (holder, thief) = (Holder::new(), Holder::new());
    let server = server();
    let jkt = holder.jkt();
    assert_eq!(server.flaw(&thief.proof(&claims("1")), &jkt), Some(Flaw::OtherKey));
    // The holder's key in the header, the thief's signature below.
    let forged = thief.proof_of(&holder.header().to_string(), &claims("1").to_string());
    assert_eq!(server.flaw(&forged, &jkt), Some(Flaw::Signature));
    // What was not verified is not remembered.
    assert_eq!(server.flaw(&holder.proof(&claims("1")), &jkt), None);
}

#[test]
fn nothing_of_the_proof_but_its_target_is_told_to_anyone() {
    let holder = Holder::new();
    let mut said = claims("hunter2");
    said["htu"] = json!("https://gateway.example/a.B/C?hunter2");
    let proof = holder.proof(&said);
    let error = server().shown(Proof::One(&proof), &holder.jkt()).expect_err("another target");
    assert_eq!(
        error.to_string(),
        "the DPoP proof is not accepted: it is for \"https://gateway.example/a.B/C\", \
         and the call is to \"https://api.example/orders.v1.Orders/Get\""
    );
}

// --- replay --------------------------------------------------------------------------------------

#[test]
fn a_proof_passes_once() {
    let holder = Holder::new();
    let (server, jkt) = (server(), holder.jkt());
    let proof = holder.proof(&claims("1"));
    assert_eq!(reason(server.shown(Proof::One(&proof), &jkt)), None);
    assert_eq!(reason(server.shown(Proof::One(&proof), &jkt)), Some(Reason::ProofInvalid));
    // ECDSA makes another signature each time: the `jti` counts, not the text.
    assert_eq!(server.flaw(&holder.proof(&claims("1")), &jkt), Some(Flaw::Replayed));
    assert_eq!(server.flaw(&holder.proof(&claims("2")), &jkt), None);
    let other = Holder::new();
    assert_eq!(server.flaw(&other.proof(&claims("1")), &other.jkt()), None, "its own `jti`");
}

#[test]
fn a_proof_that_may_be_forgotten_is_too_old() {
    let holder = Holder::new();
    let (server, jkt) = (server(), holder.jkt());
    let proof = holder.proof(&claims("1"));
    assert_eq!(server.flaw(&proof, &jkt), None);
    server.clock.set(at(NOW + 60));
    assert_eq!(server.flaw(&proof, &jkt), Some(Flaw::Replayed));
    server.clock.set(at(NOW + 61));
    assert_eq!(server.flaw(&proof, &jkt), Some(Flaw::Old(61)));
    // The same `jti` in a new proof is a new proof now.
    let mut later = claims("1");
    later["iat"] = json!(NOW + 61);
    assert_eq!(server.flaw(&holder.proof(&later), &jkt), None);
    // A clock that steps back does not make the first one good again.
    server.clock.set(at(NOW));
    assert_eq!(server.flaw(&proof, &jkt), Some(Flaw::Replayed));
}

#[test]
fn of_two_threads_with_one_proof_one_passes() {
    let holder = Holder::new();
    let (server, jkt) = (server(), holder.jkt());
    for round in 0..50 {
        let proof = holder.proof(&claims(&round.to_string()));
        let start = Barrier::new(2);
        let passed = std::thread::scope(|scope| {
            let one = || {
                start.wait();
                server.flaw(&proof, &jkt)
            };
            let threads = [scope.spawn(one), scope.spawn(one)];
            threads.map(|thread| thread.join().expect("no panic"))
        });
        assert!(
            matches!(passed, [None, Some(Flaw::Replayed)] | [Some(Flaw::Replayed), None]),
            "{passed:?}"
        );
    }
}

#[test]
fn when_no_more_can_be_remembered_nobody_passes() {
    let holder = Holder::new();
    let server = Server::new(DpopSettings::new().with_replay_entries(1));
    let jkt = holder.jkt();
    let shown = |id: &str, iat: u64| {
        let mut new = claims(id);
        new["iat"] = json!(iat);
        reason(server.shown(Proof::One(&holder.proof(&new)), &jkt))
    };
    assert_eq!(shown("1", NOW), None);
    assert_eq!(shown("2", NOW), Some(Reason::VerifierUnavailable));
    assert_eq!(shown("1", NOW), Some(Reason::ProofInvalid), "not forgotten for the other");
    server.clock.set(at(NOW + 61));
    assert_eq!(shown("2", NOW + 61), None);
}

#[test]
fn a_caller_that_makes_too_many_proofs_holds_up_no_other() {
    let (greedy, other) = (Holder::new(), Holder::new());
    let server = Server::new(DpopSettings::new().with_replay_entries(16));
    let shown = |holder: &Holder, id: &str| {
        reason(server.shown(Proof::One(&holder.proof(&claims(id))), &holder.jkt()))
    };
    assert_eq!(shown(&greedy, "1"), None);
    assert_eq!(shown(&greedy, "2"), None);
    assert_eq!(shown(&greedy, "3"), Some(Reason::VerifierUnavailable));
    assert_eq!(shown(&other, "3"), None);
}

// --- nonces --------------------------------------------------------------------------------------

fn nonces(fill: u8) -> DpopNonces {
    let secret = Secret::new(vec![fill; 32]);
    DpopNonces::from_secret(secret).expect("long enough").with_period(Duration::from_secs(100))
}

#[test]
fn a_caller_is_told_the_nonce_that_its_next_proof_needs() {
    let holder = Holder::new();
    let server = Server::new(DpopSettings::new().with_nonces(nonces(1)));
    let jkt = holder.jkt();
    let shown = |id: &str, nonce: Option<&str>, iat: u64| {
        let mut new = claims(id);
        new["iat"] = json!(iat);
        if let Some(nonce) = nonce {
            new["nonce"] = json!(nonce);
        }
        server.told(Proof::One(&holder.proof(&new)), &jkt)
    };
    let told = |outcome: Result<Option<String>, AuthenticationError>| {
        let error = outcome.expect_err("it lacks a good nonce");
        (error.reason(), error.nonce().map(str::to_owned))
    };
    let (reason, nonce) = told(shown("1", None, NOW));
    assert_eq!(reason, Reason::ProofNonce);
    let nonce = nonce.expect("a nonce");
    assert_eq!(told(server.told(Proof::None, &jkt)), (Reason::ProofRequired, Some(nonce.clone())));
    let (reason, again) = told(shown("1", Some("made up"), NOW));
    assert_eq!((reason, again.as_ref()), (Reason::ProofNonce, Some(&nonce)));
    // A proof that is refused for its nonce was not seen: the same `jti` may come again.
    let next = shown("1", Some(&nonce), NOW).expect("the nonce works");
    assert_eq!(next, None, "it is the current one");
    server.clock.set(at(NOW + 100));
    let next = shown("2", Some(&nonce), NOW + 100).expect("that of the period before works");
    let next = next.expect("it is about to end (§8.2)");
    assert_ne!(next, nonce);
    assert_eq!(shown("2b", Some(&next), NOW + 100).expect("the one to come works"), None);
    let again = shown("2b", Some(&nonce), NOW + 100).expect_err("a proof that was seen");
    assert_eq!((again.reason(), again.nonce()), (Reason::ProofInvalid, None));
    server.clock.set(at(NOW + 200));
    let (reason, newer) = told(shown("3", Some(&nonce), NOW + 200));
    assert_eq!(reason, Reason::ProofNonce);
    let newer = newer.expect("a nonce");
    assert_ne!(newer, nonce);
    shown("3", Some(&newer), NOW + 200).expect("the new nonce works");
}

#[test]
fn a_proof_that_fails_otherwise_is_not_asked_to_come_again() {
    let holder = Holder::new();
    let server = Server::new(DpopSettings::new().with_nonces(nonces(1)));
    let mut wrong = claims("1");
    wrong["htm"] = json!("GET");
    let proof = holder.proof(&wrong);
    let error = server.shown(Proof::One(&proof), &holder.jkt()).expect_err("GET");
    assert_eq!((error.reason(), error.nonce()), (Reason::ProofInvalid, None));
}

// --- vectors -------------------------------------------------------------------------------------

/// The proof of §4.1, for a token request; its key's thumbprint is in §6.1.
const RFC_9449_4_1: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieC\
    I6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRs\
    Y3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwia\
    HRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.\
    2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg";

const RFC_9449_JKT: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";

#[test]
fn the_proof_of_rfc_9449_section_4_1_is_read_and_verified() {
    let proof = ReadProof::read(RFC_9449_4_1).expect("well formed");
    assert_eq!(proof.thumbprint, RFC_9449_JKT);
    let claims = &proof.claims;
    assert_eq!((claims.method.as_str(), claims.id.as_str()), ("POST", "-BwC3ESc6acc2lTc"));
    assert_eq!(claims.uri, "https://server.example.com/token");
    assert_eq!(claims.issued_at, at(1_562_262_616));
    assert_eq!((&claims.token_hash, &claims.nonce), (&None, &None));
    assert_eq!(proof.verify_signature(), Ok(()));
}

#[test]
fn the_token_hash_of_rfc_9449_section_7_1() {
    let token = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
    let hash = base64url(digest::digest(&digest::SHA256, token.as_bytes()));
    assert_eq!(hash, "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo");
}
