//! Policies of gRFC A43, through the public API.

mod decisions;
mod extensions;
mod naive;
mod parsing;
mod schema;
mod support;
