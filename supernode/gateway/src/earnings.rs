//! What was earned by serving, for the operator: a page to read, and every session with its receipt as CSV to check.

use core::fmt::Write as _;
use std::{collections::VecDeque, sync::Arc};

use axum::{
    Extension,
    body::Body,
    extract::State,
    http::{HeaderMap, Uri, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::stream;

use runtime::http::Client;

use crate::{
    app::{
        EARNINGS_CSV, EarnedDay, EarnedSession, EarnedSums, EarningsStatus, Edge, MoneyStatus, Node,
        PAYMENTS_CSV, PaymentsStatus, Position, TabsStatus,
    },
    login::{Scope, may_read},
    payments,
    problem::Problem,
    status::{STYLE, words},
};
use words::{amount, bytes, count, date, escape, percent};

/// Rows of a table on the page; the export has all.
const ROWS_MAX: usize = 100;
/// Sessions that are read at once for the export: some 400 KB.
const SESSIONS_AT_ONCE: usize = 1000;

/// `GET /status/earnings`.
pub(crate) async fn page(
    State(edge): State<Edge>,
    Extension(client): Extension<Client>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    may_read(&edge, client, &uri, &headers, Scope::Earnings)?;
    let node = Arc::clone(&edge.inner.node);
    let read = tokio::task::spawn_blocking(move || Shown::read(&*node)).await;
    let shown = read.map_err(Problem::internal)?.map_err(Problem::internal)?;
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        ),
    ];
    Ok((headers, shown.render()).into_response())
}

/// `GET /status/earnings.csv`, read from the disk as the client takes it.
pub(crate) async fn csv(
    State(edge): State<Edge>,
    Extension(client): Extension<Client>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    may_read(&edge, client, &uri, &headers, Scope::Earnings)?;
    let export = Export { node: Arc::clone(&edge.inner.node), next: VecDeque::from([Part::Head]) };
    let body = stream::unfold(export, async |mut export| {
        let part = export.next.pop_front()?;
        let node = Arc::clone(&export.node);
        let read = tokio::task::spawn_blocking(move || part.read(&*node)).await;
        let read = read.map_err(|error| error.to_string()).and_then(|read| read);
        let lines = read.map(|(lines, next)| {
            export.next.extend(next);
            Bytes::from(lines)
        });
        // A body that breaks off is seen by its reader; one that ends early would not be.
        let lines = lines.map_err(|error| {
            tracing::warn!(%error, "earnings cannot be exported");
            export.next.clear();
            std::io::Error::other(error)
        });
        Some((lines, export))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"earnings.csv\""),
    ];
    Ok((headers, Body::from_stream(body)).into_response())
}

struct Export {
    node: Arc<dyn Node>,
    next: VecDeque<Part>,
}

enum Part {
    Head,
    Running(Option<(String, u64)>),
    Booked(Option<Position>),
}

impl Part {
    fn read(self, node: &dyn Node) -> Result<(String, Option<Self>), String> {
        match self {
            Self::Head => {
                let lines = "state,batch,receiver,session,first_unix,last_unix,sent_bytes,signed_bytes,\
                                 price_base_units,price_per_bytes,worth_base_units,receipt,signature\r\n"
                    .to_owned();
                Ok((lines, Some(Self::Running(None))))
            }
            Self::Running(after) => {
                let after = after.as_ref().map(|(receiver, number)| (receiver.as_str(), *number));
                let sessions = node.running(after, SESSIONS_AT_ONCE);
                let last = sessions.last().map(|session| (session.receiver.clone(), session.number));
                let next = if last.is_some() { Self::Running(last) } else { Self::Booked(None) };
                Ok((lines(&sessions), Some(next)))
            }
            Self::Booked(after) => {
                let (sessions, more) = node.booked(after, SESSIONS_AT_ONCE)?;
                Ok((lines(&sessions), more.map(|more| Self::Booked(Some(more)))))
            }
        }
    }
}

