//! What one node hears to be revoked: others hear it by themselves, also those that were not there.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    http::get,
    process::{Node, World, run},
};

/// Everywhere within this.
const EVERYWHERE: Duration = Duration::from_secs(60);

struct Issuer {
    file: String,
    did: String,
}

impl Issuer {
    fn new(world: &World, name: &str) -> Self {
        let file = world.text(name);
        let did = run(&["key", "new", &file]).trim().to_owned();
        Self { file, did }
    }

    fn grant(&self) -> String {
        let issue =
            ["storage", "grant", "issue", "--key", &self.file, "--bucket", "photos", "--allow", "list"];
        said(&run(&issue), "token")
    }

    fn revoke(&self, grant: &str) -> String {
        said(&run(&["storage", "grant", "revoke", grant, "--key", &self.file]), "revocation")
    }
}

fn said(line: &str, name: &str) -> String {
    let line: serde_json::Value = serde_json::from_str(line.trim()).unwrap();
    line[name].as_str().unwrap().to_owned()
}

fn node(world: &World, name: &str, trusts: &[&Issuer], bootstrap: &[String]) -> Node {
    let issuers: Vec<String> =
        trusts.iter().map(|issuer| format!("{:?} = \"owner\"\n", issuer.did)).collect();
    let sections = format!(
        "[network]\nlisten = [\"/ip4/127.0.0.1/tcp/0\"]\nlocal_network = true\nbootstrap = {bootstrap:?}\n\
         [storage]\nlisten = \"127.0.0.1:0\"\n[storage.issuers]\n{}",
        issuers.concat()
    );
    world.node(name, &sections)
}

/// What the door says to whoever brings this grant: that there is no such bucket, or that it is not to be seen.
fn status(node: &Node, grant: &str) -> u16 {
    get(node.s3.unwrap(), "/photos?list-type=2", &[("authorization", &format!("Bearer {grant}"))]).status
}

fn wait_until_refused(node: &Node, grant: &str) {
    let deadline = Instant::now() + EVERYWHERE;
    while status(node, grant) != 403 {
        assert!(Instant::now() < deadline, "not heard within a minute");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn statements(directory: &Path) -> usize {
    std::fs::read_dir(directory.join("revocations")).unwrap().count()
}

#[test]
fn what_one_node_hears_to_be_revoked_counts_at_all_that_trust_the_issuer_and_at_those_that_come_later() {
    let world = World::new();
    let (issuer, other) = (Issuer::new(&world, "issuer.key"), Issuer::new(&world, "other.key"));
    let (grant, kept, others) = (issuer.grant(), issuer.grant(), other.grant());
    let first = node(&world, "first", &[&issuer, &other], &[]);
    let second = node(&world, "second", &[&issuer], &first.addresses[..1]);
    let ask = |node: &Node| [&grant, &kept].map(|grant| status(node, grant));
    assert_eq!((ask(&first), ask(&second)), ([404, 404], [404, 404]));

    let config = world.text("first.toml");
    for revocation in [issuer.revoke(&grant), other.revoke(&others)] {
        assert_eq!(
            run(&["storage", "grant", "hear", "--config", &config, &revocation]).trim(),
            r#"{"new":true}"#
        );
    }
    assert_eq!(ask(&first), [403, 404]);
    wait_until_refused(&second, &grant);
    let late = node(&world, "late", &[&issuer], &second.addresses[..1]);
    wait_until_refused(&late, &grant);
    assert_eq!((ask(&second), ask(&late)), ([403, 404], [403, 404]));
    // Of an issuer whom a node does not name, it keeps nothing.
    let kept = ["first", "second", "late"].map(|name| statements(&world.path(name)));
    assert_eq!(kept, [2, 1, 1]);
}
