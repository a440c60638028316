use super::error::InvalidPolicy;
use super::fields::{Fields, boolean, mistyped};
use super::json::{Node, Value};

/// Which decisions a policy wants to have written down, and where (gRFC A59).
///
/// Read and checked with the policy; what writes is the audit room's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditOptions {
    is_stated: bool,
    condition: AuditCondition,
    loggers: Vec<String>,
    /// Those of them that may be missing.
    optional: Vec<String>,
}

/// When a decision is written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuditCondition {
    /// `NONE`: never.
    #[default]
    None,
    /// `ON_DENY`
    OnDeny,
    /// `ON_ALLOW`
    OnAllow,
    /// `ON_DENY_AND_ALLOW`
    OnDenyAndAllow,
}

impl AuditCondition {
    /// Whether a decision is to be written down.
    pub fn holds(self, allowed: bool) -> bool {
        match self {
            Self::None => false,
            Self::OnDeny => !allowed,
            Self::OnAllow => allowed,
            Self::OnDenyAndAllow => true,
        }
    }
}

impl AuditOptions {
    /// Whether the policy has any. Where it has none, it is for the audit's sinks to choose.
    pub fn is_stated(&self) -> bool {
        self.is_stated
    }

    /// When.
    pub fn condition(&self) -> AuditCondition {
        self.condition
    }

    /// The loggers by name. Without one, nothing is written, whatever the condition.
    pub fn loggers(&self) -> &[String] {
        &self.loggers
    }

    /// Whether a decision is to be written down. Each at most once.
    pub fn wants(&self, allowed: bool) -> bool {
        self.condition.holds(allowed) && !self.loggers.is_empty()
    }

    /// The first logger that the policy cannot do without and that is none of these.
    pub(crate) fn missing(&self, known: &[impl AsRef<str>]) -> Option<&str> {
        let is_known = |name: &str| known.iter().any(|known| known.as_ref() == name);
        let mut needed = self.loggers.iter().filter(|name| !self.optional.contains(name));
        let missing = needed.find(|name| !is_known(name))?;
        (self.condition != AuditCondition::None).then_some(missing)
    }
}

pub(super) fn options(node: &Node, known: &[String]) -> Result<AuditOptions, InvalidPolicy> {
    let what = "\"audit_logging_options\"";
    let fields = Fields::of(node, what, &["audit_condition", "audit_loggers"])?;
    let condition = match fields.get("audit_condition") {
        Some(node) => condition(node)?,
        None => AuditCondition::default(),
    };
    let (mut loggers, mut optional) = (Vec::new(), Vec::new());
    for (index, node) in fields.list("audit_loggers")?.iter().enumerate() {
        let part = format!("\"audit_loggers\" {index}");
        if let Some((name, is_optional)) =
            logger(node, known).map_err(|error| error.within(part))?
        {
            optional.extend(is_optional.then(|| name.clone()));
            loggers.push(name);
        }
    }
    Ok(AuditOptions { is_stated: true, condition, loggers, optional })
}

fn condition(node: &Node) -> Result<AuditCondition, InvalidPolicy> {
    let text = super::fields::text(node, "\"audit_condition\"")?;
    Ok(match text {
        "NONE" => AuditCondition::None,
        "ON_DENY" => AuditCondition::OnDeny,
        "ON_ALLOW" => AuditCondition::OnAllow,
        "ON_DENY_AND_ALLOW" => AuditCondition::OnDenyAndAllow,
        other => {
            let message = format!("failed to parse AuditCondition {other}");
            return Err(InvalidPolicy::new(node.place, message)
                .with_hint("it may be NONE, ON_DENY, ON_ALLOW or ON_DENY_AND_ALLOW"));
        }
    })
}

/// Its name, and whether it may be left out. `None` for one that nobody knows and that may.
fn logger(node: &Node, known: &[String]) -> Result<Option<(String, bool)>, InvalidPolicy> {
    let fields = Fields::of(node, "an audit logger", &["name", "config", "is_optional"])?;
    let name = match fields.name("name") {
        Err(error) if !error.message().starts_with("failed") => {
            let message = "missing required field: name is not present";
            return Err(InvalidPolicy::new(fields.place(), message));
        }
        name => name?.to_owned(),
    };
    if let Some(node) = fields.get("config")
        && !matches!(node.value, Value::Object(_))
    {
        return Err(mistyped(node, "\"config\"", "an object"));
    }
    let is_optional = match fields.get("is_optional") {
        Some(node) => boolean(node, "\"is_optional\"")?,
        None => false,
    };
    if known.contains(&name) {
        Ok(Some((name, is_optional)))
    } else if is_optional {
        Ok(None)
    } else {
        Err(InvalidPolicy::new(fields.place(), format!("there is no audit logger {name:?}"))
            .with_hint(format!("known are {}; `is_optional` skips others", known.join(", "))))
    }
}
