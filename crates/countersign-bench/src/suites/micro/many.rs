//! What there may be many of: rules, callers, keys.

use countersign_bench::in_process::limits::{Callers, one_word};
use countersign_bench::in_process::policy::{Much, decision};
use countersign_bench::in_process::{api_keys, crypto, jwt};

use super::groups::Group;
use crate::options::Options;
use crate::report::{Chart, Section};

/// Puts rows named `N SERIES` on the line of their series.
fn onto_lines(section: &mut Section) {
    for row in &mut section.rows {
        let Some((count, series)) = row.name.split_once(' ') else { continue };
        if let Ok(count) = count.replace(',', "").parse() {
            (row.series, row.x) = (Some(series.to_owned()), Some(count));
        }
    }
}

/// Compares each row with the first of its series.
fn compare_with_first(section: &mut Section, label: &str) {
    let mut firsts: Vec<(String, String)> = Vec::new();
    for row in &section.rows {
        let Some(series) = &row.series else { continue };
        if firsts.iter().all(|(known, _)| known != series) {
            firsts.push((series.clone(), row.name.clone()));
        }
    }
    section.compare(label, |row| {
        let series = row.series.as_ref()?;
        firsts.iter().find(|(known, _)| known == series).map(|(_, name)| name.as_str())
    });
}

/// A number as people read it.
fn grouped(count: usize) -> String {
    match count {
        1_000.. => format!("{},{:03}", grouped(count / 1_000), count % 1_000),
        _ => count.to_string(),
    }
}

pub(super) fn issuers_and_keys() -> Group {
    let token = jwt::Token::es256();
    let chart = Chart::Lines { x: "issuers, or keys of one".to_owned() };
    let title = "A JWT, not remembered, among issuers and keys";
    let mut group = Group::new("micro-scale", title, chart, |section| {
        onto_lines(section);
        compare_with_first(section, "over 1");
        section.notes.push("the issuer's key is the last of its set".to_owned());
    });
    for count in [1, 10, 100, 1_000] {
        group = group.with(format!("{} issuers", grouped(count)), token.check_among_issuers(count));
    }
    for count in [1, 10, 100] {
        group = group.with(format!("{count} keys"), token.check_among_keys(count));
    }
    group
}

const SHA_256_OF_661: &str = "floor: SHA-256, 661 B";

pub(super) fn remembered(options: &Options) -> Group {
    let token = jwt::Token::es256();
    let chart = Chart::Lines { x: "tokens".to_owned() };
    let mut group = Group::new("micro-cache", "A JWT that is remembered", chart, |section| {
        onto_lines(section);
        compare_with_first(section, "over 1 token");
        section.compare("over SHA-256", |_| Some(SHA_256_OF_661));
        section.control(SHA_256_OF_661, "floor, again");
        section.notes.push("each lookup is of another token; found by its SHA-256".to_owned());
    })
    .with(SHA_256_OF_661, crypto::sha256(661))
    .with("floor, again", crypto::sha256(661));
    // Each is signed and verified before anything is measured.
    let most = if options.quick { 10_000 } else { 100_000 };
    for count in [1, 1_000, 10_000, 100_000].into_iter().filter(|count| *count <= most) {
        group = group.with(format!("{} tokens", grouped(count)), token.find_remembered(count));
    }
    group
}

pub(super) fn policies() -> Group {
    let chart = Chart::Lines { x: "rules, or entries of a rule".to_owned() };
    let title = "A policy's decision, all rules but one of which cannot match";
    let mut group = Group::new("micro-policy", title, chart, |section| {
        onto_lines(section);
        compare_with_first(section, "over 10");
        section.control("10 exact rules", AGAIN);
        section.notes.push(
            "gRFC A43 by `Policy::decide`: without reading the path, the credentials or the \
             certificate"
                .to_owned(),
        );
    });
    for much in Much::ALL {
        for count in [10, 100, 1_000, 10_000] {
            group = group.with(format!("{} {much}", grouped(count)), decision(much, count));
        }
    }
    group.with(AGAIN, decision(Much::Exact, 10))
}

