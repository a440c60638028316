//! Policies of gRFC A43, through the public API.

mod annotations;
mod decisions;
#[cfg(feature = "cel")]
mod expressions;
mod extensions;
mod groups;
mod naive;
mod parsing;
mod rbac;
mod schema;
mod speed;
mod support;
#[cfg(feature = "yaml")]
mod yaml;
