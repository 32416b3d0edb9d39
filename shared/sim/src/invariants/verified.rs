//! No unverified byte is delivered: what a node says it holds is in its store, and is what was published.

use shared::base::Instant;

use super::{Fact, Invariant};
use crate::{node::NodeId, world::World};

/// The rule.
pub(super) struct Verified;

impl Invariant for Verified {
    fn name(&self) -> &'static str {
        "no unverified byte is delivered"
    }

    fn observe(&mut self, _now: Instant, _node: NodeId, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Told { event, held: false } => {
                Err(format!("told {event:?}, which its store does not bear out"))
            }
            _ => Ok(()),
        }
    }

    fn conclude(&mut self, _world: &World) -> Result<(), (Option<NodeId>, String)> {
        Ok(())
    }
}
