"""Changes XML for the fuzzer: mostly one value or one element, so that the rest stays whole and is read.

libFuzzer changes bytes, and almost every byte that it changes makes XML malformed.
"""

import itertools
import random
import re

VALUE = re.compile(rb">([^<>]{0,200})<|=\"([^\"]{0,200})\"")
ELEMENT = re.compile(rb"<(\w+)[^<>]*>[^<>]{0,400}</\1>")
MOST_PLACES = 2000
NUMBERS = b"0 1 -1 2 12 16 500 5000 65536 -32768 2147483648 1e9 1e-9 1e308 1e999 nan inf 1,5 1,000 -1e-5 0.5 7.3"
WORDS = b"--- TRUE FALSE UNK s ms us mV uV V MICROVOLTS AAAA //8= XLI Base64 Plain Rhythm Median MONTHS Yes No a"
TIMES = b"20200102030405.6+0100 20200102 99991231235959 00010101000000 2020-01-02 01-02-2020 23:59:60 12:00"
VALUES = (*b" ".join([NUMBERS, WORDS, TIMES]).split(), b"", b" ", b"\xff", b"&amp;", b"1 2 3", b"9" * 60)


def is_xml(content):
    """Whether a content is XML, as far as its beginning shows."""
    return content.lstrip(b"\xef\xbb\xbf\xfe\xff\0 \r\n\t").startswith(b"<")


def changed(content, most, seed):
    """Return a content with one change: of a value, of an element, or of any bytes."""
    draw = random.Random(seed)
    kind = draw.choices((VALUE, ELEMENT, None), (6, 3, 1))[0]
    places = itertools.islice(kind.finditer(content), MOST_PLACES) if kind else ()
    found = [place.span(place.lastindex if kind is VALUE else 0) for place in places]
    start, end = draw.choice(found) if found else _anywhere(content, draw)
    old = content[start:end]
    if kind is VALUE and found:
        new = draw.choice([*VALUES, _bytes_changed(old, draw), _bytes_changed(old, draw)])
    elif found:
        new = draw.choice([b"", old + old, content[slice(*draw.choice(found))]])
    else:
        new = _bytes_changed(old, draw)
    return (content[:start] + new + content[end:])[:most]


def _anywhere(content, draw):
    start = draw.randint(0, len(content))
    return start, min(len(content), start + draw.randint(0, 16))


def _bytes_changed(old, draw):
    place = draw.randint(0, len(old))
    put = draw.choice([draw.randbytes(draw.randint(1, 4)), draw.choice(b"0123456789.-+eE ").to_bytes(1, "big") * 2])
    return draw.choice(
        [old[:place] + put + old[place:], old[:place] + old[place + 1 :], old[:place] + put + old[place + 1 :]]
    )
