//! What the programs share: nothing worth copying.

use std::path::PathBuf;

use countersign_testkit::greeter::proto::HelloReply;
use tonic::{Response, Status};

/// The folder of certificates, the first argument; `.countersign` without one.
pub fn certificates() -> PathBuf {
    std::env::args().nth(1).map_or_else(|| PathBuf::from(".countersign"), PathBuf::from)
}

/// The second argument.
pub fn second_argument(otherwise: &str) -> String {
    std::env::args().nth(2).unwrap_or_else(|| otherwise.to_owned())
}

/// Prints what came of a greeting: the reply and as whom the server knows us, or the status.
pub fn tell(answer: Result<Response<HelloReply>, Status>) {
    match answer {
        Ok(reply) => {
            let reply = reply.into_inner();
            println!("{} (the server knows us as {})", reply.message, reply.principal);
        }
        Err(status) => println!("{:?}: {}", status.code(), status.message()),
    }
}

/// The programs of the book that need more than the library compile.
#[cfg(doctest)]
#[doc = include_str!("../../docs/book/src/first-server.md")]
#[doc = include_str!("../../docs/book/src/from-tonic.md")]
#[doc = include_str!("../../docs/book/src/testing.md")]
struct Book;

/// Signals are Unix's.
#[cfg(all(doctest, unix))]
#[doc = include_str!("../../docs/book/src/kubernetes.md")]
struct BookOfPods;
