//! Objects on strangers: an owner and a dozen holders and more, each a process, each in a network of its own.
//!
//! Loopback has 127.0.0.0/8 on Linux: each holder listens in another /24, so that placement's rules hold as they are. The
//! one thing that is relaxed is vetting, by the owner's configuration: nobody could pass a hundred audits here.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    process::{Node, PATIENCE, World, blackhole, text},
    s3::Client,
};

/// Enough for 4 of 12, and for four holders to be replaced.
const HOLDERS: usize = 18;

/// How a network is.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) holders: usize,
    pub(crate) profile: &'static str,
    /// How often holders say that they are there.
    pub(crate) advert_seconds: u64,
    pub(crate) audit_seconds: u64,
    pub(crate) gone_seconds: u64,
}

impl Plan {
    pub(crate) const SMALL: Self = Self {
        holders: HOLDERS,
        profile: "4/12",
        advert_seconds: 11,
        audit_seconds: 100_000,
        gone_seconds: 1,
    };
}

pub(crate) struct Network {
    pub(crate) owner: Option<Node>,
    pub(crate) holders: Vec<Option<Node>>,
    /// Where each listens, also after a restart.
    ports: Vec<u16>,
    plan: Plan,
    /// What the owner's configuration has beside.
    pub(crate) owner_sections: String,
    /// The same of holders, by their numbers.
    pub(crate) holder_sections: BTreeMap<usize, String>,
    /// Last, so that nobody runs any more when it is deleted,
    pub(crate) world: World,
    /// and so that two of these, each a dozen processes and more, never keep one another from answering in time.
    _alone: MutexGuard<'static, ()>,
}

impl Network {
    /// Starts all, and waits until the owner knows all.
    fn start(audit_seconds: u64) -> Self {
        Self::planned(Plan { audit_seconds, ..Plan::SMALL })
    }

    /// The same.
    pub(crate) fn planned(plan: Plan) -> Self {
        let mut network = Self::of_holders(plan);
        network.start_owner();
        network.wait_for_all();
        network
    }

    /// The holders alone.
    pub(crate) fn of_holders(plan: Plan) -> Self {
        let (holders, ports) = ((0..plan.holders).map(|_| None).collect(), vec![0; plan.holders]);
        let alone = alone();
        let mut network = Self {
            owner: None,
            holders,
            ports,
            plan,
            owner_sections: String::new(),
            holder_sections: BTreeMap::new(),
            world: World::new(),
            _alone: alone,
        };
        network.start_holder(0);
        network.start_holders(&(1..plan.holders).collect::<Vec<_>>());
        network
    }

    /// Starts these at the same time.
    pub(crate) fn start_holders(&mut self, numbers: &[usize]) {
        let commands = numbers.iter().map(|number| (*number, self.holder(*number)));
        let starting: Vec<_> =
            commands.map(|(number, command)| (number, Node::begin(command, Stdio::inherit()))).collect();
        for (number, node) in starting {
            let node = node.ready();
            let port = node.addresses[0].split('/').nth(4).unwrap();
            self.ports[number] = port.parse().unwrap();
            self.holders[number] = Some(node);
        }
    }

    pub(crate) fn start_holder(&mut self, number: usize) {
        self.start_holders(&[number]);
    }

    /// What starts a holder.
    pub(crate) fn holder(&self, number: usize) -> Command {
        let (bootstrap, every, port) = (self.bootstrap(), self.plan.advert_seconds, self.ports[number]);
        let sections = format!(
            "[network]\nlisten = [\"/ip4/127.0.{}.1/tcp/{port}\"]\nlocal_network = true\nbootstrap = {bootstrap:?}\n\
             [storage.hold]\nquota_mib = 64\nregion = {}\nautonomous_system = {}\nadvert_seconds = {every}\n{}",
            number + 1,
            number % 9,
            number % 11,
            self.holder_sections.get(&number).map_or("", String::as_str),
        );
        self.world.command(&format!("holder{number}"), &sections)
    }

    /// Where the first holder that runs listens.
    fn bootstrap(&self) -> Vec<String> {
        self.holders
            .iter()
            .flatten()
            .take(1)
            .flat_map(|node| node.addresses.iter().take(1).cloned())
            .collect()
    }

