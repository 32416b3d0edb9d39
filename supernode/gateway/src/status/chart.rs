//! Where the bytes of each site came from, as a picture.

use core::fmt::Write as _;

use cdn::{SiteBytes, SiteStatus};

use super::words::{bytes, escape};

/// The bars are as wide as the page; their shares are of this.
const WIDTH: u64 = 1000;

/// A bar a site, each a share of the most that any site moved. The table beside it has the figures.
pub(super) fn draw(html: &mut String, sites: &[(&SiteStatus, SiteBytes)]) {
    if sites.is_empty() {
        return;
    }
    let total = |from: &SiteBytes| from.peer + from.link + from.edge;
    let most = sites.iter().map(|(_, from)| total(from)).max().unwrap_or(0).max(1);
    html.push_str(
        "<p class=\"legend\"><span class=\"peer\">tab to tab</span> <span class=\"link\">links</span> <span \
         class=\"edge\">HTTP</span></p>",
    );
    for (site, from) in sites {
        let _ = write!(
            html,
            "<div class=\"bar\"><span>{}</span><span>{}</span><svg viewBox=\"0 0 {WIDTH} 10\" \
             preserveAspectRatio=\"none\" role=\"img\" aria-label=\"Bytes by source; the table below has the \
             figures\"><rect class=\"track\" width=\"{WIDTH}\" height=\"10\"/>",
            escape(&site.name),
            bytes(total(from))
        );
        let mut x = 0;
        for (class, value) in [("peer", from.peer), ("link", from.link), ("edge", from.edge)] {
            let width =
                u64::try_from(u128::from(value) * u128::from(WIDTH) / u128::from(most)).unwrap_or(WIDTH);
            let _ = write!(
                html,
                "<rect class=\"{class}\" x=\"{x}\" width=\"{width}\" height=\"10\"><title>{}</title></rect>",
                bytes(value)
            );
            x += width;
        }
        html.push_str("</svg></div>");
    }
}
