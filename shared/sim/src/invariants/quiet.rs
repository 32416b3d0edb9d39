//! A quiet network goes quiet: once nobody wants anything, nobody sends payload, and few send messages.

use shared::base::Instant;

use super::{Fact, Invariant};
use crate::{node::NodeId, world::World};

/// How long the network is watched at the end of a run.
pub(crate) const WATCHED_SECONDS: usize = 30;
/// Messages a link may carry in that time, both ways: keeping alive, and what is announced now and then.
const MESSAGES_A_LINK_MAX: u64 = 6;

/// The rule.
pub(super) struct Quiet;

impl Invariant for Quiet {
    fn name(&self) -> &'static str {
        "a quiet network goes quiet"
    }

    fn observe(&mut self, _now: Instant, _node: NodeId, _fact: &Fact<'_>) -> Result<(), String> {
        Ok(())
    }

    fn conclude(&mut self, world: &World) -> Result<(), (Option<NodeId>, String)> {
        // Liars are never quiet, and nothing can be said of a network that has them.
        if world.nodes.iter().any(|node| node.plan.malicious && node.alive) {
            return Ok(());
        }
        let now = usize::try_from(world.now().as_micros() / 1_000_000).unwrap_or(usize::MAX);
        let from = now.saturating_sub(WATCHED_SECONDS);
        let watched = world.seconds.get(from..).unwrap_or_default();
        let payload: u64 = watched.iter().map(|second| second.peers + second.supernodes + second.http).sum();
        let frames: u64 = watched.iter().map(|second| second.frames).sum();
        let links = world.nodes.iter().map(|node| node.links.len() as u64).sum::<u64>() / 2;
        if payload > 0 {
            return Err((None, format!("{payload} bytes of payload in the last {WATCHED_SECONDS} s")));
        }
        if frames > links * MESSAGES_A_LINK_MAX {
            let what = format!("{frames} messages over {links} links in the last {WATCHED_SECONDS} s");
            return Err((None, what));
        }
        Ok(())
    }
}
