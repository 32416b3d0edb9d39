//! What no client can wait for.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use s3s::dto::{BucketLifecycleConfiguration, ExpirationStatus, LifecycleExpiration, LifecycleRule};
use shared::identity::Keypair;

use super::{AccessKeys, Door, Grants, settings};
use crate::{Meters, objects::tests::World};

#[tokio::test]
async fn a_lifecycle_ends_what_is_old_under_its_prefix() {
    let world = World::new().await;
    let directory = tempfile::tempdir().unwrap();
    let keys = AccessKeys::open(directory.path(), &Keypair::from_secret([5; 32])).unwrap();
    let grants = Grants::open(directory.path(), &Keypair::from_secret([5; 32]), BTreeMap::new()).unwrap();
    let door = Door {
        objects: world.objects.clone(),
        keys: Arc::new(keys),
        grants: Arc::new(grants),
        meters: Meters::default(),
        website_domains: Arc::default(),
    };
    world.put("tmp/one", &Bytes::from_static(b"1")).await;
    world.put("kept", &Bytes::from_static(b"2")).await;
    let rule = LifecycleRule {
        abort_incomplete_multipart_upload: None,
        expiration: Some(LifecycleExpiration { days: Some(3), ..Default::default() }),
        filter: None,
        id: None,
        noncurrent_version_expiration: None,
        noncurrent_version_transitions: None,
        prefix: Some("tmp/".into()),
        status: ExpirationStatus::from_static(ExpirationStatus::ENABLED),
        transitions: None,
    };
    let text = serde_json::to_string(&BucketLifecycleConfiguration { rules: vec![rule] }).unwrap();
    let meta = door.objects.meta();
    let kept = meta.change_bucket("bucket", |row| {
        row.documents.insert(settings::LIFECYCLE.into(), text);
        Ok(())
    });
    kept.await.unwrap();
    let now = runtime::unix_now().0;
    let keys = async || {
        let request = crate::meta::ListingRequest { limit: 10, ..Default::default() };
        let page = meta.list("bucket", request).await.unwrap();
        page.entries.into_iter().map(|listed| listed.key).collect::<Vec<_>>()
    };
    door.apply_lifecycles(now + 2 * 86_400).await.unwrap();
    assert_eq!(keys().await, ["kept", "tmp/one"]);
    door.apply_lifecycles(now + 4 * 86_400).await.unwrap();
    assert_eq!(keys().await, ["kept"]);
}
