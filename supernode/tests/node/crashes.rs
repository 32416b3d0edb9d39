//! An owner's node is killed, again and again, at each point where something was just committed and at random moments:
//! what was acknowledged is there, each key is whole, old or new, and the next process answers soon.
//!
//! The suite plays each point once; `cargo xtask bench crashes --kills 1000` as many as are wanted. One seed replays which
//! operations there are and when the process is killed; not what the machine makes of it.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use shared::base::SeededRng;

use crate::{
    process::Node,
    s3::Client,
    strangers::{Network, Plan, files, object},
};

/// A node that was killed answers again within this time, on a machine that does nothing else.
const RESTART_WITHIN: Duration = Duration::from_secs(5);
/// Keys that are written over and over.
const KEYS: u64 = 12;
/// A point that was not reached in this time is not on the way of the operation.
const POINT_WITHIN: Duration = Duration::from_secs(90);
/// Each so many rounds holders die, so that there is something to repair.
const REPAIR_EVERY: u32 = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Operation {
    /// By the S3 door, of a key that is there or not.
    Put,
    /// By the command line.
    Store,
    CompleteUpload,
    Delete,
    /// By the command line, of what it stored.
    Remove,
    Repair,
}

/// In turn; between them holders die.
const IN_TURN: [Operation; 5] =
    [Operation::Put, Operation::Store, Operation::CompleteUpload, Operation::Delete, Operation::Remove];

/// What each of them commits, in order.
fn points(operation: Operation) -> &'static [&'static str] {
    match operation {
        Operation::Put => &["put.intended", "put.signed", "put.unsettled", "metadata", "put.settled"],
        Operation::Store => &["put.intended", "put.signed", "put"],
        Operation::CompleteUpload => &["metadata"],
        Operation::Delete => &["metadata", "delete", "delete.let_go"],
        Operation::Remove => &["delete", "delete.let_go"],
        Operation::Repair => &["repair.intended", "repair"],
    }
}

/// Each point of those that come in turn.
fn named() -> impl Iterator<Item = (Operation, &'static str)> {
    IN_TURN.into_iter().flat_map(|operation| points(operation).iter().map(move |point| (operation, *point)))
}

