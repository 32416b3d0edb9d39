//! A page for the operator: what is served, from where, how fast, and what is wrong.
//!
//! Plain HTML with one picture as SVG: readable by a screen reader, without script, in light and dark.

use core::fmt::Write as _;

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use cdn::{SiteBytes, SiteStatus};

use crate::app::Edge;

const STYLE: &str = "
:root{color-scheme:light dark;--edge:#2a6fdb;--link:#0f8a5f;--peer:#c2571a;--origin:#8a4fbf}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem}
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #8886;vertical-align:top}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
code{overflow-wrap:anywhere;font-size:.85em}
svg{width:100%;height:auto}svg text{fill:currentColor;font:13px system-ui,sans-serif}
.edge{fill:var(--edge)}.link{fill:var(--link)}.peer{fill:var(--peer)}.origin{fill:var(--origin)}";

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
    let with_bytes: Vec<_> = sites.iter().map(|site| (site, meters.site(&site.name))).collect();
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>Blackhole supernode</title><style>{STYLE}</style>\
         <main><h1>Supernode</h1><p>{} sites, {} of {} stored.</p>",
        sites.len(),
        bytes(usage.stored_bytes),
        bytes(usage.quota_bytes),
    );
    if usage.quarantined > 0 {
        let _ = write!(
            html,
            "<p role=\"alert\"><strong>{} blobs were found corrupt on disk</strong> since start. They are in \
             quarantine and fetched again; check the disk.</p>",
            usage.quarantined
        );
    }
    html.push_str("<h2>Bytes by source</h2>");
    chart(&mut html, &with_bytes);
    html.push_str(
        "<table><thead><tr><th scope=\"col\">Site<th scope=\"col\" class=\"n\">Offload<th scope=\"col\" \
         class=\"n\">Tab to tab<th scope=\"col\" class=\"n\">Links<th scope=\"col\" class=\"n\">Edge<th \
         scope=\"col\" class=\"n\">From origin</thead><tbody>",
    );
    for (site, from) in &with_bytes {
        let offload =
            from.offload().map_or_else(|| "–".to_owned(), |share| format!("{:.1} %", share * 100.0));
        let _ = write!(
            html,
            "<tr><th scope=\"row\">{}<td class=\"n\">{offload}<td class=\"n\">{}<td class=\"n\">{}<td \
             class=\"n\">{}<td class=\"n\">{}",
            escape(&site.name),
            bytes(from.peer),
            bytes(from.link),
            bytes(from.edge),
            bytes(from.origin)
        );
    }
    html.push_str("</tbody></table><h2>Answers</h2><table><tbody>");
    let [good, unchanged, refused, failed] = edge.inner.meters.by_kind();
    if let Some((median, slow)) = edge.inner.meters.percentiles() {
        let _ = write!(
            html,
            "<tr><th scope=\"row\">Time to first byte, median<td class=\"n\">{:.1} ms<tr><th scope=\"row\">the \
             same, 95th percentile<td class=\"n\">{:.1} ms",
            median.as_secs_f64() * 1000.0,
            slow.as_secs_f64() * 1000.0
        );
    }
    for (name, count) in
        [("Served", good), ("Unchanged", unchanged), ("Refused", refused), ("Failed", failed)]
    {
        let _ = write!(html, "<tr><th scope=\"row\">{name}<td class=\"n\">{count}");
    }
    html.push_str("</tbody></table><h2>Sites</h2>");
    for site in &sites {
        section(&mut html, site);
    }
    html.push_str("</main></html>");
    html
}

fn section(html: &mut String, site: &SiteStatus) {
    let _ = write!(
        html,
        "<h3>{}</h3><p>Site <code>{}</code><br>Publisher <code>{}</code>",
        escape(&site.name),
        site.id,
        escape(&site.publisher)
    );
    if let Some(origin) = &site.origin {
        let _ = write!(html, "<br>Origin <code>{}</code>", escape(origin));
    }
    match &site.manifest {
        Some(manifest) => {
            let total = manifest.assets.values().map(|asset| asset.shape.size()).sum();
            let _ = write!(
                html,
                "<br>Manifest {} with {} assets, {}, until {}",
                manifest.sequence,
                manifest.assets.len(),
                bytes(total),
                manifest.expires.0
            );
        }
        None => html.push_str("<br>No manifest yet."),
    }
    html.push_str("</p>");
    if !site.notes.is_empty() {
        html.push_str(
            "<table><caption>What went wrong</caption><thead><tr><th scope=\"col\">Where<th \
             scope=\"col\">What<th scope=\"col\" class=\"n\">Times</thead><tbody>",
        );
        for note in &site.notes {
            let _ = write!(
                html,
                "<tr><td><code>{}</code><td>{}<td class=\"n\">{}",
                escape(&note.subject),
                escape(&note.problem),
                note.times
            );
        }
        html.push_str("</tbody></table>");
    }
}

/// A bar a site, each a share of the most that any site moved.
fn chart(html: &mut String, sites: &[(&SiteStatus, SiteBytes)]) {
    const WIDTH: u64 = 600;
    const ROW: u64 = 44;
    let total = |from: &SiteBytes| from.peer + from.link + from.edge;
    let most = sites.iter().map(|(_, from)| total(from)).max().unwrap_or(0).max(1);
    let height = ROW * sites.len() as u64 + 24;
    let _ = write!(
        html,
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"Bytes served by source; the table \
         below has the figures\"><text x=\"0\" y=\"14\"><tspan class=\"peer\">■</tspan> tab to tab  <tspan \
         class=\"link\">■</tspan> links  <tspan class=\"edge\">■</tspan> edge</text>"
    );
    for ((site, from), row) in sites.iter().zip(0_u64..) {
        let y = 24 + row * ROW;
        let _ = write!(html, "<text x=\"0\" y=\"{}\">{}</text>", y + 14, escape(&site.name));
        let mut x = 0;
        for (class, value) in [("peer", from.peer), ("link", from.link), ("edge", from.edge)] {
            let width =
                u64::try_from(u128::from(value) * u128::from(WIDTH) / u128::from(most)).unwrap_or(WIDTH);
            let _ = write!(
                html,
                "<rect class=\"{class}\" x=\"{x}\" y=\"{}\" width=\"{width}\" height=\"14\"><title>{}</title></rect>",
                y + 20,
                bytes(value)
            );
            x += width;
        }
    }
    html.push_str("</svg>");
}

/// For reading: three digits and a unit.
#[expect(clippy::cast_precision_loss, reason = "for reading")]
fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_strangers_write_stays_text() {
        assert_eq!(escape("<script>\"&"), "&lt;script&gt;&quot;&amp;");
    }

    #[test]
    fn sizes_read_well() {
        assert_eq!(
            [bytes(0), bytes(1023), bytes(1536), bytes(5 << 30)],
            ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]
        );
    }
}
