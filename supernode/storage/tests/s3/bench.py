"""The S3 door beside other S3 servers, in the same run, by the same plain client: wall time and the server's CPU.

    python bench.py [--rounds 3] [--large 64] [--number 300]

Rounds are interleaved, and the order turns with each. A ratio is the other's figure over ours: above 1 we take less.
Requests are signed beforehand and their bodies are not (UNSIGNED-PAYLOAD), so that what is measured is the servers.
Garage takes part where the environment says in GARAGE where its program is.
"""

import argparse
import hashlib
import http.client
import json
import mmap
import os
import pathlib
import socket
import statistics
import tempfile
import time
import urllib.parse

import requests_free as raw
from rivals import Garage, Ours, Rclone, Spread, SyncedGarage, ThreeGarages, Unsealed

MIB = 1 << 20
# For all servers, and for what of their files is in memory.
LEFT_BYTES = 4096 * MIB
TICKS = os.sysconf("SC_CLK_TCK")
NOTES = [
    "We seal each object with a key of its own, unless told not to, and sync it to the disk before we answer; rclone does "
    "neither, and Garage syncs where it is told to.",
    "With 4 of 12 the door's objects lie with twelve processes on the same disk, three times the bytes, each shard synced "
    "and signed for; their CPU is in brackets: theirs are other people's machines. Garage's three copies take as many bytes, "
    "with three processes.",
]


def cpu_seconds(pid):
    """User and system time of a process, threads and all."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def cpu_of_others(server):
    return sum(cpu_seconds(pid) for pid in server.others)


def memory_in_use(directory):
    """Takes all memory but some, until it is closed, and has the rest in use as well. A machine whose memory is another's gets
    a page that lay idle some twenty times slower than one that was in use a moment ago; whoever writes most would pay most
    for that, and pages that lie idle are what is free or seldom read. What is left is small enough to be in use all the
    time."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    memory = mmap.mmap(-1, max(free - LEFT_BYTES, mmap.PAGESIZE))
    for at in range(0, len(memory), mmap.PAGESIZE):
        memory[at] = 1
    holes = pathlib.Path(directory, "holes")
    holes.touch()
    os.truncate(holes, 2 * LEFT_BYTES)
    buffer = bytearray(MIB)
    with open(holes, "rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
    return memory


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
    # What an earlier turn left for the disk to write is not this one's.
    os.sync()
    cpu, others, begun = cpu_seconds(server.pid), cpu_of_others(server), time.perf_counter()
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
    spent = time.perf_counter() - begun, cpu_seconds(server.pid) - cpu, cpu_of_others(server) - others
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
    kinds = [Unsealed, Ours, Spread, Rclone]
    if "GARAGE" in os.environ:
        kinds += [Garage, SyncedGarage, ThreeGarages]
    with tempfile.TemporaryDirectory(prefix="bench-s3-") as directory:
        servers = []
        try:
            for number, kind in enumerate(kinds):
                place = pathlib.Path(directory, str(number))
                place.mkdir()
                servers.append(kind(str(place)))
                exchange(servers[-1], [ready(servers[-1], "PUT", "")], b"")
            memory = memory_in_use(directory)
            for server in servers:
                # Allocators and caches find their size.
                measure(server, large, small, 20, names)
            rounds = []
            for number in range(asked.rounds):
                order = servers if number % 2 == 0 else servers[::-1]
                rounds.append({server.name: measure(server, large, small, asked.number, names) for server in order})
            memory.close()
        finally:
            for server in servers:
                server.end()
    report(rounds, asked, [kind.name for kind in kinds])


def report(rounds, asked, names):
    print(f"{asked.rounds} rounds, {asked.large} MiB three times and 4 KiB {asked.number} times a round; medians")
    ours = [Unsealed.name, Ours.name, Spread.name]
    print(f"{'':12}{'':22}{'wall, s':>9}{'CPU, s':>9}{'(holders)':>11}   how much longer others took: wall, CPU")
    ratios = {}
    for what in rounds[0][names[0]]:
        medians = {
            name: [statistics.median(figures[name][what][at] for figures in rounds) for at in range(3)] for name in names
        }
        for name in names:
            wall, cpu, others = medians[name]
            row = f"{what:12}{name:22}{wall:>9.2f}{cpu:>9.2f}" + (f"{f'({others:.2f})':>11}" if others else f"{'':11}")
            for other in [other for other in names if name in ours and other not in ours]:
                pair = [theirs / mine if mine else float("nan") for theirs, mine in zip(medians[other], [wall, cpu])]
                row += f"   {other} {pair[0]:.2f}, {pair[1]:.2f}"
                ratios.setdefault(other, {}).setdefault(name, {})[what] = [round(ratio, 2) for ratio in pair]
            print(row)
    for note in NOTES:
        print(note)
    print(json.dumps({"ratios_wall_cpu": ratios}))


main()
