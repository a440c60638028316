//! Google's SDK credentials as countersign's call credentials.
//!
//! [`GoogleCredentials`] sends what a [`Credentials`] of [`google_cloud_auth`] gives: from
//! application default credentials, a service account, workload identity federation, the metadata
//! server and all other builders of that crate.
//!
//! ```no_run
//! use countersign::{ChannelCredentials, ClientTls, connect};
//! use countersign_google_cloud_auth::GoogleCredentials;
//! use google_cloud_auth::credentials::Builder;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let google = Builder::default().with_quota_project_id("my-project").build()?;
//! let credentials = ChannelCredentials::tls(ClientTls::system_roots())
//!     .with_call_credentials(GoogleCredentials::new(google));
//! let channel = connect("https://pubsub.googleapis.com", credentials).await?;
//! # drop(channel);
//! # Ok(())
//! # }
//! ```

mod hosts;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use countersign::CallCredentials;
use countersign::credentials::{
    CallCredentialsError, CallDetails, CallMetadata, ChannelSecurityInfo,
};
use countersign::identity::InvalidAuthority;
use google_cloud_auth::credentials::{CacheableResource, Credentials};
use http::Extensions;

use hosts::Hosts;

/// Sends the headers of Google's credentials with every call: `authorization` or
/// `x-goog-api-key`, and `x-goog-user-project` where there is a quota project.
///
/// * **Where.** To hosts under `googleapis.com` on the https port, and to no other unless it is
///   named: a token of Google's opens more than the service that it was sent to. A call to any
///   other authority fails with `UNAUTHENTICATED`, and nobody is asked.
/// * **How.** Never below [`SecurityLevel::PrivacyAndIntegrity`](countersign::SecurityLevel), one
///   value for each key, and all values marked sensitive.
/// * **Failures.** What Google's crate calls transient is `UNAVAILABLE`, everything else is
///   `UNAUTHENTICATED`. Its words may quote what a token endpoint answered, so they are in the
///   error's `source()` and not in its own sentence, which peers and callers see.
/// * **Waiting.** For [`TIMEOUT`](Self::TIMEOUT) at most, and not beyond the call's deadline.
/// * **Freshness** is up to Google's crate: its builders spawn a task that fetches ahead of time,
///   and ends some time after the last clone of the credentials. After a permanent failure it
///   asks no more; make new credentials then. It cannot be told of a token that a server rejects,
///   so no call is sent once more.
///
/// Cloning shares the credentials. `Debug` shows where they may go, and nothing of them.
#[derive(Clone)]
pub struct GoogleCredentials {
    credentials: Credentials,
    hosts: Hosts,
}

impl GoogleCredentials {
    /// How long a call waits for the credentials.
    pub const TIMEOUT: Duration = Duration::from_secs(10);

    /// Where they go unless more is said.
    pub const DOMAIN: &str = "googleapis.com";

    /// Sends these to hosts under [`DOMAIN`](Self::DOMAIN).
    pub fn new(credentials: impl Into<Credentials>) -> Self {
        let mut hosts = Hosts::default();
        hosts.add_domain(Self::DOMAIN).expect("a domain by construction");
        Self { credentials: credentials.into(), hosts }
    }

    /// Sends them to this authority too: a host, with its port unless that is 443. For a service
    /// of one's own that verifies Google's tokens.
    ///
    /// # Errors
    ///
    /// When it is not a host with an optional port.
    pub fn and_authority(mut self, authority: &str) -> Result<Self, InvalidAuthority> {
        self.hosts.add_authority(authority)?;
        Ok(self)
    }

    /// Sends them to hosts under this domain too, on the https port: another universe than
    /// `googleapis.com`.
    ///
    /// # Errors
    ///
    /// When it is not a host.
    pub fn and_domain(mut self, domain: &str) -> Result<Self, InvalidAuthority> {
        self.hosts.add_domain(domain)?;
        Ok(self)
    }
}

#[async_trait]
impl CallCredentials for GoogleCredentials {
    async fn get_metadata(
        &self,
        call: &CallDetails,
        _security: &ChannelSecurityInfo,
        metadata: &mut CallMetadata,
    ) -> Result<(), CallCredentialsError> {
        if !self.hosts.include(call.audience_host()) {
            return Err(CallCredentialsError::permanent(format!(
                "Google's credentials are not meant for {:?}",
                call.authority()
            )));
        }
        // Without an entity tag, so that all headers come back.
        let asking = self.credentials.headers(Extensions::new());
        let answer = tokio::time::timeout(Self::TIMEOUT, asking).await.map_err(|_| {
            CallCredentialsError::transient("Google's credentials took longer than 10 s")
        })?;
        let answer = answer.map_err(|error| {
            let failed = match error.is_transient() {
                true => CallCredentialsError::transient("Google's credentials are away for now"),
                false => CallCredentialsError::permanent("Google's credentials cannot be had"),
            };
            failed.with_source(error)
        })?;
        let headers = match answer {
            CacheableResource::New { data, .. } if !data.is_empty() => data,
            _ => return Err(CallCredentialsError::permanent("Google's credentials are none")),
        };
        for (name, value) in &headers {
            metadata.insert_header(name, value.clone())?;
        }
        Ok(())
    }
}

impl fmt::Debug for GoogleCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GoogleCredentials").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}
