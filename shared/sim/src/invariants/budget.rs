//! Upload stays within the budget that the user allowed.

use std::collections::BTreeMap;

use shared::base::Instant;

use super::{Fact, Invariant};
use crate::{node::NodeId, world::World};

/// The rule: what is left of each node's budget.
#[derive(Default)]
pub(super) struct UploadBudget {
    left: BTreeMap<NodeId, u64>,
}

impl Invariant for UploadBudget {
    fn name(&self) -> &'static str {
        "upload stays within the budget"
    }

    fn observe(&mut self, _now: Instant, node: NodeId, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Budgeted(bytes) => {
                self.left.insert(node, *bytes);
            }
            Fact::Sent { bytes, .. } => {
                if let Some(left) = self.left.get_mut(&node) {
                    match left.checked_sub(*bytes) {
                        Some(rest) => *left = rest,
                        None => return Err(format!("{bytes} bytes sent, with {left} left of the budget")),
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn conclude(&mut self, _world: &World) -> Result<(), (Option<NodeId>, String)> {
        Ok(())
    }
}
