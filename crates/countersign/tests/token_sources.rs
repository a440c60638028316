//! Where tokens come from: what is asked, what is made of the answer, and what a call sees.
//!
//! IDs are those of the acceptance cases (JW: token files, ST: token exchange, ID: any source,
//! OA: audiences, CC and SL: call credentials); `acceptance.rs` has which test proves which. Where
//! ours differs from grpc-go's, the comment says how.

#[path = "token_sources/acceptance.rs"]
mod acceptance;
#[path = "token_sources/dpop.rs"]
mod dpop;
#[path = "token_sources/exec.rs"]
mod exec;
#[path = "token_sources/file.rs"]
mod file;
#[path = "token_sources/grants.rs"]
mod grants;
#[path = "token_sources/load.rs"]
mod load;
#[path = "token_sources/plumbing.rs"]
mod plumbing;
#[path = "token_sources/self_signed.rs"]
mod self_signed;
#[path = "token_sources/stage.rs"]
mod stage;
#[path = "support/reached.rs"]
mod support;
#[path = "support/time.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod time;
#[path = "token_sources/token_exchange.rs"]
mod token_exchange;
