//! Extra shards: what visitors' tabs keep of this node's objects.

use core::fmt::Write as _;

use super::words::{bytes, duration, escape};
use crate::app::ExtraShard;

/// Rows shown; the command line lists all.
pub(super) const SHOWN_MAX: usize = 200;

/// Nothing where there are none.
pub(super) fn section(html: &mut String, extras: &[ExtraShard]) {
    if extras.is_empty() {
        return;
    }
    html.push_str(
        "<section><h2>Extra shards</h2><p>Copies in visitors\u{2019} tabs. They may be read from, and count nothing for \
         how safe an object is.</p><div class=\"wide\"><table><thead><tr><th scope=\"col\">Tab<th \
         scope=\"col\">Segment<th scope=\"col\" class=\"n\">Shard<th scope=\"col\" class=\"n\">Length<th \
         scope=\"col\">Last proof</thead><tbody>",
    );
    for ExtraShard { tab, segment, shard, length, proved } in extras {
        let proof = match proved {
            Some((found, ago)) => format!("{}, {} ago", escape(found), duration(*ago)),
            None => "not asked yet".to_owned(),
        };
        let _ = write!(
            html,
            "<tr><td><code>{}</code><td><code>{}</code><td class=\"n\">{shard}<td class=\"n\">{}<td>{proof}",
            escape(tab),
            escape(segment),
            bytes(*length)
        );
    }
    html.push_str("</tbody></table></div></section>");
}