fn lines(sessions: &[EarnedSession]) -> String {
    let mut lines = String::new();
    sessions.iter().for_each(|session| line(&mut lines, session));
    lines
}

/// Digits, hexadecimal digits and names of keys: nothing here has to be quoted, or could be a formula.
fn line(lines: &mut String, session: &EarnedSession) {
    let state = if session.batch.is_some() { "booked" } else { "running" };
    let batch = session.batch.map(|batch| batch.to_string()).unwrap_or_default();
    let (units, per) = session.price.unwrap_or_default();
    let _ = write!(
        lines,
        "{state},{batch},{},{:016x},{},{},{},{},{units},{per},{},",
        session.receiver,
        session.number,
        session.first.0,
        session.last.0,
        session.sent,
        session.signed,
        session.worth
    );
    hex(lines, &session.receipt);
    lines.push(',');
    hex(lines, &session.signature);
    lines.push_str("\r\n");
}

fn hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
}

/// What the page shows.
struct Shown {
    status: EarningsStatus,
    money: Option<MoneyStatus>,
    payments: PaymentsStatus,
    tabs: Option<TabsStatus>,
    receivers: Vec<(String, EarnedSums)>,
    running: Vec<EarnedSession>,
    booked: Vec<EarnedSession>,
    days: Vec<EarnedDay>,
}

impl Shown {
    fn read(node: &dyn Node) -> Result<Self, String> {
        Ok(Self {
            status: node.earnings(),
            money: node.money(),
            payments: node.payments(),
            tabs: node.tabs()?,
            receivers: node.receivers(ROWS_MAX)?,
            running: node.running(None, ROWS_MAX),
            booked: node.booked(None, ROWS_MAX)?.0,
            days: node.days(ROWS_MAX)?,
        })
    }

    fn render(&self) -> String {
        let mut html = format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
             content=\"width=device-width, initial-scale=1\"><title>Earnings – Blackhole supernode</title>\
             <style>{STYLE}</style><nav aria-label=\"Pages\"><a href=\"/status\">Status</a> <a \
             href=\"{EARNINGS_CSV}\">All sessions with their receipts, as CSV</a> <a href=\"{PAYMENTS_CSV}\">Payments, as \
             CSV</a></nav><main><header>\
             <h1>Earnings</h1></header>"
        );
        self.terms(&mut html);
        payments::section(&mut html, &self.payments);
        if let Some(tabs) = &self.tabs {
            payments::tabs(&mut html, tabs);
        }
        self.sums(&mut html);
        self.by_receiver(&mut html);
        sessions(&mut html, "running", "Running sessions", &self.running);
        sessions(&mut html, "booked", "Booked sessions, the newest first", &self.booked);
        self.by_day(&mut html);
        html.push_str("</main></html>");
        html
    }

    fn terms(&self, html: &mut String) {
        if self.status.lost > 0 {
            let _ = write!(
                html,
                "<p role=\"alert\"><strong>{} receipts were lost</strong> since the start: the disk does not keep up.</p>",
                count(self.status.lost)
            );
        }
        let price = match self.status.price {
            Some((units, per)) => {
                format!("{} base units for each {} bytes", amount(units.into()), count(per))
            }
            None => "none: what is served is counted, and comes to nothing. <code>[earnings] price</code> sets one"
                .to_owned(),
        };
        let settled = self.money.as_ref().is_some_and(|money| money.settled);
        let chain =
            if settled { "Vouchers are settled on a chain." } else { "Unsettled: no chain is configured." };
        let promised = if self.payments.billed.is_empty() {
            "Receipts are evidence of what was served; nobody has promised to pay for what stands here."
        } else {
            "Receipts are evidence of what was served; whoever agreed to pay for a site of this node stands below."
        };
        let _ =
            write!(html, "<dl class=\"facts\"><dt>Price<dd>{price}<dt>Payment<dd>{chain} {promised}</dl>");
    }

    fn sums(&self, html: &mut String) {
        html.push_str(
            "<section><h2 id=\"sums\">In all</h2><table aria-labelledby=\"sums\"><thead><tr><th scope=\"col\">What",
        );
        sums_head(html);
        for (name, sums) in [("Booked, since ever", &self.status.booked), ("Running", &self.status.running)] {
            let _ = write!(html, "<tr><th scope=\"row\">{name}");
            sums_cells(html, sums);
        }
        let _ = write!(
            html,
            "</tbody></table><p class=\"small\">{} of the booked sessions are kept with their receipts; the books \
             have {} entries. Worth is in base units of the token, rounded down by session. Bytes sent over HTTP \
             are here as far as visitors signed for them on their links.</p></section>",
            count(self.status.kept),
            count(self.status.entries)
        );
    }

    fn by_receiver(&self, html: &mut String) {
        wide(html, "receivers", "By receiver");
        html.push_str("<table aria-labelledby=\"receivers\"><thead><tr><th scope=\"col\">Receiver");
        sums_head(html);
        for (receiver, sums) in &self.receivers {
            let _ = write!(html, "<tr><th scope=\"row\"><code>{}</code>", escape(receiver));
            sums_cells(html, sums);
        }
        html.push_str("</tbody></table></div></section>");
    }

    fn by_day(&self, html: &mut String) {
        if self.days.is_empty() {
            return;
        }
        wide(html, "days", "Older sessions, by day");
        html.push_str("<table aria-labelledby=\"days\"><thead><tr><th scope=\"col\">Day from");
        sums_head(html);
        for day in &self.days {
            let _ = write!(html, "<tr><th scope=\"row\">{}", date(day.begins.0));
            sums_cells(html, &day.sums);
        }
        html.push_str("</tbody></table></div></section>");
    }
}

