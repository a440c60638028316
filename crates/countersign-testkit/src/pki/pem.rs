//! PEM text (RFC 7468).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

const LINE_BYTES: usize = 64;

/// One PEM section. The text may hold a key, so every copy of it is wiped.
pub(super) fn encode(label: &str, der: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(STANDARD.encode(der));
    // Room for everything, since a string that grows leaves its old copy behind.
    let room = body.len() + body.len() / LINE_BYTES + 2 * label.len() + 40;
    let mut text = Zeroizing::new(String::with_capacity(room));
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(LINE_BYTES));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

/// Certificates one after the other.
pub(super) fn certificates(chain: &[CertificateDer<'static>]) -> String {
    chain.iter().map(|certificate| String::clone(&encode("CERTIFICATE", certificate))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls_pki_types::pem::PemObject as _;

    #[test]
    fn what_is_encoded_reads_back_the_same() {
        for size in [0, 1, 47, 48, 49, 96, 1000] {
            let der: Vec<u8> = (0_u8..=255).cycle().take(size).collect();
            let text = encode("CERTIFICATE", &der);
            let read = CertificateDer::from_pem_slice(text.as_bytes()).unwrap();
            assert_eq!(read.as_ref(), der, "{size} bytes");
        }
    }

    #[test]
    fn the_text_never_outgrows_the_room_made_for_it() {
        for size in 0..400 {
            let der = vec![7; size];
            let text = encode("EC PRIVATE KEY", &der);
            let room = STANDARD.encode(&der).len();
            assert!(text.len() <= room + room / LINE_BYTES + 2 * 14 + 40, "{size} bytes");
        }
    }
}
