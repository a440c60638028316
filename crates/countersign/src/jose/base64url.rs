//! base64url as RFC 7515 §2 wants it: no padding, no spaces, and one spelling for each value.

use std::sync::LazyLock;

use base64::Engine;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
use base64::engine::GeneralPurpose as Fastest;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use base64::engine::Simd as Fastest;
use base64::engine::general_purpose::NO_PAD;

/// By vectors where the processor has them; it is asked once.
static ENGINE: LazyLock<Fastest> = LazyLock::new(|| {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    return Fastest::url_safe(NO_PAD);
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return Fastest::new(&base64::alphabet::URL_SAFE, NO_PAD);
});

/// What is not base64url, or has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotBase64Url;

/// Decodes into the room, which three quarters of the text suffice for. Says how long it is.
pub(crate) fn decode_into(text: &str, room: &mut [u8]) -> Result<usize, NotBase64Url> {
    ENGINE.decode_slice(text, room).map_err(|_| NotBase64Url)
}

/// Adds the encoded bytes to a text.
pub(crate) fn encode_onto(text: &mut String, bytes: impl AsRef<[u8]>) {
    ENGINE.encode_string(bytes, text);
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

    fn decoded(text: &str) -> Result<Vec<u8>, NotBase64Url> {
        let mut room = vec![0; text.len()];
        let length = decode_into(text, &mut room)?;
        room.truncate(length);
        Ok(room)
    }

    /// Long enough for every way through: one by one, by vectors, and what is left of both.
    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|at| u8::try_from(at * 167 % 251).expect("below 251")).collect()
    }

    #[test]
    fn what_is_encoded_is_decoded_and_reads_as_everybody_writes_it() {
        for length in 0..300 {
            let bytes = bytes(length);
            let mut text = "x".to_owned();
            encode_onto(&mut text, &bytes);
            assert_eq!(text[1..], URL_SAFE_NO_PAD.encode(&bytes), "{length} bytes");
            assert_eq!(decoded(&text[1..]), Ok(bytes), "{length} bytes");
        }
    }

    /// In every place of texts of many lengths: where vectors are used a flaw could hide.
    #[test]
    fn each_byte_is_of_the_alphabet_or_refused_wherever_it_stands() {
        for length in [4, 8, 64, 68, 96, 100, 160] {
            for place in 0..length {
                for byte in 0..=u8::MAX {
                    let mut text = vec![b'Q'; length];
                    text[place] = byte;
                    // No text has more of it than ASCII.
                    let Ok(text) = std::str::from_utf8(&text) else { continue };
                    let known = ALPHABET.contains(&byte);
                    assert_eq!(decoded(text).is_ok(), known, "{byte:#x} at {place} of {length}");
                }
            }
        }
    }

    #[test]
    fn a_value_has_one_spelling() {
        for length in [1, 2, 22, 23, 64, 65, 97, 98, 385, 386] {
            let bytes = bytes(length);
            let good = URL_SAFE_NO_PAD.encode(&bytes);
            assert_eq!(decoded(&good), Ok(bytes), "{length} bytes");
            let last = good.len() - 1;
            let place = ALPHABET.iter().position(|one| *one == good.as_bytes()[last]);
            let place = place.expect("of the alphabet");
            // Bits beyond the last byte: four of them after one byte more, two after two.
            let spare = if length % 3 == 1 { 4 } else { 2 };
            if length % 3 != 0 {
                for bits in 1..1 << spare {
                    let other = char::from(ALPHABET[place + bits]);
                    let spelled = format!("{}{other}", &good[..last]);
                    assert_eq!(decoded(&spelled), Err(NotBase64Url), "{spelled}");
                }
            }
            for more in ["=", "==", " ", "\n", "\r\n", "A=", "\0"] {
                for spelled in [format!("{good}{more}"), format!("{more}{good}")] {
                    assert_eq!(decoded(&spelled), Err(NotBase64Url), "{spelled:?}");
                }
            }
        }
        for length in [1, 5, 65, 97, 129] {
            let text = "A".repeat(length);
            assert_eq!(decoded(&text), Err(NotBase64Url), "{length} characters");
        }
    }

    #[test]
    fn what_has_no_room_is_refused() {
        let text = URL_SAFE_NO_PAD.encode(bytes(96));
        assert_eq!(decode_into(&text, &mut [0; 96]), Ok(96));
        assert_eq!(decode_into(&text, &mut [0; 95]), Err(NotBase64Url));
    }
}
