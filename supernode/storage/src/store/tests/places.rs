//! Where the suite's stores keep their blobs: on a disk, or in a bucket at this crate's own S3 door.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use futures::TryStreamExt as _;
use object_store::{ObjectStore as _, ObjectStoreExt as _, aws::AmazonS3, path::Path};
use shared::{base::BlobRoot, identity::Keypair};
use tempfile::TempDir;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    Config, Meters,
    objects::tests::World,
    s3::{AccessKeys, Grants, S3Server},
    store::{BlobStore, BucketConfig},
};

/// Where in the bucket.
const PREFIX: &str = "nodes/one";

/// A directory and perhaps a bucket, in which a store is opened again and again.
pub(super) struct Place {
    pub(super) directory: TempDir,
    pub(super) door: Option<Door>,
}

/// A server that speaks S3, and an access key to it.
pub(super) struct Door {
    pub(super) config: BucketConfig,
    client: AmazonS3,
    _world: World,
    directory: TempDir,
    key: String,
    _running: AbortOnDropHandle<()>,
}

impl Place {
    pub(super) fn disk() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), door: None }
    }

    pub(super) async fn bucket() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), door: Some(Door::open().await) }
    }

    pub(super) fn config(&self) -> Option<&BucketConfig> {
        self.door.as_ref().map(|door| &door.config)
    }

    pub(super) async fn open(&self, quota: u64) -> BlobStore {
        BlobStore::open_at(self.directory.path().to_owned(), quota, self.config(), "part").await.unwrap()
    }

    /// What lies there of a blob.
    pub(super) async fn names(&self, root: BlobRoot) -> Vec<String> {
        match &self.door {
            None => self.file(root).exists().then(|| root.to_string()).into_iter().collect(),
            Some(door) => {
                let all = door.list(&format!("{PREFIX}/part/blobs")).await;
                all.into_iter().filter(|name| name.contains(&root.to_string())).collect()
            }
        }
    }

    /// Changes what lies there of a blob.
    pub(super) async fn rewrite(&self, root: BlobRoot, change: impl FnOnce(&mut Vec<u8>)) {
        match &self.door {
            None => {
                let mut bytes = fs::read(self.file(root)).unwrap();
                change(&mut bytes);
                fs::write(self.file(root), bytes).unwrap();
            }
            Some(door) => {
                let name = Path::from(self.names(root).await[0].as_str());
                let mut bytes = door.client.get(&name).await.unwrap().bytes().await.unwrap().to_vec();
                change(&mut bytes);
                door.client.put(&name, bytes.into()).await.unwrap();
            }
        }
    }

    /// Loses what lies there of a blob.
    pub(super) async fn lose(&self, root: BlobRoot) {
        match &self.door {
            None => fs::remove_file(self.file(root)).unwrap(),
            Some(door) => door.delete(&self.names(root).await[0]).await,
        }
    }

    /// Whether a damaged blob was moved aside.
    pub(super) async fn has_aside(&self, root: BlobRoot) -> bool {
        match &self.door {
            None => self.directory.path().join("rotten").join(root.to_string()).exists(),
            Some(door) => !door.list(&format!("{PREFIX}/part/rotten/{root}")).await.is_empty(),
        }
    }

    fn file(&self, root: BlobRoot) -> PathBuf {
        let name = root.to_string();
        self.directory.path().join("blobs").join(&name[..2]).join(name)
    }
}

impl Door {
    pub(super) async fn open() -> Self {
        // As `main` does.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (world, directory) = (World::new().await, tempfile::tempdir().unwrap());
        let node = Keypair::from_secret([5; 32]);
        let keys = AccessKeys::open(directory.path(), &node).unwrap();
        let (key, secret) = keys.create("owner").unwrap();
        let grants = Grants::open(directory.path(), &node, std::collections::BTreeMap::new()).unwrap();
        let config = Config { listen: ([127, 0, 0, 1], 0).into(), ..Config::default() };
        let server =
            S3Server::bind(&config, world.objects.clone(), keys, grants, Meters::default()).await.unwrap();
        let key_file = directory.path().join("bucket.json");
        write_key(&key_file, &key.id, &secret);
        let config = BucketConfig {
            name: "bucket".into(),
            endpoint: Some(server.url()),
            prefix: PREFIX.into(),
            region: "us-east-1".into(),
            key_file: Some(key_file),
            scrub_mib_per_hour: 1024,
        };
        let client = config.client().unwrap();
        let running = AbortOnDropHandle::new(tokio::spawn(server.run(CancellationToken::new())));
        Self { config, client, _world: world, directory, key: key.id, _running: running }
    }

    /// A file with a secret that is not the key's.
    pub(super) fn wrong_key(&self) -> PathBuf {
        let path = self.directory.path().join("wrong.json");
        write_key(&path, &self.key, "not-the-secret");
        path
    }

    pub(super) async fn list(&self, prefix: &str) -> Vec<String> {
        let found = self.client.list(None).map_ok(|found| found.location.to_string());
        let all: Vec<_> = found.try_collect().await.unwrap();
        all.into_iter().filter(|name| name.starts_with(prefix)).collect()
    }

    pub(super) async fn put(&self, name: &str, bytes: Vec<u8>) {
        self.client.put(&Path::from(name), bytes.into()).await.unwrap();
    }

    pub(super) async fn delete(&self, name: &str) {
        self.client.delete(&Path::from(name)).await.unwrap();
    }
}

fn write_key(path: &std::path::Path, id: &str, secret: &str) {
    let text = serde_json::json!({ "access_key_id": id, "secret_access_key": secret });
    fs::write(path, text.to_string()).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}
