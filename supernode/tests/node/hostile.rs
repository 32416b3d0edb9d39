//! Garbage on the HTTP port.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use crate::{
    http::{ask, exchange, get},
    process::{PATIENCE, World},
    publishing::bytes,
};

#[test]
fn garbage_is_answered_or_dropped_and_others_are_served() {
    let world = World::new();
    let node = world.node("data", "");
    let long_path = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(100_000));
    let many_headers = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "a: b\r\n".repeat(1000));
    let garbage: [Vec<u8>; 9] = [
        bytes(1, 100_000),
        b"\r\n\r\n\r\n\r\n".to_vec(),
        b"GET\r\n\r\n".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(100),
        long_path.into_bytes(),
        many_headers.into_bytes(),
        b"PUT /blackhole/v1/blobs/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff".to_vec(),
    ];
    for (which, bytes) in garbage.iter().enumerate() {
        let mut bytes = bytes.clone();
        bytes.extend_from_slice(b"\r\n\r\n");
        let answer = exchange(node.address, &bytes);
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{which}: {}", String::from_utf8_lossy(&answer));
        assert_eq!(node.get("/healthz").text(), "ok\n", "after {which}");
    }
}

#[test]
fn refusals_are_problems_that_say_what_to_do() {
    let world = World::new();
    let node = world.node("data", "");
    let root = "ab".repeat(32);
    let check = |path: &str, status: u16| {
        let answer = node.get(path);
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{path}");
        let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(problem["status"], status, "{path}");
    };
    check("/nowhere", 404);
    check("/blackhole/v1/blobs/short", 400);
    check(&format!("/blackhole/v1/blobs/{root}"), 404);
    check(&format!("/blackhole/v1/blobs/{root}/runs/top/0-0"), 404);
    check(&format!("/blackhole/v1/sites/{root}/manifest"), 404);
    check("/blackhole/tab/loader.js", 404);
    check("/blackhole/tab/..%2f..%2fetc%2fpasswd", 404);
    assert_eq!(ask(node.address, "DELETE", "/status", &[]).status, 405);
    let preflight = ask(node.address, "OPTIONS", "/blackhole/v1/peer", &[]);
    assert_eq!(preflight.status, 204);
    assert!(preflight.headers["access-control-allow-headers"].contains("Range"));
}

#[test]
fn slow_head_is_let_go_while_others_are_served() {
    let world = World::new();
    let node = world.node("data", "");
    let mut slow = TcpStream::connect(node.address).unwrap();
    slow.set_read_timeout(Some(PATIENCE)).unwrap();
    slow.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\nx: ").unwrap();
    assert_eq!(get(node.address, "/healthz", &[]).status, 200);
    // A head may take fifteen seconds.
    let mut answer = Vec::new();
    let ended = slow.read_to_end(&mut answer);
    assert!(ended.is_ok_and(|_| !answer.starts_with(b"HTTP/1.1 2")), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn status_and_metrics_say_what_is_going_on() {
    let world = World::new();
    world.file("site/index.html", b"<p>hello");
    let node = world.node("data", &world.site(""));
    assert!(world.publish("site", &["--to", &node.edge]).output().unwrap().status.success());
    let manifest = node.manifest(&world.pin()).unwrap();
    node.asset(&manifest, "/");
    let status = node.get("/status").text();
    assert!(status.contains("site.example") && status.contains("<svg"), "{status}");
    let metrics = node.get("/metrics");
    assert!(metrics.headers["content-type"].starts_with("application/openmetrics-text"));
    assert!(metrics.text().contains(r#"blackhole_cdn_bytes_total{site="site.example",source="Edge"} 8"#));
    assert!(metrics.text().ends_with("# EOF\n"));
}
