use super::*;
use crate::{
    base::UnixSeconds,
    identity::Keypair,
    storage::ipfs::ipns::{IpnsError, Name, Record},
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
