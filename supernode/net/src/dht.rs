//! This node's part of the DHT: a server of `/ipfs/kad/1.0.0`, with a store that cannot be flooded.

use std::{num::NonZeroUsize, time::Duration};

use libp2p::{
    Multiaddr, PeerId, StreamProtocol,
    kad::{self, BucketInserts, StoreInserts, store::MemoryStore, store::MemoryStoreConfig},
};

use crate::{RecordLimits, address::is_public};

/// What js-libp2p and go-libp2p speak.
pub(crate) const PROTOCOL: StreamProtocol = StreamProtocol::new("/ipfs/kad/1.0.0");

/// Addresses taken from one peer's identification. Honest ones have a handful.
const ADDRESSES_PER_PEER: usize = 16;

/// Where content is found again after its providers left: not long, since tabs come and go.
const PROVIDER_TTL: Duration = Duration::from_secs(2 * 3600);

/// A quarter of the above: a provider is missed only after three renewals were lost.
const PROVIDER_RENEWAL: Duration = Duration::from_secs(1800);

/// Values of others are kept for a day; who cares for one longer puts it again.
const VALUE_TTL: Duration = Duration::from_secs(24 * 3600);

/// Beyond this a query has met too many dead peers to be worth its answer.
const QUERY_TIMEOUT: Duration = Duration::from_secs(30);

/// Providers remembered for one key, nearest first: as many as a query asks for.
const PROVIDERS_PER_KEY: usize = 20;

pub(crate) type Dht = kad::Behaviour<MemoryStore>;

pub(crate) fn server(peer: PeerId, limits: &RecordLimits) -> Dht {
    let store = MemoryStore::with_config(
        peer,
        MemoryStoreConfig {
            max_records: limits.values,
            max_value_bytes: limits.value_bytes,
            max_providers_per_key: PROVIDERS_PER_KEY,
            max_provided_keys: limits.provided_keys,
        },
    );
    let mut config = kad::Config::new(PROTOCOL);
    config
        .set_query_timeout(QUERY_TIMEOUT)
        .set_record_ttl(Some(VALUE_TTL))
        .set_provider_record_ttl(Some(PROVIDER_TTL))
        .set_provider_publication_interval(Some(PROVIDER_RENEWAL))
        // What others put is for others to put again; a node that restarts owes nobody.
        .set_publication_interval(None)
        .set_record_filtering(StoreInserts::FilterBoth)
        // Only addresses that identification confirmed and that `usable` lets through.
        .set_kbucket_inserts(BucketInserts::Manual)
        .set_max_packet_size(limits.value_bytes.saturating_mul(2).max(16 * 1024))
        .disjoint_query_paths(true);
    if let Some(parallelism) = NonZeroUsize::new(4) {
        config.set_parallelism(parallelism);
    }
    let mut dht = kad::Behaviour::with_config(peer, store, config);
    dht.set_mode(Some(kad::Mode::Server));
    dht
}

/// Which of the addresses a peer claims are worth telling others about.
pub(crate) fn usable(addresses: &[Multiaddr], local_network: bool) -> impl Iterator<Item = &Multiaddr> {
    addresses.iter().filter(move |address| local_network || is_public(address)).take(ADDRESSES_PER_PEER)
}
