use countersign::authentication::Authenticated;
use countersign::{Principal, SecurityLevel};

fn main() {
    // A name is anybody's to write, and a proof is not.
    let principal = Principal::new("root", "mutual-tls");
    let _ = Authenticated { principal, level: SecurityLevel::PrivacyAndIntegrity };
}
