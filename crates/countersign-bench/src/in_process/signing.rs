//! A JWT that a client signs itself, beside the bare signature of what it signs.

use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{EcdsaKeyPair, RSA_PKCS1_SHA256};
use countersign::credentials::oauth::{PemSigner, SelfSignedJwt};
use countersign::credentials::{FetchedToken, TokenRequest, TokenSource as _};

use super::crypto::p256_key;
use super::{Subject, repeat};

/// A client's key.
#[derive(Debug)]
pub struct Key(Kind);

#[derive(Debug)]
enum Kind {
    P256(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl Key {
    /// A new one for ES256.
    pub fn p256() -> Self {
        Self(Kind::P256(p256_key()))
    }

    /// A new one for RS256, of 2,048 bits.
    ///
    /// # Panics
    ///
    /// When the system has no randomness.
    pub fn rsa() -> Self {
        Self(Kind::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).expect("randomness")))
    }

    /// The library's source of tokens that this key signs.
    ///
    /// # Panics
    ///
    /// Never: the library takes keys like these.
    pub fn source(&self) -> SelfSignedJwt {
        let pkcs8 = match &self.0 {
            Kind::P256(pair) => pair.to_pkcs8v1().expect("a key").as_ref().to_vec(),
            Kind::Rsa(pair) => {
                let der: Pkcs8V1Der<'_> = pair.as_der().expect("a key");
                der.as_ref().to_vec()
            }
        };
        let signer = PemSigner::from_pkcs8(&pkcs8).expect("a key of a kind that is used");
        SelfSignedJwt::new("orders@prod.example", signer.with_key_id("2026-11"))
    }

    /// The library: one token made and signed.
    pub fn sign_ours(&self) -> Box<dyn Subject> {
        let (source, request) = (self.source(), request());
        repeat(move || fetched(&source, black_box(&request)))
    }

    /// The signature alone, of as many bytes.
    pub fn sign_bare(self) -> Box<dyn Subject> {
        let token = fetched(&self.source(), &request());
        let (signed, _) = token.token().expose().rsplit_once('.').expect("a token has dots");
        let (message, random) = (signed.as_bytes().to_vec(), SystemRandom::new());
        match self.0 {
            Kind::P256(pair) => {
                repeat(move || pair.sign(&random, black_box(&message)).expect("randomness"))
            }
            Kind::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                repeat(move || {
                    let signed =
                        pair.sign(&RSA_PKCS1_SHA256, &random, black_box(&message), &mut signature);
                    signed.expect("a signature");
                })
            }
        }
    }
}

fn request() -> TokenRequest {
    TokenRequest::for_host("orders.example")
}

fn fetched(source: &SelfSignedJwt, request: &TokenRequest) -> FetchedToken {
    let fetch = pin!(source.fetch(request));
    match fetch.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(token) => token.expect("a key signs"),
        Poll::Pending => unreachable!("a key in this process does not wait"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_signs_and_another_token_is_another_signature() {
        for key in [Key::p256(), Key::rsa()] {
            let source = key.source();
            let token = fetched(&source, &request());
            assert_eq!(token.token().expose().split('.').count(), 3);
            let mut subject = key.sign_bare();
            subject.prepare(1);
            subject.run();
        }
    }
}
