"""Claims of shards: one owner at a time, and the claims of the dead end."""

import os
import socket
import subprocess
import sys
import time

import pytest
from waiting import wait_until

from stream.backfill.claims import Claims

LONG_S, SHORT_S = 3600.0, 0.4


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "claims"


def test_of_two_one_has_a_shard_and_the_other_may_have_the_next(folder):
    one, other = Claims(folder, LONG_S), Claims(folder, LONG_S)
    with one.claim(3) as first, other.claim(3) as second, other.claim(4) as next_one:
        assert (first, second, next_one) == (True, False, True)
    with other.claim(3) as again:
        assert again
    assert list(folder.iterdir()) == []


def test_a_claim_of_a_process_of_this_host_that_is_gone_has_ended(folder):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    claims = Claims(folder, LONG_S)
    (folder / "00003.claim").write_text(f"{socket.gethostname()}\n{gone.pid}\nx")
    with claims.claim(3) as is_ours:
        assert is_ours


@pytest.mark.parametrize("owner", ["another-host\n1\nx", "", f"{socket.gethostname()}\nnobody\nx"])
def test_a_claim_whose_owner_cannot_be_seen_ends_when_it_was_not_touched_for_long(folder, owner):
    claims = Claims(folder, LONG_S)
    path = folder / "00003.claim"
    path.write_text(owner)
    with claims.claim(3) as is_ours:
        assert not is_ours
    long_ago = time.time() - 2 * LONG_S
    os.utime(path, (long_ago, long_ago))
    with claims.claim(3) as is_ours:
        assert is_ours


def test_a_claim_is_touched_while_its_owner_works(folder):
    mine, other = Claims(folder, SHORT_S), Claims(folder, SHORT_S)
    with mine.claim(3):
        begin = time.monotonic()
        first = (folder / "00003.claim").stat().st_mtime_ns
        wait_until(lambda: time.monotonic() - begin > 2 * SHORT_S)
        assert (folder / "00003.claim").stat().st_mtime_ns > first
        with other.claim(3) as is_theirs:
            assert not is_theirs


def test_who_lost_a_claim_does_not_remove_that_of_the_next_owner(folder):
    one = Claims(folder, LONG_S)
    path = folder / "00003.claim"
    with one.claim(3):
        path.write_text("somebody else")
    assert path.read_text() == "somebody else"
