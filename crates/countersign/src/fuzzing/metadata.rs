use http::{HeaderMap, HeaderName, HeaderValue};

use crate::authentication::{CallEvidence, DPOP, Evidence, EvidenceKinds, Proof};
use crate::credentials::API_KEY;
use crate::identity::PeerIdentity;

/// The bits of the first byte are the kinds that somebody reads. Each line after it is a value,
/// of `authorization` if it begins with `a`, of `x-api-key` if with `k` and of `dpop` if with
/// `d`. What is read is one whole value or the end of it, and of two values nothing is.
pub fn authorization_metadata(data: &[u8]) {
    let Some((kinds, lines)) = data.split_first() else { return };
    let kinds = EvidenceKinds {
        certificate: false,
        authorization: kinds & 1 != 0,
        api_key: kinds & 2 != 0,
    };
    let mut headers = HeaderMap::new();
    let (mut read, mut proofs) = (Vec::new(), Vec::new());
    for line in lines.split(|byte| *byte == b'\n') {
        let Some((kind, value)) = line.split_first() else { continue };
        let (name, is_read): (HeaderName, bool) = match kind {
            b'a' => (http::header::AUTHORIZATION, kinds.authorization),
            b'k' => (API_KEY.clone(), kinds.api_key),
            b'd' => (DPOP, false),
            _ => continue,
        };
        let Ok(header) = HeaderValue::from_bytes(value) else { continue };
        headers.append(name, header);
        if is_read {
            read.push((*kind, value));
        } else if *kind == b'd' && kinds.authorization {
            proofs.push(value);
        }
    }
    let peer = PeerIdentity::unknown();
    let Ok(evidence) = Evidence::from_metadata(&headers, &peer, kinds) else {
        assert!(!read.is_empty(), "nothing is no mistake");
        return;
    };
    match (evidence.proof(), &proofs[..]) {
        (Proof::None, []) | (Proof::Malformed, [_, ..]) => {}
        (Proof::One(proof), [one]) => assert_eq!(proof.as_bytes(), *one, "the one proof"),
        (proof, all) => panic!("{proof:?} of {} values", all.len()),
    }
    if let CallEvidence::None = evidence.call() {
        assert!(read.is_empty(), "what is there is not overlooked");
        return;
    }
    let &[(kind, value)] = &read[..] else { panic!("not exactly one value was read") };
    assert!(value.len() <= CallEvidence::MAX_BYTES, "too long");
    let (is_key, scheme, credential) = match evidence.call() {
        CallEvidence::ApiKey(key) => (true, None, key),
        CallEvidence::Bearer(token) => (false, Some("bearer"), token),
        CallEvidence::Other { scheme, value } => {
            assert!(!scheme.eq_ignore_ascii_case("bearer"), "a bearer token is one");
            (false, Some(scheme), value)
        }
        CallEvidence::None => unreachable!("returned above"),
    };
    assert_eq!(is_key, kind == b'k', "the kind of the credential is that of the header");
    assert!(!credential.is_empty() && value.ends_with(credential.as_bytes()), "its end");
    match scheme {
        Some(scheme) => {
            let start = &value[..value.len() - credential.len()];
            let (written, spaces) = start.split_at(scheme.len());
            assert!(written.eq_ignore_ascii_case(scheme.as_bytes()), "first the scheme");
            assert!(!spaces.is_empty() && spaces.iter().all(|byte| *byte == b' '), "then spaces");
            assert!(!scheme.contains(|c: char| !c.is_ascii_graphic() || c == '"'), "a token");
        }
        None => assert_eq!(value, credential.as_bytes(), "a key is the whole value"),
    }
    if !matches!(evidence.call(), CallEvidence::Other { .. }) {
        let is_one = |byte: &u8| byte.is_ascii_graphic() && *byte != b',';
        assert!(credential.as_bytes().iter().all(is_one), "one token");
    }
}
