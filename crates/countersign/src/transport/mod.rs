//! Where tonic, hyper and tokio meet our own types. The only room that knows them.

pub(crate) mod channel;
pub(crate) mod gate;
pub(crate) mod server;
pub(crate) mod status;
