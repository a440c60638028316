//! One call, from a request to the head of its response.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, USER_AGENT};
use http::uri::{Parts, Scheme};
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::Status;
use tonic::body::Body;
use tonic_types::StatusExt;

use super::Inner;
use super::answer::{refuse_other_answers, transport_error};
use super::body::{Payload, ResponseBody, awaited, sanitize};
use super::connection::Connection;
use super::error::{CallError, CallPhase, ConnectError};
use super::options::CENTURY;
use super::pool::{Pick, Pool};
use super::request::CallOptions;
use super::timeout::{GRPC_TIMEOUT, parse_timeout, timeout_value};
use crate::credentials::{CallCredentials, CallDetails, CallMetadata, InvalidMetadata, Rejection};
use crate::identity::Authority;

/// How often a call that never left is given another connection.
const MAX_ATTEMPTS: usize = 3;

/// Credentials are not asked again sooner, whatever they say.
const LEAST_WAIT: Duration = Duration::from_millis(100);

pub(super) async fn call(
    channel: Arc<Inner>,
    mut request: Request<Body>,
) -> Result<Response<ResponseBody>, Status> {
    let options = request.extensions_mut().remove::<CallOptions>().unwrap_or_default();
    let deadline = deadline(&channel, &request);
    Ok(Call { channel, options, deadline }.run(request).await?)
}

struct Call {
    channel: Arc<Inner>,
    options: CallOptions,
    deadline: Option<Instant>,
}

impl Call {
    async fn run(self, mut request: Request<Body>) -> Result<Response<ResponseBody>, CallError> {
        let authority = match &self.options.authority {
            Some(text) => Some(
                Authority::parse(text)
                    .map_err(|_| CallError::Authority { authority: text.clone() })?,
            ),
            None => None,
        };
        refuse_many_authorizations(&request)?;
        if !request.headers().contains_key(USER_AGENT) {
            request.headers_mut().insert(USER_AGENT, self.channel.user_agent.clone());
        }
        let (head, body) = request.into_parts();
        let mut body = Payload::from(body);
        // What is needed to send it once more, if the credentials may do better then.
        let mut spare = None;
        if self.may_replace_credentials() {
            let kept;
            (body, kept) = body.read_ahead().await;
            spare = kept.map(|kept| (head.clone(), kept));
        }
        let (body, mut waits) = awaited(body);
        let mut request = Request::from_parts(head, body);
        let mut attempt = 0;
        loop {
            let (connection, pool) = self.connection().await?;
            if let Some(authority) = authority.as_ref().filter(|it| !connection.vouches_for(it)) {
                return Err(CallError::Authority { authority: authority.to_string() });
            }
            // The channel's credentials are for the channel's authority and for no other.
            let channels = match &authority {
                Some(other) if *other != self.channel.target.authority => None,
                _ => pool.dialer().credentials.call.as_ref(),
            };
            let authority = authority.as_ref().unwrap_or(&self.channel.target.authority);
            self.left(CallPhase::Connecting)?;
            let asked = self.authenticate(channels, &connection, authority, &mut request).await;
            let added = match asked {
                Ok(added) => added,
                Err(error) => {
                    // A connection is not held up by who waits: another may be picked then.
                    drop((connection, pool));
                    self.wait_for_credentials(error).await?;
                    continue;
                }
            };
            address(&mut request, authority, &connection);
            // What is left, now that connection and credentials took their part.
            if let Some(left) = self.left(CallPhase::Credentials)? {
                request.headers_mut().insert(GRPC_TIMEOUT, timeout_value(left));
            }

            let busy = connection.busy();
            let sent = connection.sender().try_send_request(request);
            match self.in_time(CallPhase::Response, sent).await? {
                Ok(response) => {
                    let (mut head, body) = response.into_parts();
                    sanitize(&mut head.headers);
                    if let Some(added) = &added {
                        added.credentials.answered(&added.details, &head.headers);
                    }
                    let again = added.filter(|added| rejects(&head) && added.rejected(&head));
                    if let Some((head, kept)) = again.and_then(|_| spare.take()) {
                        let (body, next) = awaited(kept);
                        waits = next;
                        request = Request::from_parts(head, body);
                        continue;
                    }
                    refuse_other_answers(&head, &connection.address)?;
                    let address = connection.address.clone();
                    let body = ResponseBody::new(body, self.deadline, address, busy, waits);
                    return Ok(Response::from_parts(head, body));
                }
                Err(mut failed) => {
                    attempt += 1;
                    match failed.take_message() {
                        // The connection went away under it and nothing was sent: another
                        // connection is as good, and the credentials are asked again.
                        Some(unsent) if attempt < MAX_ATTEMPTS => {
                            connection.retire();
                            request = unsent;
                            for (name, _) in added.iter().flat_map(|it| it.metadata.entries()) {
                                request.headers_mut().remove(name);
                            }
                        }
                        _ => {
                            let error = failed.into_error();
                            return Err(transport_error(error, &connection.address, &waits));
                        }
                    }
                }
            }
        }
    }

