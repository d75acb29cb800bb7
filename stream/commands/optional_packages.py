"""What a command needs beyond the serving install."""

from __future__ import annotations

from importlib.util import find_spec

from schemas.errors import EngineUnavailable


def need_modules(purpose: str, *names: str, extra: str = "train") -> None:
    """Refuse a purpose where one of the modules that it needs is not installed.

    Raises:
        EngineUnavailable: a module is missing; the sentence says what to install.
    """
    if missing := [name for name in names if find_spec(name) is None]:
        raise EngineUnavailable(f"{purpose} needs {', '.join(missing)}: pip install 'cardiacnets[{extra}]'")
