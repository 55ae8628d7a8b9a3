//! Puts that wait on disk while their node is away. Nobody gets this unasked.
//!
//! ```text
//! u64 offset of the first record that waits | (u64 key, u64 length, value) ...
//! ```
//!
//! A record that cannot be put now for a reason that passes is appended; a task puts what waits, in
//! order, again and again until it is done. While a key waits, its next values go behind it, so
//! that no older value replaces a newer one. A file that is left by a program that ended goes on in
//! the next one; what was cut off by a crash at its end is left out.
//! Source: spec `client` A.6 (RequestQueueDiskOverflow).

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, task::JoinHandle};

use crate::{Channel, Error, Key};

/// Bytes in front of the records.
const HEADER_BYTES: u64 = 8;
/// Bytes in front of a value.
const RECORD_BYTES: u64 = 16;

/// How long to wait before the first record that waits is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// Where a record went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// To its node.
    AtNode,
    /// To the disk; to its node later.
    OnDisk,
}

/// Why a record was not stored at all.
#[derive(Debug, thiserror::Error)]
pub enum OverflowError {
    /// The node refused it, or it can never be put.
    #[error(transparent)]
    Refused(#[from] Error),
    /// It cannot be put now, and more than the limit waits on disk already.
    #[error("{waiting} bytes wait on disk; at most {max} may")]
    Full {
        /// Bytes that wait.
        waiting: u64,
        /// The limit.
        max: u64,
    },
    /// It cannot be put now, nor written to disk.
    #[error("cannot write the overflow file: {0}")]
    Disk(#[from] io::Error),
}

/// What waits on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Records.
    pub records: u64,
    /// Their bytes in the file.
    pub bytes: u64,
    /// Records that their node has refused since the start; they are gone.
    pub refused: u64,
}

/// A channel whose puts wait on disk while their node is away. Dropping it leaves the file as it
/// is.
#[derive(Debug)]
pub struct Overflow {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    channel: Channel,
    bytes_max: u64,
    queue: Mutex<Queue>,
    more: Notify,
}

#[derive(Debug)]
struct Queue {
    file: File,
    first: u64,
    end: u64,
    /// How often each key waits.
    keys: HashMap<Key, u64>,
    waiting: Waiting,
}

impl Drop for Overflow {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Overflow {
    /// Opens the file, or makes it, and goes on with what waits there. At most `bytes_max` bytes
    /// may wait. Must be called within a runtime.
    pub fn open(channel: &Channel, path: &Path, bytes_max: u64) -> io::Result<Self> {
        let queue = Mutex::new(Queue::open(path)?);
        let (channel, more) = (channel.clone(), Notify::new());
        let shared = Arc::new(Shared { channel, bytes_max, queue, more });
        let task = tokio::spawn(replay(Arc::clone(&shared)));
        Ok(Self { shared, task })
    }

    /// Stores a record at its node, or on disk if that cannot be done now.
    pub async fn put(
        &self,
        key: impl Into<Key>,
        value: impl AsRef<[u8]>,
    ) -> Result<Stored, OverflowError> {
        let (key, value) = (key.into(), value.as_ref());
        if !self.shared.queue().keys.contains_key(&key) {
            match self.shared.channel.put(key, value).await {
                Ok(()) => return Ok(Stored::AtNode),
                Err(error) if error.is_retry_safe() => {}
                Err(error) => return Err(error.into()),
            }
        }
        let mut queue = self.shared.queue();
        let bytes = RECORD_BYTES + value.len() as u64;
        if queue.waiting.bytes + bytes > self.shared.bytes_max {
            let (waiting, max) = (queue.waiting.bytes, self.shared.bytes_max);
            return Err(OverflowError::Full { waiting, max });
        }
        queue.append(key, value)?;
        drop(queue);
        self.shared.more.notify_one();
        Ok(Stored::OnDisk)
    }

