//! Gossip: saying what this node provides, hearing what others do, and topics of the services.

use std::{sync::PoisonError, time::Duration};

use libp2p::{
    Multiaddr, PeerId,
    gossipsub::{self, IdentTopic, MessageAcceptance, PublishError},
    multiaddr::Protocol,
};
use shared::coordination::{Advert, AdvertRefusal, AdvertVerdict};
use tokio::{sync::mpsc, time::Instant};

use super::Driver;
use crate::{
    clock::{unix_millis, unix_now},
    gossip::{ADVERTS_TOPIC, adverts_topic},
};

/// How long an advert may be believed: two renewals may be lost.
const LIFETIME_SECONDS: u64 = 1200;

/// How often it is renewed. A node that joins knows all others after this time.
const RENEWAL: Duration = Duration::from_secs(360);

/// A new neighbour hears our advert at once, but a crowd of them does not make us shout.
const SPACING: Duration = Duration::from_secs(10);

/// How often the registry is swept.
const SWEEP: Duration = Duration::from_secs(10);

/// Topics the services of one node can hear; the advert topic comes on top.
const TOPICS: usize = 32;

/// A message of a gossip topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gossiped {
    /// Who wrote it: the signature was verified.
    pub author: PeerId,
    /// What it says.
    pub bytes: Vec<u8>,
}

/// Why nobody will hear a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishFailed {
    /// No neighbour hears the topic.
    #[error("no neighbour hears this topic")]
    Alone,
    /// It was said already, is too large, or the queues of all neighbours are full.
    #[error("{0}")]
    Refused(String),
    /// The network is shut down.
    #[error("the network is shut down")]
    Stopped,
}

/// When to say what we provide.
#[derive(Default)]
pub(super) struct Announcer {
    sequence: u64,
    last: Option<Instant>,
    wanted: bool,
    swept: Option<Instant>,
}

impl Driver {
    pub(super) fn join_adverts_topic(&mut self) {
        if let Err(error) = self.parts.swarm.behaviour_mut().gossip.subscribe(&adverts_topic()) {
            tracing::error!(%error, "cannot hear the adverts of others");
        }
    }

    pub(super) fn tick_adverts(&mut self, now: Instant) {
        let since = |at: Option<Instant>| at.map_or(Duration::MAX, |at| now.duration_since(at));
        let quiet = since(self.announcer.last);
        if quiet >= RENEWAL || (self.announcer.wanted && quiet >= SPACING) {
            self.announce(now);
        }
        if since(self.announcer.swept) >= SWEEP {
            self.announcer.swept = Some(now);
            let mut adverts = self.parts.adverts.lock().unwrap_or_else(PoisonError::into_inner);
            adverts.expire(unix_now());
            self.parts.metrics.adverts.set(i64::try_from(adverts.len()).unwrap_or(i64::MAX));
        }
    }

    fn announce(&mut self, now: Instant) {
        // Above whatever was said before a restart, as long as the clock does not go back.
        self.announcer.sequence = unix_millis().max(self.announcer.sequence + 1);
        let issued = unix_now();
        let ourselves = *self.parts.swarm.local_peer_id();
        let advert = Advert {
            node: self.parts.keypair.public(),
            sequence: self.announcer.sequence,
            issued,
            expires: issued.plus(LIFETIME_SECONDS),
            services: self.parts.services.clone(),
            addresses: self
                .parts
                .swarm
                .external_addresses()
                .map(|address| nameless(address, ourselves))
                .collect(),
        };
        let bytes = advert.sign(&self.parts.keypair);
        match self.parts.swarm.behaviour_mut().gossip.publish(adverts_topic(), bytes) {
            Ok(_) => {
                self.announcer.last = Some(now);
                self.announcer.wanted = false;
            }
            // The first neighbour that hears the topic will make us try again.
            Err(PublishError::NoPeersSubscribedToTopic) => self.announcer.wanted = false,
            Err(error) => {
                self.announcer.last = Some(now);
                tracing::debug!(%error, "could not announce our services");
            }
        }
    }

