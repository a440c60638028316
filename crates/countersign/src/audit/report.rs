/// How one sink is doing. The counts begin with the [`Audit`](super::Audit) and only grow, but for
/// `queued`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SinkReport {
    /// The sink's name.
    pub name: String,
    /// How many events wait for it or are being written.
    pub queued: u64,
    /// How many it has written.
    pub written: u64,
    /// How many it has never seen, since there was no room or it had ended.
    pub dropped: u64,
    /// How many it could not write and never will.
    pub failed: u64,
    /// How often it could not write at first and had to try again.
    pub retries: u64,
    /// What was wrong the last time, if nothing was written since.
    pub problem: Option<String>,
}
