//! Plain HTTP beside the swarm.
//!
//! Alone, a tab fetches what it wants in order. Where neighbours want the same, each fetches other stripes and
//! says so ([`crate::cdn::claims`]), and the rest comes from one to the other; so a crowd takes its content from
//! infrastructure about once. HTTP is asked for more than that where
//! - a fetch has had nothing for longer than HTTP takes: the hedge;
//! - nobody has taken up a stripe within [`SPARE_PATIENCE`], in which neighbours delivered nothing, and the line
//!   has room;
//! - the neighbours together deliver less than HTTP does, and would need longer than [`BEHIND`], and the line has
//!   room.

use core::time::Duration;
use std::ops::Range;

use super::{Done, Effect, Event, FallBack, FetchId, HttpSource, Peer, Priority, asking, consumer};
use crate::{
    base::{BlobRoot, EffectId, Instant, LinkId},
    cdn::{
        blob::{BlobShape, GROUP_BYTES},
        part::{Hashes, Piece, Run},
        replica::{Asker, Replica},
        spread::{self, STRIPE_GROUPS},
    },
    wire::cdn::GroupRange,
};

/// Nobody waits for an idle fetch: neighbours get this long before shares of infrastructure double.
const IDLE_PATIENCE: Duration = Duration::from_secs(10);
/// A neighbour that wants a stripe which falls to it says so within this, where the line has room: the time
/// between two announcements, and a little.
const SPARE_PATIENCE: Duration = Duration::from_millis(300);
/// Where neighbours need longer than this for a fetch and HTTP is faster than they are, both run.
const BEHIND: Duration = Duration::from_secs(1);
/// A page asks for many files in one breath: visitors who do that at the same time begin in different places only
/// where each knows what its page asks for.
const GATHER: Duration = Duration::from_millis(10);
/// Blobs up to so many groups are fetched without asking whose turn it is: waiting costs more than they weigh.
const SMALL_GROUPS: u32 = 2;
/// Stripes looked at in one choice.
const STRIPES_SCANNED: usize = 128;

/// Why HTTP is asked for something.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    Alone,
    Share,
    Spare,
    Late,
    Behind,
}

/// What is looked for, over all fetches, before the next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// What somebody waits for now.
    Soon,
    /// What plays later.
    Later,
    /// What slow neighbours will bring: an idle line may bring it too.
    Behind,
}

/// How a stripe stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// It falls to us.
    Ours,
    /// It falls to neighbours, so many, which have not said that they want it.
    Spare(usize),
    /// A neighbour holds it, or will soon.
    Theirs,
}

