//! Causes become statuses here and nowhere else.

use std::sync::Arc;

use tonic::{Code, Status};

use super::channel::CallError;
use crate::causes::chain;
use crate::credentials::{CallCredentialsError, CallCredentialsErrorKind, unreached};

impl From<CallError> for Status {
    /// The status that the caller sees, with the error in its `source()`.
    fn from(error: CallError) -> Self {
        let message = error.to_string();
        let code = match &error {
            CallError::Connect(_) | CallError::Authority { .. } => Code::Unavailable,
            CallError::DeadlineExceeded { .. } => Code::DeadlineExceeded,
            CallError::Insecure { .. } => Code::Unauthenticated,
            CallError::Metadata(_) | CallError::ManyAuthorizations { .. } => Code::Internal,
            CallError::Transport { code, .. } => Code::from_i32(*code),
            CallError::Request(status) => status.code(),
            CallError::Credentials(cause) => {
                let code = match cause.kind() {
                    CallCredentialsErrorKind::Transient => Code::Unavailable,
                    CallCredentialsErrorKind::Permanent => Code::Unauthenticated,
                    CallCredentialsErrorKind::Code(code) => Code::from_i32(code),
                };
                if is_for_applications(code) {
                    let message =
                        format!("call credentials failed with {code:?}: {}", story(cause));
                    return with_source(Code::Internal, message, error);
                }
                return with_source(code, story(cause), error);
            }
        };
        let message = match &error {
            CallError::DeadlineExceeded { last: Some(last), .. } => format!("{message}: {last}"),
            _ => message,
        };
        with_source(code, message, error)
    }
}

/// Why there are no call credentials, with the reason why somebody could not be reached: who reads
/// the status alone has to find out what to mend. Other causes may have words of whoever was asked,
/// a token among them, and statuses are passed on; those are in the source.
fn story(cause: &CallCredentialsError) -> String {
    match unreached(cause) {
        Some(error) => format!("{cause}: {}", chain(error)),
        None => cause.to_string(),
    }
}

fn with_source(code: Code, message: String, error: CallError) -> Status {
    let mut status = Status::new(code, message);
    status.set_source(Arc::new(error));
    status
}

/// The codes that gRFC A54 keeps for applications, and success, which no failure may be.
fn is_for_applications(code: Code) -> bool {
    matches!(
        code,
        Code::Ok
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::OutOfRange
            | Code::DataLoss
    )
}

/// For credentials that have a status already. The codes that belong to applications become
/// `INTERNAL` when the call fails (gRFC A54).
impl From<Status> for CallCredentialsError {
    fn from(status: Status) -> Self {
        Self::new(CallCredentialsErrorKind::Code(status.code() as i32), status.message())
            .with_source(status)
    }
}
