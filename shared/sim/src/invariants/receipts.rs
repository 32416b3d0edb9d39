//! Receipts equal verified bytes: nobody signs for more than it verified, and nobody is credited with more.

use std::collections::BTreeMap;

use shared::{base::Instant, peer::Verdict};

use super::{Fact, Invariant};
use crate::{node::NodeId, world::World};

/// The rule: bytes that receivers verified, by provider and by receiver, in the present life of each.
#[derive(Default)]
pub(super) struct Receipts {
    provided: BTreeMap<NodeId, u64>,
    verified: BTreeMap<NodeId, u64>,
}

impl Invariant for Receipts {
    fn name(&self) -> &'static str {
        "receipts equal verified bytes"
    }

    fn observe(&mut self, _now: Instant, node: NodeId, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Judged { from: Some(from), bytes, verdict: Verdict::Good, .. } => {
                *self.provided.entry(*from).or_default() += bytes;
                *self.verified.entry(node).or_default() += bytes;
            }
            Fact::Stopped => {
                self.provided.remove(&node);
                self.verified.remove(&node);
            }
            _ => {}
        }
        Ok(())
    }

    fn conclude(&mut self, world: &World) -> Result<(), (Option<NodeId>, String)> {
        for node in world.nodes.iter().filter(|node| node.alive && !node.plan.malicious) {
            let Some(meters) = node.meters() else { continue };
            let provided = self.provided.get(&node.id).copied().unwrap_or(0);
            let verified = self.verified.get(&node.id).copied().unwrap_or(0);
            let wrong = if meters.receipted > provided {
                format!("receipts of {} bytes, where receivers verified {provided}", meters.receipted)
            } else if meters.signed_for > verified {
                format!("signed for {} bytes, and verified {verified}", meters.signed_for)
            } else {
                continue;
            };
            return Err((Some(node.id), wrong));
        }
        Ok(())
    }
}