impl Peer {
    /// Begins the transfers that are due.
    pub(super) fn fill_http(&mut self, now: Instant) {
        if let Some(at) = self.gathers_until(now) {
            self.look_at = self.look_at.min(at);
            return;
        }
        let mut fetches: Vec<FetchId> = self.queue.keys().map(|(_, fetch)| *fetch).collect();
        let start = self.scatter(now, &mut fetches);
        let passes = [Pass::Soon, Pass::Later, Pass::Behind];
        let turns = passes.into_iter().flat_map(|pass| fetches.iter().map(move |fetch| (*fetch, pass)));
        'fetches: for (fetch, pass) in turns {
            let sole = self.is_sole(fetch);
            loop {
                if !self.http.has_room(now, self.config.limits.http_requests_max, sole) {
                    break 'fetches;
                }
                let Some((source, root, run, why)) = self.choose_http(now, fetch, pass, start) else {
                    break;
                };
                let bytes = self.replicas.get(&root).map_or(0, |replica| run.bytes(replica.shape));
                self.ask_http(now, source, root, run);
                self.note_asked(bytes, why);
            }
        }
        self.fall_back(now);
    }

    /// Until when more fetches may belong to the first one.
    fn gathers_until(&self, now: Instant) -> Option<Instant> {
        let ((_, first), ()) = self.queue.first()?;
        let first = self.fetches.get(first).filter(|fetch| fetch.is_urgent())?;
        let at = first.begun_at + GATHER;
        (now < at && !self.http.is_busy() && self.swarm_of(&first.root) != 1).then_some(at)
    }

    /// What of a fetch is to come by HTTP now.
    fn choose_http(
        &mut self,
        now: Instant,
        id: FetchId,
        pass: Pass,
        start: Option<(FetchId, u32)>,
    ) -> Option<(HttpSource, BlobRoot, Run, Why)> {
        let fetch = self.fetches.get(&id)?;
        let (later, behind) = (pass == Pass::Later, pass == Pass::Behind);
        if behind && !self.is_swarm_behind(now, fetch) {
            return None;
        }
        let (root, range) = (fetch.root, fetch.turn(now, later));
        let replica = self.replicas.get(&root)?;
        replica.open.next_from(range.start).filter(|first| *first < range.end)?;
        let (edge, origin) = self.sources(now);
        // A supernode's link spares the origin.
        if !edge && (!origin || self.is_held_by_supernode(now, &root)) {
            return None;
        }
        let in_order = !later && matches!(fetch.priority, Priority::Deadline { .. });
        let start = start.filter(|(of, _)| *of == id && !in_order).map(|(_, group)| group);
        let (groups, why) = self.choose_run(now, fetch, &range, replica, (start, behind))?;
        let source = if edge { HttpSource::Edge } else { HttpSource::Origin };
        // Groups are judged by their page, which has to be on its way at least.
        let page = Piece::Page(replica.shape.page_of(groups.start));
        let hashes = match replica.hash_piece_for(groups.start) {
            Some(_) if replica.asked.contains_key(&page) => Hashes::Here,
            None => Hashes::Here,
            Some(_) if !edge => return None,
            Some(Piece::Top) if !replica.asked.contains_key(&Piece::Top) => Hashes::TopAndPage,
            Some(Piece::Top) => return None,
            Some(_) => Hashes::Page,
        };
        let run = Run { hashes, first: groups.start, count: groups.end - groups.start };
        if why == Why::Late
            && let Some(fetch) = self.fetches.get_mut(&id)
        {
            // The next hedge waits for this one.
            fetch.progress_at = now;
        }
        Some((source, root, run, why))
    }

    /// The groups of a fetch to ask HTTP for, and why. From `start` on; with `behind` also what neighbours will bring.
    pub(super) fn choose_run(
        &self,
        now: Instant,
        fetch: &consumer::Fetch,
        range: &Range<u32>,
        replica: &Replica,
        (start, behind): (Option<u32>, bool),
    ) -> Option<(Range<u32>, Why)> {
        let neighbours = self.sharers(now, &fetch.root);
        let (urgent, members) = (fetch.is_urgent(), self.swarm_of(&fetch.root));
        let idle_spans = now.since(fetch.begun_at).as_secs_f64() / IDLE_PATIENCE.as_secs_f64();
        if !urgent && neighbours.is_empty() && idle_spans < 1.0 {
            return None;
        }
        // The line is full: what we leave now, one of the others fetches, whether or not we see each other yet.
        let congested = self.http.pace().is_congested(now);
        let joining = neighbours.is_empty() && self.meeting.is_under_way() && congested;
        let swarm = if urgent && !congested { 0 } else { members };
        let patience = if urgent { 0.0 } else { idle_spans };
        let ours = spread::draw(&self.public_key());
        let draws: Vec<u64> = neighbours.iter().map(|(_, draw)| *draw).collect();
        let (mut spare, mut theirs) = (None, None);
        for first in stripes_in_order(range, replica, start) {
            let stripe = spread::stripe_of(first);
            let turn = if self.is_held_nearby(now, fetch.root, first)
                || neighbours.iter().any(|(link, _)| self.is_coming(now, *link, fetch.root, stripe))
            {
                Turn::Theirs
            } else if neighbours.is_empty() && urgent && !joining
                || replica.shape.groups() <= SMALL_GROUPS
                || spread::is_ours(&fetch.root, stripe, ours, &draws, swarm, patience)
            {
                Turn::Ours
            } else {
                Turn::Spare(spread::rank(&fetch.root, stripe, ours, &draws))
            };
            match turn {
                Turn::Ours => {
                    let groups = if neighbours.is_empty() {
                        self.http.run_groups(now, members == 1)
                    } else {
                        STRIPE_GROUPS
                    };
                    let why = if neighbours.is_empty() { Why::Alone } else { Why::Share };
                    return Some((run_of(replica, first, range.end, groups), why));
                }
                Turn::Spare(rank) => {
                    let better = spare.is_none_or(|(best, _)| rank <= best);
                    spare = if better { Some((rank, first)) } else { spare };
                }
                Turn::Theirs => theirs = Some(theirs.map_or((first, first), |(lowest, _)| (lowest, first))),
            }
        }
        let stripe = |first| run_of(replica, first, range.end, STRIPE_GROUPS);
        let hedge = if urgent { self.http.patience() } else { IDLE_PATIENCE * 2 };
        let quiet = now.since(fetch.progress_at);
        // As long as neighbours deliver something, this fetch is only waiting its turn.
        let turns = if self.is_swarm_faster() { 16 } else { 4 };
        let late = quiet >= hedge && now.since(self.swarm_came_at) >= hedge || quiet >= hedge * turns;
        // As long as neighbours deliver, whose turn it is will come to it.
        let untaken = now.since(fetch.begun_at.max(self.swarm_came_at));
        if urgent && untaken >= self.spare_patience(now) && spare.is_some() {
            return spare.map(|(_, first)| (stripe(first), Why::Spare));
        }
        let (lowest, highest) = theirs?;
        if late {
            return Some((stripe(lowest), Why::Late));
        }
        // From the far end: neighbours come from the near one.
        behind.then(|| (stripe(highest), Why::Behind))
    }

    /// As long as nobody is known of a swarm that may be large, simultaneous visitors begin in different places of
    /// what each of them waits for. Puts the fetch first where this one begins, and tells with which group.
    fn scatter(&self, now: Instant, fetches: &mut [FetchId]) -> Option<(FetchId, u32)> {
        let urgent = fetches.iter().map_while(|id| self.fetches.get(id).filter(|fetch| fetch.is_urgent()));
        let urgent: Vec<&consumer::Fetch> = urgent.collect();
        let root = urgent.first()?.root;
        let swarm = self.swarm_of(&root) as usize;
        // Who is linked to everybody knows what is taken.
        if swarm > 0 && self.sharers(now, &root).len() + 1 >= swarm {
            return None;
        }
        let groups = |fetch: &consumer::Fetch| fetch.range.end - fetch.range.start;
        let all = urgent.iter().fold(0u32, |sum, fetch| sum.saturating_add(groups(fetch)));
        let mut place = spread::place(self.visitor, all);
        let at = urgent.iter().position(|fetch| {
            let here = place < groups(fetch);
            place -= if here { 0 } else { groups(fetch) };
            here
        })?;
        let group = urgent[at].range.start + place;
        let (count, first) = (urgent.len(), fetches[at]);
        fetches[..count].rotate_left(at);
        Some((first, spread::stripe_of(group) * STRIPE_GROUPS))
    }

    /// How long a neighbour has to take up its share. On a full line nobody gains by taking it for them, and neighbours
    /// that deliver faster than HTTP may pause for a moment.
    fn spare_patience(&self, now: Instant) -> Duration {
        match (self.http.pace().is_congested(now), self.is_swarm_faster()) {
            (true, _) => self.http.patience() * 8,
            (false, true) => SPARE_PATIENCE * 4,
            (false, false) => SPARE_PATIENCE,
        }
    }

    fn is_swarm_faster(&self) -> bool {
        self.swarm_pace.bytes_per_second() > self.http.pace().bytes_per_second()
    }

    /// Whether somebody waits, and the neighbours deliver less than HTTP does and will be at this fetch for a while.
    pub(super) fn is_swarm_behind(&self, now: Instant, fetch: &consumer::Fetch) -> bool {
        let (swarm, http) = (self.swarm_pace.bytes_per_second(), self.http.pace().bytes_per_second());
        #[expect(clippy::cast_precision_loss, reason = "blobs are below 2^52 bytes")]
        let bytes = u64::from(fetch.missing) as f64 * GROUP_BYTES as f64;
        let has_room = !self.http.pace().is_congested(now);
        fetch.is_urgent()
            && now.since(fetch.begun_at) >= BEHIND
            && has_room
            && swarm < http
            && bytes > swarm * BEHIND.as_secs_f64()
    }

    /// Neighbours that take part in the blob's site, may still want of it, and say what they fetch.
    fn sharers(&self, now: Instant, root: &BlobRoot) -> Vec<(LinkId, u64)> {
        if !self.consent.fetch {
            return Vec::new();
        }
        let shares = |link: &super::link::Link| {
            let Some(hello) = link.hello.as_ref().filter(|hello| !hello.supernode) else { return false };
            let here = hello.sites.iter().any(|state| {
                !state.complete
                    && self.sites.get(&state.site).is_some_and(|ours| ours.roots.contains_key(root))
            });
            here && link.claims.is_heeded() && asking::is_present(link, now)
        };
        let sharers = self.links.iter().filter(|(_, link)| !link.is_supernode() && shares(link));
        sharers.map(|(id, link)| (*id, spread::draw(&link.peer))).collect()
    }

    /// Whether nobody else takes part in the site of this fetch.
    fn is_sole(&self, fetch: FetchId) -> bool {
        self.fetches.get(&fetch).is_some_and(|fetch| self.swarm_of(&fetch.root) == 1)
    }

    fn swarm_of(&self, root: &BlobRoot) -> u32 {
        let sites = self.sites.values().filter(|site| site.roots.contains_key(root));
        sites.map(|site| site.swarm).max().unwrap_or(0)
    }

    fn is_coming(&self, now: Instant, link: LinkId, root: BlobRoot, stripe: u32) -> bool {
        let patience = self.http.claim_patience();
        self.links.get(&link).is_some_and(|link| link.claims.is_coming(now, root, stripe, patience))
    }

    fn is_held_nearby(&self, now: Instant, root: BlobRoot, group: u32) -> bool {
        self.consent.fetch
            && self.links.values().any(|link| {
                !link.is_supernode()
                    && asking::is_present(link, now)
                    && asking::holding(link, &self.sites, &root).is_some_and(|has| has.group(group))
            })
    }

    /// Which sources may be asked now: edge, origin.
    pub(super) fn sources(&self, now: Instant) -> (bool, bool) {
        let sources = self.config.http;
        (
            sources.edge && self.http.is_askable(now, HttpSource::Edge),
            sources.origin && self.http.is_askable(now, HttpSource::Origin),
        )
    }

    fn ask_http(&mut self, now: Instant, source: HttpSource, root: BlobRoot, run: Run) {
        let effect = EffectId(self.new_id());
        let Some(replica) = self.replicas.get_mut(&root) else { return };
        let shape = replica.shape;
        for part in run.parts() {
            replica.ask(now, part, Asker::Http(effect));
        }
        self.tell_coming(root, shape, run.first, run.count);
        self.http.begin(now, effect, source, root, run, shape);
        self.effects.push_back(Effect::FetchHttp { effect, source, root, shape, run });
    }

    /// Neighbours hear that these groups will be here, and are not waited for.
    pub(super) fn tell_coming(&mut self, root: BlobRoot, shape: BlobShape, first: u32, count: u32) {
        for stripe in spread::stripes_of(&[(first, count)], shape) {
            for (_, link) in self.links.iter_mut() {
                link.claims.give_up(root, stripe);
            }
        }
        self.news.entry(root).or_default().coming.push(GroupRange { first, count });
    }

    pub(super) fn note_asked(&mut self, bytes: u64, why: Why) {
        let asked = &mut self.meters.asked;
        *match why {
            Why::Alone => &mut asked.alone,
            Why::Share => &mut asked.share,
            Why::Spare => &mut asked.spare,
            Why::Late => &mut asked.late,
            Why::Behind => &mut asked.behind,
        } += bytes;
    }

    /// Ends transfers that bring nothing: their source has a pause, the other one its turn.
    pub(super) fn check_http(&mut self, now: Instant) {
        for effect in self.http.give_up_silent(now) {
            self.effects.push_back(Effect::CancelHttp { effect });
        }
    }

    /// A transfer is over.
    pub(super) fn http_done(&mut self, now: Instant, effect: EffectId, done: Done) {
        let Some((root, run)) = self.http.end(now, effect, done == Done::Failed) else { return };
        if let Some(replica) = self.replicas.get_mut(&root) {
            for part in run.parts() {
                replica.release(part, Asker::Http(effect));
            }
        }
        self.all_ready();
        self.http_due = true;
    }

    /// Answers the fetches for which nobody is left to ask.
    fn fall_back(&mut self, now: Instant) {
        let (edge, origin) = self.sources(now);
        let stuck = |fetch: &consumer::Fetch| {
            let Some(replica) = self.replicas.get(&fetch.root) else { return true };
            let first = replica.open.next_from(fetch.range.start).filter(|first| *first < fetch.range.end);
            let Some(first) = first else { return false };
            let reachable =
                edge || (origin && replica.can_judge(first)) || self.is_held_by_supernode(now, &fetch.root);
            fetch.is_urgent() && !reachable && !self.is_held_nearby(now, fetch.root, first)
        };
        let stuck: Vec<(FetchId, BlobRoot)> = self
            .fetches
            .iter()
            .filter(|(_, fetch)| stuck(fetch))
            .map(|(id, fetch)| (*id, fetch.root))
            .collect();
        for (fetch, root) in stuck {
            self.end_fetch(fetch);
            self.events.push_back(Event::FellBack { fetch, root, reason: FallBack::NoSource });
        }
    }

    /// Whoever was asked over a link that is gone was asked in vain.
    pub(super) fn release_link(&mut self, id: LinkId, link: &mut super::link::Link) {
        for (request, asked) in link.pipeline.take_all() {
            self.release(&asked, Asker::Link(id, request));
        }
    }
}

