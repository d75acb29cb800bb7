"""What the fuzzer of a consumer's parser feeds: answers to a fetch, of changed batches; and how it is judged."""

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_UNCOMMITTED
from crafted_batches import CODECS, batch, compressed, damaged, record, sound

from stream.broker.whole_partition import FetchedContent, WholePartition

MAX_MESSAGES = 3000
SHAPES = (*((codec, True) for codec in CODECS), *((codec, False) for codec in CODECS))


def seeds():
    """Yield contents: the first byte says what the rest is.

    It is an answer to a fetch, or records to compress, or records that are compressed already. The checksum is made
    right in the last two, since a change that it finds goes no further.
    """
    yield from (bytes([len(SHAPES)]) + sound(b"a", b"b") + raw for raw in damaged().values())
    records = record(0, b"a", headers=[(b"ce_id", b"1")]) + record(1, b"b" * 40) + record(2, None)
    for place, (codec, packs) in enumerate(SHAPES):
        yield bytes([place]) + (records if packs else compressed(records, codec))


SEEDS = tuple(seeds())


def consume(content):
    """Take all messages, each once and in order; the sound batch behind the changed one is never lost."""
    shape = content[0] % (len(SHAPES) + 1) if content else len(SHAPES)
    if shape == len(SHAPES):
        take_messages(content[1:], 0)
        return
    codec, packs = SHAPES[shape]
    changed = batch(content[1:], 3, codec=codec, compress=packs)
    last = take_messages(changed + sound(b"behind", base=3), 0)
    if (last.offset, last.value) != (3, b"behind"):
        raise AssertionError(f"the batch behind was lost: {last}")


def take_messages(answer, at):
    """Return the last message of an answer to a fetch."""
    rest = {"key_deserializer": None, "value_deserializer": None, "check_crcs": True}
    place, fetched = TopicPartition("t", 0), FetchedContent(answer)
    partition = WholePartition(place, fetched, [], at, **rest, isolation_level=READ_UNCOMMITTED)
    message = None
    for _, message in zip(range(MAX_MESSAGES), partition, strict=False):
        if message.offset < at or partition.next_fetch_offset != message.offset + 1:
            raise AssertionError(f"offset {message.offset} came after {at - 1}")
        at = message.offset + 1
    return message
