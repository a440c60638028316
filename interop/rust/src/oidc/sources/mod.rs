//! The other end: tokens that our own sources get from the provider, for calls over TLS to
//! whoever verifies them.

mod failures;
mod file;
mod matrix;
mod refresh;
mod source;

use crate::world::{Scenario, scenarios};

pub(crate) fn scenarios() -> Vec<Scenario> {
    scenarios! {
        "sources/matrix" => matrix::matrix,
        "sources/wrong-clients" => failures::wrong_clients,
        "sources/strange-assertion" => failures::strange_assertion,
        "sources/out-of-order" => failures::out_of_order,
        "sources/nonce-at-the-endpoint" => failures::nonce_at_the_endpoint,
        "sources/refresh-token-across-restarts" => refresh::across_restarts,
        "sources/refresh-token-used-twice" => refresh::used_twice,
        "sources/file-rotated-under-load" => file::rotated_under_load,
    }
}
