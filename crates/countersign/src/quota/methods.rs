use std::collections::HashMap;

use crate::authorization::Pattern;
use crate::identity::MethodPath;

/// Something for each method pattern, found without looking at those that cannot match.
#[derive(Clone, Debug)]
pub(super) struct Methods<T> {
    exact: HashMap<String, Vec<Entry<T>>>,
    services: HashMap<String, Vec<Entry<T>>>,
    globs: Vec<Entry<T>>,
}

#[derive(Clone, Debug)]
struct Entry<T> {
    pattern: Pattern,
    value: T,
}

impl<T> Default for Methods<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), services: HashMap::new(), globs: Vec::new() }
    }
}

impl<T: Copy + Ord> Methods<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.services.is_empty() && self.globs.is_empty()
    }

    pub(super) fn add(&mut self, pattern: Pattern, value: T) {
        let entries = match &pattern {
            Pattern::Exact(path) => self.exact.entry(path.clone()).or_default(),
            Pattern::Service(service) => self.services.entry(service.clone()).or_default(),
            Pattern::Glob { .. } => &mut self.globs,
        };
        entries.push(Entry { pattern, value });
    }

    /// What there is for a method, in no order.
    pub(super) fn matching(&self, path: MethodPath<'_>) -> impl Iterator<Item = T> + use<'_, T> {
        self.entries(path).map(|entry| entry.value)
    }

    /// The closest pattern's: an exact one's, else that of the one with the most characters
    /// given; the greatest among equals.
    pub(super) fn closest(&self, path: MethodPath<'_>) -> Option<T> {
        let close = |entry: &&Entry<T>| {
            let exact = matches!(entry.pattern, Pattern::Exact(_));
            (exact, entry.pattern.literal_length(), entry.value)
        };
        self.entries(path).max_by_key(close).map(|entry| entry.value)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&Pattern, T)> {
        let found = self.exact.values().chain(self.services.values()).flatten();
        found.chain(&self.globs).map(|entry| (&entry.pattern, entry.value))
    }

    fn entries<'a>(
        &'a self,
        path: MethodPath<'_>,
    ) -> impl Iterator<Item = &'a Entry<T>> + use<'a, T> {
        let exact = self.exact.get(path.as_str()).into_iter().flatten();
        let services = self.services.get(path.service()).into_iter().flatten();
        let globs: Vec<_> = self.globs.iter().filter(|one| one.pattern.matches(&path)).collect();
        exact.chain(services).chain(globs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_that_matches_is_found_and_the_closest_is_known() {
        let mut methods = Methods::default();
        for (pattern, value) in [
            ("*", 1),
            ("/a.B/*", 2),
            ("/a.B/Get*", 3),
            ("/a.B/GetOne", 4),
            ("/a.B/GetOne", 5),
            ("/c.D/*", 6),
        ] {
            methods.add(Pattern::parse(pattern).expect(pattern), value);
        }
        for (path, all, closest) in [
            ("/a.B/GetOne", &[1, 2, 3, 4, 5][..], 5),
            ("/a.B/GetTwo", &[1, 2, 3], 3),
            ("/a.B/Set", &[1, 2], 2),
            ("/e.F/G", &[1], 1),
        ] {
            let path = MethodPath::parse(path).expect(path);
            let mut found: Vec<_> = methods.matching(path).collect();
            found.sort_unstable();
            assert_eq!(found, all, "{path}");
            assert_eq!(methods.closest(path), Some(closest), "{path}");
        }
        assert_eq!(methods.all().count(), 6);
    }
}
