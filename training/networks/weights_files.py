"""A network's weights: written to and read from safetensors, and selected by the beginnings of their names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from engines.whole_file import whole_file
from schemas.errors import InvalidSettings

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = "weights.safetensors"


def save_weights(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors as safetensors, whole or not at all."""
    from safetensors.torch import save_file

    with whole_file(path) as unfinished:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, unfinished)


def load_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file of safetensors.

    Raises:
        InvalidSettings: there is no such file, or it holds something else.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise InvalidSettings(f"{path} holds no weights: {error}") from error


def below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with the prefix, under their names without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def above(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under their names with the prefix before them."""
    return {prefix + name: tensor for name, tensor in tensors.items()}
