use super::*;
use crate::{
    base::{Instant, UnixSeconds},
    identity::Keypair,
    storage::ipfs::{
        dnslink::{Answers, Domain, Known, NoDomain, value},
        ipns::{IpnsError, Name, Record},
    },
};

#[test]
fn redirects_do_what_the_specification_shows() {
    let file = "# a site\n/redirect-one /one.html\n/301-redirect-one /one.html 301\r\n/200-index /index.html 200\n\
        /posts/:year/:month/:day/:title /articles/:year/:month/:day/:title 301\n\
        /splat/* /redirected-splat/:splat 302\n/not-found/* /404.html 404\n/away https://example.org/x:y 308\n\
        /* /index.html 200\n";
    let rules = Redirects::parse(file.as_bytes()).unwrap();
    for (path, to, status) in [
        ("/redirect-one", "/one.html", 301),
        ("/redirect-one/", "/one.html", 301),
        ("/posts/06/15/2022/hello", "/articles/06/15/2022/hello", 301),
        ("/posts/06/15/2022/hello/more", "/index.html", 200),
        ("/splat/a/b", "/redirected-splat/a/b", 302),
        ("/splat/:splat", "/redirected-splat/:splat", 302),
        ("/splat", "/redirected-splat/", 302),
        ("/not-found/x", "/404.html", 404),
        ("/away", "https://example.org/x:y", 308),
        ("/", "/index.html", 200),
    ] {
        let found = rules.find(path).unwrap();
        assert_eq!((found.to.as_str(), found.status), (to, status), "{path}");
    }
    assert_eq!(Redirects::default().find("/a"), None);
    for wrong in
        ["/a", "a /b", "/a b", "/a /b 299", "/a /b x", "/a /b 301 c", "/a*b /c", "/*/a /c", "/a http://b 200"]
    {
        assert!(
            matches!(Redirects::parse(wrong.as_bytes()), Err(RedirectsError::Line { line: 1, .. })),
            "{wrong}"
        );
    }
    assert_eq!(Redirects::parse(&vec![b'#'; 65_537]), Err(RedirectsError::File));
    assert_eq!(Redirects::parse(&[0xff]), Err(RedirectsError::File));
}

#[test]
fn a_name_stands_for_what_its_key_signed_last() {
    let key = Keypair::from_secret([4; 32]);
    let name = Name::of(&key);
    assert!(name.to_string().starts_with("k51qzi5uqu5d"), "{name}");
    for written in [name.to_string(), name.cid().to_string(), key.public().to_peer_id().to_string()] {
        assert_eq!(Name::parse(&written), Ok(name), "{written}");
    }
    assert_eq!(Name::parse(&cid_of(RAW, b"").to_string()), Err(IpnsError::Name));
    let now = UnixSeconds(1_764_000_000);
    let record =
        Record { value: "/ipfs/bafkqaaa".to_owned(), sequence: 3, expires: now.plus(3600), ttl_seconds: 300 };
    let signed = record.sign(&key).unwrap();
    assert_eq!(Record::open(&name, &signed, now), Ok(record.clone()));
    assert_eq!(Record::open(&name, &signed, now.plus(3600)), Err(IpnsError::Expired));
    let other = Name::of(&Keypair::from_secret([5; 32]));
    assert_eq!(Record::open(&other, &signed, now), Err(IpnsError::Signature));
    for at in 0..signed.len() {
        let mut flipped = signed.clone();
        flipped[at] ^= 1;
        assert!(Record::open(&name, &flipped, now).is_err(), "byte {at}");
    }
    assert_eq!(Record::open(&name, &[0; 10_241], now), Err(IpnsError::TooLong));
    let mut entry: crate::wire::ipfs::IpnsEntry = prost::Message::decode(signed.as_slice()).unwrap();
    entry.value = Some(b"/ipfs/elsewhere".to_vec());
    let disagreeing = prost::Message::encode_to_vec(&entry);
    assert_eq!(Record::open(&name, &disagreeing, now), Err(IpnsError::Disagreement));
}

#[test]
fn a_domain_is_written_as_one_label_and_read_again() {
    for (domain, label) in [
        ("example.org", "example-org"),
        ("en.wikipedia-on-ipfs.org", "en-wikipedia--on--ipfs-org"),
        ("xn--bcher-kva.example", "xn----bcher--kva-example"),
        ("_a.b-c-d.e1", "_a-b--c--d-e1"),
    ] {
        let parsed = Domain::parse(domain).unwrap();
        assert_eq!(parsed.to_label().as_deref(), Some(label));
        assert_eq!(Domain::from_label(label), Ok(parsed));
    }
    assert_eq!(Domain::parse("Example.ORG.").unwrap().question(), "_dnslink.example.org.");
    let long = format!("{}.{}.org", "a".repeat(40), "b".repeat(40));
    assert_eq!(Domain::parse(&long).unwrap().to_label(), None);
    let (label, name) = ("a".repeat(64), vec!["ab"; 100].join("."));
    for wrong in [
        "",
        ".",
        "localhost",
        "a..b",
        ".a.b",
        "-a.b",
        "a-.b",
        "127.0.0.1",
        "a.1",
        "a b.c",
        "bücher.de",
        "a/b.c",
    ]
    .into_iter()
    .chain([&*format!("{label}.org"), &name])
    {
        assert_eq!(Domain::parse(wrong), Err(NoDomain), "{wrong}");
    }
    assert_eq!(Domain::from_label("localhost"), Err(NoDomain));
}

