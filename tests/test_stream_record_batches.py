"""What a consumer makes of the bytes that a fetch brings: every sound record, and a name for each place that is not."""

import itertools
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import changed_batches
import crafted_batches as crafted
import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.record.control_record import ABORT_MARKER, COMMIT_MARKER
from crafted_batches import CODECS, batch, bomb, damaged, record, sound
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import DeploymentError
from stream.broker import whole_partition
from stream.broker.batch_codecs import MAX_CONTENT_BYTES
from stream.broker.record_batches import MAX_HOLE, MAX_RECORDS
from stream.broker.salvaged_records import MAX_HEADERS
from stream.broker.unreadable_place import refusal_of
from stream.broker.whole_partition import (
    NAMED_ALONE,
    PLAIN_BYTES,
    FetchedContent,
    WholePartition,
    go_round_unreadable_places,
)

COMPRESSIONS = [name for name in CODECS if name != "none"]
PARTITION = TopicPartition("t", 3)
MIB = 2**20


def opened(content, at=0, isolation=fetcher.READ_UNCOMMITTED):
    return partition_of(content, at, isolation)


def partition_of(content, at, isolation, aborted=()):
    rest = {"key_deserializer": None, "value_deserializer": None, "check_crcs": True}
    return WholePartition(PARTITION, FetchedContent(content), aborted, at, **rest, isolation_level=isolation)


def read(content, at=0):
    """Return what is given by offset, a refusal's code where there is one, and the offset that is fetched next."""
    partition = opened(content, at)
    given = [(message.offset, said(message.value)) for message in partition]
    assert [offset for offset, _ in given] == sorted({offset for offset, _ in given})
    return dict(given), partition.next_fetch_offset


def said(value):
    error = refusal_of(value)
    return error.wire_code if error else value


def refusals(content, at=0):
    return {m.offset: refusal_of(m.value) for m in opened(content, at) if refusal_of(m.value)}


@pytest.mark.parametrize("codec", CODECS)
def test_a_sound_batch_is_read_whatever_compresses_it(codec):
    assert read(sound(b"a", b"b", b"c", codec=codec, base=7), at=7) == ({7: b"a", 8: b"b", 9: b"c"}, 10)


def test_a_message_has_all_that_its_record_has():
    headers = [(b"ce_id", b"1"), (b"none", None), ("ö".encode(), b"")]
    for content in (batch(record(value=None, headers=headers)), whole_but_large(headers)):
        message = next(iter(opened(content)))
        assert (message.topic, message.partition, message.offset, message.key) == ("t", 3, 0, b"k")
        assert message.headers == (("ce_id", b"1"), ("none", None), ("ö", b""))
        assert message.timestamp > 1.7e12
        assert message.timestamp_type == 0


def whole_but_large(headers):
    """Return a batch with a record of these headers that is read record by record, because it is large."""
    return batch(record(headers=headers) + record(1, bytes(PLAIN_BYTES)), 2)


@pytest.mark.parametrize("kind", damaged())
def test_what_cannot_be_read_is_named_and_nothing_before_or_behind_it_is_lost(kind):
    content = sound(b"before") + rebased(damaged()[kind], 1) + sound(b"behind", base=2)
    assert read(content) == ({0: b"before", 1: "unreadable_record", 2: b"behind"}, 3)


@pytest.mark.parametrize("kind", damaged())
def test_what_cannot_be_read_is_named_where_it_is_the_last_of_the_partition(kind):
    assert read(rebased(damaged()[kind], 5), at=5) == ({5: "unreadable_record"}, 6)


def rebased(raw, base):
    return struct.pack(">q", base) + raw[8:]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("large", [0, 2 * MIB], ids=["small", "large"])
def test_good_records_in_the_batch_of_a_bad_one_are_read(codec, large):
    bad = record(1, headers=[crafted.NOT_UTF_8])
    content = record(0, b"a") + bad + record(2, b"c") + record(3, bytes(large))
    expected = {0: b"a", 1: "unreadable_record", 2: b"c", 3: bytes(large)}
    assert read(batch(content, 4, codec=codec)) == (expected, 4)