    pub(super) fn on_gossip(&mut self, event: gossipsub::Event) {
        match event {
            gossipsub::Event::Message { propagation_source, message_id, message } => {
                let acceptance = if message.topic.as_str() == ADVERTS_TOPIC {
                    self.judge_advert(propagation_source, &message.data)
                } else {
                    self.deliver(message)
                };
                let gossip = &mut self.parts.swarm.behaviour_mut().gossip;
                gossip.report_message_validation_result(&message_id, &propagation_source, acceptance);
            }
            gossipsub::Event::Subscribed { topic, .. } if topic.as_str() == ADVERTS_TOPIC => {
                self.announcer.wanted = true;
            }
            _ => {}
        }
    }

    fn judge_advert(&mut self, neighbour: PeerId, bytes: &[u8]) -> MessageAcceptance {
        let now = unix_now();
        let mut adverts = self.parts.adverts.lock().unwrap_or_else(PoisonError::into_inner);
        let verdict = adverts.apply(now, &neighbour, bytes);
        self.parts.metrics.judged(&verdict);
        self.parts.metrics.adverts.set(i64::try_from(adverts.len()).unwrap_or(i64::MAX));
        match verdict {
            AdvertVerdict::Fresh(node) => {
                tracing::debug!(%node, "heard an advert");
                MessageAcceptance::Accept
            }
            AdvertVerdict::Known => MessageAcceptance::Ignore,
            AdvertVerdict::Refused(refusal @ AdvertRefusal::Invalid(_)) => {
                tracing::debug!(%neighbour, %refusal, "a neighbour passed on what it should have refused");
                MessageAcceptance::Reject
            }
            AdvertVerdict::Refused(refusal) => {
                tracing::debug!(%neighbour, %refusal, "an advert was not believed");
                MessageAcceptance::Ignore
            }
        }
    }

    pub(super) fn subscribe(&mut self, topic: &str, sender: mpsc::Sender<Gossiped>) {
        self.forget_unheard_topics();
        let topic = IdentTopic::new(topic);
        if self.topics.len() >= TOPICS && !self.topics.contains_key(&topic.hash()) {
            // Dropping the sender ends the receiver, which is how its owner learns.
            tracing::warn!(%topic, "too many gossip topics");
            return;
        }
        match self.parts.swarm.behaviour_mut().gossip.subscribe(&topic) {
            Ok(_) => self.topics.entry(topic.hash()).or_default().push(sender),
            Err(error) => tracing::warn!(%topic, %error, "cannot hear a gossip topic"),
        }
    }

    pub(super) fn publish(&mut self, topic: &str, bytes: Vec<u8>) -> Result<(), PublishFailed> {
        match self.parts.swarm.behaviour_mut().gossip.publish(IdentTopic::new(topic), bytes) {
            Ok(_) => Ok(()),
            Err(PublishError::NoPeersSubscribedToTopic) => Err(PublishFailed::Alone),
            Err(error) => Err(PublishFailed::Refused(error.to_string())),
        }
    }

    fn deliver(&mut self, message: gossipsub::Message) -> MessageAcceptance {
        let (Some(listeners), Some(author)) = (self.topics.get_mut(&message.topic), message.source) else {
            return MessageAcceptance::Ignore;
        };
        listeners.retain(|listener| !listener.is_closed());
        for listener in listeners {
            if listener.try_send(Gossiped { author, bytes: message.data.clone() }).is_err() {
                self.parts.metrics.gossip_dropped.inc();
            }
        }
        MessageAcceptance::Accept
    }

    fn forget_unheard_topics(&mut self) {
        let gossip = &mut self.parts.swarm.behaviour_mut().gossip;
        self.topics.retain(|topic, listeners| {
            listeners.retain(|listener| !listener.is_closed());
            let heard = !listeners.is_empty();
            if !heard {
                gossip.unsubscribe(&IdentTopic::new(topic.as_str()));
            }
            heard
        });
    }
}

/// The peer id of an address in an advert follows from the advert's key.
fn nameless(address: &Multiaddr, ourselves: PeerId) -> Vec<u8> {
    let mut address = address.clone();
    if address.iter().last() == Some(Protocol::P2p(ourselves)) {
        address.pop();
    }
    address.to_vec()
}
