//! Starting the binary, and ending what was started.

use std::{
    fs,
    hash::{BuildHasher as _, RandomState},
    io::{BufRead as _, BufReader},
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, ChildStderr, Command, Output, Stdio},
    time::{Duration, Instant},
};

use shared::{
    cdn::manifest::{Manifest, Pin},
    identity::PublicKey,
};
use tempfile::TempDir;

use crate::http::get;

/// What anything here may take on a machine that is busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A port for what has to listen there again after it was ended. Below those that Linux gives to whoever wants any port
/// (from 32,768), so that nobody gets it meanwhile.
pub(crate) fn free_port() -> u16 {
    let any = || 12_000 + (RandomState::new().hash_one(0) % 20_000) as u16;
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    std::iter::repeat_with(any).take(50).find(free).expect("one of 50 ports is free")
}

/// `blackhole` with these arguments.
pub(crate) fn blackhole(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blackhole"));
    let log = std::env::var_os("BLACKHOLE_LOG").unwrap_or_else(|| "warn".into());
    command.args(arguments).env("BLACKHOLE_LOG", log).stdin(Stdio::null());
    command
}

/// Runs it to its end, which must be good.
pub(crate) fn run(arguments: &[&str]) -> String {
    let output = blackhole(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// All that it said.
pub(crate) fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A directory for one test, with a publisher's key.
pub(crate) struct World {
    directory: TempDir,
    pub(crate) publisher: PublicKey,
}

impl World {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = directory.path().join("publisher.key");
        let publisher = run(&["key", "new", key.to_str().unwrap()]).trim().parse().unwrap();
        Self { directory, publisher }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Writes a file of a site.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// `blackhole publish` of a directory of this world, ready to run.
    pub(crate) fn publish(&self, directory: &str, more: &[&str]) -> Command {
        let (directory, key) = (self.text(directory), self.text("publisher.key"));
        let mut command = blackhole(&["publish", &directory, "--key", &key, "--site", "site.example"]);
        command.args(more);
        command
    }

    /// What a page of the site pins.
    pub(crate) fn pin(&self) -> Pin {
        Pin { publisher: self.publisher.clone(), site: "site.example".to_owned(), min_delegation: 0 }
    }

    /// Starts a node with `sections`, the text of its `[cdn]` and other sections.
    pub(crate) fn node(&self, data_dir: &str, sections: &str) -> Node {
        Node::start(self.command(data_dir, sections))
    }

    /// What starts it.
    pub(crate) fn command(&self, data_dir: &str, sections: &str) -> Command {
        let config = self.config(data_dir, sections);
        blackhole(&["node", "run", "--config", config.to_str().unwrap()])
    }

    /// Writes the configuration of a node; `sections` may go on with the one of the edge.
    pub(crate) fn config(&self, data_dir: &str, sections: &str) -> PathBuf {
        let config = self.path(&format!("{data_dir}.toml"));
        let data_dir = self.text(data_dir);
        let text = format!("[node]\ndata_dir = {data_dir:?}\n[edge]\nlisten = \"127.0.0.1:0\"\n{sections}");
        fs::write(&config, text).unwrap();
        config
    }

    /// The section of the site, with `more` lines.
    pub(crate) fn site(&self, more: &str) -> String {
        format!("[[cdn.sites]]\nname = \"site.example\"\npublisher = \"{}\"\n{more}\n", self.publisher)
    }
}

/// A running node. Killed when dropped.
pub(crate) struct Node {
    child: Child,
    pub(crate) edge: String,
    pub(crate) address: SocketAddr,
    pub(crate) did: String,
    /// Where its S3 door is, if it has one.
    pub(crate) s3: Option<SocketAddr>,
    /// Where its gateway of IPFS is, if it has one.
    pub(crate) ipfs: Option<SocketAddr>,
    /// Where its network listens.
    pub(crate) addresses: Vec<String>,
}

/// A node that was started and may not be ready.
pub(crate) struct Starting(Child);

impl Starting {
    /// What it logs, where the command asked for it.
    pub(crate) fn log(&mut self) -> ChildStderr {
        self.0.stderr.take().unwrap()
    }

    /// Waits until it is.
    pub(crate) fn ready(self) -> Node {
        Node::of(self.0)
    }
}

impl Node {
    /// Starts it, and waits until it is ready.
    pub(crate) fn start(command: Command) -> Self {
        Self::begin(command, Stdio::inherit()).ready()
    }

    /// Starts it.
    pub(crate) fn begin(mut command: Command, log: Stdio) -> Starting {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        Starting(command.spawn().unwrap())
    }

    fn of(mut child: Child) -> Self {
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).expect("a node says when it is ready");
        assert_eq!(ready["event"], "ready");
        let said = |name: &str| ready[name].as_str().unwrap().to_owned();
        let edge = said("edge");
        let address = edge.split_once("://").unwrap().1.parse().unwrap();
        let listening = ready["addresses"].as_array().unwrap();
        let addresses = listening.iter().map(|address| address.as_str().unwrap().to_owned()).collect();
        let door =
            |name: &str| ready[name].as_str().map(|url| url.split_once("://").unwrap().1.parse().unwrap());
        Self { child, edge, address, did: said("did"), s3: door("s3"), ipfs: door("ipfs"), addresses }
    }

    pub(crate) fn get(&self, path: &str) -> crate::http::Answer {
        get(self.address, path, &[])
    }

    /// The manifest in force, believed.
    pub(crate) fn manifest(&self, pin: &Pin) -> Option<Manifest> {
        let answer = self.get(&format!("/blackhole/v1/sites/{}/manifest", pin.site_id()));
        (answer.status == 200).then(|| Manifest::open(&answer.body, pin, 0, runtime::unix_now()).unwrap())
    }

    /// The bytes of an asset, through the manifest.
    pub(crate) fn asset(&self, manifest: &Manifest, path: &str) -> crate::http::Answer {
        let asset = &manifest.assets[&path.parse().unwrap()];
        self.get(&format!("/blackhole/v1/blobs/{}", asset.root))
    }

    /// Asks until it is as wanted.
    pub(crate) fn wait_for<T>(&self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(Instant::now() < deadline, "waited in vain for {what}:\n{}", self.get("/status").text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Memory in use, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
