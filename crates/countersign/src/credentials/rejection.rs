use http::HeaderMap;

use super::{CallDetails, CallMetadata};

/// A call that a server answered with `UNAUTHENTICATED`, before any message of its own.
#[derive(Debug)]
pub struct Rejection<'a> {
    call: &'a CallDetails,
    sent: &'a CallMetadata,
    reason: Option<&'a str>,
    answer: &'a HeaderMap,
}

impl<'a> Rejection<'a> {
    /// A rejection, for testing call credentials by themselves.
    pub fn new(
        call: &'a CallDetails,
        sent: &'a CallMetadata,
        reason: Option<&'a str>,
        answer: &'a HeaderMap,
    ) -> Self {
        Self { call, sent, reason, answer }
    }

    /// The call.
    pub fn call(&self) -> &CallDetails {
        self.call
    }

    /// What the credentials had added to it.
    pub fn sent(&self) -> &CallMetadata {
        self.sent
    }

    /// `ErrorInfo.reason`, where the server said it.
    pub fn reason(&self) -> Option<&str> {
        self.reason
    }

    /// The answer's metadata.
    pub fn answer(&self) -> &HeaderMap {
        self.answer
    }

    /// Whether another token of the same source would be rejected too: it is for another
    /// audience, was revoked, or came without its proof.
    pub fn is_final(&self) -> bool {
        matches!(self.reason, Some("TOKEN_AUDIENCE" | "CREDENTIALS_REVOKED" | "PROOF_INVALID"))
    }
}