/// Kills the owner as soon as it says that it committed this.
#[derive(Clone, Default)]
struct Trap(Arc<Mutex<Option<&'static str>>>);

impl Trap {
    fn set(&self, point: Option<&'static str>) {
        *self.0.lock().unwrap() = point;
    }

    fn is_set(&self) -> bool {
        self.0.lock().unwrap().is_some()
    }
}

/// What may be found under a key: what was acknowledged last, and what a killed operation may have left instead.
type Allowed = Vec<Option<Vec<u8>>>;

struct Run {
    network: Network,
    client: Client,
    trap: Trap,
    rng: SeededRng,
    /// Keys of the door, and objects of the command line.
    keys: BTreeMap<String, Allowed>,
    kills: BTreeMap<String, u32>,
    restarts: Vec<Duration>,
    /// Numbers of holders that were never away: what they hold can be counted.
    steady: Vec<bool>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let plan = Plan { audit_seconds: 20, ..Plan::SMALL };
        let network = Network::of_holders(plan);
        let steady = vec![true; plan.holders];
        let mut run = Self {
            network,
            client: Client::nobody(),
            trap: Trap::default(),
            rng: SeededRng::from_number(seed),
            keys: BTreeMap::new(),
            kills: BTreeMap::new(),
            restarts: Vec::new(),
            steady,
        };
        run.start_owner();
        run.network.wait_for_all();
        run.client = run.network.s3();
        assert_eq!(run.client.ask("PUT", "/bucket", &[]).status, 200);
        run
    }

    /// Starts the owner, listening for what it commits.
    fn start_owner(&mut self) -> Duration {
        let begun = Instant::now();
        let mut command = self.network.owner();
        command.env("BLACKHOLE_LOG", "warn,blackhole::events::storage=debug").env("NO_COLOR", "1");
        let mut starting = Node::begin(command, Stdio::piped());
        let log = starting.log();
        let node = starting.ready();
        let took = begun.elapsed();
        let (trap, process) = (self.trap.clone(), i32::try_from(node.id()).unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                let mut armed = trap.0.lock().unwrap();
                let said = |point: &str| line.contains(&format!("what=\"{point}\""));
                if armed.is_some_and(said) {
                    kill(process);
                    *armed = None;
                } else if !line.contains("blackhole::events") {
                    eprintln!("{line}");
                }
            }
        });
        self.client.door = node.s3.unwrap();
        self.network.owner = Some(node);
        took
    }

    fn key(&mut self, operation: Operation) -> String {
        let number = self.rng.below(KEYS);
        if matches!(operation, Operation::Store | Operation::Remove) {
            format!("object{number}")
        } else {
            format!("key{number}")
        }
    }

    /// One operation and one kill.
    fn round(&mut self, operation: Operation, point: Option<&'static str>) {
        let key = self.key(operation);
        let size = usize::try_from(5_000 + self.rng.below(400_000)).unwrap();
        let bytes = object(size, self.rng.next_u64());
        if operation == Operation::Delete || operation == Operation::CompleteUpload {
            // There is something to delete, or to replace.
            let first = object(20_000, self.rng.next_u64());
            let answer = self.client.ask("PUT", &format!("/bucket/{key}"), &first);
            assert_eq!(answer.status, 200, "{}", answer.text());
            self.keys.insert(key.clone(), vec![Some(first)]);
        } else if operation == Operation::Remove {
            let first = object(20_000, self.rng.next_u64());
            self.network.put(&key, &first);
            self.keys.insert(key.clone(), vec![Some(first)]);
        }
        let upload = (operation == Operation::CompleteUpload).then(|| self.upload(&key, &bytes));
        if operation == Operation::Repair {
            self.lose_holders();
        }
        self.trap.set(point);
        let late = Duration::from_millis(self.rng.below(400));
        let killed_at = point.map_or_else(|| "a random moment".to_owned(), |point| point.to_owned());
        let process = i32::try_from(self.network.owner.as_ref().unwrap().id()).unwrap();
        let acknowledged = std::thread::scope(|scope| {
            let run = &*self;
            let doing = scope.spawn(|| run.act(operation, &key, &bytes, upload.as_ref()));
            if point.is_some() {
                let deadline = Instant::now() + POINT_WITHIN;
                while run.trap.is_set() && Instant::now() < deadline {
                    std::thread::sleep(Duration::from_millis(1));
                }
            } else {
                std::thread::sleep(late);
            }
            kill(process);
            doing.join().unwrap()
        });
        assert!(!self.trap.is_set(), "{operation:?} never came to {killed_at}");
        *self.kills.entry(format!("{operation:?} at {killed_at}")).or_default() += 1;
        self.network.owner.take().unwrap().kill();
        let took = self.start_owner();
        self.restarts.push(took);
        let wanted = match operation {
            Operation::Put | Operation::Store | Operation::CompleteUpload => Some(Some(bytes)),
            Operation::Delete | Operation::Remove => Some(None),
            Operation::Repair => None,
        };
        if let Some(wanted) = wanted {
            let allowed = self.keys.entry(key.clone()).or_insert_with(|| vec![None]);
            if acknowledged {
                allowed.clear();
            }
            allowed.push(wanted);
            self.look(&key, &format!("{operation:?} of {key} at {killed_at}, acknowledged: {acknowledged}"));
        }
        let others: Vec<String> = self.keys.keys().cloned().collect();
        for _ in 0..2 {
            if let Some(other) = others.get(usize::try_from(self.rng.below(1 + others.len() as u64)).unwrap())
            {
                self.look(&other.clone(), &format!("after {operation:?} at {killed_at}"));
            }
        }
        if operation == Operation::Repair {
            self.return_holders();
        }
    }

    /// Does it; says whether it was acknowledged.
    fn act(&self, operation: Operation, key: &str, bytes: &[u8], upload: Option<&(String, String)>) -> bool {
        let path = format!("/bucket/{key}");
        let well = |answer: Option<crate::http::Answer>| {
            answer.is_some_and(|answer| {
                (200..300).contains(&answer.status) && !answer.text().contains("<Error>")
            })
        };
        match operation {
            Operation::Put => well(self.client.try_ask("PUT", &path, bytes)),
            Operation::Delete | Operation::Remove => {
                let deleted = if operation == Operation::Remove {
                    self.network.storage(&["delete", key]).status.success()
                } else {
                    well(self.client.try_ask("DELETE", &path, &[]))
                };
                // What follows the answer is killed too: ending the leases.
                let deadline = Instant::now() + POINT_WITHIN;
                while self.trap.is_set() && Instant::now() < deadline {
                    std::thread::sleep(Duration::from_millis(5));
                }
                deleted
            }
            Operation::CompleteUpload => {
                let (upload, etag) = upload.unwrap();
                let list = format!(
                    "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
                );
                well(self.client.try_ask("POST", &format!("{path}?uploadId={upload}"), list.as_bytes()))
            }
            Operation::Store => {
                let source = self.network.world.text(&format!("{key}.source"));
                std::fs::write(&source, bytes).unwrap();
                self.network.storage(&["put", &source, key]).status.success()
            }
            Operation::Repair => {
                let deadline = Instant::now() + POINT_WITHIN;
                while self.trap.is_set() && Instant::now() < deadline {
                    std::thread::sleep(Duration::from_millis(5));
                }
                true
            }
        }
    }

    /// Begins an upload in parts; returns its id and the one part's tag.
    fn upload(&self, key: &str, bytes: &[u8]) -> (String, String) {
        let path = format!("/bucket/{key}");
        let begun = self.client.ask("POST", &format!("{path}?uploads"), &[]).text();
        let id = begun.split_once("<UploadId>").unwrap().1.split_once("</UploadId>").unwrap().0.to_owned();
        let part = self.client.ask("PUT", &format!("{path}?partNumber=1&uploadId={id}"), bytes);
        assert_eq!(part.status, 200, "{}", part.text());
        (id, part.headers["etag"].clone())
    }

    /// What is under a key must be whole, and one of what may be.
    fn look(&mut self, key: &str, when: &str) {
        let found = if key.starts_with("object") {
            match self.network.get(key) {
                Ok(bytes) => Some(bytes),
                Err(why) => {
                    assert!(why.contains("there is no object"), "{key} {when}: {why}");
                    None
                }
            }
        } else {
            let answer = self.client.ask("GET", &format!("/bucket/{key}"), &[]);
            assert!(matches!(answer.status, 200 | 404), "{key} {when}: {} {}", answer.status, answer.text());
            (answer.status == 200).then_some(answer.body)
        };
        let allowed = self.keys.get_mut(key).unwrap();
        assert!(
            allowed.contains(&found),
            "{key} {when}: neither old nor new, but {:?} bytes",
            found.map(|found| found.len())
        );
        *allowed = vec![found];
    }

    /// Kills as many holders of some segment as make it due for repair.
    fn lose_holders(&mut self) {
        self.network.put("repaired", &object(300_000, self.rng.next_u64()));
        let status = self.network.status();
        let segments = status["segments"].as_array().unwrap();
        let ours = segments.iter().position(|segment| segment["name"] == "repaired").unwrap();
        let mut holders = self.network.holders_of(&status, ours);
        self.rng.shuffle(&mut holders);
        let beyond = holders.len().saturating_sub(8);
        for holder in &holders[..beyond] {
            self.network.kill_holder(*holder);
            self.steady[*holder] = false;
        }
    }

    fn return_holders(&mut self) {
        let away: Vec<usize> = (0..self.network.holders.len())
            .filter(|number| self.network.holders[*number].is_none())
            .collect();
        self.network.start_holders(&away);
        self.network.wait_for_all();
    }

    /// Plays so many rounds, of which every second is killed at a named point, each in its turn.
    fn play(&mut self, kills: u32) {
        let named: Vec<_> = named().collect();
        for round in 0..kills {
            let index = usize::try_from(round / 2).unwrap();
            let (operation, point) = named[index % named.len()];
            if round % REPAIR_EVERY == REPAIR_EVERY - 1 {
                let repair = points(Operation::Repair);
                let turn = usize::try_from(round / REPAIR_EVERY).unwrap();
                self.round(Operation::Repair, repair.get(turn % (repair.len() + 1)).copied());
            } else {
                self.round(operation, (round % 2 == 0).then_some(point));
            }
            if round % 50 == 49 {
                println!(
                    "{} kills; the slowest restart took {:?}",
                    round + 1,
                    self.restarts.iter().max().unwrap()
                );
            }
        }
        for key in self.keys.keys().cloned().collect::<Vec<_>>() {
            self.look(&key, "at the end");
        }
    }

    /// Each shard that lies with holders is of a segment that is there, once leases were ended and what nobody leases is
    /// gone.
    fn no_orphans(&self) {
        let steady = || (0..).zip(&self.steady).filter(|(_, steady)| **steady).map(|(number, _)| number);
        let lying = || -> usize {
            let held =
                |number: usize| files(&self.network.world.path(&format!("holder{number}/storage/held")));
            let is_shard = |file: &PathBuf| file.extension().is_none_or(|extension| extension != "redb");
            steady().map(|number| held(number).iter().filter(|file| is_shard(file)).count()).sum()
        };
        let promised = |status: &serde_json::Value| -> usize {
            let segments = 0..status["segments"].as_array().unwrap().len();
            let of = |segment| self.network.holders_of(status, segment);
            segments.flat_map(of).filter(|holder| self.steady[*holder]).count()
        };
        // A holder looks once a minute for what nobody leases.
        self.network.wait_long_for("orphans to go", |status| (lying() == promised(status)).then_some(()));
    }
}