/// A table that may be wider than the page: it scrolls by itself, with the keyboard too.
fn wide(html: &mut String, id: &str, title: &str) {
    let _ = write!(
        html,
        "<section><h2 id=\"{id}\">{title}</h2><div class=\"wide\" role=\"region\" aria-labelledby=\"{id}\" \
         tabindex=\"0\">"
    );
}

fn sums_head(html: &mut String) {
    for name in ["Sessions", "Sent", "Signed for", "Share", "Worth"] {
        let _ = write!(html, "<th scope=\"col\" class=\"n\">{name}");
    }
    html.push_str("</thead><tbody>");
}

fn sums_cells(html: &mut String, sums: &EarnedSums) {
    let _ = write!(
        html,
        "<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}",
        count(sums.sessions),
        bytes(sums.sent),
        bytes(sums.signed),
        share(sums.signed, sums.sent),
        amount(sums.worth)
    );
}

#[expect(clippy::cast_precision_loss, reason = "for reading")]
fn share(part: u64, whole: u64) -> String {
    if whole == 0 { "–".to_owned() } else { percent(part as f64 / whole as f64) }
}

fn sessions(html: &mut String, id: &str, title: &str, sessions: &[EarnedSession]) {
    wide(html, id, title);
    if sessions.is_empty() {
        html.push_str("<p>None.</p></div></section>");
        return;
    }
    let _ = write!(
        html,
        "<table aria-labelledby=\"{id}\"><thead><tr><th scope=\"col\">Session<th scope=\"col\">Receiver<th \
         scope=\"col\">Newest receipt<th scope=\"col\" class=\"n\">Sent<th scope=\"col\" class=\"n\">Signed for<th \
         scope=\"col\" class=\"n\">Worth<th scope=\"col\" class=\"n\">Batch</thead><tbody>"
    );
    for session in sessions {
        let batch = session.batch.map_or_else(|| "–".to_owned(), count);
        let _ = write!(
            html,
            "<tr><th scope=\"row\"><code>{:016x}</code><td><code>{}</code><td>{}<td class=\"n\">{}<td \
             class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{batch}",
            session.number,
            escape(&session.receiver),
            date(session.last.0),
            bytes(session.sent),
            bytes(session.signed),
            amount(session.worth)
        );
    }
    html.push_str("</tbody></table></div></section>");
}
