//! A page for the operator: what is served, from where, how fast, and what is wrong.
//!
//! Plain HTML with one picture as SVG: readable by a screen reader, without script, in light and dark, on a
//! telephone.

mod chart;
mod extras;
mod held;
mod money;
pub(crate) mod words;

use core::fmt::Write as _;

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use cdn::{SiteBytes, SiteStatus, Usage};

use crate::{
    app::{Edge, NetworkStatus},
    tab_files,
};
use words::{bytes, count, date, duration, escape, percent};

pub(crate) const STYLE: &str = include_str!("status/page.css");

/// `GET /status`.
pub(crate) async fn page(State(edge): State<Edge>) -> Response {
    let html = render(&edge);
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
    ];
    (headers, html).into_response()
}

fn render(edge: &Edge) -> String {
    let (sites, usage) = edge.inner.cdn.status();
    let meters = edge.inner.cdn.meters();
    let sites: Vec<_> = sites.iter().map(|site| (site, meters.site(&site.name))).collect();
    let network = edge.inner.node.network();
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><title>Blackhole supernode</title>\
         <style>{STYLE}</style><main><header><h1>Supernode</h1><p>Version {}, up for {}.</p></header>",
        env!("CARGO_PKG_VERSION"),
        duration(edge.inner.started.elapsed()),
    );
    alerts(&mut html, edge, usage);
    cards(&mut html, &sites, usage, network.as_ref());
    delivered(&mut html, &sites);
    html.push_str("<div class=\"columns\">");
    if let Some(network) = &network {
        network_section(&mut html, network);
    }
    answers(&mut html, edge);
    html.push_str("</div><section><h2>Sites</h2>");
    if sites.is_empty() {
        html.push_str("<p>None yet. Add one under <code>[[cdn.sites]]</code>, then publish it.</p>");
    }
    for (site, _) in &sites {
        site_section(&mut html, site);
    }
    html.push_str("</section>");
    money::section(&mut html, edge.inner.node.money().as_ref(), &edge.inner.node.earnings());
    held::section(&mut html, edge.inner.node.held(held::SHOWN_MAX).as_ref());
    extras::section(&mut html, &edge.inner.node.extras(extras::SHOWN_MAX));
    reach(&mut html, edge);
    html.push_str("</main></html>");
    html
}

fn alerts(html: &mut String, edge: &Edge, usage: Usage) {
    if usage.quarantined > 0 {
        let _ = write!(
            html,
            "<p role=\"alert\"><strong>{} blobs were found corrupt on disk</strong> since start. They are in \
             quarantine and fetched again; check the disk.</p>",
            usage.quarantined
        );
    }
    if usage.stored_bytes.saturating_mul(10) > usage.quota_bytes.saturating_mul(9) {
        html.push_str(
            "<p role=\"alert\"><strong>The store is almost full.</strong> Raise <code>cdn.quota_mib</code>, \
             or serve fewer sites.</p>",
        );
    }
    if !edge.inner.tab.is_there() {
        let _ = write!(html, "<p role=\"alert\"><strong>No tab.</strong> {}.</p>", escape(tab_files::REMEDY));
    }
}

/// The few figures that say whether it is worth it.
fn cards(
    html: &mut String,
    sites: &[(&SiteStatus, SiteBytes)],
    usage: Usage,
    network: Option<&NetworkStatus>,
) {
    let mut total = SiteBytes::default();
    for (_, site) in sites {
        total.peer += site.peer;
        total.link += site.link;
        total.edge += site.edge;
        total.tabs += site.tabs;
    }
    let card = |html: &mut String, name: &str, figure: &str, about: &str| {
        let _ = write!(html, "<div><dt>{name}</dt><dd><b>{figure}</b> {about}</dd></div>");
    };
    html.push_str("<dl class=\"cards\">");
    card(html, "Delivered", &bytes(total.peer + total.link + total.edge), "since the start");
    let offload = total.offload().map_or_else(|| "–".to_owned(), percent);
    card(html, "Tab to tab", &offload, &format!("of it: {}, by receipts", bytes(total.peer)));
    let links: u64 = network.iter().flat_map(|network| &network.links).map(|(_, count)| count).sum();
    card(html, "Tabs", &count(total.tabs), &format!("in {} sites, {} links", sites.len(), count(links)));
    let quota = format!("of {} stored", bytes(usage.quota_bytes));
    card(html, "Store", &bytes(usage.stored_bytes), &quota);
    html.push_str("</dl>");
}

