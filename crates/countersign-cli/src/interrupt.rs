//! Ctrl-C.

/// Completes at Ctrl-C. From now on, and not only once it is polled.
#[cfg(unix)]
pub(crate) fn interruption() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        interrupt.recv().await;
    })
}

/// Completes at Ctrl-C. From now on, and not only once it is polled.
#[cfg(windows)]
pub(crate) fn interruption() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = tokio::signal::windows::ctrl_c()?;
    Ok(async move {
        interrupt.recv().await;
    })
}
