//! Where the bytes of each site came from, as a picture.

use core::fmt::Write as _;

use cdn::{SiteBytes, SiteStatus};

use super::words::{bytes, escape};

const WIDTH: u64 = 600;
const LEGEND: u64 = 26;
const ROW: u64 = 44;

/// A bar a site, each a share of the most that any site moved. The table beside it has the figures.
pub(super) fn draw(html: &mut String, sites: &[(&SiteStatus, SiteBytes)]) {
    if sites.is_empty() {
        return;
    }
    let total = |from: &SiteBytes| from.peer + from.link + from.edge;
    let most = sites.iter().map(|(_, from)| total(from)).max().unwrap_or(0).max(1);
    let height = ROW * sites.len() as u64 + LEGEND;
    let _ = write!(
        html,
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"Bytes served by source; the table \
         below has the figures\"><text x=\"0\" y=\"14\"><tspan class=\"peer\">■</tspan> tab to tab\
         <tspan dx=\"14\" class=\"link\">■</tspan> links<tspan dx=\"14\" class=\"edge\">■</tspan> \
         HTTP</text>"
    );
    for ((site, from), row) in sites.iter().zip(0_u64..) {
        let y = LEGEND + row * ROW;
        let _ = write!(
            html,
            "<text x=\"0\" y=\"{}\">{}</text><text x=\"{WIDTH}\" y=\"{}\" text-anchor=\"end\">{}</text>\
             <rect class=\"track\" x=\"0\" y=\"{}\" width=\"{WIDTH}\" height=\"14\" rx=\"3\"/>",
            y + 14,
            escape(&site.name),
            y + 14,
            bytes(total(from)),
            y + 20
        );
        let mut x = 0;
        for (class, value) in [("peer", from.peer), ("link", from.link), ("edge", from.edge)] {
            let width =
                u64::try_from(u128::from(value) * u128::from(WIDTH) / u128::from(most)).unwrap_or(WIDTH);
            let _ = write!(
                html,
                "<rect class=\"{class}\" x=\"{x}\" y=\"{}\" width=\"{width}\" \
                 height=\"14\"><title>{}</title></rect>",
                y + 20,
                bytes(value)
            );
            x += width;
        }
    }
    html.push_str("</svg>");
}
