"""The options of a stage of learning: each field of its settings is an option, with the field's bounds and help.

A stage's command therefore has an option for every setting of the stage, and nobody writes the option by hand.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Concatenate,
    ParamSpec,
    TypeAlias,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec
import typer

from training.stages.settings import Hardware, SavedStruct

from .optional_packages import need_modules

if TYPE_CHECKING:
    from training.cohort.layout import Cohort

SettingsT = TypeVar("SettingsT", bound=SavedStruct)
P = ParamSpec("P")
KEYWORD_ONLY = inspect.Parameter.KEYWORD_ONLY
Stage: TypeAlias = Callable[Concatenate["Cohort", Path, SettingsT, Hardware, P], None]
"""What learns: it takes the cohort, the stage's folder, the settings, the hardware, and options of its own."""

CohortFolder = Annotated[Path, typer.Option("--cohort", help="Folder of a cohort.")]
Out = Annotated[Path, typer.Option(help="Folder of this stage. An interrupted stage resumes.")]


def need_learning() -> None:
    """Refuse to learn where the extra `train` is not installed.

    Raises:
        EngineUnavailable: a package is missing; the sentence says what to install.
    """
    need_modules("learning", "torch", "lightning", "sklearn", "einops")


def open_cohort(folder: Path) -> Cohort:
    """Return the cohort of a folder; see `training.cohort.layout.open_cohort`, which imports what is heavy."""
    from training.cohort import layout

    return layout.open_cohort(folder)


def stage_command(settings: type[SettingsT]) -> Callable[[Stage[SettingsT, P]], Callable[..., None]]:
    """Make a stage a command. Its options are --cohort, --out, the stage's own, and one for each of the settings."""
    defaults = settings()

    def decorate(stage: Stage[SettingsT, P]) -> Callable[..., None]:
        learn: Callable[..., None] = stage

        def command(context: typer.Context, *, cohort: CohortFolder, out: Out, **options: Any) -> None:
            need_learning()
            chosen = take_settings(defaults, options)
            learn(open_cohort(cohort), out, chosen, context.obj, **options)

        common = _parameters(command)[:-1]
        return _declare(command, stage, [*common, *_own_options(stage), *options_of(defaults)])

    return decorate


def hardware_command(function: Callable[[typer.Context, Hardware], None]) -> Callable[..., None]:
    """Make a function of the hardware a command, with an option for each field of the hardware."""

    def command(context: typer.Context, **options: Any) -> None:
        function(context, take_settings(Hardware(), options))

    return _declare(command, function, [*_parameters(command)[:-1], *options_of(Hardware())])


def options_of(defaults: SavedStruct) -> Iterator[inspect.Parameter]:
    """Yield an option for each field; in place of a field that holds settings itself, an option for each of theirs."""
    for name, hint in _fields(defaults):
        default = getattr(defaults, name)
        if isinstance(default, SavedStruct):
            yield from options_of(default)
        else:
            kind, *rules = get_args(hint) if get_origin(hint) is Annotated else (hint,)
            facts = {key: _rule(rules, rule) for key, rule in (("help", "description"), ("min", "ge"), ("max", "le"))}
            option = typer.Option(default, **facts)
            yield inspect.Parameter(name, KEYWORD_ONLY, default=option, annotation=kind)


def take_settings(defaults: SettingsT, options: dict[str, Any]) -> SettingsT:
    """Return the settings that the options ask for, and remove these options from the dictionary.

    Raises:
        BadParameter: the field does not take the value of its option.
    """
    values: dict[str, Any] = {}
    for name, hint in _fields(defaults):
        default = getattr(defaults, name)
        is_group = isinstance(default, SavedStruct)
        values[name] = take_settings(default, options) if is_group else _checked(name, hint, options.pop(name))
    return type(defaults)(**values)


def _checked(name: str, hint: Any, value: object) -> Any:
    try:
        return msgspec.convert(value, hint)
    except msgspec.ValidationError as error:
        raise typer.BadParameter(f"{value}: {error}", param_hint=f"--{name.replace('_', '-')}") from error


def _fields(settings: SavedStruct) -> Iterator[tuple[str, Any]]:
    hints = get_type_hints(type(settings), include_extras=True)
    return ((name, hints[name]) for name in settings.__struct_fields__)


def _rule(rules: Sequence[Any], name: str) -> Any:
    """Return what the first annotation with such a rule says, None where no annotation has it."""
    return next((found for rule in rules if (found := getattr(rule, name, None)) is not None), None)


def _own_options(stage: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return the keyword-only parameters of a stage. The other annotations are not read: they name heavy types."""
    own = [parameter for parameter in inspect.signature(stage).parameters.values() if parameter.kind is KEYWORD_ONLY]
    texts = SimpleNamespace(__annotations__={parameter.name: parameter.annotation for parameter in own})
    hints = get_type_hints(texts, vars(sys.modules[stage.__module__]), include_extras=True)
    return [parameter.replace(annotation=hints[parameter.name]) for parameter in own]


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(function, eval_str=True).parameters.values())


def _declare(
    command: Callable[..., None], described: Callable[..., Any], parameters: Sequence[inspect.Parameter]
) -> Callable[..., None]:
    """Give the command the signature that Typer reads, and the documentation of what it does."""
    required = [parameter for parameter in parameters if parameter.default is parameter.empty]
    optional = [parameter for parameter in parameters if parameter.default is not parameter.empty]
    command.__doc__ = described.__doc__
    command.__signature__ = inspect.Signature([*required, *optional])  # type: ignore[attr-defined]
    return command
