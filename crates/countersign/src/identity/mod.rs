//! Plain values: who is calling, how protected the connection is, what is called.
//!
//! Everything here is parsed once, at the border, and never parsed again. The room knows no
//! other room.

mod authority;
mod claims;
mod method_path;
mod network;
mod peer;
mod places;
mod principal;
mod security_level;
mod spiffe;

pub use authority::{Authority, InvalidAuthority};
pub use claims::{ClaimNames, ClaimsError, TokenClaims};
pub use method_path::{MethodPath, NotCanonical};
pub use peer::{PeerAddress, PeerCertificate, PeerIdentity, TlsFacts, UnixPeer};
pub use principal::Principal;
pub use security_level::SecurityLevel;
pub use spiffe::{InvalidSpiffeId, SpiffeId};

pub(crate) use claims::numeric_date;
pub(crate) use network::Source;
pub(crate) use places::Found;
