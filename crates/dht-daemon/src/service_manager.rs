//! What a service manager is told: that we serve, that we are alive, what we are busy with.
//!
//! systemd's datagrams, to the socket in `NOTIFY_SOCKET`. Without that variable nothing happens,
//! so a start by hand, by another init system or in a container is the same as ever. Nothing here
//! fails: a manager that does not listen is no reason to stop serving.
//!
//! Source: `sd_notify(3)`, `sd_watchdog_enabled(3)`.

use std::time::Duration;

use sd_notify::NotifyState;

/// The manager sees so many life signs in the time that it waits for one.
const LIFE_SIGNS_PER_TIMEOUT: u32 = 4;

/// The service manager, if there is one.
#[derive(Debug, Default)]
pub struct ServiceManager {
    /// A send has failed, and the log has been told.
    failing: bool,
}

impl ServiceManager {
    /// The start is complete: requests are served.
    pub fn ready(&mut self, status: &str) {
        self.tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// What the program is busy with, for `systemctl status`.
    pub fn status(&mut self, status: &str) {
        self.tell(&[NotifyState::Status(status)]);
    }

    /// The program ends, which may take as long as it likes: no more life signs are due.
    pub fn stopping(&mut self, status: &str) {
        let states =
            [NotifyState::Stopping, NotifyState::WatchdogUsec(0), NotifyState::Status(status)];
        self.tell(&states);
    }

    /// The program is alive.
    pub fn alive(&mut self) {
        self.tell(&[NotifyState::Watchdog]);
    }

    /// How long to wait from one life sign to the next; `None` if nobody waits for any.
    #[must_use]
    pub fn life_sign_period() -> Option<Duration> {
        let period = sd_notify::watchdog_enabled()? / LIFE_SIGNS_PER_TIMEOUT;
        (!period.is_zero()).then_some(period)
    }

    fn tell(&mut self, states: &[NotifyState<'_>]) {
        match sd_notify::notify(states) {
            Ok(()) => self.failing = false,
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    log::warn!("The service manager cannot be told how we are: {error}");
                }
            }
        }
    }
}
