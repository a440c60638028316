//! Random base62 text.

use aws_lc_rs::rand;
use zeroize::Zeroizing;

pub(super) const ALPHABET: &[u8; 62] =
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The operating system gives no randomness. No key is made without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no randomness")]
pub struct NoRandomness;

/// Fills with base62 characters, all of them equally likely.
///
/// Six bits name 64 characters: the two that there are not are drawn again, since a remainder
/// would make some characters likelier than others.
pub(super) fn base62(text: &mut [u8]) -> Result<(), NoRandomness> {
    let mut drawn = Zeroizing::new([0; 64]);
    let mut left = text.iter_mut();
    let Some(mut place) = left.next() else { return Ok(()) };
    loop {
        rand::fill(&mut *drawn).map_err(|_| NoRandomness)?;
        for byte in drawn.iter() {
            if let Some(character) = ALPHABET.get(usize::from(byte & 0b11_1111)) {
                *place = *character;
                match left.next() {
                    Some(next) => place = next,
                    None => return Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_is_as_likely_as_any_other() {
        let mut text = vec![0; 62 * 4_000];
        base62(&mut text).expect("random");
        let mut counts = [0_u32; 62];
        for byte in &text {
            let index = ALPHABET.iter().position(|one| one == byte).expect("base62");
            counts[index] += 1;
        }
        // 4000 each, and a standard deviation of 63. A remainder of 256 by 62 would give eight
        // characters a quarter more than the others.
        assert!(counts.iter().all(|count| (3_500..4_500).contains(count)), "{counts:?}");
    }

    #[test]
    fn nothing_is_asked_for_and_nothing_is_filled() {
        assert_eq!(base62(&mut []), Ok(()));
    }
}
