//! Shards of others: how many are kept, and what their owners say of this node.

use core::fmt::Write as _;

use super::words::{bytes, count, duration, escape};
use crate::app::{HeldStatus, OwnerWord};

/// Rows shown, the worst first; the command line lists more.
pub(super) const SHOWN_MAX: usize = 50;

/// Nothing where none are kept.
pub(super) fn section(html: &mut String, held: Option<&HeldStatus>) {
    let Some(held) = held else { return };
    let HeldStatus { shards, stored_bytes, quota_bytes, owners, doubted, dismissed, words } = held;
    let _ = write!(
        html,
        "<section><h2>Shards held for others</h2><p>{} shards for {} owners, in {} of {}.</p>",
        count(*shards),
        count(*owners),
        bytes(*stored_bytes),
        bytes(*quota_bytes)
    );
    if words.is_empty() {
        html.push_str("</section>");
        return;
    }
    let _ = write!(
        html,
        "<p>What owners say of their audits of this node, the worst first. Each is one owner\u{2019}s word alone, and \
         nothing is decided by it here. Doubted by {}, who place nothing new here, and dismissed by {}.</p><div \
         class=\"wide\"><table><thead><tr><th scope=\"col\">Owner<th scope=\"col\">What it says<th \
         scope=\"col\">What may help<th scope=\"col\">When</thead><tbody>",
        count(*doubted),
        count(*dismissed)
    );
    for OwnerWord { owner, words, advice, ago } in words {
        let _ = write!(
            html,
            "<tr><td><code>{}</code><td>{}<td>{}<td>{} ago",
            escape(owner),
            escape(words),
            escape(&advice.join(" ")),
            duration(*ago)
        );
    }
    html.push_str("</tbody></table></div></section>");
}
