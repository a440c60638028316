//! Policies of gRFC A43, through the public API.

mod decisions;
mod extensions;
mod naive;
mod parsing;
mod rbac;
mod schema;
mod support;
