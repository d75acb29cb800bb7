"""A network's weights as a file of safetensors, and the parts of them by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from schemas.errors import InvalidSettings

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = "weights.safetensors"


def save_weights(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors as safetensors."""
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def load_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file of safetensors.

    Raises:
        InvalidSettings: there is no such file, or it is of another kind.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise InvalidSettings(f"{path} holds no weights: {error}") from error


def below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names start with the prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def above(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with the prefix before their names."""
    return {prefix + name: tensor for name, tensor in tensors.items()}
