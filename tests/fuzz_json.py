"""Changes JSON for the fuzzer by its values, so that it mostly stays JSON, and often stays a message.

A content has one byte before its JSON, which chooses what it is taken for.
"""

import copy
import json
import random

ODD = (
    *(None, True, False, 0, -1, 1, 0.5, 2**31, 2**63, 10**30, 10**400, 1e308, 5e-324, "", "x", "a" * 256, "a" * 257),
    *(
        "\u202e",
        "\u0000",
        "\u001b[31m",
        "\u2028",
        "\u200b",
        "\U0001f600" * 64,
        "\ufeff",
        "../../etc/passwd",
        "<script>",
    ),
    *("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00"),
    *("heart_failure", "raised", "acknowledged", "expired", "escalated", "generated", "failed", "LVEF", "nan_run"),
    *([], {}, [[]], [1] * 300, {"a": {"b": []}}),
)
RAW = ("NaN", "-Infinity", "-0", "1e999", "1E-999", "0x1", "-", '"\\ud800"', '"\\u0000"', "[" * 500, "9" * 4000)


def is_json(content):
    """Whether a content is JSON after its first byte, as far as its beginning shows."""
    return content[1:2] == b"{"


def changed_json(content, most, seed):
    """Return a content with a few of its values changed, or with a change of any bytes."""
    import atheris

    draw = random.Random(seed)
    try:
        tree = json.loads(content[1:])
    except (ValueError, RecursionError):
        tree = None
    if not isinstance(tree, dict) or not tree or draw.random() < 0.15:
        return atheris.Mutate(content, most)
    kind = draw.randbytes(1) if draw.random() < 0.05 else content[:1]
    return (kind + odd_text(tree, draw).encode("utf-8", "replace"))[:most]


def odd_text(tree, draw):
    """Return JSON with a few values of a tree changed, sometimes by what Python's json does not write."""
    for _ in range(draw.choice((1, 1, 2, 4))):
        _change(tree, draw)
    text = json.dumps(tree, ensure_ascii=draw.random() < 0.5)
    if draw.random() < 0.1:
        text = text.replace(draw.choice(("1", "true", "null", "0.", "[")), draw.choice(RAW), 1)
    return text


def _change(tree, draw):
    """Change one value of a tree, at any depth."""
    node, name = tree, draw.choice(sorted(tree) or ["x"])
    while isinstance(node.get(name) if isinstance(node, dict) else node[name], dict | list) and draw.random() < 0.7:
        inner = node[name]
        if not inner:
            break
        node, name = (
            inner,
            draw.choice(sorted(inner)) if isinstance(inner, dict) else draw.randrange(min(len(inner), 6)),
        )
    if isinstance(node, dict) and draw.random() < 0.1:
        node.pop(name, None)
    elif isinstance(node, list) and draw.random() < 0.1:
        node[:] = node * draw.choice((0, 2, 40))
    else:
        node[name] = copy.deepcopy(draw.choice(ODD))