/// As a power cut would.
fn kill(process: i32) {
    let killed =
        std::process::Command::new("kill").args(["-9", &process.to_string()]).stderr(Stdio::null()).status();
    assert!(killed.is_ok());
}

fn run(kills: u32, seed: u64) -> Run {
    let mut run = Run::new(seed);
    run.play(kills);
    let mut all: Vec<_> = run.restarts.clone();
    all.sort_unstable();
    println!("{kills} kills, seed {seed}: {:?}", run.kills);
    println!("ready again: median {:?}, slowest {:?}", all[all.len() / 2], all.last().unwrap());
    if all.last() > Some(&RESTART_WITHIN) {
        println!("a restart took longer than {RESTART_WITHIN:?}");
    }
    run
}

/// `cargo xtask bench crashes` kills more often: `BLACKHOLE_KILLS` says how many times, `BLACKHOLE_SEEDS` by which seed.
#[test]
fn what_an_owner_acknowledged_is_there_after_each_kill() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().unwrap());
    let kills = number("BLACKHOLE_KILLS").map(|kills: u64| u32::try_from(kills).unwrap());
    // Each point once, and as often at a random moment.
    let each_once = u32::try_from(2 * named().count()).unwrap();
    let run = run(kills.unwrap_or(each_once), number("BLACKHOLE_SEEDS").unwrap_or(1));
    if kills.is_some() {
        run.no_orphans();
    }
}
