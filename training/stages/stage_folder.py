"""The folder of a stage: its settings, checkpoints and result, and whether an interrupted stage may resume in it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from engines.whole_json import write_json
from schemas.errors import InvalidSettings
from training.cohort.layout import DESCRIPTION, INDEX, Cohort, Fold
from training.networks.weights_files import WEIGHTS

CONFIG = "config.json"
RESULT = "result.json"
CHECKPOINTS = "checkpoints"


@dataclass(frozen=True, slots=True)
class StageFolder:
    """The folder in which a stage works."""

    path: Path

    @property
    def weights(self) -> Path:
        """The file of the learned weights, for the next stage."""
        return self.path / WEIGHTS

    @property
    def checkpoints(self) -> Path:
        """Lightning's folder of the last and the best epoch."""
        return self.path / CHECKPOINTS

    @property
    def is_finished(self) -> bool:
        """Whether the stage has written its result, which it writes last."""
        return (self.path / RESULT).is_file()

    def finish(self, **result: Any) -> None:
        """Write the result. After that, the stage is finished."""
        write_json(self.path / RESULT, result)


def open_stage(
    path: Path,
    stage: str,
    settings: object,
    cohort: Cohort,
    *,
    folds: Sequence[Fold] = ("train", "development"),
    **inputs: Path | None,
) -> StageFolder:
    """Return the folder of a stage: a new folder, or one in which the same work was begun or finished.

    Args:
        path: created if it is not there.
        stage: the name.
        settings: what decides the result, beside the inputs; a struct.
        cohort: identified by its description and its index, not by its path.
        folds: the folds that must hold at least one row.
        inputs: files of earlier stages, by name; identified by their content.

    Raises:
        InvalidSettings: a fold is empty, or the folder holds another stage or other settings or inputs.
    """
    if empty := [fold for fold in folds if not len(cohort.select(fold))]:
        raise InvalidSettings(f"{cohort.folder} has nobody in its {' and its '.join(empty)} fold")
    config = {
        "stage": stage,
        "cohort": _identity(cohort),
        **{name: _sha256(file) if file else None for name, file in inputs.items()},
        "settings": msgspec.to_builtins(settings),
    }
    if (path / CONFIG).exists():
        _refuse_other(_read_config(path), config, path)
    else:
        make_folder(path)
        write_json(path / CONFIG, config)
    return StageFolder(path)


def make_folder(path: Path) -> None:
    """Make a folder, unless it is there.

    Raises:
        InvalidSettings: the folder cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidSettings(f"{path} cannot be a folder for this work: {error.strerror}") from error


def read_settings(path: Path, stage: str, kind: type[Any]) -> Any:
    """Return the settings of a finished stage, as `kind`.

    Raises:
        InvalidSettings: the folder holds no such stage, or it was not finished.
    """
    config = _read_config(path)
    if config["stage"] != stage or not StageFolder(path).is_finished:
        raise InvalidSettings(f"{path} holds the stage {config['stage']}, not a finished `cardiacnets train {stage}`")
    return msgspec.convert(config["settings"], kind)


def check_input(path: Path, name: str, file: Path, option: str) -> None:
    """Refuse a file that is not the input of that name of the stage in `path`.

    Args:
        path: folder of the stage.
        name: of the input.
        file: compared with that input.
        option: of the command line that names the file, for the error.

    Raises:
        InvalidSettings: the file is another one, or is not there.
    """
    if _read_config(path)[name] != _sha256(file):
        raise InvalidSettings(f"{path} was not made with {file}: with --{option}, name the file that it was made with")


def was_given(path: Path, name: str) -> bool:
    """Return whether the stage in `path` had an input of that name."""
    return _read_config(path)[name] is not None


def check_cohort(path: Path, cohort: Cohort) -> None:
    """Refuse another cohort than the one of the stage in `path`: its rows and scans belong to other patients.

    Raises:
        InvalidSettings: it is another cohort.
    """
    if _read_config(path)["cohort"] != _identity(cohort):
        raise InvalidSettings(
            f"{path} was made from another cohort than {cohort.folder}: name the one it was made from with --cohort"
        )


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = msgspec.json.decode((path / CONFIG).read_bytes())
    except OSError as error:
        raise InvalidSettings(f"{path} is not a stage of `cardiacnets train`: it has no {CONFIG}") from error
    except msgspec.DecodeError as error:
        raise InvalidSettings(f"{path / CONFIG} is broken: remove {path}, or choose another folder") from error
    return config


def _identity(cohort: Cohort) -> str:
    return _sha256(cohort.folder / DESCRIPTION, cohort.folder / INDEX)


def _refuse_other(found: dict[str, Any], wanted: dict[str, Any], path: Path) -> None:
    flat_found, flat_wanted = _flattened(found), _flattened(wanted)
    names = sorted(flat_found.keys() | flat_wanted.keys())
    differing = [name for name in names if flat_found.get(name) != flat_wanted.get(name)]
    if differing:
        changes = ", ".join(f"{name} {flat_found.get(name)} → {flat_wanted.get(name)}" for name in differing[:4])
        raise InvalidSettings(f"{path} was begun with other settings ({changes}): remove it, or choose another folder")


def _flattened(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in config.items():
        flat |= _flattened(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _sha256(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise InvalidSettings(f"{path} cannot be read: {error.strerror}") from error
    return digest.hexdigest()
