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
    app::{BilledSite, Edge, PaidNode, PaymentsStatus},
    login::{Scope, may_read},
    problem::Problem,
    status::words::{amount, bytes, date, escape},
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
         window_base_units,today_base_units,served\r\n"
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
            ..
        } = site;
        let _ = write!(
            lines,
            "in,{id},{node},{payer},{signed_bytes},{unbilled_bytes},{total},{paid},{owed},{window},,{served}\r\n"
        );
    }
    for node in &status.paying {
        let PaidNode { site, node, payee, verified_bytes, total, signed, owed, today } = node;
        let _ = write!(
            lines,
            "out,{site},{node},{payee},{verified_bytes},,{total},{signed},{owed},,{today},\r\n"
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
                &[bytes(site.signed_bytes), amount(site.total), amount(site.paid), amount(site.owed)],
            );
            cells(html, &[amount(site.window)]);
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
            cells(html, &[bytes(node.verified_bytes), amount(node.total), amount(node.signed)]);
            cells(html, &[amount(node.owed), amount(node.today)]);
        }
        html.push_str("</tbody></table></div></section>");
    }
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

    fn status() -> PaymentsStatus {
        let billed = BilledSite {
            id: "aa".to_owned(),
            name: "<b>site".to_owned(),
            node: "did:key:z1".to_owned(),
            payer: "0x01".to_owned(),
            until: UnixSeconds(2_000_000_000),
            signed_bytes: 5000,
            unbilled_bytes: 10,
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
        assert_eq!(fields, [12, 12, 12]);
    }

    #[test]
    fn a_publishers_words_are_no_markup() {
        let mut html = String::new();
        section(&mut html, &status());
        assert!(html.contains("&lt;b&gt;site") && !html.contains("<b>site"), "{html}");
        assert!(html.contains("no: it is not paid for"));
    }
}
