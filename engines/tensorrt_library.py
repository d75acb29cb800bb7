"""NVIDIA's TensorRT, in either of its two libraries: the one for all GPUs, and the one for RTX, which builds without.

Both have the same Python API. What they say is kept, because their functions answer None and log the reason.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal, TypeAlias

from schemas.errors import EngineUnavailable

from .protocol import wrapped_errors

LibraryName: TypeAlias = Literal["tensorrt", "tensorrt_rtx"]

KEPT_MESSAGES = 8
LONGEST_MESSAGE = 400


@dataclass(frozen=True, slots=True)
class TensorRt:
    """One of the libraries, and what it complained of lately.

    Attributes:
        name: the module's.
        api: the module.
        logger: collects errors; every object of the library is made with it.
        errors: the latest, oldest first.
    """

    name: LibraryName
    api: Any
    logger: Any
    errors: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_MESSAGES))

    @property
    def version(self) -> str:
        """The library with its version."""
        return f"{self.name} {self.api.__version__}"

    @property
    def is_rtx(self) -> bool:
        """Whether it compiles the last step where the plan is opened, and so builds without a GPU."""
        return self.name == "tensorrt_rtx"

    def complaint(self) -> str:
        """Return what the library said of its latest failure, and forget it."""
        said = "; ".join(self.errors) or "the library gave no reason"
        self.errors.clear()
        return said


def load_tensorrt(name: LibraryName) -> TensorRt:
    """Return the library.

    Raises:
        EngineUnavailable: it is not installed, or cannot be loaded.
    """
    with wrapped_errors(EngineUnavailable, f"{name} cannot be loaded"):
        api = import_module(name)
    errors: deque[str] = deque(maxlen=KEPT_MESSAGES)
    return TensorRt(name, api, _logger(api, errors), errors)


def _logger(api: Any, errors: deque[str]) -> Any:
    class Logger(api.ILogger):  # type: ignore[misc]  # the class is known only where the library is installed
        """Keeps errors, and prints nothing."""

        def __init__(self) -> None:
            api.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity <= api.ILogger.ERROR:
                errors.append(" ".join(message.split())[:LONGEST_MESSAGE])

    return Logger()
