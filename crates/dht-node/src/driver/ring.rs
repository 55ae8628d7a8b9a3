//! A ring of the system's io_uring, with the memory that the system reads and writes meanwhile.
//!
//! ```text
//! receive, send, poll, cancel --> enter: one system call --> next: what was completed
//! ```
//!
//! The only module of the crate with `unsafe` in it. Its interface is safe, because whatever the
//! system may touch belongs to the ring from the start of an operation to its completion:
//!
//! - receive buffers are one mapping, of which the system has all but those that are out as a
//!   [`Lease`]; only a lease can be read, and it cannot be copied or kept beyond giving it back;
//! - a send takes its bytes by value and hands them back with its completion.
//!
//! A ring that is dropped cancels what runs and waits for it; if that fails, the memory is leaked.
#![allow(unsafe_code)]

use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use io_uring::types::{BufRingEntry, CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use slab::Slab;

/// Receive buffers of a ring; a power of two.
const BUFFERS: u16 = 1024;
/// Bytes of each.
pub(super) const BUFFER_BYTES: usize = 4096;
const BUFFER_LEN: u32 = 4096;
const _: () = assert!(BUFFER_LEN as usize == BUFFER_BYTES);
/// Bytes in front of the buffers: an entry of 16 for each, whole pages.
const ENTRIES_BYTES: usize = BUFFERS as usize * size_of::<BufRingEntry>();
const MAPPING_BYTES: usize = ENTRIES_BYTES + BUFFERS as usize * BUFFER_BYTES;
/// The buffers' group.
const GROUP: u16 = 0;
/// Operations that can wait for the next system call.
const SUBMISSIONS: u32 = 1024;
/// Completions that can wait to be taken; the system keeps what is beyond.
const COMPLETIONS: u32 = 4096;
/// Source: `bits/socket.h` of Linux, on all architectures.
const MSG_WAITALL: i32 = 0x100;
const MSG_NOSIGNAL: i32 = 0x4000;
/// Source: `poll.h` of Linux, on all architectures.
const POLLIN: u32 = 1;
/// How long a dropped ring waits for the end of its operations, in steps of [`DRAIN_STEP`].
const DRAIN_STEPS: u32 = 50;
const DRAIN_STEP: Duration = Duration::from_millis(20);

/// Which kind of operation a completion is of: the low bits of its user data.
const RECEIVE: u64 = 0;
const SEND: u64 = 1;
const POLL: u64 = 2;
const CANCEL: u64 = 3;
const KIND_BITS: u32 = 2;

const fn user_data(kind: u64, number: usize) -> u64 {
    (number as u64) << KIND_BITS | kind
}

/// See the module.
pub(super) struct Ring {
    // Dropped before the memory.
    uring: IoUring,
    memory: Mapping,
    /// Sends that run.
    sends: Slab<Sending>,
    /// Receives and polls that run.
    others: usize,
    /// Where the next buffer that is given back goes.
    tail: u16,
    /// Operations may run: the thread that does everything else has called.
    enabled: bool,
}

#[derive(Debug)]
struct Sending {
    slot: usize,
    bytes: Vec<u8>,
}

/// Bytes in a receive buffer. To be given back.
#[derive(Debug)]
#[must_use]
pub(super) struct Lease {
    buffer: u16,
    len: u32,
}

impl Lease {
    /// How many bytes there are.
    pub(super) const fn len(&self) -> usize {
        self.len as usize
    }
}

/// What was completed.
#[derive(Debug)]
pub(super) enum Completion {
    /// Something was received, or cannot be. `more`: the receive goes on.
    Received { slot: usize, outcome: Outcome, more: bool },
    /// A send has ended; so many of its bytes went out.
    Sent { slot: usize, result: Result<usize, Errno>, bytes: Vec<u8> },
    /// What was polled can be read. The poll is over.
    Polled,
    /// The receive of a slot was not found, or could not be stopped just then.
    NotCancelled { slot: usize },
}

/// What a receive came to.
#[derive(Debug)]
pub(super) enum Outcome {
    Bytes(Lease),
    /// The peer sends nothing any more.
    End,
    /// There was no free buffer.
    NoBuffer,
    Cancelled,
    Failed,
}

/// The buffers' entries, then the buffers.
struct Mapping(NonNull<u8>);

impl Mapping {
    fn new() -> io::Result<Self> {
        let (prot, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        // SAFETY: a fresh private mapping at an address of the system's choice touches no memory
        // that is in use.
        let start = unsafe { mmap_anonymous(std::ptr::null_mut(), MAPPING_BYTES, prot, flags) }?;
        NonNull::new(start.cast()).map(Self).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    fn entries(&self) -> *mut BufRingEntry {
        self.0.as_ptr().cast()
    }

    /// Where a buffer begins; below [`BUFFERS`].
    fn buffer(&self, buffer: u16) -> *mut u8 {
        let offset = ENTRIES_BYTES + usize::from(buffer) * BUFFER_BYTES;
        // SAFETY: within the mapping for every number below BUFFERS, and the callers have no other.
        unsafe { self.0.as_ptr().add(offset) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and of this length; references into it have the lifetime of
        // the ring, and the ring has seen to it that the system uses it no more.
        let unmapped = unsafe { munmap(self.0.as_ptr().cast(), MAPPING_BYTES) };
        debug_assert!(unmapped.is_ok(), "our own mapping");
    }
}

// SAFETY: the mapping belongs to the ring alone; no thread has an address within it but the one
// that has the ring.
unsafe impl Send for Mapping {}

impl Ring {
    /// A ring that runs nothing yet. It belongs to the thread that calls [`Ring::enter`] first.
    pub(super) fn new() -> io::Result<Self> {
        let mut builder = IoUring::builder();
        builder.setup_cqsize(COMPLETIONS).setup_r_disabled();
        // Without these two it is slower than epoll: completions interrupt the thread.
        builder.setup_single_issuer().setup_defer_taskrun();
        let uring = builder.build(SUBMISSIONS)?;
        // What a wait with a time limit needs, and what keeps completions beyond COMPLETIONS.
        if !uring.params().is_feature_ext_arg() || !uring.params().is_feature_nodrop() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let memory = Mapping::new()?;
        // SAFETY: the mapping begins with room for BUFFERS entries, on a page's boundary, and is
        // unmapped only after the ring is closed.
        unsafe {
            uring.submitter().register_buf_ring_with_flags(
                memory.entries() as u64,
                BUFFERS,
                GROUP,
                0,
            )
        }?;
        let sends = Slab::new();
        let mut ring = Self { uring, memory, sends, others: 0, tail: 0, enabled: false };
        for buffer in 0..BUFFERS {
            ring.give_back(Lease { buffer, len: 0 });
        }
        Ok(ring)
    }

    /// Receives into buffers until it is cancelled or ends by itself. `fd` must stay open so long.
    pub(super) fn receive(&mut self, slot: usize, fd: RawFd) -> io::Result<()> {
        let entry = opcode::RecvMulti::new(Fd(fd), GROUP).build();
        self.push(&entry.user_data(user_data(RECEIVE, slot)))?;
        self.others += 1;
        Ok(())
    }

    /// Ends the receive of a slot; its last completion tells that it is over.
    pub(super) fn cancel_receive(&mut self, slot: usize) -> io::Result<()> {
        let entry = opcode::AsyncCancel::new(user_data(RECEIVE, slot)).build();
        self.push(&entry.user_data(user_data(CANCEL, slot)))
    }

    /// Sends all bytes, or as many as can be. `fd` must stay open until it is completed.
    pub(super) fn send(&mut self, slot: usize, fd: RawFd, bytes: Vec<u8>) -> io::Result<()> {
        let len = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let start = bytes.as_ptr();
        // The bytes are behind a pointer of the vector's: they stay where they are.
        let number = self.sends.insert(Sending { slot, bytes });
        let flags = MSG_NOSIGNAL | MSG_WAITALL;
        let entry = opcode::Send::new(Fd(fd), start, len).flags(flags).build();
        let pushed = self.push(&entry.user_data(user_data(SEND, number)));
        if pushed.is_err() {
            self.sends.remove(number);
        }
        pushed
    }

    /// Tells once when there is something to read.
    pub(super) fn poll(&mut self, fd: RawFd) -> io::Result<()> {
        self.push(&opcode::PollAdd::new(Fd(fd), POLLIN).build().user_data(user_data(POLL, 0)))?;
        self.others += 1;
        Ok(())
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: the callers build entries whose memory is in `self.memory` or `self.sends`, where
        // it stays until the completion; or there is none.
        if unsafe { self.uring.submission().push(entry) }.is_ok() {
            return Ok(());
        }
        self.enter(0, Some(Duration::ZERO))?;
        // SAFETY: as above.
        let pushed = unsafe { self.uring.submission().push(entry) };
        pushed.map_err(|_| io::Error::other("the system takes no operations"))
    }

    /// Hands over what was pushed, and waits for `want` completions at most `timeout` (for ever if
    /// `None`). Other reasons to return early are no errors.
    pub(super) fn enter(&mut self, want: u32, timeout: Option<Duration>) -> io::Result<()> {
        if !self.enabled {
            self.uring.submitter().register_enable_rings()?;
            self.enabled = true;
        }
        let timeout = timeout.map(Timespec::from);
        let mut args = SubmitArgs::new();
        if let Some(timeout) = &timeout {
            args = args.timespec(timeout);
        }
        let pushed = u32::try_from(self.uring.submission().len()).expect("SUBMISSIONS at most");
        // GETEVENTS even for none: deferred work is only done in such a call.
        let flags = (EnterFlags::GETEVENTS | EnterFlags::EXT_ARG).bits();
        // SAFETY: flags and argument belong together, and the argument lives until the call ends.
        match unsafe { self.uring.submitter().enter(pushed, want, flags, Some(&args)) } {
            Ok(_) => Ok(()),
            Err(error) => match Errno::from_io_error(&error) {
                // The time is over; a signal; completions have to be taken first.
                Some(Errno::TIME | Errno::INTR | Errno::BUSY | Errno::AGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// Takes the next completion.
    pub(super) fn next(&mut self) -> Option<Completion> {
        loop {
            let entry = self.uring.completion().next()?;
            if let Some(completion) = self.completed(&entry) {
                return Some(completion);
            }
        }
    }

    fn completed(&mut self, entry: &cqueue::Entry) -> Option<Completion> {
        let kind = entry.user_data() & ((1 << KIND_BITS) - 1);
        let number = usize::try_from(entry.user_data() >> KIND_BITS).expect("numbered by a usize");
        match kind {
            RECEIVE => {
                let more = cqueue::more(entry.flags());
                self.others -= usize::from(!more);
                Some(Completion::Received { slot: number, outcome: outcome(entry), more })
            }
            SEND => {
                let Sending { slot, bytes } = self.sends.remove(number);
                Some(Completion::Sent { slot, result: result(entry), bytes })
            }
            POLL => {
                self.others -= 1;
                Some(Completion::Polled)
            }
            _ if entry.result() < 0 => Some(Completion::NotCancelled { slot: number }),
            _ => None,
        }
    }

    /// The bytes of a lease.
    pub(super) fn bytes(&self, lease: &Lease) -> &[u8] {
        // SAFETY: the buffer is out: the system writes nothing into it until it is given back,
        // which takes the lease. It has written `len` bytes, no more than there is room for.
        unsafe { std::slice::from_raw_parts(self.memory.buffer(lease.buffer), lease.len()) }
    }

    /// Gives a buffer back, for the system to fill.
    #[expect(clippy::needless_pass_by_value, reason = "nobody may read it any more")]
    pub(super) fn give_back(&mut self, lease: Lease) {
        let address = self.memory.buffer(lease.buffer) as u64;
        let at = usize::from(self.tail % BUFFERS);
        // SAFETY: `at` is below BUFFERS. The system reads an entry only after it has seen a tail
        // beyond it, which is stored below. Fields are written one by one: the first entry shares
        // its memory with the tail.
        unsafe {
            let entry = &mut *self.memory.entries().add(at);
            entry.set_addr(address);
            entry.set_len(BUFFER_LEN);
            entry.set_bid(lease.buffer);
        }
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: within the first entry; nobody but the system reads it, and it does so with an
        // atomic load.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.memory.entries()) as _) };
        tail.store(self.tail, Ordering::Release);
    }

    /// Ends all operations; `false` if some cannot be ended.
    fn drain(&mut self) -> bool {
        if !self.enabled {
            return true;
        }
        // What was pushed and never handed over could not be cancelled.
        let handed_over = self.enter(0, Some(Duration::ZERO)).is_ok();
        let limit = Timespec::from(DRAIN_STEP);
        // "Nothing to cancel" and "takes longer" are as good: the completions tell.
        let _ = self.uring.submitter().register_sync_cancel(Some(limit), CancelBuilder::any());
        for _ in 0..DRAIN_STEPS {
            while self.next().is_some() {}
            if self.others == 0 && self.sends.is_empty() {
                return true;
            }
            if !handed_over || self.enter(1, Some(DRAIN_STEP)).is_err() {
                return false;
            }
        }
        false
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if !self.drain() {
            // Better lost than written to by the system when it is somebody else's.
            std::mem::forget(std::mem::take(&mut self.sends));
            if let Ok(unused) = Mapping::new() {
                std::mem::forget(std::mem::replace(&mut self.memory, unused));
            } else {
                std::process::abort();
            }
        }
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sends, others, enabled, .. } = self;
        f.debug_struct("Ring")
            .field("sends", &sends.len())
            .field("others", others)
            .field("enabled", enabled)
            .finish_non_exhaustive()
    }
}

fn result(entry: &cqueue::Entry) -> Result<usize, Errno> {
    usize::try_from(entry.result()).map_err(|_| Errno::from_raw_os_error(-entry.result()))
}

fn outcome(entry: &cqueue::Entry) -> Outcome {
    match (result(entry), cqueue::buffer_select(entry.flags())) {
        (Ok(len), Some(buffer)) if len > 0 => {
            let len = u32::try_from(len).expect("a buffer's length at most");
            Outcome::Bytes(Lease { buffer, len })
        }
        (Ok(_), _) => Outcome::End,
        (Err(Errno::NOBUFS), _) => Outcome::NoBuffer,
        (Err(Errno::CANCELED), _) => Outcome::Cancelled,
        (Err(_), _) => Outcome::Failed,
    }
}