def test_a_refusal_says_in_a_sentence_what_is_wrong():
    (error,) = refusals(damaged()["a header's name that is not UTF-8"]).values()
    assert str(error) == "the record cannot be read: the name of a header is not UTF-8"
    assert (error.numbers, error.record_id) == ({}, None)


def test_a_batch_of_fewer_records_than_it_says_names_those_that_it_lacks():
    assert read(batch(record(0, b"a"), 4)) == ({0: b"a", **dict.fromkeys((1, 2, 3), "unreadable_record")}, 4)


def test_a_batch_of_more_records_than_it_says_gives_all_that_have_an_offset():
    whole = record(0, b"a") + record(1, b"b") + record(2, b"c")
    assert read(batch(whole, 1, last=2)) == ({0: b"a", 1: b"b", 2: b"c"}, 3)
    assert read(batch(whole, 1) + sound(b"next", base=1)) == ({0: b"a", 1: b"next"}, 2)


def test_records_whose_numbers_are_not_in_order_move_the_position_nowhere_else():
    whole = record(0, b"a") + record(2**40) + record(0) + record(3, b"d")
    expected = {0: b"a", 1: "unreadable_record", 2: "unreadable_record", 3: b"d"}
    assert read(batch(whole, 4) + sound(b"next", base=4)) == (expected | {4: b"next"}, 5)


def test_a_compacted_batch_lacks_records_and_names_none():
    assert read(batch(record(3, b"d") + record(9, b"j"), 2, last=12)) == ({3: b"d", 9: b"j"}, 13)
    assert read(batch(b"", 0, last=4)) == ({}, 5)
    bad = record(9, headers=[crafted.NOT_UTF_8])
    assert read(batch(record(3, b"d") + bad, 2, last=12)) == ({3: b"d", 9: "unreadable_record"}, 13)


def test_no_two_messages_have_more_offsets_between_them_than_faust_can_list():
    for whole, count in ((record(0), 1), (record(0), 10_000), (record(0) + record(2**30), 2), (record(0), 2**31 - 1)):
        first = [m.offset for m in itertools.islice(opened(batch(whole, count, last=2**31 - 2)), 3000)]
        assert len(first) == 3000
        assert max(b - a for a, b in itertools.pairwise(first)) <= MAX_HOLE


def test_of_many_offsets_that_one_fault_makes_unreadable_the_first_are_named_alone_and_the_others_together():
    count = NAMED_ALONE + MAX_HOLE + 7
    given = refusals(batch(b"garbage", 9, last=count - 1, codec="zstd", compress=False))
    assert list(given) == [*range(NAMED_ALONE), NAMED_ALONE + MAX_HOLE - 1, count - 1]
    assert given[0].numbers == {}
    assert given[count - 1].numbers == {"first_offset": NAMED_ALONE + MAX_HOLE, "last_offset": count - 1}


def test_a_batch_may_have_many_records_and_not_so_many_that_their_answers_flood_a_topic():
    whole = b"".join(record(n, b"") for n in range(MAX_RECORDS))
    assert len(read(batch(whole, MAX_RECORDS, codec="zstd"))[0]) == MAX_RECORDS
    given = refusals(batch(whole + record(MAX_RECORDS, b""), MAX_RECORDS + 1, codec="zstd"))
    assert len(given) == NAMED_ALONE + 1
    assert {error.wire_code for error in given.values()} == {"oversized_batch"}
    for said_count in (5, -1, 10_000):  # it may say anything
        given = refusals(batch(bytes(8 * MIB), said_count, last=8 * MIB - 1, codec="zstd"))
        assert MAX_RECORDS < len(given) < MAX_RECORDS + NAMED_ALONE + 8 * MIB // MAX_HOLE + 2


