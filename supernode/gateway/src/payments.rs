//! Who pays this node, and whom it pays: tables on the earnings page, and the same as CSV. For the operator alone.

use core::fmt::Write as _;

use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, Uri, header},
    response::{IntoResponse, Response},
};
use runtime::http::Client;

use crate::{
    app::{BilledSite, Edge, PaidNode, PaymentsStatus, TabsStatus},
    login::{Scope, may_read},
    problem::Problem,
    status::words::{amount, bytes, count, date, escape},
};

/// `GET /status/payments.csv`.
pub(crate) async fn csv(
    State(edge): State<Edge>,
    Extension(client): Extension<Client>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    may_read(&edge, client, &uri, &headers, Scope::Earnings)?;
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"payments.csv\""),
    ];
    Ok((headers, lines(&edge.inner.node.payments())).into_response())
}

/// Digits, hexadecimal digits and names of keys: nothing here has to be quoted, or could be a formula. A site's name is
/// its publisher's choice, so it is not here.
fn lines(status: &PaymentsStatus) -> String {
    let mut lines =
        "direction,site,node,account,verified_bytes,unbilled_bytes,total_base_units,paid_base_units,owed_base_units,\
         window_base_units,today_base_units,served,tabs_base_units\r\n"
            .to_owned();
    for site in &status.billed {
        let BilledSite {
            id,
            node,
            payer,
            signed_bytes,
            unbilled_bytes,
            total,
            paid,
            owed,
            window,
            served,
            tabs,
            ..
        } = site;
        let tabs = tabs.map(|tabs| tabs.to_string()).unwrap_or_default();
        let _ = write!(
            lines,
            "in,{id},{node},{payer},{signed_bytes},{unbilled_bytes},{total},{paid},{owed},{window},,{served},{tabs}\r\n"
        );
    }
    for node in &status.paying {
        let PaidNode { site, node, payee, verified_bytes, tabs, total, signed, owed, today } = node;
        let tabs = tabs.map(|tabs| tabs.to_string()).unwrap_or_default();
        let _ = write!(
            lines,
            "out,{site},{node},{payee},{verified_bytes},,{total},{signed},{owed},,{today},,{tabs}\r\n"
        );
    }
    lines
}

/// Both tables, where there is anything in them.
pub(crate) fn section(html: &mut String, status: &PaymentsStatus) {
    if !status.billed.is_empty() {
        table(
            html,
            "billed",
            "Who pays this node",
            &[
                ("Site", false),
                ("Payer", false),
                ("Agreed until", false),
                ("Signed for", true),
                ("Worth of what tabs gave", true),
                ("Billed to it, by all its sites", true),
                ("Paid by vouchers", true),
                ("Owed", true),
                ("May owe", true),
                ("Served", false),
            ],
        );
        for site in &status.billed {
            let _ = write!(
                html,
                "<tr><th scope=\"row\">{}<td><code>{}</code><td>{}",
                escape(&site.name),
                escape(&site.payer),
                date(site.until.0)
            );
            cells(
                html,
                &[bytes(site.signed_bytes), of_tabs(site.tabs), amount(site.total), amount(site.paid)],
            );
            cells(html, &[amount(site.owed), amount(site.window)]);
            html.push_str(if site.served {
                "<td>yes"
            } else {
                "<td><strong>no: it is not paid for</strong>"
            });
        }
        html.push_str("</tbody></table></div></section>");
    }
    if !status.paying.is_empty() {
        table(
            html,
            "paying",
            "Whom this node pays",
            &[
                ("Node", false),
                ("Site", false),
                ("Payee", false),
                ("Signed for by visitors", true),
                ("Worth of what tabs gave", true),
                ("Worth, by all it serves", true),
                ("Paid by vouchers", true),
                ("Owed", true),
                ("Today", true),
            ],
        );
        for node in &status.paying {
            let _ = write!(
                html,
                "<tr><th scope=\"row\"><code>{}</code><td><code>{}</code><td><code>{}</code>",
                escape(&node.node),
                escape(&node.site),
                escape(&node.payee)
            );
            cells(html, &[bytes(node.verified_bytes), of_tabs(node.tabs), amount(node.total)]);
            cells(html, &[amount(node.signed), amount(node.owed), amount(node.today)]);
        }
        html.push_str("</tbody></table></div></section>");
    }
}

