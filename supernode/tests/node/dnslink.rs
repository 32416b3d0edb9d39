//! Domains that stand for content, by the records of a DNS server of the test's own.

use std::{net::SocketAddr, str::FromStr as _, sync::Arc, time::Duration};

use hickory_server::{
    Server,
    proto::rr::{
        LowerName, Name, RData, Record,
        rdata::{CNAME, SOA, TXT},
    },
    store::in_memory::InMemoryZoneHandler,
    zone_handler::{AxfrPolicy, Catalog, ZoneType},
};

use crate::{
    http::{Answer, get},
    process::{Node, World, run},
};

/// Answers of this zone, and refuses all others.
const ZONE: &str = "example.com.";

/// A DNS server on a port of its own, which ends with its test.
struct Dns {
    address: SocketAddr,
    runtime: tokio::runtime::Runtime,
    zone: Arc<InMemoryZoneHandler>,
}

impl Dns {
    fn start() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let origin = Name::from_str(ZONE).unwrap();
        let zone = InMemoryZoneHandler::empty(origin.clone(), ZoneType::Primary, AxfrPolicy::Deny);
        let zone: Arc<InMemoryZoneHandler> = Arc::new(zone);
        let mut catalog = Catalog::new();
        catalog.upsert(LowerName::from(&origin), vec![Arc::clone(&zone) as _]);
        let address = runtime.block_on(async {
            let (udp, tcp) = loop {
                let udp = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
                // Another process may have the port for TCP.
                if let Ok(tcp) = tokio::net::TcpListener::bind(udp.local_addr().unwrap()).await {
                    break (udp, tcp);
                }
            };
            let address = udp.local_addr().unwrap();
            let mut server = Server::new(catalog);
            server.register_socket(udp);
            server.register_listener(tcp, Duration::from_secs(10), 64);
            tokio::spawn(async move { server.block_until_done().await });
            address
        });
        let dns = Self { address, runtime, zone };
        let soa = SOA::new(origin.clone(), origin, 1, 60, 60, 60, 60);
        dns.record(ZONE, 60, RData::SOA(soa));
        dns
    }

    fn record(&self, name: &str, seconds: u32, data: RData) {
        let record = Record::from_rdata(Name::from_str(name).unwrap(), seconds, data);
        assert!(self.runtime.block_on(self.zone.upsert(record, 2)));
    }

    /// A TXT record of strings, which are one text.
    fn text(&self, domain: &str, strings: &[&str]) {
        let strings = strings.iter().map(ToString::to_string).collect();
        self.record(&format!("_dnslink.{domain}."), 120, RData::TXT(TXT::new(strings)));
    }

    /// A node that asks this server.
    fn node(&self, world: &World, hosts: &str) -> Node {
        let sections = format!(
            "[storage.ipfs]\nlisten = \"127.0.0.1:0\"\nquota_mib = 64\ndns = \"{}\"\ndnslink_hosts = [{hosts}]\n",
            self.address
        );
        world.node("data", &sections)
    }
}

fn at(node: &Node, host: &str, path: &str) -> Answer {
    get(node.ipfs.unwrap(), path, &[("host", host)])
}

fn pinned(world: &World) -> String {
    world.file("tree/index.html", b"<h1>a page</h1>");
    world.file("tree/deep/file.txt", b"deep");
    run(&["ipfs", "add", "--data-dir", &world.text("data"), &world.text("tree")]).trim().to_owned()
}

