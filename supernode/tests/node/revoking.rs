//! Grants at nodes that never met their issuer: narrowed by their holder, and revoked. What one node hears to be revoked,
//! others hear by themselves, also those that were not there.

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

/// By its holder, who has neither the issuer's key nor a node.
fn narrow(grant: &str, more: &[&str]) -> String {
    let narrow = ["storage", "grant", "narrow", grant, "--bucket", "photos", "--allow", "list"];
    said(&run(&[&narrow[..], more].concat()), "token")
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
    status_of(node, grant, "")
}

fn status_of(node: &Node, grant: &str, prefix: &str) -> u16 {
    let list = format!("/photos?list-type=2&prefix={prefix}");
    get(node.s3.unwrap(), &list, &[("authorization", &format!("Bearer {grant}"))]).status
}

/// Tells how long it took.
fn wait_until_refused(node: &Node, grant: &str, since: Instant) -> Duration {
    while status(node, grant) != 403 {
        assert!(since.elapsed() < EVERYWHERE, "not heard within a minute");
        std::thread::sleep(Duration::from_millis(100));
    }
    since.elapsed()
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

    // Narrowed twice without anybody's help: as far as the narrower says, and no farther in place or time.
    let narrow_one = narrow(&grant, &["--prefix", "2026/"]);
    let narrower = narrow(&narrow_one, &["--prefix", "2026/spring/"]);
    let widened = narrow(&narrower, &["--hours", "48"]);
    let ended = narrow(&narrow_one, &["--prefix", "2026/", "--hours", "0"]);
    for node in [&first, &second] {
        let ask = |grant| ["2026/spring/", "2026/", ""].map(|prefix| status_of(node, grant, prefix));
        assert_eq!(ask(&narrow_one), [404, 404, 403]);
        assert_eq!(ask(&narrower), [404, 403, 403]);
        assert_eq!(ask(&widened), [404, 403, 403]);
        assert_eq!(ask(&ended), [403; 3]);
    }

    let config = world.text("first.toml");
    let told = Instant::now();
    for revocation in [issuer.revoke(&grant), other.revoke(&others)] {
        assert_eq!(
            run(&["storage", "grant", "hear", "--config", &config, &revocation]).trim(),
            r#"{"new":true}"#
        );
    }
    assert_eq!(ask(&first), [403, 404]);
    let second_took = wait_until_refused(&second, &grant, told);
    let late = node(&world, "late", &[&issuer], &second.addresses[..1]);
    let late_took = wait_until_refused(&late, &grant, Instant::now());
    assert_eq!((ask(&second), ask(&late)), ([403, 404], [403, 404]));
    println!(
        "refused by the second node {:.1} s after the first was told, by one that came later {:.1} s after it came",
        second_took.as_secs_f32(),
        late_took.as_secs_f32()
    );
    // With a grant ends what was made of it.
    for node in [&first, &second, &late] {
        assert_eq!([&narrow_one, &narrower].map(|grant| status_of(node, grant, "2026/spring/")), [403; 2]);
    }
    // Of an issuer whom a node does not name, it keeps nothing.
    let kept = ["first", "second", "late"].map(|name| statements(&world.path(name)));
    assert_eq!(kept, [2, 1, 1]);
}
