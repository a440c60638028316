//! The client's channel: when it dials, what it does when it cannot, and how it lets go.

#[path = "../support/mod.rs"]
mod support;

mod authority;
mod backoff;
mod balancing;
mod deadline;
mod dialling;
mod letting_go;
mod lifetime;
mod resolving;
mod rotation;
