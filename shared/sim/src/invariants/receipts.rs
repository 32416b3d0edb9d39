//! Receipts equal verified bytes: nobody signs for more than it verified, and nobody is credited with more.

use std::collections::BTreeMap;

use shared::{
    base::Instant,
    cdn::receipts::Receipt,
    peer::{Event, Verdict},
};

use super::{Fact, Invariant};
use crate::{node::NodeId, world::World};

/// The rule: bytes that receivers verified, by provider and by receiver, in the present life of each; and what supernodes
/// were told that their edges gave, against what receivers verified of edges in all their lives.
#[derive(Default)]
pub(super) struct Receipts {
    provided: BTreeMap<NodeId, u64>,
    verified: BTreeMap<NodeId, u64>,
    by_edge: BTreeMap<NodeId, u64>,
    /// By receiver, then supernode and session.
    credited: BTreeMap<[u8; 32], BTreeMap<(NodeId, u64), u64>>,
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
            Fact::Judged { edge: true, bytes, verdict: Verdict::Good, .. } => {
                *self.verified.entry(node).or_default() += bytes;
                *self.by_edge.entry(node).or_default() += bytes;
            }
            Fact::Told { event: Event::Receipted { session, edge, receipt, .. }, .. } => {
                let receipt = Receipt::open(receipt).map_err(|_| "a receipt that does not hold")?;
                if receipt.edge_bytes != *edge {
                    return Err(format!("{edge} bytes of an edge, by a receipt of {}", receipt.edge_bytes));
                }
                let sessions = self.credited.entry(receipt.receiver.to_bytes()).or_default();
                sessions.insert((node, *session), *edge);
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
        for node in world.nodes.iter().filter(|node| !node.plan.malicious) {
            let of = |sums: &BTreeMap<NodeId, u64>| sums.get(&node.id).copied().unwrap_or(0);
            let by_edge = of(&self.by_edge);
            let credited = self.credited.get(&node.keypair.public().to_bytes());
            let credited: u64 = credited.into_iter().flat_map(BTreeMap::values).sum();
            if credited > by_edge {
                let wrong = format!("signed for {credited} bytes of edges, and verified {by_edge}");
                return Err((Some(node.id), wrong));
            }
            let Some(meters) = node.meters().filter(|_| node.alive) else { continue };
            let (provided, verified) = (of(&self.provided), of(&self.verified));
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
