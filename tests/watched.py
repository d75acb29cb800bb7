"""Runs a command and sees every socket that it and its children use, whatever language asks for it: by strace."""

import os
import re
import shutil
import subprocess
from ipaddress import ip_address

import pytest
from waiting import PATIENCE_S

DNS = 53
CALLS = "connect,sendto,sendmsg,sendmmsg"
INTERNET = re.compile(r"AF_INET6?, sin6?_port=htons\((\d+)\).*?(?:inet_addr\(|inet_pton\(AF_INET6, )\"([^\"]+)\"")
RESOLVER = re.compile(r'AF_UNIX, sun_path="([^"]*resolve[^"]*)"')


def needs_strace():
    """Skip the test where there is no strace; where CI runs, this must not happen."""
    if shutil.which("strace") is None:
        assert not os.environ.get("CI"), "CI must have strace: see `make browser`"
        pytest.skip("needs strace: apt-get install strace (`make test` does so as root)")


def strace(log):
    """Return the words before a command that write its calls into a log. Other calls are not slowed."""
    return ["strace", "--follow-forks", "--seccomp-bpf", "--string-limit=200", "-e", f"trace={CALLS}", "-o", str(log)]


def strangers(log):
    """Return the lines of a log by which somebody outside this machine, or a resolver of names, was asked."""
    return [line for line in log.read_text(errors="replace").splitlines() if _leaves(line)]


def _leaves(line):
    if RESOLVER.search(line):
        return True
    return any(
        int(port) == DNS or not ip_address(address.removeprefix("::ffff:")).is_loopback
        for port, address in INTERNET.findall(line)
    )


def run_watched(command, folder, **environment):
    """Run a command to its end at a home of its own; return what of it left this machine, and the files at home."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    variables = private(home) | environment
    log = folder / "calls.log"
    done = subprocess.run(
        [*strace(log), *map(str, command)],
        check=False,
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return strangers(log), left_at(home)


def private(home):
    """Return variables of a user's at that home, of whom no library knows that it is tested."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    unsaid = ("CI", "TF_BUILD", "JENKINS_URL", "ORT_DISABLE_TELEMETRY", "DO_NOT_TRACK", "GITHUB_ACTIONS")
    return {**kept, **dict.fromkeys(unsaid, ""), "HOME": str(home)}


def left_at(home):
    """Return the folders of the home's cache, settings and data, and whatever else lies there."""
    places = [home, *(home / name for name in (".cache", ".config", ".local/share"))]
    above = {path for place in places for path in (place, *place.parents)}
    return {path.name for place in places if place.is_dir() for path in place.iterdir() if path not in above}
