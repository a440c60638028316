//! What is to become of calls that go on when what proved their callers ends.

use std::time::Duration;

use crate::authorization::{InvalidPattern, Pattern};
use crate::identity::MethodPath;

/// What becomes of a stream when what proved its caller ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamExpiry {
    /// It ends with `UNAUTHENTICATED`, reason `TOKEN_EXPIRED`, for both sides.
    #[default]
    Terminate,
    /// It goes on, and the log says so once. A credential that is taken back ends it all the
    /// same.
    Warn,
    /// It goes on, whatever becomes of the credential and of the policy.
    Ignore,
}

/// The modes by method, and how often to look.
#[derive(Debug)]
pub(super) struct Watching {
    modes: Vec<(Pattern, StreamExpiry)>,
    pub(super) every: Duration,
}

impl Watching {
    pub(super) const EVERY: Duration = Duration::from_secs(30);

    pub(super) fn new(
        modes: Vec<(String, StreamExpiry)>,
        every: Duration,
    ) -> Result<Self, InvalidPattern> {
        let parse = |(text, mode): (String, StreamExpiry)| Ok((Pattern::parse(&text)?, mode));
        let modes = modes.into_iter().map(parse).collect::<Result<_, InvalidPattern>>()?;
        // Never is not often enough, and all the time is too often.
        Ok(Self {
            modes,
            every: every.clamp(Duration::from_millis(100), Duration::from_secs(3600)),
        })
    }

    /// The closest pattern's; among equals the strictest.
    pub(super) fn mode(&self, path: &str) -> StreamExpiry {
        let parsed = (!self.modes.is_empty()).then(|| MethodPath::parse(path).ok()).flatten();
        let Some(path) = parsed else { return StreamExpiry::Terminate };
        let strictness = |mode| match mode {
            StreamExpiry::Terminate => 2,
            StreamExpiry::Warn => 1,
            StreamExpiry::Ignore => 0,
        };
        let matching = self.modes.iter().filter(|(pattern, _)| pattern.matches(&path));
        let closest = matching.max_by_key(|(pattern, mode)| {
            let exact = matches!(pattern, Pattern::Exact(_));
            (exact, pattern.literal_length(), strictness(*mode))
        });
        closest.map_or(StreamExpiry::Terminate, |(_, mode)| *mode)
    }
}
