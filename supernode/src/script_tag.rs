//! The tag that a publisher pastes: one line of script, always the same, with its settings as attributes.

use core::fmt;

use sha2::{Digest as _, Sha256, Sha384};
use shared::identity::PublicKey;
use url::Url;

/// Stands where the node's edge is not known.
const EDGE_PLACEHOLDER: &str = "https://YOUR-SUPERNODE";
/// Fetches the loader after the page's load event, which therefore never waits for a supernode.
const SCRIPT: &str = include_str!("../../web-peer/js/tag.js");

/// A script tag that loads the tab's code from a node and pins the publisher. The visitor is asked: what else
/// may be set is in the README.
pub(crate) struct ScriptTag<'a> {
    /// The node's edge.
    pub(crate) edge: Option<&'a Url>,
    /// Whose signature counts.
    pub(crate) publisher: &'a PublicKey,
    /// The site's name.
    pub(crate) site: &'a str,
    /// Of the loader, so that the node cannot change it; none where it could not be asked.
    pub(crate) integrity: Option<String>,
    /// Delegations of a lower serial are revoked.
    pub(crate) min_delegation: Option<u64>,
}

impl fmt::Display for ScriptTag<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let edge = self.edge.map_or(EDGE_PLACEHOLDER, |edge| edge.as_str().trim_end_matches('/'));
        write!(f, "<script data-loader=\"{edge}/blackhole/tab/loader.js\"")?;
        if let Some(integrity) = &self.integrity {
            write!(f, " data-integrity=\"{integrity}\"")?;
        }
        let (publisher, site) = (self.publisher, attribute(self.site));
        write!(f, " data-publisher=\"{publisher}\" data-site=\"{site}\"")?;
        if let Some(serial) = self.min_delegation {
            write!(f, " data-min-delegation=\"{serial}\"")?;
        }
        write!(f, " data-consent=\"ask\" data-sw=\"/blackhole-sw.js\">{}</script>", SCRIPT.trim_end())
    }
}

/// What a site's Content-Security-Policy must name in `script-src` where it forbids inline scripts (CSP level 3,
/// section 2.3.1).
pub(crate) fn policy_source() -> String {
    integrity("sha256", &Sha256::digest(SCRIPT.trim_end()))
}

/// The integrity metadata of the loader (W3C Subresource Integrity).
pub(crate) fn loader_integrity(bytes: &[u8]) -> String {
    integrity("sha384", &Sha384::digest(bytes))
}

fn integrity(algorithm: &str, hash: &[u8]) -> String {
    // The first character names the base; what follows is plain Base64.
    let text = multibase::encode(multibase::Base::Base64Pad, hash);
    format!("{algorithm}-{}", text.get(1..).unwrap_or_default())
}

fn attribute(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use shared::identity::Keypair;

    use super::*;

    #[test]
    fn a_tag_names_the_edge_and_pins_the_publisher() {
        let publisher = Keypair::from_secret([1; 32]).public();
        let edge = Url::parse("https://edge.example/").unwrap();
        let tag = ScriptTag {
            edge: Some(&edge),
            publisher: &publisher,
            site: "a\"b",
            integrity: Some(loader_integrity(b"")),
            min_delegation: Some(7),
        };
        let text = tag.to_string();
        assert!(text.contains("data-loader=\"https://edge.example/blackhole/tab/loader.js\""), "{text}");
        // OpenSSL: `openssl dgst -sha384 -binary /dev/null | base64`.
        let empty = "sha384-OLBgp1GsljhM2TJ+sbHjaiH9txEUvgdDTAzHv2P24donTt6/529l+9Ua0vFImLlb";
        assert!(text.contains(&format!(" data-integrity=\"{empty}\" data-publisher")), "{text}");
        assert!(text.contains(&format!("data-publisher=\"{publisher}\"")), "{text}");
        assert!(text.contains("data-site=\"a&quot;b\" data-min-delegation=\"7\""), "{text}");
        assert_eq!(text.lines().count(), 1, "a tag is pasted in one line: {text}");
    }
}
