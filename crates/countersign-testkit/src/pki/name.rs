//! Names: of subjects, and the alternative ones that peers are known by.

use std::net::IpAddr;

use rcgen::string::{Ia5String, PrintableString};
use rcgen::{DistinguishedName, DnType, DnValue, SanType};
use x509_cert::der::asn1::{
    Any, Ia5StringRef, ObjectIdentifier, PrintableStringRef, Utf8StringRef,
};
use x509_cert::der::{Tag, Tagged as _};
use x509_cert::name::Name;

use super::PkiError;

/// A subject alternative name (RFC 5280 §4.2.1.6).
#[derive(Clone, Debug)]
pub(super) enum AlternativeName {
    Dns(String),
    Ip(IpAddr),
    Uri(String),
    Email(String),
}

impl AlternativeName {
    /// Tells the kinds apart by their shape: `://` makes a URI, `@` an e-mail address, what reads
    /// as an IP address is one, the rest is a DNS name.
    pub(super) fn guess(name: &str) -> Self {
        if name.contains("://") {
            Self::Uri(name.to_owned())
        } else if name.contains('@') {
            Self::Email(name.to_owned())
        } else if let Ok(address) = name.parse() {
            Self::Ip(address)
        } else {
            Self::Dns(name.to_owned())
        }
    }

    pub(super) fn encode(&self) -> Result<SanType, PkiError> {
        let ascii = |name: &String| {
            Ia5String::try_from(name.as_str()).map_err(|_| PkiError::Name { name: name.clone() })
        };
        Ok(match self {
            Self::Dns(name) => SanType::DnsName(ascii(name)?),
            Self::Uri(name) => SanType::URI(ascii(name)?),
            Self::Email(name) => SanType::Rfc822Name(ascii(name)?),
            Self::Ip(address) => SanType::IpAddress(*address),
        })
    }
}

/// A subject from pairs such as `("CN", "alice")`, in the order given.
pub(super) fn subject(attributes: &[(String, String)]) -> Result<DistinguishedName, PkiError> {
    let mut name = DistinguishedName::new();
    for (attribute, value) in attributes {
        let kind = match attribute.as_str() {
            "CN" => DnType::CommonName,
            "O" => DnType::OrganizationName,
            "OU" => DnType::OrganizationalUnitName,
            "C" => DnType::CountryName,
            "ST" => DnType::StateOrProvinceName,
            "L" => DnType::LocalityName,
            dotted => match ObjectIdentifier::new(dotted) {
                Ok(oid) => attribute_type(&oid),
                Err(_) => {
                    return Err(PkiError::SubjectAttribute { attribute: attribute.clone() });
                }
            },
        };
        // A country is a PrintableString (X.520 §6.3.1), the others may be UTF-8.
        let encoded = if kind == DnType::CountryName {
            DnValue::PrintableString(PrintableString::try_from(value.as_str()).map_err(|_| {
                PkiError::SubjectValue { attribute: attribute.clone(), value: value.clone() }
            })?)
        } else {
            DnValue::Utf8String(value.clone())
        };
        // rcgen would drop the first of two values without a word.
        if name.get(&kind).is_some() {
            return Err(PkiError::RepeatedAttribute { attribute: attribute.clone() });
        }
        name.push(kind, encoded);
    }
    Ok(name)
}

/// A parsed name in rcgen's type, or `None` if rcgen would not write it back byte for byte.
///
/// An issuer that differs from the authority's subject in one byte breaks the chain.
pub(super) fn convert(name: &Name) -> Option<DistinguishedName> {
    let mut converted = DistinguishedName::new();
    for relative in name.iter_rdn() {
        let mut attributes = relative.iter();
        let (Some(attribute), None) = (attributes.next(), attributes.next()) else {
            return None;
        };
        let kind = attribute_type(&attribute.oid);
        if converted.get(&kind).is_some() {
            return None;
        }
        converted.push(kind, attribute_value(&attribute.value)?);
    }
    Some(converted)
}

fn attribute_type(oid: &ObjectIdentifier) -> DnType {
    DnType::from_oid(&oid.arcs().map(u64::from).collect::<Vec<_>>())
}

fn attribute_value(value: &Any) -> Option<DnValue> {
    Some(match value.tag() {
        Tag::Utf8String => {
            DnValue::Utf8String(value.decode_as::<Utf8StringRef<'_>>().ok()?.as_str().to_owned())
        }
        Tag::PrintableString => DnValue::PrintableString(
            PrintableString::try_from(value.decode_as::<PrintableStringRef<'_>>().ok()?.as_str())
                .ok()?,
        ),
        Tag::Ia5String => DnValue::Ia5String(
            Ia5String::try_from(value.decode_as::<Ia5StringRef<'_>>().ok()?.as_str()).ok()?,
        ),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_names_are_told_apart_by_their_shape() {
        let kinds = [
            ("localhost", "Dns"),
            ("*.example.org", "Dns"),
            ("127.0.0.1", "Ip"),
            ("::1", "Ip"),
            ("spiffe://dev/alice", "Uri"),
            ("https://alice@example.org/", "Uri"),
            ("alice@example.org", "Email"),
        ];
        for (name, kind) in kinds {
            let guess = format!("{:?}", AlternativeName::guess(name));
            assert!(guess.starts_with(kind), "{name} became {guess}");
        }
    }

    #[test]
    fn a_name_outside_ascii_is_refused_by_name() {
        let error = AlternativeName::guess("bücher.example").encode().unwrap_err();
        assert_eq!(error.to_string(), "certificate name \"bücher.example\" is not ASCII");
    }

    #[test]
    fn subjects_take_short_names_and_object_identifiers() {
        let pairs = [("CN", "alice"), ("C", "CH"), ("2.5.4.5", "42")]
            .map(|(attribute, value)| (attribute.to_owned(), value.to_owned()));
        let name = subject(&pairs).unwrap();
        assert_eq!(name.iter().count(), 3);
    }

    #[test]
    fn an_unknown_subject_attribute_is_refused() {
        let pairs = [("common name".to_owned(), "alice".to_owned())];
        assert!(matches!(subject(&pairs), Err(PkiError::SubjectAttribute { .. })));
    }

    #[test]
    fn a_subject_attribute_given_twice_is_refused() {
        let pairs = [("OU", "a"), ("OU", "b")]
            .map(|(attribute, value)| (attribute.to_owned(), value.to_owned()));
        assert!(matches!(subject(&pairs), Err(PkiError::RepeatedAttribute { .. })));
    }

    #[test]
    fn a_parsed_name_converts_when_it_can_be_written_back() {
        let converts = |name: &str| convert(&name.parse().unwrap()).is_some();
        assert!(converts("CN=dev CA,O=gRPC"));
        assert!(!converts("CN=dev CA,DC=example,DC=org"));
        assert!(!converts("CN=dev CA+O=gRPC"));
    }

    #[test]
    fn a_country_outside_the_printable_alphabet_is_refused() {
        let pairs = [("C".to_owned(), "ü".to_owned())];
        assert!(matches!(subject(&pairs), Err(PkiError::SubjectValue { .. })));
    }
}