#[test]
fn a_domain_stands_for_a_tree_by_path_by_subdomain_and_by_its_own_name() {
    let (dns, world) = (Dns::start(), World::new());
    let node = dns.node(&world, "\"site.example.com\"");
    let root = pinned(&world);
    // Of two records the one that is no DNSLink does not count; a long one comes in pieces.
    dns.text("site.example.com", &["v=spf1 -all"]);
    dns.text("site.example.com", &["dnslink=/ip", &format!("fs/{root}")]);
    // A domain that stands for a domain, and what lies below.
    dns.text("en.example.com", &["dnslink=/ipns/site.example.com/deep"]);
    let to = Name::from_str("_dnslink.site.example.com.").unwrap();
    dns.record("_dnslink.www.example.com.", 5, RData::CNAME(CNAME(to)));

    let shown = at(&node, "127.0.0.1", "/ipns/site.example.com/deep/file.txt");
    assert_eq!((shown.status, shown.text()), (200, "deep".to_owned()));
    assert_eq!(shown.headers["x-ipfs-path"], "/ipns/site.example.com/deep/file.txt");
    let seconds = shown.headers["cache-control"].strip_prefix("public, max-age=").unwrap();
    assert!((1..=120).contains(&seconds.parse::<u32>().unwrap()), "{seconds}: as long as the record holds");
    assert_eq!(at(&node, "127.0.0.1", "/ipns/en.example.com/file.txt").text(), "deep");
    assert_eq!(at(&node, "127.0.0.1", "/ipns/www.example.com/deep/file.txt").text(), "deep");
    let car = at(&node, "127.0.0.1", "/ipns/site.example.com?format=car");
    assert_eq!((car.status, car.headers["x-ipfs-roots"].as_str()), (200, root.as_str()));

    // On an origin of its own, as one label and as it is.
    let moved = at(&node, "localhost", "/ipns/site.example.com/deep/file.txt");
    assert_eq!(moved.status, 301);
    assert_eq!(moved.headers["location"], "http://site-example-com.ipns.localhost/deep/file.txt");
    for host in ["site-example-com.ipns.localhost", "site.example.com.ipns.localhost", "site.example.com"] {
        assert_eq!(at(&node, host, "/").text(), "<h1>a page</h1>", "{host}");
        assert_eq!(at(&node, host, "/deep/file.txt").text(), "deep", "{host}");
        assert_eq!(at(&node, host, "/routing/v1/providers/x").status, 404, "{host}: a path of the site");
    }
    // Who was not pointed here is not looked up: the gateway has names that nobody told it.
    assert_eq!(at(&node, "www.example.com", "/deep/file.txt").status, 404);
    assert_eq!(at(&node, "www.example.com", &format!("/ipfs/{root}/deep/file.txt")).text(), "deep");
}

#[test]
fn every_domain_that_is_pointed_here_is_a_site_where_the_operator_says_so() {
    let (dns, world) = (Dns::start(), World::new());
    let node = dns.node(&world, "\"*\"");
    let root = pinned(&world);
    dns.text("anybody.example.com", &[&format!("dnslink=/ipfs/{root}/deep")]);
    assert_eq!(at(&node, "anybody.example.com", "/file.txt").text(), "deep");
    let plain = at(&node, "gateway.example.com", &format!("/ipfs/{root}/deep/file.txt"));
    assert_eq!(plain.text(), "deep", "a host without a record is a name of the gateway's");
}

#[test]
fn what_a_domain_does_not_stand_for_says_why() {
    let (dns, world) = (Dns::start(), World::new());
    let node = dns.node(&world, "");
    let root = pinned(&world);
    dns.text("odd.example.com", &["dnslink=/http/somewhere"]);
    dns.text(
        "away.example.com",
        &["dnslink=/ipns/k51qzi5uqu5dgutdk6i1ynyzgkqngpha5xpgia3a5qqp4jsh0u4csozksxel2r"],
    );
    dns.text("first.example.com", &["dnslink=/ipns/second.example.com"]);
    dns.text("second.example.com", &["dnslink=/ipns/first.example.com"]);
    dns.text("below.example.com", &[&format!("dnslink=/ipfs/{root}/deep")]);
    for (name, status, says) in [
        ("none.example.com", 404, "_dnslink.none.example.com"),
        ("odd.example.com", 404, "_dnslink.odd.example.com"),
        ("away.example.com", 404, "no record of k51"),
        ("first.example.com", 400, "one after the other"),
        ("elsewhere.example.org", 502, "did not say what elsewhere.example.org stands for"),
        ("nothing", 400, "neither a key's name nor a domain"),
    ] {
        let answer = at(&node, "127.0.0.1", &format!("/ipns/{name}/"));
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
        assert!(answer.text().contains(says), "{name}: {}", answer.text());
    }
    // What is asked for below a name stays below what the name stands for.
    assert_eq!(at(&node, "127.0.0.1", "/ipns/below.example.com/file.txt").text(), "deep");
    assert_ne!(at(&node, "127.0.0.1", "/ipns/below.example.com/%2e%2e/index.html").status, 200);
    drop(node);

    let sections = "[storage.ipfs]\nlisten = \"127.0.0.1:0\"\ndns = \"none\"\n";
    let silent = world.node("other", sections);
    let answer = at(&silent, "127.0.0.1", "/ipns/below.example.com/file.txt");
    assert_eq!(answer.status, 501, "{}", answer.text());
    assert!(answer.text().contains("storage.ipfs.dns"), "{}", answer.text());
}
