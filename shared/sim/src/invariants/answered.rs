//! Every command is answered once, and every effect is reported once.

use std::collections::BTreeSet;

use shared::{
    base::{EffectId, Instant},
    peer::{Event, FetchId},
};

use super::{Fact, Invariant};
use crate::{node::NodeId, world::World};

/// The rule.
#[derive(Default)]
pub(super) struct Answered {
    fetches: BTreeSet<(NodeId, FetchId)>,
    effects: BTreeSet<(NodeId, EffectId)>,
}

impl Invariant for Answered {
    fn name(&self) -> &'static str {
        "every command is answered once"
    }

    fn observe(&mut self, _now: Instant, node: NodeId, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Commanded(fetch) if !self.fetches.insert((node, *fetch)) => {
                Err(format!("{fetch:?} names two commands"))
            }
            Fact::Told { event, .. } => {
                let (Event::Completed { fetch, .. }
                | Event::FellBack { fetch, .. }
                | Event::Cancelled { fetch, .. }) = event
                else {
                    return Ok(());
                };
                if self.fetches.remove(&(node, *fetch)) {
                    Ok(())
                } else {
                    Err(format!("{event:?} answers no open command"))
                }
            }
            Fact::Asked(effect) if !self.effects.insert((node, *effect)) => {
                Err(format!("effect {effect} was asked for twice"))
            }
            Fact::Done(effect) if !self.effects.remove(&(node, *effect)) => {
                Err(format!("effect {effect} was reported twice"))
            }
            Fact::Stopped => {
                self.fetches.retain(|(of, _)| *of != node);
                self.effects.retain(|(of, _)| *of != node);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn conclude(&mut self, _world: &World) -> Result<(), (Option<NodeId>, String)> {
        match self.fetches.first() {
            Some((node, fetch)) => Err((Some(*node), format!("{fetch:?} was never answered"))),
            None => Ok(()),
        }
    }
}
