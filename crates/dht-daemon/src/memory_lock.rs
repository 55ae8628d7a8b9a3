//! `lock_memory`: keeps the process's memory out of swap.
//!
//! Source: spec `node` 3.3, 8.2.

use rustix::io::Errno;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{Resource, geteuid, getrlimit};

/// Memory could not be locked. Logged at level Fatal; the process ends with exit code 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "Error when attempting to lock memory: {} (errno={}, '{}')",
    .0.reason(), .0.0.raw_os_error(), .0.0
)]
pub struct MemoryLockError(Reason);

/// The system's reason, with words for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reason(Errno);

impl Reason {
    const fn reason(self) -> &'static str {
        match self.0 {
            Errno::PERM => {
                "The process has no permission to lock memory; grant it CAP_IPC_LOCK, raise \
                 RLIMIT_MEMLOCK, or set [Options_Memory] lock_memory = false"
            }
            Errno::NOMEM => {
                "The process's memory exceeds the limit RLIMIT_MEMLOCK; raise it (`ulimit -l \
                 unlimited`, LimitMEMLOCK=infinity), or set [Options_Memory] lock_memory = false"
            }
            _ => "Unknown",
        }
    }
}

/// Locks all memory that the process has and will have, each page once it is used.
pub fn lock_all() -> Result<(), MemoryLockError> {
    let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE;
    let result = match mlockall(all | MlockAllFlags::ONFAULT) {
        Err(Errno::INVAL) => mlockall(all), // Kernels before 4.4 know no ONFAULT.
        result => result,
    };
    result.map_err(|errno| MemoryLockError(Reason(errno)))
}

/// How many bytes this process may have at all once its memory is locked; `None`: any number. What
/// exceeds it is refused, which a program meets in any place: a thread that does not start, say.
#[must_use]
pub fn limit() -> Option<u64> {
    // root is not held to the limit, unless somebody took its capabilities away.
    if geteuid().is_root() { None } else { getrlimit(Resource::Memlock).current }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_originals_frame_and_say_what_to_do() {
        let text = |errno| MemoryLockError(Reason(errno)).to_string();
        let frame = "Error when attempting to lock memory: ";
        for errno in [Errno::PERM, Errno::NOMEM] {
            assert!(text(errno).starts_with(frame), "{}", text(errno));
            assert!(text(errno).contains("lock_memory = false"), "{}", text(errno));
        }
        assert!(text(Errno::PERM).contains("(errno=1, '"), "{}", text(Errno::PERM));
        assert!(text(Errno::IO).starts_with(&format!("{frame}Unknown (errno=5, '")));
    }
}
