//! `countersign policy` and `countersign can-i`: the server's own engine, offline.

pub(crate) mod request;
