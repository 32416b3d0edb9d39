//! What the node has, earned and owes, and whether vouchers become money.

use core::fmt::Write as _;

use super::words::{amount, bytes, date, duration, escape};
use crate::app::{EARNINGS, EarningsStatus, MoneyStatus};

pub(super) fn section(html: &mut String, money: Option<&MoneyStatus>, earnings: &EarningsStatus) {
    html.push_str("<section><h2>Money</h2>");
    let signed = earnings.booked.signed.saturating_add(earnings.running.signed);
    let worth = earnings.booked.worth.saturating_add(earnings.running.worth);
    let _ = write!(
        html,
        "<p>Receivers signed for {} of what this node sent over links, worth {} base units: see <a \
         href=\"{EARNINGS}\">earnings</a>, on the node's own machine.</p>",
        bytes(signed),
        amount(worth)
    );
    let Some(money) = money else {
        html.push_str(
            "<p>Unsettled: this node has no chain. What it serves is counted in its books, and nothing is paid. A \
             section <code>[chain]</code> in its configuration names one.</p></section>",
        );
        return;
    };
    if let Some(problem) = money.problem {
        let _ = write!(html, "<p role=\"alert\"><strong>Settlement waits:</strong> {}.</p>", escape(problem));
    }
    let settlement = if money.settled {
        format!("settled on chain {}", money.chain_id)
    } else {
        format!("unsettled: vouchers for chain {} are kept, and wait for an <code>rpc</code>", money.chain_id)
    };
    let _ = write!(
        html,
        "<dl class=\"facts\"><dt>Vouchers<dd>{settlement}<dt>Account<dd><code>{}</code><dt>Last claim<dd>{}",
        escape(&money.account),
        money.claimed.map_or_else(|| "none since the start".to_owned(), |at| date(at.0)),
    );
    if money.settled {
        let age =
            money.answered.map_or_else(|| "none yet".to_owned(), |age| format!("{} ago", duration(age)));
        let _ = write!(html, "<dt>Chain's answer<dd>{age}");
    }
    html.push_str(
        "</dl><table><caption>Amounts by the books, in base units of the token</caption><thead><tr><th \
         scope=\"col\">What<th scope=\"col\" class=\"n\">Amount</thead><tbody>",
    );
    for (name, units) in &money.figures {
        let _ = write!(html, "<tr><th scope=\"row\">{}<td class=\"n\">{}", escape(name), amount(*units));
    }
    html.push_str("</tbody></table></section>");
}