@pytest.mark.parametrize(
    "untrusted",
    [
        batch(record() * 3, 3, base=4, crc_is_off=1),
        batch(record() * 3, 3, base=4, magic=1),
        batch(record() * 3, 3, base=4, magic=3),
        batch(record(), 1, base=4, last=-5),
        struct.pack(">qi", 4, 5) + b"short",
        struct.pack(">qi", 4, -20) + bytes(60),
    ],
    ids=["checksum", "format 1", "format 3", "last -5", "short", "negative length"],
)
def test_a_batch_whose_end_cannot_be_trusted_is_passed_one_offset_at_a_time(untrusted):
    assert read(untrusted, at=4) == ({4: "unreadable_record"}, 5)
    assert read(untrusted, at=6) == ({6: "unreadable_record"}, 7)
    assert read(sound(b"before", base=3) + untrusted, at=3) == ({3: b"before", 4: "unreadable_record"}, 5)


@pytest.mark.parametrize(
    "cut",
    [sound(b"a", b"b", base=4)[:-1], sound(b"a", base=4)[:20], b"short"],
    ids=["the last byte", "in its head", "a few bytes"],
)
def test_a_batch_that_the_broker_cut_short_is_fetched_again_unless_it_is_all_that_came(cut):
    assert read(sound(b"before", base=3) + cut, at=3) == ({3: b"before"}, 4)
    assert read(cut, at=4) == ({4: "unreadable_record"}, 5)


def test_a_fetch_that_begins_within_a_batch_gives_and_names_only_what_is_left():
    whole = record(0, b"a") + record(1, headers=[crafted.NOT_UTF_8]) + record(2, b"c")
    assert read(batch(whole, 3), at=1) == ({1: "unreadable_record", 2: b"c"}, 3)
    assert read(batch(whole, 3), at=2) == ({2: b"c"}, 3)
    assert read(batch(b"garbage", 3, codec="zstd", compress=False), at=2) == ({2: "unreadable_record"}, 3)


def test_a_batch_from_before_the_position_moves_it_nowhere():
    assert read(sound(b"old"), at=9) == ({}, 9)


def test_a_mark_of_the_broker_is_given_to_nobody_even_where_it_is_garbage():
    mark = batch(b"garbage", base=1, attributes=crafted.CONTROL | crafted.TRANSACTIONAL)
    assert read(sound(b"a") + mark + sound(b"c", base=2)) == ({0: b"a", 2: b"c"}, 3)


def mark(kind, base, producer):
    """Return the batch by which a broker ends a transaction."""
    key = struct.pack(">HH", kind.version, kind.type_)
    return batch(record(0, key=key), base=base, attributes=crafted.TRANSACTIONAL | crafted.CONTROL, producer=producer)


def in_transaction(value, base, producer):
    return batch(record(0, value), base=base, attributes=crafted.TRANSACTIONAL, producer=producer)


def test_a_consumer_of_committed_transactions_is_given_no_aborted_ones_and_all_others():
    """Two producers take turns; one of them aborts, and begins again after that."""
    content = b"".join(
        [
            sound(b"alone"),
            in_transaction(b"aborted", 1, 7),
            in_transaction(b"committed", 2, 8),
            batch(record(headers=[crafted.NOT_UTF_8]), base=3),
            in_transaction(b"aborted too", 4, 7),
            mark(ABORT_MARKER, 5, 7),
            mark(COMMIT_MARKER, 6, 8),
            in_transaction(b"again", 7, 7),
            mark(COMMIT_MARKER, 8, 7),
            in_transaction(b"aborted later", 9, 8),
        ]
    )
    committed = partition_of(content, 0, fetcher.READ_COMMITTED, [(8, 9), (7, 1)])
    given = {message.offset: said(message.value) for message in committed}
    assert given == {0: b"alone", 2: b"committed", 3: "unreadable_record", 7: b"again"}
    assert committed.next_fetch_offset == 10
    everything = partition_of(content, 0, fetcher.READ_UNCOMMITTED, [(8, 9), (7, 1)])
    assert len(list(everything)) == 7


def test_a_bomb_in_an_aborted_transaction_is_not_even_unfolded():
    raw = batch(b"garbage", codec="zstd", compress=False, attributes=crafted.TRANSACTIONAL, producer=7)
    committed = partition_of(raw + sound(b"c", base=1), 0, fetcher.READ_COMMITTED, [(7, 0)])
    assert [message.value for message in committed] == [b"c"]


