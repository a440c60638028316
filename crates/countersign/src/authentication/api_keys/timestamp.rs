//! Times as RFC 3339 writes them, `2026-11-29T11:20:07Z`, for `#[serde(with)]`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serializer};
use x509_cert::der::DateTime;

use super::record::seconds;

pub(super) fn serialize<S: Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
    let since = Duration::from_secs(seconds(*time));
    match DateTime::from_unix_duration(since) {
        Ok(shown) => to.collect_str(&shown),
        Err(_) => Err(serde::ser::Error::custom("a time is after the year 9999")),
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SystemTime, D::Error> {
    parse(&String::deserialize(from)?).map_err(serde::de::Error::custom)
}

/// A time, or why it is none.
pub(super) fn parse(text: &str) -> Result<SystemTime, &'static str> {
    let time: DateTime = text
        .parse()
        .map_err(|_| "a time is written in UTC and whole seconds: 2026-11-29T11:20:07Z")?;
    Ok(UNIX_EPOCH + time.unix_duration())
}

/// The same for times that may be absent.
pub(super) mod optional {
    use super::{Deserialize, Deserializer, Serializer, SystemTime};

    pub(in super::super) fn serialize<S: Serializer>(
        time: &Option<SystemTime>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => super::serialize(time, to),
            None => to.serialize_none(),
        }
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<SystemTime>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| super::parse(&text)).transpose().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_written() {
        let time = parse("2026-11-29T11:20:07Z").expect("a time");
        assert_eq!(seconds(time), 1_795_951_207);
        for text in ["", "2026-11-29", "2026-11-29T11:20:07", "2026-11-29T11:20:07+01:00", "1"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
