//! Every queue stays within its bound.

use shared::base::Instant;

use super::{Fact, Invariant};
use crate::{node::NodeId, world::World};

/// A tab's links; the core's own bound is 12, and as many again may be on their way to being refused.
const TAB_LINKS_MAX: usize = 24;
/// Messages waiting for one link: two pipelines of 2 MiB in groups of 16 KiB, and control.
const WAITING_A_LINK_MAX: usize = 300;
/// Requests of one link under way in the shell.
const SERVING_A_LINK_MAX: usize = 130;
/// HTTP requests of one node under way.
const FETCHING_MAX: usize = 16;
/// What a supernode is configured for.
const SUPERNODE_LINKS_MAX: usize = 10_000;

/// The rule.
pub(super) struct Bounded;

impl Invariant for Bounded {
    fn name(&self) -> &'static str {
        "every queue stays within its bound"
    }

    fn observe(&mut self, _now: Instant, _node: NodeId, fact: &Fact<'_>) -> Result<(), String> {
        let Fact::Looked { is_tab, backlog, links, serving, fetching } = *fact else { return Ok(()) };
        let links_max = if is_tab { TAB_LINKS_MAX } else { SUPERNODE_LINKS_MAX };
        for (what, length, bound) in [
            ("links", links, links_max),
            ("messages waiting to be sent", backlog, (links + 1) * WAITING_A_LINK_MAX),
            ("requests being served", serving, (links + 1) * SERVING_A_LINK_MAX),
            ("HTTP requests", fetching, FETCHING_MAX),
        ] {
            if length > bound {
                return Err(format!("{length} {what}, where at most {bound} are allowed"));
            }
        }
        Ok(())
    }

    fn conclude(&mut self, _world: &World) -> Result<(), (Option<NodeId>, String)> {
        Ok(())
    }
}