#[test]
fn of_text_records_the_first_that_is_a_path_counts_in_any_order() {
    let cid = cid_of(RAW, b"a");
    let (here, there) = (format!("dnslink=/ipfs/{cid}/a"), "dnslink=/ipns/example.org".to_owned());
    let wrong = [
        &b"v=spf1 -all"[..],
        b"dnslink=",
        b"dnslink=/ipfs/",
        b"dnslink=/ipfs/none",
        b"dnslink=/ipns/localhost",
        b"dnslink=/http/example.org",
        b"dnslink=\xff",
        b" dnslink=/ipns/example.org",
        b"DNSLINK=/ipns/example.org",
        b"dnslink=/ipns/example.org/../..",
    ];
    let long = format!("dnslink=/ipns/example.org/{}", "a".repeat(5000));
    let mut texts = [wrong.as_slice(), &[long.as_bytes(), there.as_bytes(), here.as_bytes()]].concat();
    assert_eq!(value(texts.iter().copied()), here.strip_prefix("dnslink="));
    texts.reverse();
    assert_eq!(value(texts.iter().copied()), here.strip_prefix("dnslink="));
    assert_eq!(value(texts.into_iter().skip(1)), there.strip_prefix("dnslink="));
    assert_eq!(value(wrong), None);
}

#[test]
fn names_are_followed_to_a_block_and_keep_what_is_below_them() {
    let cid = cid_of(RAW, b"a");
    let key = Name::of(&Keypair::from_secret([4; 32]));
    let mut naming = Naming::new("Example.org", "index/./a").unwrap();
    assert_eq!(naming.root(), &Root::Domain(Domain::parse("example.org").unwrap()));
    naming.handle_value(&format!("/ipns/{key}/site"), 60).unwrap();
    assert_eq!((naming.root(), naming.end()), (&Root::Key(key), None));
    naming.handle_value(&format!("/ipfs/{cid}/v1/"), 300).unwrap();
    let names = ["v1", "site", "index", "a"].map(|name| name.as_bytes().to_vec()).to_vec();
    assert_eq!(naming.end(), Some((ContentPath { root: cid, names }, 60)));

    assert!(matches!(Naming::new("nobody", ""), Err(NamingError::Name(_))));
    // What is below a name cannot leave what the name stands for.
    assert_eq!(Naming::new("example.org", "../x").unwrap_err(), NamingError::Path(PathError::Names));
    for wrong in ["", "/ipfs", "/ipfs/none", "example.org", "/ipns/nobody/a", "/ipld/a"] {
        let refused = Naming::new("example.org", "").unwrap().handle_value(wrong, 1);
        assert_eq!(refused, Err(NamingError::Value(wrong.to_owned())));
    }
    let mut circle = Naming::new("example.org", "").unwrap();
    let refused = (0..1000).find_map(|_| circle.handle_value("/ipns/example.org", 1).err());
    assert_eq!(refused, Some(NamingError::Endless));
    let mut growing = Naming::new("example.org", "").unwrap();
    let value = format!("/ipns/example.org{}", "/a".repeat(60));
    let refused = (0..1000).find_map(|_| growing.handle_value(&value, 1).err());
    assert_eq!(refused, Some(NamingError::Path(PathError::Names)));
}

#[test]
fn answers_are_kept_as_long_as_they_hold_and_no_more_than_there_is_room_for() {
    let domain = |number: u64| Domain::parse(&format!("d{number}.example")).unwrap();
    let at = |seconds| Instant::default() + core::time::Duration::from_secs(seconds);
    let mut answers = Answers::new(3);
    for number in 0..3 {
        answers.put(at(0), domain(number), Known::Value(format!("/ipns/{number}")), 10 + number);
    }
    assert_eq!(answers.get(at(4), &domain(1)), Some((&Known::Value("/ipns/1".to_owned()), 7)));
    assert_eq!(answers.get(at(11), &domain(1)), None);
    // What is said anew needs no other's room.
    answers.put(at(1), domain(1), Known::Nothing, 20);
    assert_eq!(answers.get(at(2), &domain(0)).map(|(_, seconds)| seconds), Some(8));
    answers.put(at(2), domain(3), Known::Failed("why".to_owned()), 10);
    assert_eq!(answers.get(at(3), &domain(0)), None, "it would have ended first");
    assert_eq!(answers.get(at(3), &domain(1)), Some((&Known::Nothing, 18)));
    answers.put(at(13), domain(4), Known::Nothing, 5);
    assert!(answers.get(at(13), &domain(1)).is_some(), "what is over goes first");
    for number in 10..1000 {
        answers.put(at(14), domain(number), Known::Nothing, 5);
    }
    let held = (0..1000).filter(|number| answers.get(at(14), &domain(*number)).is_some()).count();
    assert_eq!(held, 3);
}
