"""Servers that stand beside each other in the bench: ours alone, ours with holders, and others'."""

import json
import os
import pathlib
import secrets
import socket
import subprocess
import sys
import time

from node import PROGRAM, Node

# What a start may take.
PATIENCE = 60
HOLDERS = 12


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def answers(port, what):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"{what} does not answer")


class Ours:
    """One node, objects sealed, each segment whole on its disk."""

    name = "blackhole"
    settings = ""

    def __init__(self, directory):
        self.node = Node(quota_mib=8192, extra=self.settings)
        self.url, self.key, self.pid = self.node.url, self.node.key(), self.node.process.pid
        self.others = []

    def end(self):
        self.node.end()


class Unsealed(Ours):
    """The same without sealing."""

    name = "blackhole, unsealed"
    settings = 'sealing = "none"\n'


class Spread:
    """One node whose objects are sealed and lie in shards with twelve others, all on this machine."""

    name = "blackhole, 4 of 12"

    def __init__(self, directory):
        self.holders, bootstrap = [], []
        for number in range(HOLDERS):
            self.holders.append(self.holder(pathlib.Path(directory, f"holder{number}"), number, bootstrap))
            bootstrap = bootstrap or [self.holders[0].address]
        self.node = Node(quota_mib=8192, extra=(
            'profile = "4/12"\n'
            f'[network]\nlisten = ["/ip4/127.0.0.1/tcp/0"]\nlocal_network = true\nbootstrap = {json.dumps(bootstrap)}\n'
            "[storage.own]\nvetting_audits = 0\naudit_seconds = 100000\n"
        ))
        self.url, self.key, self.pid = self.node.url, self.node.key(), self.node.process.pid
        self.others = [holder.pid for holder in self.holders]
        self.wait_for_all()

    def holder(self, directory, number, bootstrap):
        directory.mkdir()
        config = directory / "node.toml"
        # Each in another /24, region and autonomous system: placement's rules hold as they are.
        config.write_text(
            f'[node]\ndata_dir = "{directory}/data"\n[edge]\nlisten = "127.0.0.1:0"\n'
            f'[network]\nlisten = ["/ip4/127.0.{number + 1}.1/tcp/0"]\nlocal_network = true\n'
            f"bootstrap = {json.dumps(bootstrap)}\n"
            f"[storage.hold]\nquota_mib = 8192\nregion = {number % 9}\nautonomous_system = {number % 11}\n"
            "advert_seconds = 11\n"
        )
        process = subprocess.Popen(
            [PROGRAM, "node", "run", "--config", config], stdout=subprocess.PIPE,
            env=dict(os.environ, BLACKHOLE_LOG="error"),
        )
        process.address = json.loads(process.stdout.readline())["addresses"][0]
        return process

    def wait_for_all(self):
        data = pathlib.Path(self.node.directory.name, "data")
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            asked = subprocess.run(
                [PROGRAM, "storage", "status", "--json", "--data-dir", data], capture_output=True, text=True
            )
            if asked.returncode == 0 and json.loads(asked.stdout)["counted"] == HOLDERS:
                return
            time.sleep(0.2)
        raise RuntimeError(f"the owner does not know all holders: {asked.stdout} {asked.stderr}")

    def end(self):
        self.node.end()
        for holder in self.holders:
            holder.kill()
            holder.wait()


class Rclone:
    name = "rclone serve s3"

    def __init__(self, directory):
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.key = {"access_key_id": "bench", "secret_access_key": "bench-secret"}
        program = pathlib.Path(sys.executable).with_name("rclone")
        self.process = subprocess.Popen(
            [program, "serve", "s3", directory, "--addr", f"127.0.0.1:{port}", "--auth-key", "bench,bench-secret",
             "--config", os.devnull],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        self.pid, self.others = self.process.pid, []
        answers(port, self.name)

    def end(self):
        self.process.kill()
        self.process.wait()


class Garage:
    """As its guide sets up a single node: LMDB, one copy, its compression as it comes."""

    name = "Garage"
    settings = ""
    copies = 1

    def __init__(self, directory):
        self.secret, self.processes, addresses = secrets.token_hex(32), [], []
        for number in range(self.copies):
            place = pathlib.Path(directory, f"node{number}")
            place.mkdir()
            addresses.append(self.start(place))
        first, *others = [self.say(place, "node", "id", "-q") for place, _ in addresses]
        self.place = addresses[0][0]
        for other in others:
            self.say(self.place, "node", "connect", other)
        for number, node in enumerate([first, *others]):
            # Each in a zone of its own, as our holders are.
            self.say(self.place, "layout", "assign", "-z", f"zone{number}", "-c", "50G", node.split("@")[0])
        self.say(self.place, "layout", "apply", "--version", "1")
        key, secret = f"GK{secrets.token_hex(12)}", secrets.token_hex(32)
        self.say(self.place, "key", "import", "--yes", "-n", "bench", key, secret)
        self.say(self.place, "key", "allow", "--create-bucket", "bench")
        self.key = {"access_key_id": key, "secret_access_key": secret}
        self.url = f"http://127.0.0.1:{addresses[0][1]}"
        self.pid, self.others = self.processes[0].pid, [process.pid for process in self.processes[1:]]
        answers(addresses[0][1], self.name)

    def start(self, place):
        port, rpc = free_port(), free_port()
        (place / "garage.toml").write_text(
            f'metadata_dir = "{place}/meta"\ndata_dir = "{place}/data"\ndb_engine = "lmdb"\n'
            f"{self.settings}replication_factor = {self.copies}\n"
            f'rpc_bind_addr = "127.0.0.1:{rpc}"\nrpc_public_addr = "127.0.0.1:{rpc}"\nrpc_secret = "{self.secret}"\n'
            f'[s3_api]\ns3_region = "us-east-1"\napi_bind_addr = "127.0.0.1:{port}"\n'
        )
        self.processes.append(subprocess.Popen(
            [os.environ["GARAGE"], "-c", place / "garage.toml", "server"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ))
        answers(rpc, self.name)
        return place, port

    def say(self, place, *arguments):
        command = [os.environ["GARAGE"], "-c", place / "garage.toml", *arguments]
        deadline = time.monotonic() + PATIENCE
        while True:
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode == 0:
                return done.stdout.strip()
            if time.monotonic() > deadline:
                raise RuntimeError(f"garage {arguments}: {done.stderr}")
            time.sleep(0.5)

    def end(self):
        for process in self.processes:
            process.kill()
            process.wait()


class SyncedGarage(Garage):
    """The same, told to sync what it acknowledges, as we do."""

    name = "Garage, synced"
    settings = "metadata_fsync = true\ndata_fsync = true\n"


class ThreeGarages(Garage):
    """As its guide sets up a cluster: three nodes, each with a copy of everything."""

    name = "Garage, 3 copies"
    copies = 3
