//! Quotas: how much a caller may ask for, by GCRA, without a timer and without a float.
//!
//! The generic cell rate algorithm (ITU-T I.371) keeps one time for each caller, the theoretical
//! arrival time: when its bucket will be full again. A call that would move it further ahead
//! than the burst allows is refused and moves nothing, so that calling in vain costs nobody
//! anything.
//!
//! * [`Quota`] is what a gate asks: all limits of a call at once.
//! * [`Limit`] says how much; [`Allowance`] what is left.
//! * [`Meter`] is one caller's state, exact for any numbers, for one thread at a time.
//! * [`AtomicMeter`] is the same in eight bytes for any number of threads.
//! * [`MeterMap`] holds many callers' within a bound.
//! * [`store`] has what several gates ask together.
//!
//! Times are lengths of time since a beginning of one's own, taken from a clock that does not
//! step, as [`SteadyClock`]. Where time goes backwards all the same, callers wait longer and
//! never shorter.

mod admission;
mod admit;
mod atomic;
mod builder;
mod call;
mod exceeded;
mod fields;
mod kept;
mod keyed;
mod limit;
mod map;
mod meter;
mod methods;
mod rule;
mod shard;
mod steady;
pub mod store;
mod streams;
mod subject;
mod tenant;

pub use admission::Admission;
pub use atomic::{AtomicMeter, Pace, PaceError};
pub use builder::{Quota, QuotaError};
pub use call::QuotaCall;
pub use exceeded::Exceeded;
pub use limit::{InvalidLimit, Limit};
pub use map::{MeterKey, MeterMap, WhenFull};
pub use meter::{Allowance, Meter};
pub use steady::SteadyClock;
pub use tenant::{InvalidTenant, Tenant};

pub(crate) use admission::ByteMeters;

#[cfg(test)]
mod tests;
