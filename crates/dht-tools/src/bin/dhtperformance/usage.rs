//! CPU time of the server's process and of our own.
//!
//! The scheduler counts run time in nanoseconds for each thread: `/proc/PID/task/*/schedstat`. How
//! it divides between user and system is known in ticks of 10 ms: `/proc/PID/stat`.

use std::{fs, io, path::Path, time::Duration};

use rustix::time::{ClockId, clock_gettime};

/// Up to a moment, or between two.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) server: Option<Server>,
    /// Of our own process, in nanoseconds.
    pub(crate) generator_ns: u64,
}

/// Of the server's process, as long as its threads live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Server {
    /// Of all threads, in nanoseconds.
    pub(crate) cpu_ns: u64,
    /// In ticks.
    user: u64,
    system: u64,
}

/// A process that cannot be looked at.
#[derive(Debug, thiserror::Error)]
#[error("cannot tell the CPU time of process {pid}: {error}")]
pub(crate) struct UsageError {
    pid: u32,
    error: io::Error,
}

impl Usage {
    pub(crate) fn now(server: Option<u32>) -> Result<Self, UsageError> {
        let server = server.map(Server::now).transpose()?;
        // Threads that have ended count here, in /proc they do not.
        let own = clock_gettime(ClockId::ProcessCPUTime);
        let own = Duration::try_from(own).unwrap_or_default();
        Ok(Self { server, generator_ns: u64::try_from(own.as_nanos()).unwrap_or(u64::MAX) })
    }

    pub(crate) fn since(&self, before: &Self) -> Self {
        let server = self.server.zip(before.server);
        Self {
            server: server.map(|(now, before)| now.since(before)),
            generator_ns: self.generator_ns.saturating_sub(before.generator_ns),
        }
    }
}

impl Server {
    fn now(pid: u32) -> Result<Self, UsageError> {
        let failed = |error| UsageError { pid, error };
        let dir = Path::new("/proc").join(pid.to_string());
        let mut cpu_ns = 0;
        for task in fs::read_dir(dir.join("task")).map_err(failed)? {
            // A thread that has ended meanwhile has nothing to say.
            if let Ok(text) = fs::read_to_string(task.map_err(failed)?.path().join("schedstat")) {
                cpu_ns += field(&text, 0);
            }
        }
        let stat = fs::read_to_string(dir.join("stat")).map_err(failed)?;
        // The name of the program, in parentheses, may have blanks.
        let behind_name = stat.rsplit(')').next().unwrap_or_default();
        Ok(Self { cpu_ns, user: field(behind_name, 11), system: field(behind_name, 12) })
    }

    const fn since(self, before: Self) -> Self {
        Self {
            cpu_ns: self.cpu_ns.saturating_sub(before.cpu_ns),
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
        }
    }

    /// What part of the time was spent in user space; `None` if there was not a tick.
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub(crate) fn user_share(self) -> Option<f64> {
        let all = self.user + self.system;
        (all > 0).then(|| self.user as f64 / all as f64)
    }
}

fn field(text: &str, at: usize) -> u64 {
    text.split_ascii_whitespace().nth(at).and_then(|word| word.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_time_goes_on() {
        let before = Usage::now(Some(std::process::id())).expect("our own process");
        let mut sum = 0_u64;
        while Usage::now(None).expect("our own").since(&before).generator_ns < 1_000_000 {
            sum = std::hint::black_box(sum + 1);
        }
        let used = Usage::now(Some(std::process::id())).expect("our own").since(&before);
        assert!(used.server.is_some_and(|server| server.cpu_ns > 0), "{used:?} {sum}");
        assert!(Usage::now(Some(u32::MAX)).is_err());
    }
}