def test_of_several_transactions_the_aborted_ones_are_left_out_and_what_cannot_be_read_is_gone_round():
    def part_of(producer, base, value):
        return batch(record(0, value), base=base, attributes=crafted.TRANSACTIONAL, producer=producer)

    def mark(producer, base, kind):
        key = record(0, key=struct.pack(">HH", 0, kind))
        return batch(key, base=base, attributes=crafted.TRANSACTIONAL | crafted.CONTROL, producer=producer)

    content = part_of(1, 0, b"a") + part_of(2, 1, b"aborted") + sound(b"b", base=2) + batch(b"garbage", base=3)
    content += mark(1, 4, 1) + part_of(1, 5, b"aborted") + mark(2, 6, 0) + part_of(2, 7, b"c") + mark(1, 8, 0)
    content += part_of(1, 9, b"d") + mark(1, 10, 1)
    committed = partition_of(content, 0, fetcher.READ_COMMITTED, [(1, 5), (2, 1)])
    given = {message.offset: said(message.value) for message in committed}
    assert given == {0: b"a", 2: b"b", 3: "unreadable_record", 7: b"c", 9: b"d"}
    assert committed.next_fetch_offset == 11


def test_java_s_snappy_in_blocks_is_read():
    content = record(0, b"a" * 40_000) + record(1, b"b")
    raw = batch(crafted.xerial(content[:30_000], content[30_000:]), 2, codec="snappy", compress=False)
    assert read(raw) == ({0: b"a" * 40_000, 1: b"b"}, 2)


@pytest.mark.parametrize("tail", [b"\0", struct.pack(">i", -1), struct.pack(">i", 2**31 - 1) + b"x"])
def test_java_s_snappy_with_an_impossible_block_is_refused(tail):
    raw = batch(crafted.xerial(record()) + tail, codec="snappy", compress=False)
    assert read(raw) == ({0: "unreadable_record"}, 1)


@pytest.mark.parametrize("codec", COMPRESSIONS)
def test_a_batch_may_unfold_to_the_bound_and_no_further(codec):
    overhead = len(record(0, bytes(MIB))) - MIB + 1  # of a length that takes a byte more
    fits = batch(record(0, bytes(MAX_CONTENT_BYTES - overhead)), codec=codec)
    assert len(next(iter(opened(fits))).value) == MAX_CONTENT_BYTES - overhead
    over = batch(record(0, bytes(MAX_CONTENT_BYTES)), codec=codec)
    assert read(over + sound(b"behind", base=1)) == ({0: "oversized_batch", 1: b"behind"}, 2)


def test_a_refused_batch_names_all_its_offsets():
    given = refusals(bomb("zstd", 64 * MIB, count=3))
    assert list(given) == [0, 1, 2]
    assert {str(error) for error in given.values()} == {
        f"the record cannot be read: its zstd unfolds to more than {MAX_CONTENT_BYTES} bytes"
    }