const AGAIN: &str = "again: 10 exact rules";

pub(super) fn limits(options: &Options) -> Group {
    let chart = Chart::Lines { x: "callers".to_owned() };
    let mut group = Group::new("micro-limits", "A check of a caller's limit", chart, |section| {
        onto_lines(section);
        compare_with_first(section, "over 1 caller");
        let governors: Vec<(f64, String)> = (section.rows.iter())
            .filter(|row| row.series.as_deref() == Some(GOVERNOR))
            .filter_map(|row| Some((row.x?, row.name.clone())))
            .collect();
        section.compare("over governor", |row| {
            let beside = governors.iter().find(|(callers, _)| Some(*callers) == row.x);
            beside.map(|(_, name)| name.as_str()).filter(|name| *name != row.name)
        });
        section.compare("over the floor", |_| Some(ONE_WORD));
        section.control(ONE_WORD, "floor, again");
        section.notes.push(
            "each check is of another caller; `remembered` is what a gate does for callers that \
             came before, by the coarse clock; `by name` hashes the name for each check, `by key` \
             has the hash at hand; `coarse` is a clock with steps of 1 to 4 ms"
                .to_owned(),
        );
        section.notes.push("what a caller takes is in the suite `memory`".to_owned());
    });
    group = group.with(ONE_WORD, one_word()).with("floor, again", one_word());
    // Made last: a million callers take their time.
    let most = if options.quick { 100_000 } else { 1_000_000 };
    for count in [1, 10_000, most] {
        let callers = Callers::new(count);
        let count = grouped(count);
        group = group
            .with(format!("{count} {GOVERNOR}"), callers.governor())
            .with(format!("{count} ours, remembered"), callers.quota())
            .with(format!("{count} ours by name"), callers.meters_by_name())
            .with(format!("{count} ours by key"), callers.meters_by_key())
            .with(format!("{count} ours by key, coarse"), callers.meters_by_key_and_coarse_clock());
    }
    group
}

const ONE_WORD: &str = "floor: one atomic word, coarse clock";
const GOVERNOR: &str = "governor by name";

pub(super) fn api_keys() -> Group {
    let chart = Chart::Lines { x: "keys".to_owned() };
    Group::new("micro-keys", "An API key's verification, its record at hand", chart, |section| {
        onto_lines(section);
        compare_with_first(section, "over 1 key");
        section.compare("over HMAC-SHA-256 of 68 B", |_| Some(HMAC_OF_68));
        section.control(HMAC_OF_68, "floor, again");
        section.notes.push("hashed with a pepper; each check is of another key".to_owned());
    })
    .with(HMAC_OF_68, crypto::hmac_sha256(68))
    .with("floor, again", crypto::hmac_sha256(68))
    .with("1 keys", api_keys::verification(1))
    .with("1,000 keys", api_keys::verification(1_000))
    .with("100,000 keys", api_keys::verification(100_000))
}

const HMAC_OF_68: &str = "floor: HMAC-SHA-256, 68 B";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Row;

    #[test]
    fn rows_are_compared_with_the_first_of_their_line() {
        let mut section = Section::new("test", "Test", "ns", Chart::None);
        for (name, value) in
            [("floor", 1.0), ("10 exact", 4.0), ("10 globs", 8.0), ("10,000 globs", 16.0)]
        {
            section.rows.push(Row::measured(name, [value]));
        }
        onto_lines(&mut section);
        compare_with_first(&mut section, "over 10");
        let told = |at: usize| {
            let one = section.rows[at].comparisons.first().and_then(|one| one.summary);
            one.map(|summary| summary.median)
        };
        assert_eq!([told(0), told(1), told(2), told(3)], [None, Some(1.0), Some(1.0), Some(2.0)]);
        assert_eq!(section.rows[3].x, Some(10_000.0));
    }

    #[test]
    fn numbers_are_grouped() {
        let all = [1, 10, 10_000, 100_000, 1_000_000].map(grouped);
        assert_eq!(all, ["1", "10", "10,000", "100,000", "1,000,000"]);
    }
}
