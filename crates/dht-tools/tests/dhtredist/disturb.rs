//! What happens to nodes, net and dhtredist in the middle of a move.

use std::process::Child;

use dht_testkit::{Rng, wait_for};

use crate::setup::Node;

/// What is done to whom in the middle of a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Disturbance {
    /// As a crash: the log has what was acknowledged.
    Kill,
    KillAll,
    Stop,
    /// The others take it for gone.
    Freeze,
    /// In the middle of a message, often.
    Cut,
    KillDhtredist,
}

impl Disturbance {
    pub(crate) fn random(rng: &mut Rng) -> Self {
        match rng.below(10) {
            0..3 => Self::Kill,
            3 => Self::KillAll,
            4 => Self::Stop,
            5 => Self::Freeze,
            6..9 => Self::Cut,
            _ => Self::KillDhtredist,
        }
    }

    /// Strikes one of the nodes, all of them, or dhtredist.
    pub(crate) fn strike(self, nodes: &mut [Node], dhtredist: &mut Child, rng: &mut Rng) {
        let at = usize::try_from(rng.below(nodes.len() as u64)).expect("small");
        let node = &mut nodes[at];
        match self {
            Self::Kill => {
                node.kill();
                node.start_again();
            }
            Self::KillAll => {
                nodes.iter_mut().for_each(Node::kill);
                nodes.iter_mut().for_each(Node::start_again);
            }
            Self::Stop => {
                node.stop();
                node.start_again();
            }
            Self::Freeze => {
                node.signal("STOP");
                let mut looks = rng.below(100);
                wait_for("a moment to pass", || {
                    looks = looks.saturating_sub(1);
                    (looks == 0).then_some(())
                });
                node.signal("CONT");
            }
            Self::Cut => {
                // From the first bytes of a message to some batches.
                let most = 1 << rng.within(1..22);
                node.proxy().cut_after(usize::try_from(rng.below(most)).expect("small"));
            }
            // It may have ended by now.
            Self::KillDhtredist => drop(dhtredist.kill()),
        }
    }
}
