//! Telling subscribers which records of a channel changed.
//!
//! ```text
//! write, under its shard's lock -> Listeners::tell -> Queue (bounded)    the lock is freed
//!                                                       |                 '-> wake(), no lock held
//!                                                       '-> Subscription::drain, whenever it likes
//! ```
//!
//! Events are queued under the shard's lock, so those of one key come in the order of its changes.
//! `wake` is called after all locks are released: it may use the store. It is called when a queue
//! turns from empty to non-empty and when it is finished, from whatever thread made the change, and
//! should only note down that there is something to drain.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use dht_types::Key;

/// A change of a channel. It carries no value: the subscriber reads the current one when it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The record was put, or replaced.
    Put(Key),
    /// The record was removed (or was to be removed and did not exist, see `Notify::Always`).
    Removed(Key),
}

/// Which events a subscription collects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Puts only: the legacy Listen request.
    Puts,
    /// Puts and removals: the neo Mirror request.
    All,
    /// The same, and those of which nobody is told (`Notify::No`): for who copies the channel.
    Every,
}

/// What a subscription calls when there is something to drain.
pub type Wake = Box<dyn Fn() + Send + Sync>;

/// A place in the audience of a channel. Dropping it ends it.
pub struct Subscription {
    queue: Arc<Queue>,
    listeners: Weak<Listeners>,
}

/// Tells how much waits in a subscription, and keeps nothing of it alive but its queue.
pub struct SubscriptionMeter(Arc<Queue>);

impl SubscriptionMeter {
    /// Events that wait to be drained.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.lock().events.len()
    }

    /// Events that were lost, and that [`Subscription::take_dropped`] has not told of.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.lock().dropped
    }
}

impl std::fmt::Debug for SubscriptionMeter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SubscriptionMeter").field(&self.waiting()).finish()
    }
}

/// The audience of a channel.
#[derive(Default)]
pub(crate) struct Listeners {
    /// Length of the list, to be read without its lock.
    count: AtomicUsize,
    list: Mutex<List>,
}

#[derive(Default)]
struct List {
    queues: Vec<Arc<Queue>>,
    is_finished: bool,
}

struct Queue {
    interest: Interest,
    /// Most pending events.
    capacity: usize,
    pending: Mutex<Pending>,
    wake: Wake,
}

#[derive(Default)]
struct Pending {
    events: VecDeque<Event>,
    dropped: u64,
    is_finished: bool,
}

/// Subscribers to be woken as soon as no lock is held.
#[must_use = "a subscriber that is not woken sleeps on"]
#[derive(Default)]
pub(crate) struct Wakes(Vec<Arc<Queue>>);

impl Subscription {
    /// Moves all pending events to the end of `into`, oldest first.
    pub fn drain(&self, into: &mut Vec<Event>) {
        into.extend(self.queue.lock().events.drain(..));
    }

    /// Whether the channel was removed: no more events will come. Pending ones stay readable.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.queue.lock().is_finished
    }

    /// The number of events lost since the last call, because the queue was full.
    #[must_use]
    pub fn take_dropped(&self) -> u64 {
        std::mem::take(&mut self.queue.lock().dropped)
    }
}

impl Subscription {
    /// For somebody else who wants to know how much waits.
    #[must_use]
    pub fn meter(&self) -> SubscriptionMeter {
        SubscriptionMeter(Arc::clone(&self.queue))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let Some(listeners) = self.listeners.upgrade() else { return };
        let mut list = listeners.lock();
        list.queues.retain(|queue| !Arc::ptr_eq(queue, &self.queue));
        listeners.count.store(list.queues.len(), Ordering::Release);
    }
}

impl Listeners {
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        interest: Interest,
        capacity: usize,
        wake: Wake,
    ) -> Subscription {
        let queue = Queue { interest, capacity, pending: Mutex::default(), wake };
        let queue = Arc::new(queue);
        let mut list = self.lock();
        if list.is_finished {
            queue.lock().is_finished = true;
        } else {
            list.queues.push(Arc::clone(&queue));
            self.count.store(list.queues.len(), Ordering::Release);
        }
        Subscription { queue, listeners: Arc::downgrade(self) }
    }

    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Queues an event for everybody who is interested. One load if nobody is there. A `silent` one
    /// is for [`Interest::Every`] alone.
    #[inline]
    pub(crate) fn tell(&self, event: Event, silent: bool) -> Wakes {
        if self.count() == 0 { Wakes::default() } else { self.tell_all(event, silent) }
    }

    fn tell_all(&self, event: Event, silent: bool) -> Wakes {
        let list = self.lock();
        Wakes(list.queues.iter().filter(|queue| queue.push(event, silent)).cloned().collect())
    }

    /// Ends all subscriptions, and those to come.
    pub(crate) fn finish(&self) -> Wakes {
        let mut list = self.lock();
        list.is_finished = true;
        self.count.store(0, Ordering::Release);
        let queues = std::mem::take(&mut list.queues);
        queues.iter().for_each(|queue| queue.lock().is_finished = true);
        Wakes(queues)
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().expect("nothing panics under this lock")
    }
}

impl Queue {
    /// Queues an event; true if the subscriber is to be woken.
    fn push(&self, event: Event, silent: bool) -> bool {
        let is_wanted = match self.interest {
            Interest::Puts => !silent && matches!(event, Event::Put(_)),
            Interest::All => !silent,
            Interest::Every => true,
        };
        if !is_wanted {
            return false;
        }
        let mut pending = self.lock();
        if pending.events.len() >= self.capacity {
            pending.dropped += 1;
            return false;
        }
        pending.events.push_back(event);
        pending.events.len() == 1
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().expect("nothing panics under this lock")
    }
}

impl Wakes {
    /// Those of another event, too.
    #[inline]
    pub(crate) fn add(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Wakes the subscribers. To be called with no lock held.
    #[inline]
    pub(crate) fn wake(self) {
        for queue in self.0 {
            (queue.wake)();
        }
    }
}
