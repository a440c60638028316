//! The bare cryptography: what no library can go below.

use std::hint::black_box;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair as _, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256,
};
use aws_lc_rs::{constant_time, digest, hmac};

use super::{Subject, repeat};

/// SHA-256 of so many bytes.
pub fn sha256(bytes: usize) -> Box<dyn Subject> {
    let text = text(bytes);
    repeat(move || digest::digest(&digest::SHA256, black_box(&text)))
}

/// HMAC-SHA-256 of so many bytes, the key made ready.
pub fn hmac_sha256(bytes: usize) -> Box<dyn Subject> {
    let (key, text) = (hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]), text(bytes));
    repeat(move || hmac::sign(&key, black_box(&text)))
}

/// Comparing so many equal bytes in constant time.
pub fn constant_time_compare(bytes: usize) -> Box<dyn Subject> {
    let (one, other) = (text(bytes), text(bytes));
    repeat(move || {
        constant_time::verify_slices_are_equal(black_box(&one), black_box(&other))
            .expect("they are equal");
    })
}

/// ECDSA P-256 verification, the key parsed beforehand.
pub fn p256_verify() -> Box<dyn Subject> {
    let (pair, message) = (p256_key(), text(SIGNED_BYTES));
    let signature = pair.sign(&SystemRandom::new(), &message).expect("randomness");
    let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref());
    verify(key.expect("a key"), message, signature.as_ref().to_vec())
}

/// ECDSA P-256 signing, the key parsed beforehand.
pub fn p256_sign() -> Box<dyn Subject> {
    let (pair, message, random) = (p256_key(), text(SIGNED_BYTES), SystemRandom::new());
    repeat(move || pair.sign(&random, black_box(&message)).expect("randomness"))
}

/// RSA-2048 verification (PKCS #1, SHA-256), the key parsed beforehand.
pub fn rsa_verify() -> Box<dyn Subject> {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("randomness");
    let message = text(SIGNED_BYTES);
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &message, &mut signature)
        .expect("a signature");
    let key = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref());
    verify(key.expect("a key"), message, signature)
}

/// Ed25519 verification, the key parsed beforehand.
pub fn ed25519_verify() -> Box<dyn Subject> {
    let pair = Ed25519KeyPair::generate().expect("randomness");
    let message = text(SIGNED_BYTES);
    let signature = pair.sign(&message).as_ref().to_vec();
    let key = ParsedPublicKey::new(&ED25519, pair.public_key().as_ref());
    verify(key.expect("a key"), message, signature)
}

/// A new P-256 key.
pub(super) fn p256_key() -> EcdsaKeyPair {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("randomness")
}

/// What is signed in a JWT of 661 bytes.
const SIGNED_BYTES: usize = 574;

fn verify(key: ParsedPublicKey, message: Vec<u8>, signature: Vec<u8>) -> Box<dyn Subject> {
    repeat(move || key.verify_sig(black_box(&message), &signature).expect("a good signature"))
}

fn text(bytes: usize) -> Vec<u8> {
    (b'a'..=b'z').cycle().take(bytes).collect()
}
