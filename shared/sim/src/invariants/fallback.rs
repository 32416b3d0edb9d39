//! HTTP fall-back always completes: whatever peers do, whoever has a working HTTP source ends with all bytes.

use shared::base::Instant;

use super::{Fact, Invariant};
use crate::{node::NodeId, world::World};

/// The rule.
pub(super) struct FallBackCompletes;

impl Invariant for FallBackCompletes {
    fn name(&self) -> &'static str {
        "HTTP fall-back always completes"
    }

    fn observe(&mut self, _now: Instant, _node: NodeId, _fact: &Fact<'_>) -> Result<(), String> {
        Ok(())
    }

    fn conclude(&mut self, world: &World) -> Result<(), (Option<NodeId>, String)> {
        for node in world.nodes.iter().filter(|node| node.alive && !node.plan.malicious) {
            if node.unanswered() > 0 {
                return Err((Some(node.id), format!("{} fetches are not complete", node.unanswered())));
            }
        }
        Ok(())
    }
}