    /// What waits now.
    #[must_use]
    pub fn waiting(&self) -> Waiting {
        self.shared.queue().waiting
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts what waits, the first record first.
async fn replay(shared: Arc<Shared>) {
    loop {
        let first = shared.queue().first();
        let Ok(Some((key, value))) = first else {
            // Nothing waits, or the disk has failed: then perhaps not the next time.
            shared.more.notified().await;
            continue;
        };
        let refused = match shared.channel.put(key, &value).await {
            Ok(()) => false,
            Err(error) if error.is_retry_safe() => {
                tokio::time::sleep(RETRY).await;
                continue;
            }
            Err(_) => true,
        };
        let removed = {
            let mut queue = shared.queue();
            queue.waiting.refused += u64::from(refused);
            queue.remove_first(key, value.len() as u64)
        };
        if removed.is_err() {
            // It will be put once more, which does no harm.
            tokio::time::sleep(RETRY).await;
        }
    }
}

impl Queue {
    fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path)?;
        let len = file.metadata()?.len();
        let mut header = [0; 8];
        let first = if len < HEADER_BYTES {
            file.write_all_at(&HEADER_BYTES.to_le_bytes(), 0)?;
            HEADER_BYTES
        } else {
            file.read_exact_at(&mut header, 0)?;
            u64::from_le_bytes(header).clamp(HEADER_BYTES, len)
        };
        let (keys, waiting) = (HashMap::new(), Waiting::default());
        let mut queue = Self { file, first, end: first, keys, waiting };
        while let Some((key, value_bytes)) = queue.header_at(queue.end, len)? {
            queue.count(key, value_bytes);
        }
        queue.file.set_len(queue.end.max(HEADER_BYTES))?;
        Ok(queue)
    }

    /// Key and length of the record that begins there; `None` at the end, or if it was cut off.
    fn header_at(&self, at: u64, len: u64) -> io::Result<Option<(Key, u64)>> {
        if len < at + RECORD_BYTES {
            return Ok(None);
        }
        let mut bytes = [0; 16];
        self.file.read_exact_at(&mut bytes, at)?;
        let number = u128::from_le_bytes(bytes);
        #[expect(clippy::cast_possible_truncation, reason = "two halves of one number")]
        let (key, value_bytes) = (Key(number as u64), (number >> 64) as u64);
        let fits = (at + RECORD_BYTES).checked_add(value_bytes).is_some_and(|end| end <= len);
        Ok(fits.then_some((key, value_bytes)))
    }

    fn count(&mut self, key: Key, value_bytes: u64) {
        self.end += RECORD_BYTES + value_bytes;
        *self.keys.entry(key).or_default() += 1;
        self.waiting.records += 1;
        self.waiting.bytes += RECORD_BYTES + value_bytes;
    }

    fn append(&mut self, key: Key, value: &[u8]) -> io::Result<()> {
        let len = value.len() as u64;
        let record = [&key.0.to_le_bytes()[..], &len.to_le_bytes(), value].concat();
        self.file.write_all_at(&record, self.end)?;
        self.count(key, len);
        Ok(())
    }

    fn first(&self) -> io::Result<Option<(Key, Vec<u8>)>> {
        let Some((key, value_bytes)) = self.header_at(self.first, self.end)? else {
            return Ok(None);
        };
        let mut value = vec![0; usize::try_from(value_bytes).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut value, self.first + RECORD_BYTES)?;
        Ok(Some((key, value)))
    }

    fn remove_first(&mut self, key: Key, value_bytes: u64) -> io::Result<()> {
        let first = self.first + RECORD_BYTES + value_bytes;
        if first == self.end {
            // Nothing waits any more: the file starts again.
            self.file.write_all_at(&HEADER_BYTES.to_le_bytes(), 0)?;
            self.file.set_len(HEADER_BYTES)?;
            (self.first, self.end) = (HEADER_BYTES, HEADER_BYTES);
        } else {
            self.file.write_all_at(&first.to_le_bytes(), 0)?;
            self.first = first;
        }
        self.waiting.records -= 1;
        self.waiting.bytes -= RECORD_BYTES + value_bytes;
        if let Some(times) = self.keys.get_mut(&key) {
            *times -= 1;
            if *times == 0 {
                self.keys.remove(&key);
            }
        }
        Ok(())
    }
}
