//! What becomes of each method before anybody calls it.

use std::fmt;

/// The methods of an interface by who may call them.
///
/// A gate logs it at the start (`GateBuilder::methods_of`), and `countersign policy coverage`
/// prints it. It shows what rules say of a path; conditions on headers, addresses, the time or an
/// expression may still keep callers out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    methods: Vec<MethodCoverage>,
}

/// One method in a [`Coverage`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MethodCoverage {
    /// `/package.Service/Method`
    pub path: String,
    /// Who gets through.
    pub reach: Reach,
    /// The first rule that makes it so: its name in a policy, its pattern in code.
    pub rule: Option<String>,
}

/// Who gets through to a method, the most open first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reach {
    /// Callers of whom nothing is proven, perhaps under conditions.
    Public,
    /// Only callers of whom something is proven.
    Authenticated,
    /// Nobody, since a rule says so.
    Denied,
    /// Nobody, since no rule speaks of it.
    NoRule,
}

impl Reach {
    /// In words: `public`, `authenticated`, `denied`, `no rule`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Authenticated => "authenticated",
            Self::Denied => "denied",
            Self::NoRule => "no rule",
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Coverage {
    pub(super) fn new(methods: Vec<MethodCoverage>) -> Self {
        Self { methods }
    }

    /// All methods, in paths' order.
    pub fn methods(&self) -> &[MethodCoverage] {
        &self.methods
    }

    /// The paths of one kind.
    pub fn reaching(&self, reach: Reach) -> impl Iterator<Item = &str> {
        self.methods.iter().filter(move |one| one.reach == reach).map(|one| one.path.as_str())
    }

    /// How many there are of one kind.
    pub fn count(&self, reach: Reach) -> usize {
        self.reaching(reach).count()
    }

    /// The paths of one kind in one text of at most some 2,000 characters.
    pub(crate) fn list(&self, reach: Reach) -> String {
        shortened(self.reaching(reach))
    }
}

/// As many texts as a log's line can bear, and how many more there are.
pub(crate) fn shortened<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    const MOST: usize = 2000;
    let (mut list, mut more) = (String::new(), 0);
    for text in texts {
        if more > 0 || list.len() + text.len() > MOST {
            more += 1;
            continue;
        }
        if !list.is_empty() {
            list.push_str(", ");
        }
        list.push_str(text);
    }
    if more > 0 {
        list.push_str(&format!(" and {more} more"));
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_says_how_much_it_leaves_out() {
        let many: Vec<String> = (0..1000).map(|n| format!("/orders.v1.Orders/M{n}")).collect();
        let list = shortened(many.iter().map(String::as_str));
        assert!(list.len() < 2100, "{}", list.len());
        let shown = list.matches("/orders").count();
        assert!(list.ends_with(&format!(" and {} more", 1000 - shown)), "{list}");
        assert_eq!(shortened(["/a.B/C", "/a.B/D"].into_iter()), "/a.B/C, /a.B/D");
        assert_eq!(shortened(std::iter::empty()), "");
    }
}
