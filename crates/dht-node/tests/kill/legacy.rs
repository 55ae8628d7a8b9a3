//! Writes over the legacy protocol: answers come in the order of the requests.

use std::collections::VecDeque;

use dht_protocol::legacy::batch::Compressor;
use dht_testkit::legacy::{self, status};

use crate::oracle::Oracle;
use crate::records::CHANNELS;
use crate::writer::{Counts, Kind, Op};

/// See the module.
#[derive(Default)]
pub(crate) struct Legacy {
    under_way: VecDeque<Op>,
    compressor: Compressor,
}

impl Legacy {
    pub(crate) fn under_way(&self) -> usize {
        self.under_way.len()
    }

    pub(crate) fn forget_under_way(&mut self) {
        self.under_way.clear();
    }

    /// Appends its request to `out`.
    pub(crate) fn start(&mut self, op: Op, oracle: &Oracle, out: &mut Vec<u8>) {
        let request = match (op.kind, &op.changes[..]) {
            (Kind::RemoveChannel { channel, .. }, _) => {
                legacy::remove_channel(CHANNELS[channel].name)
            }
            (Kind::Put, [(place, version)]) => {
                let value = oracle.value(*place, *version);
                legacy::put(CHANNELS[place.channel].name, oracle.key(*place), &value)
            }
            (Kind::Remove { .. }, [(place, _)]) => {
                legacy::remove(CHANNELS[place.channel].name, oracle.key(*place))
            }
            (Kind::Batch, changes @ [(place, _), ..]) => {
                let mut records = Vec::new();
                for (place, version) in changes {
                    records.extend(legacy::key(oracle.key(*place)));
                    records.extend(legacy::array(&oracle.value(*place, *version)));
                }
                let mut blob = (records.len() as u64).to_le_bytes().to_vec();
                self.compressor.compress(&records, &mut blob);
                legacy::put_batch(CHANNELS[place.channel].name, &blob)
            }
            (kind, changes) => unreachable!("{kind:?} of {} records", changes.len()),
        };
        out.extend(request);
        self.under_way.push_back(op);
    }

    /// Takes whole answers from the front of `input`.
    pub(crate) fn answers(
        &mut self,
        input: &mut &[u8],
        oracle: &mut Oracle,
        counts: &mut Counts,
    ) -> Result<(), String> {
        while let Some((answer, rest)) = input.split_first_chunk() {
            *input = rest;
            let op = self.under_way.pop_front().ok_or("an answer to nothing")?;
            let answer = u32::from_le_bytes(*answer);
            if answer != status::OK {
                return Err(format!("{:?} was answered by status {answer}", op.kind));
            }
            op.settle(oracle, counts);
        }
        Ok(())
    }
}