    pub(crate) fn kill_holder(&mut self, number: usize) {
        self.holders[number].take().unwrap().kill();
    }

    /// What starts the owner.
    pub(crate) fn owner(&self) -> Command {
        let Plan { profile, audit_seconds, gone_seconds, .. } = self.plan;
        let bootstrap = self.bootstrap();
        let sections = format!(
            "[network]\nlisten = [\"/ip4/127.0.0.1/tcp/0\"]\nlocal_network = true\nbootstrap = {bootstrap:?}\n\
             [storage]\nlisten = \"127.0.0.1:0\"\nprofile = \"{profile}\"\n\
             [storage.own]\nvetting_audits = 0\naudit_seconds = {audit_seconds}\ngone_seconds = {gone_seconds}\n{}",
            self.owner_sections
        );
        self.world.command("owner", &sections)
    }

    pub(crate) fn start_owner(&mut self) {
        self.owner = Some(Node::start(self.owner()));
    }

    /// Until the owner counts every holder that runs.
    pub(crate) fn wait_for_all(&self) {
        let running = self.holders.iter().flatten().count();
        self.wait_for("holders that count", |status| {
            (status["counted"].as_u64() >= Some(running as u64)).then_some(())
        });
    }

    pub(crate) fn storage(&self, arguments: &[&str]) -> Output {
        let data_dir = self.world.text("owner");
        let all = [&["storage"], arguments, &["--data-dir", &data_dir]].concat();
        blackhole(&all).output().unwrap()
    }

