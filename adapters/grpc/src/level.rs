//! Security levels there and here. What one side does not know is the worst for the call.

use countersign::SecurityLevel as Ours;
use grpc::credentials::SecurityLevel as Theirs;

/// How well a connection protects: unknown is not at all.
pub(crate) fn ours(level: Theirs) -> Ours {
    match level {
        Theirs::PrivacyAndIntegrity => Ours::PrivacyAndIntegrity,
        Theirs::IntegrityOnly => Ours::IntegrityOnly,
        _ => Ours::NoSecurity,
    }
}

/// What credentials need: unknown is everything.
pub(crate) fn theirs(level: Ours) -> Theirs {
    match level {
        Ours::NoSecurity => Theirs::NoSecurity,
        Ours::IntegrityOnly => Theirs::IntegrityOnly,
        _ => Theirs::PrivacyAndIntegrity,
    }
}
