//! countersign's call credentials for the official [`grpc`] crate.
//!
//! [`ForGrpc`] makes any [`countersign::CallCredentials`] usable where that crate wants its own:
//! tokens that stay fresh, per authority, on behalf of somebody.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use countersign::credentials::{CachedToken, FileToken};
//! use countersign_grpc::ForGrpc;
//! use grpc::client::{Channel, ChannelOptions};
//! use grpc::credentials::CompositeChannelCredentials;
//! use grpc::credentials::rustls::client::{ClientTlsConfig, RustlsChannelCredendials};
//!
//! # fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let token = CachedToken::new(FileToken::new("/run/secrets/token")?);
//! let tls = RustlsChannelCredendials::new(ClientTlsConfig::new())?;
//! let credentials = CompositeChannelCredentials::new(tls, Arc::new(ForGrpc::new(token)));
//! let target = "dns:///orders.example:443";
//! let channel = Channel::new(target, Arc::new(credentials), ChannelOptions::default());
//! # drop(channel);
//! # Ok(())
//! # }
//! ```
//!
//! What that crate's release 0.9 does not let an adapter do:
//!
//! * It tells credentials of no rejection, so a token that a server does not accept is replaced
//!   when it ends and not before, no call is sent once more, and a nonce that a server asks for
//!   in a DPoP proof is not heard.
//! * It drops the mark that keeps a value out of HPACK's tables; the value is encrypted like all
//!   others.

mod call;
mod level;

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use countersign::CallCredentials;
use countersign::credentials::{
    CallCredentialsError, CallCredentialsErrorKind, CallMetadata, ChannelSecurityInfo,
};
use grpc::credentials::SecurityLevel;
use grpc::credentials::call::{CallDetails, ClientConnectionSecurityInfo};
use grpc::metadata::MetadataMap;
use grpc::metadata::{
    AsciiMetadataKey, AsciiMetadataValue, BinaryMetadataKey, BinaryMetadataValue,
};
use grpc::{StatusCodeError, StatusError};

/// Call credentials of ours, as the official crate wants them.
///
/// * **Level.** The connection's own level is compared with what the credentials need before they
///   are asked, whoever asks: below it, calls fail with `UNAUTHENTICATED` and nothing is fetched.
///   A level that we do not know counts as none.
/// * **Authority.** The credentials see the authority that the connection was verified for, so
///   [`PerAuthority`](countersign::credentials::PerAuthority) works as it does on our own channel.
/// * **One value per key.** What stands in the request's metadata already is not written again:
///   the call fails with `INTERNAL`.
/// * **Failures.** What may work later is `UNAVAILABLE`, what will not is `UNAUTHENTICATED`, and
///   the codes that belong to applications become `INTERNAL` (gRFC A54).
/// * **Cancellation.** As safe as the credentials are; ours are.
///
/// Cloning clones the credentials, which share what they hold.
#[derive(Clone, Debug)]
pub struct ForGrpc<C> {
    credentials: C,
}

impl<C: CallCredentials> ForGrpc<C> {
    /// Adapts these.
    pub fn new(credentials: C) -> Self {
        Self { credentials }
    }

    /// Adapts these, ready for
    /// [`CompositeChannelCredentials`](grpc::credentials::CompositeChannelCredentials).
    pub fn new_arc(credentials: C) -> Arc<Self> {
        Arc::new(Self::new(credentials))
    }
}

#[async_trait]
impl<C: CallCredentials> grpc::credentials::call::CallCredentials for ForGrpc<C> {
    async fn get_metadata(
        &self,
        call_details: &CallDetails,
        auth_info: &ClientConnectionSecurityInfo,
        metadata: &mut MetadataMap,
    ) -> Result<(), StatusError> {
        let have = level::ours(auth_info.security_level());
        let need = self.credentials.minimum_channel_security_level();
        if have < need {
            return Err(StatusError::new(
                StatusCodeError::Unauthenticated,
                format!(
                    "the connection's security level is {have}, and the call credentials need {need}"
                ),
            ));
        }
        let call = call::details(call_details.service_url(), call_details.method_name())
            .ok_or_else(|| internal("the call's service URL is not one that can be understood"))?;
        let security = ChannelSecurityInfo::new(auth_info.security_protocol(), have);
        let mut added = CallMetadata::default();
        let asked = self
            .credentials
            .get_metadata_now(&call, &security, &mut added)
            .map_err(|error| status(&error))?;
        if !asked {
            self.credentials
                .get_metadata(&call, &security, &mut added)
                .await
                .map_err(|error| status(&error))?;
        }
        copy(&added, metadata)
    }

    fn minimum_channel_security_level(&self) -> SecurityLevel {
        level::theirs(self.credentials.minimum_channel_security_level())
    }
}

/// All of it or nothing: the keys are looked at before the first one is written.
fn copy(added: &CallMetadata, metadata: &mut MetadataMap) -> Result<(), StatusError> {
    if let Some((name, _)) = added.iter().find(|(name, _)| metadata.contains_key(name.as_str())) {
        return Err(internal(&format!(
            "call credentials cannot be sent: metadata key {:?} is in the request's own metadata too",
            name.as_str()
        )));
    }
    for (name, value) in added.iter() {
        let unfit = || internal(&format!("metadata key {:?} cannot be sent", name.as_str()));
        let (key, value) = (name.as_str().as_bytes(), value.as_bytes());
        if name.as_str().ends_with("-bin") {
            // They encode it once more.
            let bytes = BASE64.decode(value).map_err(|_| unfit())?;
            let key = BinaryMetadataKey::from_bytes(key).map_err(|_| unfit())?;
            metadata.insert_bin(key, BinaryMetadataValue::from_bytes(&bytes));
        } else {
            let key = AsciiMetadataKey::from_bytes(key).map_err(|_| unfit())?;
            // Marked sensitive as theirs are from the beginning.
            metadata.insert(key, AsciiMetadataValue::try_from(value).map_err(|_| unfit())?);
        }
    }
    Ok(())
}

fn status(error: &CallCredentialsError) -> StatusError {
    let code = match error.kind() {
        CallCredentialsErrorKind::Transient => StatusCodeError::Unavailable,
        CallCredentialsErrorKind::Permanent => StatusCodeError::Unauthenticated,
        // No failure may be success; what belongs to applications is changed by their transport.
        CallCredentialsErrorKind::Code(code) if code != 0 => StatusCodeError::from(code),
        _ => StatusCodeError::Internal,
    };
    StatusError::new(code, error.to_string())
}

fn internal(message: &str) -> StatusError {
    StatusError::new(StatusCodeError::Internal, message)
}

/// As gRPC peers read it, with padding and without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests;
