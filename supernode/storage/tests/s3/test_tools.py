"""Tools as people have them, unmodified: boto3, awscli, rclone and s5cmd always; s3cmd and restic where they are installed.

TREE_MIB in the environment asks for a tree of so many MiB with 10,000 files, in place of one of some 20 MB: `cargo xtask bench tools`.
"""

import contextlib
import filecmp
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

SIZES = [0, 1, 4096, 70_000, 1_000_000, 9 << 20]
TREE_MIB = int(os.environ.get("TREE_MIB", 0))
FILES = 10_000 if TREE_MIB else 40
TIMEOUT_SECONDS = 1800 if TREE_MIB else 110


def _sizes(chance):
    """Of all files: some of every kind, many small ones, and where the tree is large a few that have most of it."""
    sizes = SIZES + SIZES + [chance.randrange(20_000) for _ in range(FILES - 2 * len(SIZES))]
    if TREE_MIB:
        for place, parts in enumerate([2, 4, 8, 16, 32, 64, 64]):
            sizes[12 + place] = ((TREE_MIB << 20) - sum(sizes)) // parts
        sizes[11] += (TREE_MIB << 20) - sum(sizes)
    return sizes


def _tree(w):
    """Files of every kind, which all tools share."""
    root = pathlib.Path(w.node.directory.name, "tree")
    if root.exists():
        return root
    chance = random.Random(3)
    for number, size in enumerate(_sizes(chance)):
        folder = root / chance.choice(["", "a", "a/b", "mit Leerzeichen", "ümlaut"])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / chance.choice(["f{}", "ü{}", "with space {}", "{}.tar.gz"]).format(number)).write_bytes(os.urandom(size))
    return root


@contextlib.contextmanager
def _back(w):
    """A directory for what comes back, for as long as it is looked at."""
    with tempfile.TemporaryDirectory(dir=w.node.directory.name) as directory:
        yield pathlib.Path(directory, "back")


def _same(one, other):
    compared = filecmp.dircmp(one, other)

    def look(compared):
        assert not compared.left_only and not compared.right_only, (compared.left_only, compared.right_only)
        _, wrong, failed = filecmp.cmpfiles(compared.left, compared.right, compared.common_files, shallow=False)
        assert not wrong and not failed, (wrong, failed)
        for below in compared.subdirs.values():
            look(below)

    look(compared)


def _tool(name):
    """One that is installed beside this Python."""
    return str(pathlib.Path(sys.executable).with_name(name))


def _environment(w):
    # Whatever the machine says of certificates is about other servers than this.
    environment = {name: value for name, value in os.environ.items() if not name.endswith("CA_BUNDLE")}
    return dict(
        environment, AWS_ACCESS_KEY_ID=w.key["access_key_id"], AWS_SECRET_ACCESS_KEY=w.key["secret_access_key"],
        AWS_DEFAULT_REGION="us-east-1", AWS_EC2_METADATA_DISABLED="true", AWS_MAX_ATTEMPTS="1",
    )


