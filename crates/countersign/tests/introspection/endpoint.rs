//! An introspection endpoint without a network.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use countersign::async_trait;
use countersign::fetch::{FetchError, FetchLimits, HttpClient};
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use serde_json::Value;
use tokio::sync::watch;

/// What the endpoint says of a token.
#[derive(Clone, Debug)]
pub(crate) enum Says {
    /// 200 and JSON.
    Json(Value),
    /// Status, content type and body.
    Raw(u16, &'static str, String),
    /// Nobody is there.
    Unreachable,
    /// More than was asked for.
    TooLarge,
    /// Nothing, ever.
    Nothing,
    Panic,
}

/// Clones are the same endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    says: Mutex<HashMap<String, Says>>,
    requests: Mutex<Vec<Request<Bytes>>>,
    open: watch::Sender<bool>,
    /// Requests that ended without an answer, as nobody waited for it.
    dropped: AtomicUsize,
}

impl Endpoint {
    /// It answers at once, and knows no token.
    pub(crate) fn new() -> Self {
        let (open, _) = watch::channel(true);
        let inner = Inner {
            says: Mutex::default(),
            requests: Mutex::default(),
            open,
            dropped: AtomicUsize::new(0),
        };
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn says(&self, token: &str, says: Says) {
        let mut known = self.inner.says.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(token.to_owned(), says);
    }

    /// Keeps answers back until [`release`](Self::release).
    pub(crate) fn hold(&self) {
        self.inner.open.send_replace(false);
    }

    pub(crate) fn release(&self) {
        self.inner.open.send_replace(true);
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.inner.requests.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub(crate) fn last_request(&self) -> Request<Bytes> {
        let requests = self.inner.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.last().expect("it was asked").clone()
    }

    pub(crate) fn dropped(&self) -> usize {
        self.inner.dropped.load(Ordering::SeqCst)
    }
}

struct CountDrop<'a>(Option<&'a AtomicUsize>);

impl Drop for CountDrop<'_> {
    fn drop(&mut self) {
        if let Some(dropped) = self.0 {
            dropped.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[async_trait]
impl HttpClient for Endpoint {
    async fn send(
        &self,
        request: Request<Bytes>,
        limits: FetchLimits,
    ) -> Result<Response<Bytes>, FetchError> {
        let body = String::from_utf8(request.body().to_vec()).expect("a form");
        let token = body.split('&').find_map(|field| field.strip_prefix("token="));
        let token = token.expect("a token").to_owned();
        let mut open = self.inner.open.subscribe();
        self.inner.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        let mut counted = CountDrop(Some(&self.inner.dropped));
        open.wait_for(|open| *open).await.expect("the sender lives");
        let says = {
            let known = self.inner.says.lock().unwrap_or_else(PoisonError::into_inner);
            known.get(&token).cloned()
        };
        let says = says.unwrap_or_else(|| Says::Json(serde_json::json!({"active": false})));
        let host = || "id.example:443".to_owned();
        let answer = |status: u16, kind: &str, body: String| {
            let answer = Response::builder().status(status).header(CONTENT_TYPE, kind);
            answer.body(Bytes::from(body)).expect("an answer")
        };
        if matches!(says, Says::Nothing) {
            std::future::pending::<()>().await;
        }
        counted.0 = None;
        match says {
            Says::Json(value) => Ok(answer(200, "application/json", value.to_string())),
            Says::Raw(status, kind, body) => Ok(answer(status, kind, body)),
            Says::Unreachable => {
                Err(FetchError::Unreachable { host: host(), source: "connection refused".into() })
            }
            Says::TooLarge => {
                Err(FetchError::TooLarge { host: host(), max_bytes: limits.max_bytes })
            }
            Says::Nothing => unreachable!("waits for ever"),
            Says::Panic => panic!("a client that somebody brought"),
        }
    }
}