WEIGH = """
import resource, sys
from test_stream_record_batches import read
content = open(sys.argv[1], "rb").read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
given, _ = read(content)
print(len(given), given[0], (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def in_a_child(tmp_path, script, content):
    """Return what a process of its own prints about a content."""
    path = tmp_path / "content"
    path.write_bytes(content)
    here = Path(__file__).resolve().parent
    environment = os.environ | {"PYTHONPATH": f"{here}:{here.parent}"}
    command = [sys.executable, "-c", script, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300, env=environment)
    return done.stdout.split()


@pytest.mark.parametrize(("codec", "mib"), [("zstd", 1024), ("gzip", 256), ("lz4", 256), ("snappy", 64)])
def test_a_bomb_takes_no_more_memory_than_the_bound(tmp_path, codec, mib):
    _, said_of_it, grown_mib = in_a_child(tmp_path, WEIGH, bomb(codec, mib * MIB))
    assert said_of_it == "oversized_batch"
    assert int(grown_mib) < 2 * MAX_CONTENT_BYTES // MIB


def test_a_record_of_a_million_headers_takes_little_memory(tmp_path):
    headers = varied_headers(6 * MIB)
    count, said_of_it, grown_mib = in_a_child(tmp_path, WEIGH, batch(headers, codec="zstd"))
    assert (count, said_of_it) == ("1", "unreadable_record")
    assert int(grown_mib) < 4 * MAX_CONTENT_BYTES // MIB


def varied_headers(count):
    body = b"\0" + crafted.varint(0) * 2 + crafted.part(b"k") + crafted.part(b"v") + crafted.varint(count)
    body += (crafted.part(b"") + crafted.part(None)) * count
    return crafted.varint(len(body)) + body


def test_a_record_may_have_many_headers_and_not_too_many():
    large = record(1, bytes(PLAIN_BYTES))
    for count, expected in ((MAX_HEADERS, b"v"), (MAX_HEADERS + 1, "unreadable_record")):
        assert read(batch(record(headers=[(b"h", b"x")] * count) + large, 2))[0][0] == expected


SAME = """
import json, sys
from test_stream_record_batches import of_every_kind
print(json.dumps(of_every_kind()))
"""


def of_every_kind():
    """Return what is given of every damaged batch, and of what stands around it."""
    kinds = [rebased(raw, 1) for raw in damaged().values()]
    return [str(read(sound(b"before", codec="zstd") + raw + sound(b"behind", base=2))) for raw in kinds]


def test_aiokafka_s_reader_in_python_gives_the_same_as_its_compiled_one():
    here = Path(__file__).resolve().parent
    environment = os.environ | {"AIOKAFKA_NO_EXTENSIONS": "1", "PYTHONPATH": f"{here}:{here.parent}"}
    done = subprocess.run(
        [sys.executable, "-c", SAME], check=True, capture_output=True, text=True, timeout=300, env=environment
    )
    assert json.loads(done.stdout) == of_every_kind()


@given(
    codec=st.sampled_from(sorted(CODECS)),
    before=st.integers(0, 3),
    where=st.integers(0, 10_000),
    change=st.binary(min_size=1, max_size=12),
    cut=st.integers(0, 40),
)
def test_whatever_is_changed_in_a_batch_the_sound_ones_around_it_are_read(codec, before, where, change, cut):
    values = [b"%d" % n * 40 for n in range(5)]
    content = b"".join(record(n, value, headers=[(b"h", b"x")]) for n, value in enumerate(values))
    spoilt = bytearray(crafted.compressed(content, codec))
    at = where % len(spoilt)
    spoilt[at : at + len(change)] = change
    raw = batch(bytes(spoilt)[: len(spoilt) - cut], 5, codec=codec, compress=False, base=before)
    front = b"".join(sound(b"front", base=n) for n in range(before))
    given, position = read(front + raw + sound(b"behind", base=before + 5))
    assert position == before + 6
    assert [given[n] for n in range(before)] == [b"front"] * before
    assert given[before + 5] == b"behind"
    assert len(given) == before + 6


@given(data=st.data())
def test_what_the_fuzzer_searches_for_is_not_there(data):
    seed = bytearray(data.draw(st.sampled_from(changed_batches.SEEDS)))
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(seed)))
        seed[at : at + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    changed_batches.consume(bytes(seed))


@given(content=st.binary(max_size=200), at=st.integers(0, 2**40))
def test_whatever_bytes_a_fetch_brings_nothing_is_raised_and_the_position_never_goes_back(content, at):
    partition = opened(content, at)
    for _ in itertools.islice(partition, 100):
        assert partition.next_fetch_offset > at
    assert partition.next_fetch_offset >= at


def test_an_aiokafka_that_reads_in_another_way_is_refused(monkeypatch):
    class Other:
        def __init__(self, tp, batches):
            pass

    monkeypatch.setattr(whole_partition, "PartitionRecords", Other)
    with pytest.raises(DeploymentError, match=r"install aiokafka 0\.14"):
        go_round_unreadable_places()


def test_the_fetcher_of_every_consumer_reads_in_our_way():
    go_round_unreadable_places()
    go_round_unreadable_places()
    names = fetcher.Fetcher._proc_fetch_request.__code__.co_names
    assert {"MemoryRecords", "PartitionRecords"} <= set(names)  # it looks both up each time
    assert (fetcher.MemoryRecords, fetcher.PartitionRecords) == (FetchedContent, WholePartition)
