//! Sources that need no authorization server: a fixed token, a file, a program.

#[cfg(feature = "exec")]
mod exec;
mod file;
mod fixed;
#[cfg(feature = "exec")]
mod rfc3339;

#[cfg(feature = "exec")]
pub use exec::ExecPlugin;
pub use file::FileToken;
pub use fixed::FixedToken;
