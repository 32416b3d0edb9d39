//! GossipSub, signed and bounded, with scores that remember who forwards rubbish.

use std::{collections::HashMap, time::Duration};

use anyhow::anyhow;
use libp2p::{
    gossipsub::{
        AllowAllSubscriptionFilter, Behaviour, ConfigBuilder, IdentTopic, IdentityTransform,
        MaxCountSubscriptionFilter, MessageAuthenticity, PeerScoreParams, PeerScoreThresholds,
        TopicScoreParams, ValidationMode,
    },
    identity::Keypair,
};

/// Where adverts are told. The version changes with the meaning of an advert.
pub(crate) const ADVERTS_TOPIC: &str = "/blackhole/adverts/1";

/// The largest message, in GossipSub's encoding. Gossip says that something exists; content has its own ways.
const MESSAGE_BYTES: usize = 16 * 1024;

/// Topics one peer may subscribe to. Ours has a few.
const TOPICS_PER_PEER: usize = 64;

/// Messages kept per peer until its connection takes them.
const QUEUE_PER_PEER: usize = 256;

/// A message seen is not forwarded again for this long; longer than any path through the mesh.
const SEEN_TTL: Duration = Duration::from_secs(120);

pub(crate) type Gossip = Behaviour<IdentityTransform, MaxCountSubscriptionFilter<AllowAllSubscriptionFilter>>;

pub(crate) fn adverts_topic() -> IdentTopic {
    IdentTopic::new(ADVERTS_TOPIC)
}

pub(crate) fn new(keypair: &Keypair) -> anyhow::Result<Gossip> {
    let config = ConfigBuilder::default()
        .validation_mode(ValidationMode::Strict)
        // Forward only what was checked: see `Driver::on_gossip`.
        .validate_messages()
        .max_transmit_size(MESSAGE_BYTES)
        .duplicate_cache_time(SEEN_TTL)
        .connection_handler_queue_len(QUEUE_PER_PEER)
        .mesh_n_low(4)
        .mesh_n(6)
        .mesh_n_high(12)
        .build()?;
    let filter = MaxCountSubscriptionFilter {
        filter: AllowAllSubscriptionFilter {},
        max_subscribed_topics: TOPICS_PER_PEER,
        max_subscriptions_per_request: TOPICS_PER_PEER,
    };
    let mut gossip =
        Behaviour::new_with_subscription_filter(MessageAuthenticity::Signed(keypair.clone()), config, filter)
            .map_err(|error| anyhow!("setting up gossip: {error}"))?;
    gossip
        .with_peer_score(scores(), PeerScoreThresholds::default())
        .map_err(|error| anyhow!("setting up gossip scores: {error}"))?;
    Ok(gossip)
}

/// Four invalid adverts within a few seconds put a peer below the gossip threshold, nine below the
/// one where nothing is read from it any more; it recovers within minutes.
fn scores() -> PeerScoreParams {
    let adverts = TopicScoreParams {
        topic_weight: 1.0,
        invalid_message_deliveries_weight: -1.0,
        invalid_message_deliveries_decay: 0.97,
        // Adverts are rare by design: a peer that has none to forward did nothing wrong.
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        ..TopicScoreParams::default()
    };
    PeerScoreParams {
        topics: HashMap::from([(adverts_topic().hash(), adverts)]),
        // Visitors behind one address are many by nature; `source_limit` bounds them.
        ip_colocation_factor_weight: 0.0,
        ..PeerScoreParams::default()
    }
}
