use super::claims::ClaimNames;

/// A claim as whoever read the claims found it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Found<'a> {
    /// Text: where it stands among the claims, or a copy where it is written with escapes.
    Text(&'a str),
    /// Anything else.
    Other,
}

/// Where the texts that are asked most often stand among the claims as they came.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Places {
    pub(super) issuer: Place,
    pub(super) subject: Place,
    pub(super) client: Place,
    pub(super) id: Place,
    pub(super) scopes: Place,
}

impl Places {
    pub(super) fn find<'a>(
        claims: &str,
        find: impl Fn(&str) -> Option<Found<'a>>,
        names: &ClaimNames,
    ) -> Self {
        let text = |name: &str| match find(name) {
            Some(Found::Text(text)) => Place::of(claims, text),
            Some(Found::Other) | None => Place::Absent,
        };
        // A pointer leads inside, where nobody has looked yet.
        let mapped = |name: &str| match name.starts_with('/') {
            true => Place::Unknown,
            false => text(name),
        };
        Self {
            issuer: text("iss"),
            subject: mapped(&names.subject),
            client: match names.client.as_deref() {
                Some(name) => mapped(name),
                None => match text("client_id") {
                    Place::Absent => text("azp"),
                    place => place,
                },
            },
            id: text("jti"),
            scopes: match names.scopes {
                Some(_) => Place::Unknown,
                None => match find("scope").or_else(|| find("scp")) {
                    Some(Found::Text(text)) => Place::of(claims, text),
                    // A list, perhaps.
                    Some(Found::Other) => Place::Unknown,
                    None => Place::Absent,
                },
            },
        }
    }
}

/// Where a text stands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Place {
    /// It has to be looked for.
    #[default]
    Unknown,
    /// There is no such text.
    Absent,
    /// From here to there, in bytes.
    At(u16, u16),
}

impl Place {
    /// Where `part` stands in `whole`, if it is a part of it.
    fn of(whole: &str, part: &str) -> Self {
        let place = || {
            let start = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
            let end = start.checked_add(part.len())?;
            whole.get(start..end)?;
            Some(Self::At(u16::try_from(start).ok()?, u16::try_from(end).ok()?))
        };
        place().unwrap_or(Self::Unknown)
    }

    /// The text that stands there in `whole`; outside, `None` when it has to be looked for.
    pub(super) fn text(self, whole: &str) -> Option<Option<&str>> {
        match self {
            Self::Unknown => None,
            Self::Absent => Some(None),
            Self::At(start, end) => whole.get(usize::from(start)..usize::from(end)).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_known_of_what_stands_in_the_claims() {
        let whole = r#"{"iss":"https://id.example","jti":""}"#;
        let part = &whole[8..26];
        assert_eq!(Place::of(whole, part).text(whole), Some(Some("https://id.example")));
        assert_eq!(Place::of(whole, &whole[35..35]).text(whole), Some(Some("")));
        assert_eq!(Place::of(part, whole).text(part), None, "the whole is no part");
        let copy = String::from(part);
        assert_eq!(Place::of(whole, &copy).text(whole), None, "a copy stands elsewhere");
        assert_eq!(Place::Absent.text(whole), Some(None));
    }

    #[test]
    fn what_stands_too_far_is_looked_for() {
        let whole = "a".repeat(100_000);
        assert_eq!(Place::of(&whole, &whole[65_530..65_535]).text(&whole), Some(Some("aaaaa")));
        assert_eq!(Place::of(&whole, &whole[65_530..65_536]).text(&whole), None);
    }
}