    /// A connection that is ready. Fails at once when there is none to be had, unless the call
    /// waits for one.
    async fn connection(&self) -> Result<(Arc<Connection>, Arc<Pool>), CallError> {
        let mut last = None;
        loop {
            let pool = self.channel.pool.load_full();
            if let Pick::Ready(connection) = pool.pick() {
                return Ok((connection, pool));
            }
            // Whatever changes from here on is heard of: listen first, and look again.
            let mut changes = pool.changes();
            let again = match pool.pick() {
                Pick::Ready(connection) => return Ok((connection, pool)),
                Pick::Wait { last: known } => {
                    last = known.or(last);
                    None
                }
                Pick::Failed { error, until } => {
                    if !self.options.wait_for_ready {
                        return Err(error.into());
                    }
                    last = Some(error);
                    Some(until)
                }
            };
            // The pool may be replaced while its own changes are waited for: then its tasks are
            // gone, and the new one is asked when this future lets go of the old.
            drop(pool);
            let change = async {
                match again {
                    Some(until) => drop(timeout_at(until, changes.changed()).await),
                    None => drop(changes.changed().await),
                }
            };
            self.in_time_after(CallPhase::Connecting, last.as_ref(), change).await?;
        }
    }

    /// Whether what the call is to carry may be replaced when a server does not accept it.
    fn may_replace_credentials(&self) -> bool {
        match &self.options.credentials {
            Some(credentials) => credentials.can_replace(),
            None => {
                let pool = self.channel.pool.load();
                let channels = pool.dialer().credentials.call.as_ref();
                channels.is_some_and(|credentials| credentials.can_replace())
            }
        }
    }

    /// Asks the credentials, once it is clear that the connection protects what they say. Returns
    /// what was added.
    async fn authenticate(
        &self,
        channels: Option<&Arc<dyn CallCredentials>>,
        connection: &Connection,
        authority: &Authority,
        request: &mut Request<Body>,
    ) -> Result<Option<Added>, CallError> {
        let Some(credentials) = self.options.credentials.as_ref().or(channels) else {
            return Ok(None);
        };
        let security = &connection.security;
        let need = credentials.minimum_channel_security_level();
        if security.security_level() < need {
            return Err(CallError::Insecure { have: security.security_level(), need });
        }
        let details = CallDetails {
            authority: authority.as_str().into(),
            audience_host: authority.without_https_port().into(),
            path: request.uri().path().to_owned(),
        };
        let mut metadata = CallMetadata::default();
        let asked = credentials
            .get_metadata_now(&details, security, &mut metadata)
            .map_err(CallError::Credentials)?;
        if !asked {
            let asking = credentials.get_metadata(&details, security, &mut metadata);
            self.in_time(CallPhase::Credentials, asking).await?.map_err(CallError::Credentials)?;
        }
        let headers = request.headers_mut();
        for (name, value) in metadata.entries() {
            if headers.contains_key(name) {
                return Err(match *name == AUTHORIZATION {
                    true => CallError::ManyAuthorizations { count: 2 },
                    false => InvalidMetadata::in_the_request_too(name).into(),
                });
            }
            headers.insert(name.clone(), value.clone());
        }
        Ok(Some(Added { credentials: Arc::clone(credentials), details, metadata }))
    }