    pub(crate) fn status(&self) -> serde_json::Value {
        let output = self.storage(&["status", "--json"]);
        assert!(output.status.success(), "{}", text(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub(crate) fn wait_for<T>(&self, what: &str, look: impl FnMut(&serde_json::Value) -> Option<T>) -> T {
        self.wait(PATIENCE * 3, what, look)
    }

    /// For what takes many audits, or a holder's look for what nobody leases.
    pub(crate) fn wait_long_for<T>(
        &self,
        what: &str,
        look: impl FnMut(&serde_json::Value) -> Option<T>,
    ) -> T {
        self.wait(PATIENCE * 12, what, look)
    }

    fn wait<T>(
        &self,
        patience: Duration,
        what: &str,
        mut look: impl FnMut(&serde_json::Value) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + patience;
        loop {
            let status = self.status();
            if let Some(found) = look(&status) {
                return found;
            }
            assert!(Instant::now() < deadline, "waited in vain for {what}: {status}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// A client of the owner's S3 door, with a key of its own.
    pub(crate) fn s3(&self) -> Client {
        Client::new(&self.world.text("owner.toml"), self.owner.as_ref().unwrap().s3.unwrap())
    }

    pub(crate) fn put(&self, name: &str, bytes: &[u8]) {
        self.world.file("source", bytes);
        let output = self.storage(&["put", &self.world.text("source"), name]);
        assert!(output.status.success(), "{}", text(&output));
    }

    pub(crate) fn get(&self, name: &str) -> Result<Vec<u8>, String> {
        let output = self.storage(&["get", name, &self.world.text("read")]);
        if output.status.success() {
            Ok(fs::read(self.world.path("read")).unwrap())
        } else {
            Err(text(&output))
        }
    }

    /// Numbers of those that hold a shard of the first segment, by shard.
    pub(crate) fn all_holders(&self) -> Vec<usize> {
        self.holders_of(&self.status(), 0)
    }

    /// Numbers of those that run and hold a shard of a segment, by shard.
    pub(crate) fn holders_of(&self, status: &serde_json::Value, segment: usize) -> Vec<usize> {
        let holders = status["segments"][segment]["holders"].as_array().unwrap();
        let number = |place: &serde_json::Value| {
            let did = place[1].as_str();
            self.holders.iter().position(|node| node.as_ref().map(|node| node.did.as_str()) == did)
        };
        holders.iter().filter_map(number).collect()
    }

    /// Asks a holder, as its operator would.
    pub(crate) fn ask_holder(&self, number: usize, arguments: &[&str]) -> Output {
        let data_dir = self.world.text(&format!("holder{number}"));
        blackhole(&[&["storage"], arguments, &["--data-dir", &data_dir]].concat()).output().unwrap()
    }

    /// What a holder's status says of others' shards.
    pub(crate) fn held(&self, number: usize) -> serde_json::Value {
        let output = self.ask_holder(number, &["status", "--json"]);
        assert!(output.status.success(), "{}", text(&output));
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(status.as_object().unwrap().keys().collect::<Vec<_>>(), ["held"], "it owns nothing");
        status["held"].clone()
    }

    /// Flips a bit in each KiB of what a holder keeps.
    pub(crate) fn rot(&self, number: usize) {
        let mut rotten = 0;
        for file in files(&self.world.path(&format!("holder{number}/storage/held"))) {
            let mut bytes = fs::read(&file).unwrap();
            if bytes.len() > 65_536 && file.extension().is_none_or(|extension| extension != "redb") {
                bytes.iter_mut().step_by(1024).for_each(|byte| *byte ^= 1);
                fs::write(&file, bytes).unwrap();
                rotten += 1;
            }
        }
        assert!(rotten > 0, "holder {number} keeps nothing");
    }
}

/// Who has this is the only one that runs a network.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    // A test that failed has ended its processes all the same.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    // A node's socket is there too, and nothing lies in it.
    let entries = entries.filter(|path| path.is_dir() || path.is_file());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Bytes that no two pieces of are alike.
pub(crate) fn object(size: usize, seed: u64) -> Vec<u8> {
    let mut rng = shared::base::SeededRng::from_number(seed);
    (0..size.div_ceil(8)).flat_map(|_| rng.next_u64().to_le_bytes()).take(size).collect()
}

pub(crate) fn alive(status: &serde_json::Value) -> usize {
    usize::try_from(status["segments"][0]["alive"].as_u64().unwrap()).unwrap()
}

#[test]
fn an_object_outlives_its_holders_and_is_rebuilt() {
    let mut network = Network::start(1);
    let (large, small) = (object(20_000_000, 1), object(3000, 2));
    network.put("holiday/film.mp4", &large);
    network.put("notes.txt", &small);
    assert!(network.get("holiday/film.mp4").unwrap() == large);
    assert_eq!(network.get("notes.txt").unwrap(), small);
    assert!(network.get("absent").unwrap_err().contains("there is no object"));
    let listed = network.storage(&["ls"]);
    assert!(text(&listed).contains("20000000") && text(&listed).contains("holiday/film.mp4"), "{listed:?}");
    assert!(alive(&network.status()) >= 10, "what is acknowledged is above the repair line with a margin");

    let holders = network.all_holders();
    for holder in &holders[..3] {
        network.kill_holder(*holder);
    }
    assert!(network.get("holiday/film.mp4").unwrap() == large, "any 4 of those that are left");
    // With eight left it is time to repair.
    for holder in &holders[3..holders.len().saturating_sub(8).max(3)] {
        network.kill_holder(*holder);
    }
    // To the full number, or to what holders of a busy machine took in time: above the line nobody owes more.
    network.wait_for("the segment to be rebuilt", |status| {
        let holders = status["segments"][0]["holders"].as_array().unwrap();
        let dead = holders.iter().any(|place| {
            !network.holders.iter().flatten().any(|node| Some(node.did.as_str()) == place[1].as_str())
        });
        (alive(status) > 8 && !dead).then_some(())
    });
    assert!(network.get("holiday/film.mp4").unwrap() == large);
}

#[test]
fn rot_is_found_by_an_audit() {
    let network = Network::start(2);
    let bytes = object(2_000_000, 3);
    network.put("a", &bytes);
    let holders = network.all_holders();
    let rotten = *holders.last().unwrap();
    network.rot(rotten);
    let did = network.holders[rotten].as_ref().unwrap().did.clone();
    network.wait_for("an audit to find it", |status| {
        let failed = status["failed_audits"].as_array().unwrap().iter();
        let found = failed.filter(|audit| audit[0] == did.as_str()).any(|audit| audit[1] == "Lost");
        (found && alive(status) == holders.len() - 1).then_some(())
    });
    assert!(network.get("a").unwrap() == bytes);

    // Anybody can check what is kept of it, without a node.
    let listed = network.storage(&["evidence"]);
    assert!(listed.status.success(), "{}", text(&listed));
    // Beside it there may be silences of a busy machine, of which there is our word alone.
    let listed = text(&listed);
    let admitted: Vec<&str> = listed.lines().filter(|line| line.contains("\"admits\":true")).collect();
    network.world.file("evidence", admitted.join("\n").as_bytes());
    let first: serde_json::Value = serde_json::from_str(admitted[0]).unwrap();
    let (file, root) = (network.world.text("evidence"), first["root"].as_str().unwrap().to_owned());
    let check =
        |more: &[&str]| blackhole(&[&["storage", "check-evidence", &file], more].concat()).output().unwrap();
    let checked = check(&["--root", &root]);
    assert!(checked.status.success() && text(&checked).contains(&did), "{}", text(&checked));
    assert!(text(&checked).contains("admits"), "{}", text(&checked));
    let other = check(&["--root", &"00".repeat(32)]);
    assert!(!other.status.success() && text(&other).contains("another shard"), "{}", text(&other));
}

#[test]
fn rot_is_found_by_a_reader_who_reads_on() {
    let network = Network::start(100_000);
    let bytes = object(2_000_000, 4);
    network.put("a", &bytes);
    let holders = network.all_holders();
    // The first shards are the object itself, and are read first.
    let rotten = holders[0];
    network.rot(rotten);
    assert!(network.get("a").unwrap() == bytes);
    let status = network.status();
    assert_eq!(alive(&status), holders.len() - 1, "{status}");
    let did = network.holders[rotten].as_ref().unwrap().did.clone();
    let holders = status["segments"][0]["holders"].as_array().unwrap();
    assert!(!holders.iter().any(|place| place[1] == did.as_str()), "{status}");
}

#[test]
fn who_joins_hears_at_once_which_holders_there_are() {
    // None of them says again within this test what it offers.
    let plan = Plan { holders: 8, advert_seconds: 600, ..Plan::SMALL };
    let mut network = Network::of_holders(plan);
    network.start_owner();
    network.wait_for_all();
}

#[test]
fn who_was_away_counts_again_and_nothing_is_rebuilt() {
    let mut network = Network::start(1);
    let bytes = object(1_000_000, 6);
    network.put("a", &bytes);
    let (holders, before) = (network.all_holders(), alive(&network.status()));
    let away = holders[0];
    network.kill_holder(away);
    network.wait_for("it to be given up", |status| (alive(status) == before - 1).then_some(()));
    // It has moved meanwhile.
    network.ports[away] = 0;
    network.start_holder(away);
    network.wait_for("it to count again", |status| (alive(status) == before).then_some(()));
    assert_eq!(network.all_holders(), holders, "each has what it had");
    assert!(network.get("a").unwrap() == bytes);
}

#[test]
fn an_owner_killed_in_an_upload_loses_nothing_it_acknowledged() {
    let mut network = Network::start(100_000);
    let kept = object(1_000_000, 5);
    network.put("kept", &kept);
    for (round, millis) in [30_u64, 120, 250, 450].into_iter().enumerate() {
        let bytes = object(20_000_000, 10 + round as u64);
        network.world.file("source", &bytes);
        let data_dir = network.world.text("owner");
        let source = network.world.text("source");
        let name = format!("round{round}");
        let arguments = ["storage", "put", "--data-dir", &data_dir, &source, &name];
        let mut command = blackhole(&arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let putting = command.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(millis));
        network.owner.take().unwrap().kill();
        let said = putting.wait_with_output().unwrap();
        network.start_owner();
        assert!(network.get("kept").unwrap() == kept, "round {round}");
        match network.get(&name) {
            Ok(read) => assert!(read == bytes, "round {round}: whole or not at all"),
            Err(why) => {
                assert!(why.contains("there is no object"), "round {round}: {why}");
                assert!(!said.status.success(), "round {round}: it was acknowledged: {}", text(&said));
            }
        }
    }
}

#[test]
fn an_object_of_the_s3_door_lies_with_strangers() {
    let mut network = Network::start(100_000);
    let client = network.s3();
    let large = object(20_000_000, 20);
    assert_eq!(client.ask("PUT", "/bucket", &[]).status, 200);
    let answer = client.ask("PUT", "/bucket/holiday/film.mp4", &large);
    assert_eq!(answer.status, 200, "{}", answer.text());
    network.wait_for("the segment to be watched over", |status| {
        (status["segments"][0]["alive"].as_u64() >= Some(10)).then_some(())
    });
    assert!(client.ask("GET", "/bucket/holiday/film.mp4", &[]).body == large);
    // What is on this node is not the object, nor a copy of it.
    let here = |network: &Network| -> u64 {
        let files = files(&network.world.path("owner/storage/blobs"));
        // One may go at this moment.
        files.iter().filter_map(|file| fs::metadata(file).ok()).map(|file| file.len()).sum()
    };
    network.wait_for("the way station to be empty", |_| (here(&network) == 0).then_some(()));

    for holder in &network.all_holders()[..3] {
        network.kill_holder(*holder);
    }
    assert!(client.ask("GET", "/bucket/holiday/film.mp4", &[]).body == large, "any 4 of those that are left");

    network.owner.take().unwrap().kill();
    network.start_owner();
    network.wait_for_all();
    let client = network.s3();
    let answer = client.ask("GET", "/bucket/holiday/film.mp4", &[]);
    assert!(answer.body == large, "after a restart: {} {}", answer.status, answer.body.len());

    assert_eq!(client.ask("DELETE", "/bucket/holiday/film.mp4", &[]).status, 204);
    assert_eq!(client.ask("GET", "/bucket/holiday/film.mp4", &[]).status, 404);
    network.wait_for("the segment to be given up", |status| {
        status["segments"].as_array().unwrap().is_empty().then_some(())
    });
}

#[test]
fn what_an_owner_deletes_goes_from_its_holders_disks() {
    let mut network = Network::start(100_000);
    let kept = object(1_000_000, 30);
    network.put("kept", &kept);
    network.put("deleted", &object(2_000_000, 31));
    network.put("deleted and killed", &object(2_000_000, 32));
    network.put("inline", &object(2000, 33));
    let lying = |network: &Network| -> usize {
        let held = |number| files(&network.world.path(&format!("holder{number}/storage/held")));
        let is_shard = |file: &PathBuf| file.extension().is_none_or(|extension| extension != "redb");
        (0..HOLDERS).map(|number| held(number).iter().filter(|file| is_shard(file)).count()).sum()
    };
    assert!(lying(&network) >= 30, "three objects of a segment each");
    let delete = |network: &Network, name: &str| {
        let output = network.storage(&["delete", name]);
        (output.status.success(), text(&output))
    };
    let (deleted, said) = delete(&network, "absent");
    assert!(!deleted && said.contains("there is no object \"absent\""), "{said}");

    assert_eq!(delete(&network, "inline"), (true, "inline: deleted\n".to_owned()));
    assert_eq!(delete(&network, "deleted"), (true, "deleted: deleted\n".to_owned()));
    assert!(network.get("deleted").unwrap_err().contains("there is no object"));
    let segments = network.status()["segments"].as_array().unwrap().len();
    assert_eq!(segments, 2, "nobody watches over it any more");
    // What was acknowledged holds, and the next process ends the leases that this one did not come to.
    let (deleted, said) = delete(&network, "deleted and killed");
    network.owner.take().unwrap().kill();
    assert!(deleted, "{said}");
    network.start_owner();
    assert!(network.get("deleted and killed").unwrap_err().contains("there is no object"));
    assert!(network.get("kept").unwrap() == kept, "what was not deleted is there");
    let listed = network.storage(&["ls"]);
    let names: Vec<_> = text(&listed).lines().map(|line| line[30..].to_owned()).collect();
    assert_eq!(names, ["kept"], "{listed:?}");

    assert!(delete(&network, "kept").0);
    let listed = network.storage(&["ls"]);
    assert!(listed.status.success() && listed.stdout.is_empty(), "{listed:?}");
    // A holder looks once a minute for what nobody leases.
    network.wait_long_for("the holders' disks to be empty", |status| {
        assert!(status["segments"].as_array().unwrap().is_empty(), "{status}");
        (lying(&network) == 0).then_some(())
    });
}
