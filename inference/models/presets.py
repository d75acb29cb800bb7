"""The sizes of the networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from schemas.errors import InvalidSettings

PresetT = TypeVar("PresetT")


@dataclass(frozen=True, slots=True)
class Preset:
    """The sizes of one network. The shapes of its input and of its answers are always the same.

    Attributes:
        width: the size of a token.
        depth: transformer blocks.
        heads: attention heads. They share the width evenly.
        mlp_width: the hidden layer of a block's MLP.
    """

    name: str
    width: int
    depth: int
    heads: int
    mlp_width: int


PAPER = Preset("paper", width=768, depth=12, heads=12, mlp_width=3072)
"""The published size: 85.2 million parameters in the encoder."""

REFERENCE = Preset("reference", width=64, depth=4, heads=2, mlp_width=256)
"""The same architecture, small enough to train and to serve on two cores."""

PRESETS = {preset.name: preset for preset in (PAPER, REFERENCE)}


def find_preset(name: str) -> Preset:
    """Return the preset of that name.

    Raises:
        InvalidSettings: there is none.
    """
    return choose(PRESETS, name)


def choose(presets: Mapping[str, PresetT], name: str) -> PresetT:
    """Return the one of that name.

    Raises:
        InvalidSettings: there is none.
    """
    try:
        return presets[name]
    except KeyError:
        raise InvalidSettings(f"there is no preset {name!r}: choose one of {', '.join(presets)}") from None
