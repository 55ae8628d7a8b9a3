//! Which requests of a connection are running, as far as they wait for messages.

use super::{REQUESTS_ACTIVE_MAX, Request, RequestId, requests::UpdateAction};

/// What kind of messages a running request waits for. All other requests are answered at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RequestKind {
    /// None at all, but it runs: any message ends it.
    GetHashRange,
    /// [`super::Control`].
    Mirror,
    /// [`super::Control`].
    GetAll,
    /// One [`super::requests::UpdateMessage`].
    Update,
    /// [`super::requests::CancelMove`].
    MovePart,
}

impl RequestKind {
    /// The kind of a request that runs on after its start was handled.
    #[must_use]
    pub const fn of(request: &Request<'_>) -> Option<Self> {
        match request {
            Request::GetHashRange(_) => Some(Self::GetHashRange),
            Request::Mirror(_) => Some(Self::Mirror),
            Request::GetAll(_) => Some(Self::GetAll),
            Request::MovePart(_) => Some(Self::MovePart),
            Request::Update(update) => match update.action {
                UpdateAction::GetRecord => Some(Self::Update),
                UpdateAction::UpdateRecord(_) | UpdateAction::Unknown(_) => None,
            },
            Request::Put(_)
            | Request::Get(_)
            | Request::GetChannels(_)
            | Request::Exists(_)
            | Request::Remove(_)
            | Request::RemoveChannel(_) => None,
        }
    }
}

/// The running requests by id. Clients count their ids upwards, so a new one goes to the end, and
/// most look-ups end at the first comparison. Never more than [`REQUESTS_ACTIVE_MAX`].
#[derive(Debug, Default)]
pub(super) struct Active {
    /// Sorted by id.
    requests: Vec<(RequestId, RequestKind)>,
}

impl Active {
    pub(super) const fn new() -> Self {
        Self { requests: Vec::new() }
    }

    pub(super) const fn len(&self) -> usize {
        self.requests.len()
    }

    pub(super) const fn is_full(&self) -> bool {
        self.len() >= REQUESTS_ACTIVE_MAX
    }

    fn place(&self, id: RequestId) -> Result<usize, usize> {
        match self.requests.last() {
            Some((last, _)) if *last >= id => self.requests.binary_search_by_key(&id, |r| r.0),
            _ => Err(self.len()),
        }
    }

    pub(super) fn get(&self, id: RequestId) -> Option<RequestKind> {
        self.place(id).ok().map(|at| self.requests[at].1)
    }

    /// Adds a request whose id is not there yet. The caller has seen that there is room.
    pub(super) fn insert(&mut self, id: RequestId, kind: RequestKind) {
        assert!(!self.is_full(), "the limit is checked before a request starts");
        if let Err(at) = self.place(id) {
            self.requests.insert(at, (id, kind));
        }
    }

    pub(super) fn remove(&mut self, id: RequestId) -> Option<RequestKind> {
        self.place(id).ok().map(|at| self.requests.remove(at).1)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (RequestId, RequestKind)> {
        self.requests.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use dht_testkit::for_seeds;

    use super::*;

    #[test]
    fn running_requests_agree_with_a_map() {
        for_seeds(50, |rng| {
            let (mut active, mut model) = (Active::new(), BTreeMap::new());
            for _ in 0..500 {
                let id = RequestId::new(1 + rng.below(60)).expect("not 0");
                let kind = *rng.pick(&[RequestKind::GetAll, RequestKind::Mirror]);
                assert_eq!(active.get(id), model.get(&id).copied());
                if rng.one_in(2) {
                    assert_eq!(active.remove(id), model.remove(&id));
                } else if active.get(id).is_none() {
                    active.insert(id, kind);
                    model.insert(id, kind);
                }
                assert_eq!(active.len(), model.len());
            }
            assert!(active.iter().eq(model));
        });
    }
}
