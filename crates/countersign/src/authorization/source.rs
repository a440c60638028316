use super::{Policy, PolicyFile, Rules};

/// Who may call what, in one of the forms that a gate takes: [`Rules`] in code, a [`Policy`], or
/// a [`PolicyFile`] that changes while it is in use. Made with `into()`.
#[derive(Clone, Debug)]
pub struct Authorization {
    pub(crate) kind: AuthorizationKind,
}

#[derive(Clone, Debug)]
pub(crate) enum AuthorizationKind {
    Rules(Rules),
    Policy(Policy),
    File(PolicyFile),
}

/// Nobody may call anything.
impl Default for Authorization {
    fn default() -> Self {
        Rules::new().into()
    }
}

impl From<Rules> for Authorization {
    fn from(rules: Rules) -> Self {
        Self { kind: AuthorizationKind::Rules(rules) }
    }
}

impl From<Policy> for Authorization {
    fn from(policy: Policy) -> Self {
        Self { kind: AuthorizationKind::Policy(policy) }
    }
}

impl From<PolicyFile> for Authorization {
    fn from(file: PolicyFile) -> Self {
        Self { kind: AuthorizationKind::File(file) }
    }
}

impl From<&PolicyFile> for Authorization {
    fn from(file: &PolicyFile) -> Self {
        file.clone().into()
    }
}
