//! The signal by which everything that takes long learns that the service stops.

use tokio::sync::watch;

/// The end that gives the signal.
pub struct Stop(watch::Sender<bool>);

/// The end that waits for it; as many as are needed.
#[derive(Clone)]
pub struct Stopping(watch::Receiver<bool>);

impl Stop {
    /// A signal that was not given yet.
    pub fn new() -> (Self, Stopping) {
        let (sender, receiver) = watch::channel(false);
        (Self(sender), Stopping(receiver))
    }

    /// Gives the signal, for good.
    pub fn give(&self) {
        self.0.send_replace(true);
    }
}

impl Stopping {
    /// Waits for the signal. It also counts as given once nobody is left to give it.
    pub async fn wait(&mut self) {
        let _ = self.0.wait_for(|given| *given).await;
    }
}
