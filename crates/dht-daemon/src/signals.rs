//! Signals as something readable, so that an event loop can wait for them.
//!
//! A handler sets a flag and writes a byte to a socket pair; everything else happens in the loop.
//! SIGPIPE is ignored by the Rust runtime already.
//!
//! Source: spec `node` 10.

use std::io::{self, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::low_level::{pipe, unregister};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT, SIGTERM or SIGQUIT: shut down cleanly.
    Stop,
    /// SIGHUP: reopen all log files.
    Reopen,
}

/// The signals that each thing is asked by.
const MEANINGS: [(i32, Signal); 4] = [
    (SIGINT, Signal::Stop),
    (SIGTERM, Signal::Stop),
    (SIGQUIT, Signal::Stop),
    (SIGHUP, Signal::Reopen),
];

/// Takes the process's signals while it lives.
#[derive(Debug)]
pub struct Signals {
    stream: UnixStream,
    stop: Arc<AtomicBool>,
    reopen: Arc<AtomicBool>,
    registered: Vec<SigId>,
}

impl Signals {
    /// Starts to take SIGINT, SIGTERM, SIGQUIT and SIGHUP.
    pub fn register() -> io::Result<Self> {
        let (stream, writer) = UnixStream::pair()?;
        stream.set_nonblocking(true)?;
        writer.set_nonblocking(true)?;
        let (stop, reopen) = (Arc::default(), Arc::default());
        let mut signals = Self { stream, stop, reopen, registered: Vec::new() };
        for (number, meaning) in MEANINGS {
            let flag = signals.flag(meaning);
            // The flag first: once the byte can be read, the flag is set.
            signals.registered.push(signal_hook::flag::register(number, flag)?);
            signals.registered.push(pipe::register(number, writer.try_clone()?)?);
        }
        Ok(signals)
    }

    /// Readable when [`Signals::drain`] has something to say; non-blocking.
    #[must_use]
    pub const fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// What was asked for since the last call, each thing once, stop first.
    pub fn drain(&mut self) -> impl Iterator<Item = Signal> + use<> {
        let mut bytes = [0; 64];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break, // Nothing more to read.
            }
        }
        let taken = [Signal::Stop, Signal::Reopen]
            .map(|signal| self.flag(signal).swap(false, Ordering::SeqCst).then_some(signal));
        taken.into_iter().flatten()
    }

    fn flag(&self, signal: Signal) -> Arc<AtomicBool> {
        Arc::clone(match signal {
            Signal::Stop => &self.stop,
            Signal::Reopen => &self.reopen,
        })
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // The signals are ignored from now on, not back to their default: signal-hook's way.
        for id in self.registered.drain(..) {
            unregister(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use signal_hook::low_level::raise;

    use super::*;

    /// The only test of signals: they belong to the whole process.
    #[test]
    fn signals_arrive_once_each_and_wake_the_stream() {
        let mut signals = Signals::register().unwrap();
        assert_eq!(signals.drain().count(), 0);
        for number in [SIGHUP, SIGTERM, SIGINT, SIGQUIT, SIGHUP] {
            raise(number).unwrap();
        }
        let mut byte = [0];
        signals.stream().read_exact(&mut byte).expect("readable");
        assert_eq!(signals.drain().collect::<Vec<_>>(), [Signal::Stop, Signal::Reopen]);
        assert_eq!(signals.drain().count(), 0);
        let error = signals.stream().read_exact(&mut byte).expect_err("drained");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        raise(SIGHUP).unwrap();
        assert_eq!(signals.drain().collect::<Vec<_>>(), [Signal::Reopen]);
    }
}
