//! The tag that a publisher pastes.

use core::fmt;

use shared::identity::PublicKey;
use url::Url;

/// Stands where the node's edge is not known.
const EDGE_PLACEHOLDER: &str = "https://YOUR-SUPERNODE";

/// A script tag that loads the tab's code from a node and pins the publisher. The visitor is asked: what else
/// may be set is in the README.
pub(crate) struct ScriptTag<'a> {
    /// The node's edge.
    pub(crate) edge: Option<&'a Url>,
    /// Whose signature counts.
    pub(crate) publisher: &'a PublicKey,
    /// The site's name.
    pub(crate) site: &'a str,
    /// Delegations of a lower serial are revoked.
    pub(crate) min_delegation: Option<u64>,
}

impl fmt::Display for ScriptTag<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let edge = self.edge.map_or(EDGE_PLACEHOLDER, |edge| edge.as_str().trim_end_matches('/'));
        write!(
            f,
            "<script async src=\"{edge}/blackhole/tab/loader.js\" crossorigin=\"anonymous\" \
             data-publisher=\"{}\" data-site=\"{}\"",
            self.publisher,
            attribute(self.site)
        )?;
        if let Some(serial) = self.min_delegation {
            write!(f, " data-min-delegation=\"{serial}\"")?;
        }
        f.write_str(" data-consent=\"ask\" data-sw=\"/blackhole-sw.js\"></script>")
    }
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
        let tag =
            ScriptTag { edge: Some(&edge), publisher: &publisher, site: "a\"b", min_delegation: Some(7) };
        let text = tag.to_string();
        assert!(text.contains("src=\"https://edge.example/blackhole/tab/loader.js\""), "{text}");
        assert!(text.contains(&format!("data-publisher=\"{publisher}\"")), "{text}");
        assert!(text.contains("data-site=\"a&quot;b\" data-min-delegation=\"7\""), "{text}");
    }
}
