//! An HTTP client without sockets, so that time can be moved.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use countersign_testkit::issuer::{Algorithm, SigningKey};
use http::{Request, Response};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::super::{KeySettings, KeySource, Keys};
use crate::async_trait;
use crate::fetch::{FetchError, FetchLimits, HttpClient};

pub(super) const ISSUER: &str = "https://id.example";
pub(super) const KEYS: &str = "https://id.example/keys";

/// What is answered.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Status(u16),
    Body(String),
    Unreachable,
    /// Nothing, until something else is to be answered.
    Hang,
}

#[derive(Debug)]
pub(super) struct Fake {
    answers: Mutex<HashMap<String, Answer>>,
    changed: watch::Sender<()>,
    cache_control: Mutex<Option<&'static str>>,
    asked: Mutex<Vec<String>>,
    dropped: Arc<Mutex<usize>>,
}

impl Fake {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            answers: Mutex::default(),
            changed: watch::Sender::new(()),
            cache_control: Mutex::default(),
            asked: Mutex::default(),
            dropped: Arc::default(),
        })
    }

    /// One that answers with these keys.
    pub(super) fn with(keys: &[&SigningKey]) -> Arc<Self> {
        let fake = Self::new();
        fake.publish(keys);
        fake
    }

    pub(super) fn publish(&self, keys: &[&SigningKey]) {
        self.answer(KEYS, Answer::Body(set(keys).to_string()));
    }

    pub(super) fn answer(&self, url: &str, answer: Answer) {
        self.answers.lock().unwrap().insert(url.to_owned(), answer);
        self.changed.send_replace(());
    }

    pub(super) fn cache_control(&self, value: &'static str) {
        *self.cache_control.lock().unwrap() = Some(value);
    }

    /// How often it was asked.
    pub(super) fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    pub(super) fn asked_for(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// How many requests were given up before there was an answer.
    pub(super) fn dropped(&self) -> usize {
        *self.dropped.lock().unwrap()
    }

    pub(super) fn settings(self: &Arc<Self>) -> KeySettings {
        KeySettings::new(Arc::clone(self) as Arc<dyn HttpClient>)
    }

    pub(super) fn keys(self: &Arc<Self>) -> Keys {
        Keys::new(KeySource::url(KEYS), ISSUER, self.settings()).expect("a key source")
    }
}

struct Dropped(Option<Arc<Mutex<usize>>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        if let Some(count) = &self.0 {
            *count.lock().unwrap() += 1;
        }
    }
}

#[async_trait]
impl HttpClient for Fake {
    async fn send(
        &self,
        request: Request<Bytes>,
        limits: FetchLimits,
    ) -> Result<Response<Bytes>, FetchError> {
        assert_eq!(limits, FetchLimits { timeout: Duration::from_secs(5), max_bytes: 512 * 1024 });
        let url = request.uri().to_string();
        self.asked.lock().unwrap().push(url.clone());
        let mut changed = self.changed.subscribe();
        let mut unanswered = Dropped(Some(Arc::clone(&self.dropped)));
        let answer = loop {
            changed.mark_unchanged();
            let answer = self.answers.lock().unwrap().get(&url).cloned();
            match answer {
                Some(Answer::Hang) => changed.changed().await.expect("the sender is here"),
                Some(other) => break other,
                None => break Answer::Status(404),
            }
        };
        // Answers take a moment, so that others can come in between.
        tokio::time::sleep(Duration::from_millis(10)).await;
        unanswered.0 = None;
        let response = match &*self.cache_control.lock().unwrap() {
            None => Response::builder(),
            Some(value) => Response::builder().header("cache-control", *value),
        };
        let host = "id.example:443".to_owned();
        match answer {
            Answer::Status(status) => Ok(response.status(status).body(Bytes::new()).unwrap()),
            Answer::Body(body) => Ok(response.body(body.into()).unwrap()),
            Answer::Unreachable | Answer::Hang => {
                Err(FetchError::Unreachable { host, source: "connection refused".into() })
            }
        }
    }
}

pub(super) fn key(kid: &str) -> SigningKey {
    SigningKey::generate(Algorithm::ES256, kid)
}

pub(super) fn set(keys: &[&SigningKey]) -> Value {
    json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() })
}