fn of_tabs(units: Option<u128>) -> String {
    units.map_or_else(|| "–".to_owned(), amount)
}

/// What visitors' tabs are paid.
pub(crate) fn tabs(html: &mut String, status: &TabsStatus) {
    let TabsStatus { earned, due, accounts, epochs } = status;
    let _ = write!(
        html,
        "<section><h2 id=\"tabs\">What visitors’ tabs are paid</h2><p>{} accounts earned {} base units, of which {} are in \
         no epoch yet. An account’s own figures and proofs: <code>/blackhole/v1/earners/0x…</code>.</p></section>",
        count(*accounts),
        amount(*earned),
        amount(*due)
    );
    if epochs.is_empty() {
        return;
    }
    let columns = [("Epoch", false), ("Accounts", true), ("Comes to", true), ("Can be claimed until", false)];
    table(html, "epochs", "Epochs", &columns);
    for epoch in epochs {
        let _ = write!(html, "<tr><th scope=\"row\">{}", epoch.number);
        cells(html, &[count(epoch.shares as u64), amount(epoch.total)]);
        match epoch.until {
            Some(until) => drop(write!(html, "<td>{}", date(until.0))),
            None => html.push_str("<td>not on the chain yet"),
        }
    }
    html.push_str("</tbody></table></div></section>");
}

fn table(html: &mut String, id: &str, title: &str, columns: &[(&str, bool)]) {
    let _ = write!(
        html,
        "<section><h2 id=\"{id}\">{title}</h2><div class=\"wide\" role=\"region\" aria-labelledby=\"{id}\" \
         tabindex=\"0\"><table aria-labelledby=\"{id}\"><thead><tr>"
    );
    for (name, number) in columns {
        let class = if *number { " class=\"n\"" } else { "" };
        let _ = write!(html, "<th scope=\"col\"{class}>{name}");
    }
    html.push_str("</thead><tbody>");
}

fn cells(html: &mut String, texts: &[String]) {
    for text in texts {
        let _ = write!(html, "<td class=\"n\">{text}");
    }
}

#[cfg(test)]
mod tests {
    use shared::base::UnixSeconds;

    use super::*;
    use crate::app::EpochStatus;

    fn status() -> PaymentsStatus {
        let billed = BilledSite {
            id: "aa".to_owned(),
            name: "<b>site".to_owned(),
            node: "did:key:z1".to_owned(),
            payer: "0x01".to_owned(),
            until: UnixSeconds(2_000_000_000),
            signed_bytes: 5000,
            unbilled_bytes: 10,
            tabs: Some(4),
            total: 15,
            paid: 12,
            owed: 3,
            window: 8,
            served: false,
        };
        let paying = PaidNode {
            site: "bb".to_owned(),
            node: "did:key:z2".to_owned(),
            payee: "0x02".to_owned(),
            verified_bytes: 7,
            tabs: None,
            total: 6,
            signed: 5,
            owed: 1,
            today: 4,
        };
        PaymentsStatus { billed: vec![billed], paying: vec![paying] }
    }

    #[test]
    fn every_line_has_as_many_fields_as_its_head() {
        let text = lines(&status());
        let fields: Vec<_> = text.split_terminator("\r\n").map(|line| line.split(',').count()).collect();
        assert_eq!(fields, [13, 13, 13]);
    }

    #[test]
    fn a_publishers_words_are_no_markup() {
        let mut html = String::new();
        section(&mut html, &status());
        assert!(html.contains("&lt;b&gt;site") && !html.contains("<b>site"), "{html}");
        assert!(html.contains("no: it is not paid for"));
    }

    #[test]
    fn epochs_of_tabs_are_listed() {
        let of = |number, until| EpochStatus { number, until, total: 1_234, shares: 2 };
        let epochs = vec![of(1_800_000_000, None), of(1_700_000_000, Some(UnixSeconds(2_000_000_000)))];
        let mut html = String::new();
        tabs(&mut html, &TabsStatus { earned: 5_000, due: 7, accounts: 3, epochs });
        assert!(html.contains("not on the chain yet") && html.contains("2033-05-18"), "{html}");
        assert!(html.contains("3 accounts"), "{html}");
    }
}
