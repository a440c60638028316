//! The checksum at the end of a key. It finds slips of the hand and rubbish, and is never treated
//! as security: anybody can compute it.

use super::random::ALPHABET;

/// How many characters it has: 62^6 is more than 2^32.
pub(super) const CHARACTERS: usize = 6;

/// CRC-32 (ISO-HDLC, as in gzip and in GitHub's tokens) in base62, most significant digit first.
pub(super) fn of(bytes: &[u8]) -> [u8; CHARACTERS] {
    let mut rest = crc32(bytes);
    let mut digits = [ALPHABET[0]; CHARACTERS];
    for digit in digits.iter_mut().rev() {
        let index = usize::try_from(rest % 62).expect("less than 62");
        *digit = ALPHABET[index];
        rest /= 62;
    }
    digits
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes
        .iter()
        .fold(!0, |crc: u32, byte| TABLE[usize::from(crc.to_le_bytes()[0] ^ byte)] ^ (crc >> 8))
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_published_crc() {
        // The check value of CRC-32/ISO-HDLC, and those of the empty and the longest run.
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32(b""), 0);
        assert_eq!(crc32(&[0; 4]), 0x2144_DF1C);
    }

    #[test]
    fn small_numbers_are_filled_up_from_the_left() {
        assert_eq!(&of(b""), b"000000");
        // 0xCBF43926 = 3421780262 in base62.
        let mut number = 0_u64;
        for digit in of(b"123456789") {
            let value = ALPHABET.iter().position(|one| *one == digit).expect("base62");
            number = number * 62 + u64::try_from(value).expect("small");
        }
        assert_eq!(number, 0xCBF4_3926);
    }
}