fn delivered(html: &mut String, sites: &[(&SiteStatus, SiteBytes)]) {
    html.push_str("<section><h2>Bytes by source</h2>");
    chart::draw(html, sites);
    html.push_str(
        "<div class=\"wide\"><table><thead><tr><th scope=\"col\">Site<th scope=\"col\" class=\"n\">Tabs<th \
         scope=\"col\" class=\"n\">Offload<th scope=\"col\" class=\"n\">Tab to tab<th scope=\"col\" \
         class=\"n\">Links<th scope=\"col\" class=\"n\">HTTP<th scope=\"col\" class=\"n\">From \
         origin</thead><tbody>",
    );
    for (site, from) in sites {
        let _ = write!(
            html,
            "<tr><th scope=\"row\">{}<td class=\"n\">{}<td class=\"n\">{}",
            escape(&site.name),
            count(from.tabs),
            from.offload().map_or_else(|| "–".to_owned(), percent)
        );
        for figure in [from.peer, from.link, from.edge, from.origin] {
            let _ = write!(html, "<td class=\"n\">{}", bytes(figure));
        }
    }
    html.push_str(
        "</tbody></table></div><p class=\"small\">Tab to tab: what tabs delivered to each other, by the \
         receipts that receivers signed and providers handed in here. Links and HTTP: what this node sent. \
         Offload: the share of tab to tab in the three.</p></section>",
    );
}

fn network_section(html: &mut String, network: &NetworkStatus) {
    html.push_str("<section><h2>Network</h2><table><tbody>");
    let mut row = |name: &str, figure: u64| figure_row(html, name, figure);
    for (kind, count) in &network.links {
        row(&format!("Links by {kind}"), *count);
    }
    row("Tabs reachable through this relay", network.reservations);
    row("Circuits relayed now", network.circuits);
    row("Circuits relayed since the start", network.circuits_opened);
    row("Other supernodes known", network.nodes);
    for (what, count) in &network.refused {
        row(&format!("Refused: {what}"), *count);
    }
    html.push_str("</tbody></table></section>");
}

fn answers(html: &mut String, edge: &Edge) {
    html.push_str("<section><h2>Answers by HTTP</h2><table><tbody>");
    if let Some((median, slow)) = edge.inner.meters.percentiles() {
        for (name, time) in [("Time to first byte, median", median), ("the same, 95th percentile", slow)] {
            let millis = time.as_secs_f64() * 1000.0;
            let _ = write!(html, "<tr><th scope=\"row\">{name}<td class=\"n\">{millis:.1} ms");
        }
    }
    let [good, unchanged, refused, failed] = edge.inner.meters.by_kind();
    for (name, count) in
        [("Served", good), ("Unchanged", unchanged), ("Refused", refused), ("Failed", failed)]
    {
        figure_row(html, name, count);
    }
    for (reason, count) in edge.inner.cdn.meters().refusals() {
        figure_row(html, &format!("Refused: {}", reason.replace('_', " ")), count);
    }
    html.push_str("</tbody></table></section>");
}

fn figure_row(html: &mut String, name: &str, figure: u64) {
    let _ = write!(html, "<tr><th scope=\"row\">{}<td class=\"n\">{}", escape(name), count(figure));
}

fn site_section(html: &mut String, site: &SiteStatus) {
    let _ = write!(html, "<h3>{}</h3><dl class=\"facts\">", escape(&site.name));
    let mut fact = |name: &str, value: &str| {
        let _ = write!(html, "<dt>{name}<dd>{value}");
    };
    match &site.manifest {
        Some(manifest) => {
            let total = manifest.assets.values().map(|asset| asset.shape.size()).sum();
            fact("Holds", &format!("{} assets, {}", count(manifest.assets.len() as u64), bytes(total)));
            fact("Statement", &format!("{}, believed until {}", manifest.sequence, date(manifest.expires.0)));
        }
        None => fact("Holds", "nothing yet: it waits for its publisher or its origin"),
    }
    if let Some(origin) = &site.origin {
        fact("Origin", &format!("<code>{}</code>", escape(origin)));
    }
    if let Some(at) = site.refreshed {
        fact("Looked at", &date(at.0));
    }
    fact("Publisher", &format!("<code>{}</code>", escape(&site.publisher)));
    fact("Site", &format!("<code>{}</code>", site.id));
    html.push_str("</dl>");
    if !site.notes.is_empty() {
        html.push_str(
            "<div class=\"wide\"><table><caption>What went wrong</caption><thead><tr><th \
             scope=\"col\">Where<th scope=\"col\">What<th scope=\"col\" class=\"n\">Times<th \
             scope=\"col\">Last</thead><tbody>",
        );
        for note in &site.notes {
            let _ = write!(
                html,
                "<tr><td><code>{}</code><td>{}<td class=\"n\">{}<td>{}",
                escape(&note.subject),
                escape(&note.problem),
                note.times,
                date(note.at.0)
            );
        }
        html.push_str("</tbody></table></div>");
    }
}

fn reach(html: &mut String, edge: &Edge) {
    let about = edge.inner.node.addresses();
    let _ = write!(
        html,
        "<section><h2>This node</h2><dl class=\"facts\"><dt>Key<dd><code>{}</code>",
        escape(&about.did)
    );
    for address in &about.addresses {
        let _ = write!(html, "<dt>Address<dd><code>{}</code>", escape(address));
    }
    html.push_str("</dl><p class=\"small\">The same figures for Prometheus are at /metrics.</p></section>");
}
