use std::time::Duration;

/// How much one caller may ask for: `burst` at once, and `rate` in every `per` on average.
///
/// ```
/// use std::time::Duration;
/// use countersign::quota::Limit;
///
/// # fn main() -> Result<(), countersign::quota::InvalidLimit> {
/// // A hundred calls a second, and no more than twenty of them at once.
/// let limit = Limit::new(100, Duration::from_secs(1))?.with_burst(20);
/// assert_eq!((limit.rate(), limit.burst()), (100, 20));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limit {
    rate: u64,
    per_ns: u64,
    burst: u64,
}

/// Why a limit means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidLimit {
    /// Nothing would ever be allowed again once the burst is used.
    #[error("the rate is 0")]
    NoRate,
    /// Everything would be allowed.
    #[error("the rate's period is 0")]
    NoPeriod,
    /// The period has more than 2⁶⁴ - 1 nanoseconds, 584 years.
    #[error("the rate's period is longer than 584 years")]
    LongPeriod,
}

impl Limit {
    /// `rate` in every `per`, all of them at once if need be.
    ///
    /// # Errors
    ///
    /// A rate or a period of 0, or a period of more than 584 years.
    pub fn new(rate: u64, per: Duration) -> Result<Self, InvalidLimit> {
        let per_ns = u64::try_from(per.as_nanos()).map_err(|_| InvalidLimit::LongPeriod)?;
        match (rate, per_ns) {
            (0, _) => Err(InvalidLimit::NoRate),
            (_, 0) => Err(InvalidLimit::NoPeriod),
            _ => Ok(Self { rate, per_ns, burst: rate }),
        }
    }

    /// [`new`](Self::new) by the second.
    ///
    /// # Errors
    ///
    /// A rate of 0.
    pub fn per_second(rate: u64) -> Result<Self, InvalidLimit> {
        Self::new(rate, Duration::from_secs(1))
    }

    /// The same by the minute.
    ///
    /// # Errors
    ///
    /// A rate of 0.
    pub fn per_minute(rate: u64) -> Result<Self, InvalidLimit> {
        Self::new(rate, Duration::from_secs(60))
    }

    /// The same by the hour.
    ///
    /// # Errors
    ///
    /// A rate of 0.
    pub fn per_hour(rate: u64) -> Result<Self, InvalidLimit> {
        Self::new(rate, Duration::from_secs(60 * 60))
    }

    /// The same by 24 hours, which begin with the first call and not at midnight.
    ///
    /// # Errors
    ///
    /// A rate of 0.
    pub fn per_day(rate: u64) -> Result<Self, InvalidLimit> {
        Self::new(rate, Duration::from_secs(24 * 60 * 60))
    }

    /// How much may be asked for at once. Default: the rate. With 0, nothing that costs
    /// anything is ever allowed.
    #[must_use]
    pub fn with_burst(mut self, burst: u64) -> Self {
        self.burst = burst;
        self
    }

    /// How much in every period.
    pub fn rate(&self) -> u64 {
        self.rate
    }

    /// The period.
    pub fn per(&self) -> Duration {
        Duration::from_nanos(self.per_ns)
    }

    /// How much at once.
    pub fn burst(&self) -> u64 {
        self.burst
    }

    /// How long it takes to earn so much.
    pub(super) fn time_of(&self, amount: u64) -> Duration {
        let ns = (u128::from(amount) * u128::from(self.per_ns)).div_ceil(self.rate.into());
        Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
    }

    pub(super) fn per_ns(&self) -> u64 {
        self.per_ns
    }
}