    /// Waits until credentials that failed are worth asking again, if the call waits at all and
    /// has the time; gives back any other failure.
    async fn wait_for_credentials(&self, failed: CallError) -> Result<(), CallError> {
        let delay = match &failed {
            CallError::Credentials(error) if self.options.wait_for_ready => {
                error.retry_after().filter(|_| error.is_transient())
            }
            _ => None,
        };
        let Some(delay) = delay else { return Err(failed) };
        let again = Instant::now() + delay.clamp(LEAST_WAIT, CENTURY);
        if self.deadline.is_some_and(|deadline| again >= deadline) {
            return Err(failed);
        }
        sleep_until(again).await;
        Ok(())
    }

    /// What is left of the deadline; with nothing left the call is not sent.
    fn left(&self, during: CallPhase) -> Result<Option<Duration>, CallError> {
        let Some(deadline) = self.deadline else { return Ok(None) };
        match deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(CallError::DeadlineExceeded { during, last: None }),
            left => Ok(Some(left)),
        }
    }

    async fn in_time<T>(
        &self,
        during: CallPhase,
        work: impl Future<Output = T>,
    ) -> Result<T, CallError> {
        self.in_time_after(during, None, work).await
    }

    async fn in_time_after<T>(
        &self,
        during: CallPhase,
        last: Option<&ConnectError>,
        work: impl Future<Output = T>,
    ) -> Result<T, CallError> {
        match self.deadline {
            None => Ok(work.await),
            Some(deadline) => timeout_at(deadline, work)
                .await
                .map_err(|_| CallError::DeadlineExceeded { during, last: last.cloned() }),
        }
    }
}

/// What credentials added to a call.
struct Added {
    credentials: Arc<dyn CallCredentials>,
    details: CallDetails,
    metadata: CallMetadata,
}

impl Added {
    /// Tells the credentials of an answer that does not accept them. Says whether others may be
    /// better.
    fn rejected(&self, answer: &http::response::Parts) -> bool {
        if !self.credentials.can_replace() {
            return false;
        }
        let status = Status::from_header_map(&answer.headers);
        let info = status.as_ref().and_then(StatusExt::get_details_error_info);
        let reason = info.as_ref().map(|info| info.reason.as_str());
        let headers: &HeaderMap = &answer.headers;
        self.credentials.rejected(&Rejection::new(&self.details, &self.metadata, reason, headers))
    }
}

/// Whether an answer is `UNAUTHENTICATED` and nothing else: no message comes before it.
fn rejects(answer: &http::response::Parts) -> bool {
    match answer.headers.get(Status::GRPC_STATUS) {
        Some(code) => code.as_bytes() == b"16",
        None => answer.status == StatusCode::UNAUTHORIZED,
    }
}

fn deadline(channel: &Inner, request: &Request<Body>) -> Option<Instant> {
    let asked = request.headers().get(GRPC_TIMEOUT).and_then(parse_timeout);
    asked.or(channel.options.call_timeout).map(|timeout| Instant::now() + timeout.min(CENTURY))
}

/// What was put into the metadata by hand.
fn refuse_many_authorizations(request: &Request<Body>) -> Result<(), CallError> {
    match request.headers().get_all(AUTHORIZATION).iter().count() {
        0 | 1 => Ok(()),
        count => Err(CallError::ManyAuthorizations { count }),
    }
}

fn address(request: &mut Request<Body>, authority: &Authority, connection: &Connection) {
    if let Some(by_hand) = request.headers_mut().get_mut(AUTHORIZATION) {
        by_hand.set_sensitive(true);
    }
    let tls = connection.security.security_protocol() == "tls";
    let mut parts = Parts::default();
    parts.scheme = Some(if tls { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = http::uri::Authority::try_from(authority.as_str()).ok();
    parts.path_and_query = request.uri().path_and_query().cloned();
    // An authority that we parsed is one that `http` parses too.
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}
