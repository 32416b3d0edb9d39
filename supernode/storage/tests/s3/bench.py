"""The S3 door beside another S3 server, in the same run, by the same plain client: wall time and the server's CPU.

    python bench.py [--rounds 3] [--large 64] [--number 300]

Rounds are interleaved, and the order turns with each. A ratio is the other's figure over ours: above 1 we take less.
Requests are signed beforehand and their bodies are not (UNSIGNED-PAYLOAD), so that what is measured is the servers.
"""

import argparse
import hashlib
import http.client
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse

import requests_free as raw
from node import Node

MIB = 1 << 20
TICKS = os.sysconf("SC_CLK_TCK")
NOTES = [
    "We seal each object with a key of its own and sync it to the disk before we answer; rclone does neither.",
    "Garage is not measured yet: the crates registry has its source (2.5.0, AGPL-3.0), and nothing here builds it.",
]


class Ours:
    name = "blackhole"

    def __init__(self, directory):
        self.node = Node(quota_mib=8192)
        self.url, self.key, self.pid = self.node.url, self.node.key(), self.node.process.pid

    def end(self):
        self.node.end()


class Rclone:
    name = "rclone serve s3"

    def __init__(self, directory):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.key = {"access_key_id": "bench", "secret_access_key": "bench-secret"}
        program = pathlib.Path(sys.executable).with_name("rclone")
        self.process = subprocess.Popen(
            [program, "serve", "s3", directory, "--addr", f"127.0.0.1:{port}", "--auth-key", "bench,bench-secret",
             "--config", os.devnull],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        self.pid = self.process.pid
        for _ in range(300):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError("rclone does not answer")

    def end(self):
        self.process.kill()
        self.process.wait()


def cpu_seconds(pid):
    """User and system time of a process, threads and all."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Asking:
    """What raw.signed wants to know."""

    def __init__(self, server):
        self.node, self.key = server, server.key


def ready(server, method, key):
    path = f"/bench/{key}" if key else "/bench"
    return method, path, raw.signed(Asking(server), method, path, b"", {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"})


def exchange(server, requests, body, check=None):
    """Requests one after the other over one connection; wall and CPU seconds."""
    place = urllib.parse.urlsplit(server.url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=120)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    buffer = bytearray(MIB)
    cpu, begun = cpu_seconds(server.pid), time.perf_counter()
    for method, path, headers in requests:
        connection.request(method, path, body if method == "PUT" else None, headers)
        response = connection.getresponse()
        assert response.status == 200, (server.name, method, response.status, response.read()[:300])
        read = 0
        digest = hashlib.sha256() if check else None
        while count := response.readinto(buffer):
            read += count
            if check:
                digest.update(buffer[:count])
        assert method == "PUT" or read == len(body), (server.name, read)
        assert not check or digest.hexdigest() == check, server.name
    spent = time.perf_counter() - begun, cpu_seconds(server.pid) - cpu
    connection.close()
    return spent


def measure(server, large, small, number, names):
    figures = {}
    for what, body, count in [(f"{len(large) // MIB} MiB", large, 3), ("4 KiB", small, number)]:
        keys = [f"{what.split()[1]}-{next(names)}" for _ in range(count)]
        for method in ["PUT", "GET"]:
            figures[f"{method} {what}"] = exchange(server, [ready(server, method, key) for key in keys], body)
        # Not measured: that the bytes are the same.
        exchange(server, [ready(server, "GET", keys[0])], body, hashlib.sha256(body).hexdigest())
    return figures


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--large", type=int, default=64, help="MiB")
    arguments.add_argument("--number", type=int, default=300, help="of small objects, a round")
    asked = arguments.parse_args()
    large, small = os.urandom(asked.large * MIB), os.urandom(4096)
    names = iter(range(1 << 40))
    with tempfile.TemporaryDirectory(prefix="bench-rclone-") as directory:
        servers = []
        try:
            for kind in [Ours, Rclone]:
                servers.append(kind(directory))
                exchange(servers[-1], [ready(servers[-1], "PUT", "")], b"")
            for server in servers:
                # Allocators and caches find their size.
                measure(server, large, small, 20, names)
            rounds = []
            for number in range(asked.rounds):
                order = servers if number % 2 == 0 else servers[::-1]
                rounds.append({server.name: measure(server, large, small, asked.number, names) for server in order})
        finally:
            for server in servers:
                server.end()
    report(rounds, asked)


def report(rounds, asked):
    ours, other = Ours.name, Rclone.name
    print(f"{asked.rounds} rounds, {asked.large} MiB three times and 4 KiB {asked.number} times a round; medians")
    print(f"{'':12}{'wall, s: ours':>15}{'theirs':>9}{'ratio':>8}{'CPU, s: ours':>15}{'theirs':>9}{'ratio':>8}")
    summary = {}
    for what in rounds[0][ours]:
        row, ratios = "", []
        for at in [0, 1]:
            mine = statistics.median(figures[ours][what][at] for figures in rounds)
            theirs = statistics.median(figures[other][what][at] for figures in rounds)
            ratio = theirs / mine if mine else float("nan")
            ratios.append(round(ratio, 2))
            row += f"{mine:>15.2f}{theirs:>9.2f}{ratio:>8.2f}"
        print(f"{what:12}{row}")
        summary[what] = {"wall": ratios[0], "cpu": ratios[1]}
    for note in NOTES:
        print(note)
    print(json.dumps({"rival": other, "ratios": summary}))


main()