def _run(w, *command):
    done = subprocess.run(command, env=_environment(w), capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    assert done.returncode == 0, (command, done.stdout[-500:], done.stderr[-500:])
    return done.stdout


def case_boto3_round_trips_a_tree(w):
    b = w.bucket()
    root = _tree(w)
    files = [file for file in root.rglob("*") if file.is_file()]
    key = lambda file: file.relative_to(root).as_posix()
    for file in files:
        w.s3.upload_file(str(file), b, key(file))
    with _back(w) as back:
        for file in files:
            to = back / key(file)
            to.parent.mkdir(parents=True, exist_ok=True)
            w.s3.download_file(b, key(file), str(to))
        _same(root, back)
    for page in w.s3.get_paginator("list_objects_v2").paginate(Bucket=b):
        objects = [{"Key": found["Key"]} for found in page["Contents"]]
        assert "Errors" not in w.s3.delete_objects(Bucket=b, Delete={"Objects": objects})
    w.s3.delete_bucket(Bucket=b)


def case_awscli_round_trips_a_tree(w):
    b = w.bucket()
    root = _tree(w)
    aws = [_tool("aws"), "--endpoint-url", w.node.url, "s3"]
    _run(w, *aws, "sync", str(root), f"s3://{b}/tree", "--only-show-errors")
    with _back(w) as back:
        _run(w, *aws, "sync", f"s3://{b}/tree", str(back), "--only-show-errors")
        _same(root, back)
    _run(w, *aws, "rm", f"s3://{b}/tree", "--recursive", "--only-show-errors")
    _run(w, *aws, "rb", f"s3://{b}")


def case_rclone_round_trips_a_tree_and_checks_it(w):
    b = w.bucket()
    root = _tree(w)
    config = pathlib.Path(w.node.directory.name, "rclone.conf")
    config.write_text(
        f"[us]\ntype = s3\nprovider = Other\nenv_auth = true\nendpoint = {w.node.url}\nregion = us-east-1\n"
    )
    rclone = [_tool("rclone"), "--config", str(config), "--retries", "1"]
    _run(w, *rclone, "copy", str(root), f"us:{b}/tree")
    _run(w, *rclone, "check", str(root), f"us:{b}/tree")
    _run(w, *rclone, "check", "--download", str(root), f"us:{b}/tree")
    with _back(w) as back:
        _run(w, *rclone, "copy", f"us:{b}/tree", str(back))
        _same(root, back)
    _run(w, *rclone, "purge", f"us:{b}")


def case_s3cmd_round_trips_a_tree(w):
    if not shutil.which("s3cmd"):
        print("     s3cmd is not installed, and was not tried")
        return
    b = w.bucket()
    root = _tree(w)
    host = w.node.url.removeprefix("http://")
    s3cmd = [
        "s3cmd", "--no-ssl", f"--host={host}", f"--host-bucket={host}", "--quiet", "--config=/dev/null",
        f"--access_key={w.key['access_key_id']}", f"--secret_key={w.key['secret_access_key']}",
    ]
    _run(w, *s3cmd, "sync", f"{root}/", f"s3://{b}/tree/")
    with _back(w) as back:
        back.mkdir()
        _run(w, *s3cmd, "sync", f"s3://{b}/tree/", f"{back}/")
        _same(root, back)
    _run(w, *s3cmd, "rb", "--recursive", "--force", f"s3://{b}")


def case_s5cmd_round_trips_a_tree(w):
    b = w.bucket()
    root = _tree(w)
    s5cmd = [_tool("s5cmd"), "--endpoint-url", w.node.url, "--log", "error"]
    _run(w, *s5cmd, "cp", f"{root}/", f"s3://{b}/tree/")
    with _back(w) as back:
        back.mkdir()
        _run(w, *s5cmd, "cp", f"s3://{b}/tree/*", f"{back}/")
        _same(root, back)
    _run(w, *s5cmd, "rm", f"s3://{b}/*")
    _run(w, *s5cmd, "rb", f"s3://{b}")


def case_restic_backs_up_prunes_and_checks(w):
    if not shutil.which("restic"):
        print("     restic is not installed, and was not tried")
        return
    b = w.bucket()
    root = _tree(w)
    password = pathlib.Path(w.node.directory.name, "restic-password")
    password.write_text("a password")
    restic = ["restic", "--repo", f"s3:{w.node.url}/{b}/backup", "--password-file", str(password), "--no-cache", "--quiet"]
    _run(w, *restic, "init")
    _run(w, *restic, "backup", str(root))
    more = root / "more"
    more.write_bytes(os.urandom(300_000))
    _run(w, *restic, "backup", str(root))
    _run(w, *restic, "forget", "--keep-last", "1", "--prune")
    _run(w, *restic, "check", "--read-data")
    with _back(w) as back:
        _run(w, *restic, "restore", "latest", "--target", str(back))
        _same(root, back / root.relative_to("/"))
    more.unlink()
