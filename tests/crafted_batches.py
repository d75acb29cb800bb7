"""Record batches written by hand, as whoever may write to a topic can: sound, damaged and far too large."""

import asyncio
import gzip
import struct
import time
import zlib

import cramjam
import zstandard
from aiokafka import AIOKafkaProducer
from aiokafka.record.util import calc_crc32c, encode_varint

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
TRANSACTIONAL, CONTROL = 0x10, 0x20
CRC_AT, CRC_FROM = 17, 21
XERIAL = b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1)
NOT_UTF_8 = (b"\xff\xfe", b"x")
LARGEST_REQUEST = 16 * 2**20


def varint(number):
    """Return a number as Kafka writes it."""
    out = bytearray()
    encode_varint(number, out.append)
    return bytes(out)


def part(content):
    """Return bytes with their length before them, or what stands for none."""
    return varint(-1) if content is None else varint(len(content)) + content


def record(number=0, value=b"v", *, key=b"k", headers=(), key_bytes=None, header_count=None, at=0):
    """Return a record; each length that is given replaces the true one."""
    body = b"\0" + varint(at) + varint(number)
    body += part(key) if key_bytes is None else varint(key_bytes) + key
    body += part(value)
    body += varint(len(headers) if header_count is None else header_count)
    body += b"".join(part(name) + part(content) for name, content in headers)
    return varint(len(body)) + body


def compressed(content, codec):
    """Return what a producer makes of the records."""
    if codec == "gzip":
        return gzip.compress(content)
    if codec == "lz4":
        return _lz4([content])
    if codec == "snappy":
        return bytes(cramjam.snappy.compress_raw(content))
    return zstandard.ZstdCompressor().compress(content) if codec == "zstd" else content


def batch(
    content,
    count=1,
    *,
    codec="none",
    base=0,
    last=None,
    attributes=0,
    magic=2,
    crc_is_off=0,
    compress=True,
    producer=-1,
):
    """Return a batch of these records, whose checksum is right unless it is told to be off."""
    now = int(time.time() * 1000)
    last = count - 1 if last is None else last
    head = struct.pack(">hiqqqhii", CODECS.get(codec, codec) | attributes, last, now, now, producer, -1, -1, count)
    rest = head + (compressed(content, codec) if compress else content)
    crc = (calc_crc32c(rest) + crc_is_off) & 0xFFFF_FFFF
    rest = struct.pack(">ibI", 0, magic, crc) + rest
    return struct.pack(">qi", base, len(rest)) + rest


def sound(*values, codec="none", base=0):
    """Return a batch of records with these values."""
    return batch(b"".join(record(n, value) for n, value in enumerate(values)), len(values), codec=codec, base=base)


def xerial(*blocks):
    """Return a content as Java's snappy writes it: in blocks."""
    packed = [bytes(cramjam.snappy.compress_raw(block)) for block in blocks]
    return XERIAL + b"".join(struct.pack(">i", len(block)) + block for block in packed)


def bomb(codec, size, *, count=1):
    """Return a batch whose records, one at least, are nothing but zeros: so many bytes."""
    body = b"\0" + varint(0) + varint(0) + part(b"k") + varint(size)
    head, tail = varint(len(body) + size + 1) + body, varint(0)
    pieces = [head, *[bytes(2**20)] * (size >> 20), tail]
    return batch(_compressed_piece_by_piece(pieces, codec), count, codec=codec, compress=False)


def _compressed_piece_by_piece(pieces, codec):
    if codec == "snappy":
        return xerial(*pieces)
    if codec == "lz4":
        return _lz4(pieces)
    packer = zlib.compressobj(wbits=31) if codec == "gzip" else zstandard.ZstdCompressor().compressobj()
    return b"".join(map(packer.compress, pieces)) + packer.flush()


def damaged():
    """Return batches of one record that nobody can read, by what is wrong with them."""
    whole = record()
    return {
        "a header's name that is not UTF-8": batch(record(headers=[NOT_UTF_8])),
        "a header without a name": batch(record(headers=[(None, b"x")])),
        "fewer headers than it says": batch(record(header_count=3)),
        "a negative number of headers": batch(record(header_count=-2)),
        "headers without end": batch(record(header_count=2**31)),
        "a negative length": batch(record(key_bytes=-7)),
        "a length of 2^31": batch(varint(2**31) + whole),
        "a key of 2^62": batch(record(key_bytes=2**62)),
        "a number that does not end": batch(b"\xff" * 11 + whole),
        "a record that is cut short": batch(whole[:-2]),
        "no record": batch(b""),
        "compression that does not exist": batch(whole, codec=7),
        **{
            f"garbage for {codec}": batch(b"garbage", codec=codec, compress=False)
            for codec in CODECS
            if codec != "none"
        },
        **{
            f"{codec} that is cut short": batch(compressed(whole * 9, codec)[:-5], codec=codec, compress=False)
            for codec in CODECS
            if codec != "none"
        },
    }


def _lz4(pieces):
    packer = cramjam.lz4.Compressor(block_linked=False)  # Apache Kafka takes no other
    for piece in pieces:
        packer.compress(piece)
    return bytes(packer.finish())


async def send(settings, topic, raw, *, partition=0, count=1):
    """Send a batch as it is, and return its first offset. No producer of ours could have made it."""
    options = {"bootstrap_servers": settings.broker, "max_request_size": LARGEST_REQUEST}
    async with AIOKafkaProducer(**options) as producer, asyncio.timeout(60):
        builder = producer.create_batch()
        builder._buffer, builder._closed, builder._relative_offset = bytearray(raw), True, count
        confirmed = await producer.send_batch(builder, settings.topic(topic), partition=partition)
        return (await confirmed).offset