/// The first open group of each stripe of `range`, from `start` on and then from its beginning.
fn stripes_in_order(range: &Range<u32>, replica: &Replica, start: Option<u32>) -> impl Iterator<Item = u32> {
    let start = start.unwrap_or(range.start).clamp(range.start, range.end);
    let stripes = |range: Range<u32>| {
        let mut at = range.start;
        core::iter::from_fn(move || {
            let first = replica.open.next_from(at).filter(|first| *first < range.end)?;
            at = (spread::stripe_of(first) + 1).saturating_mul(STRIPE_GROUPS);
            Some(first)
        })
    };
    stripes(start..range.end).chain(stripes(range.start..start)).take(STRIPES_SCANNED)
}

/// Open groups from `first` on, at most `count`, below `end` and under one hash page.
fn run_of(replica: &Replica, first: u32, end: u32, count: u32) -> Range<u32> {
    let page = replica.shape.page_groups(replica.shape.page_of(first)).map_or(first + 1, |page| page.end);
    // Runs of a stripe end where the stripe does.
    let stripe =
        if count > STRIPE_GROUPS { u32::MAX } else { (spread::stripe_of(first) + 1) * STRIPE_GROUPS };
    let limit = page.min(end).min(stripe).min(first.saturating_add(count));
    let mut last = first + 1;
    while last < limit && replica.open.get(last) {
        last += 1;
    }
    first..last
}
