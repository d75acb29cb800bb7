"""Settings: from variables, a TOML file and the command line, and nothing misspelt."""

from pathlib import Path

import pytest

from schemas.errors import InvalidSettings
from stream.settings import Settings, as_environment, load_settings


def test_the_defaults_point_at_loopback():
    settings = load_settings({})
    assert settings.broker.startswith("localhost")
    assert settings.http_host == "127.0.0.1"


def test_a_variable_sets_its_field_and_is_converted():
    settings = load_settings({"CARDIACNETS_MAX_BATCH": "24", "CARDIACNETS_BUNDLE": "/m", "HOME": "/root"})
    assert settings.max_batch == 24
    assert settings.bundle == Path("/m")


def test_the_command_line_wins_over_variables_and_they_over_the_file(tmp_path):
    file = tmp_path / "c.toml"
    file.write_text('broker = "file:1"\nredis = "redis://file"\nmax_queue = 5\n')
    environment = {
        "CARDIACNETS_CONFIG": str(file),
        "CARDIACNETS_BROKER": "variable:1",
        "CARDIACNETS_REDIS": "redis://v",
    }
    settings = load_settings(environment, {"broker": "argument:1", "redis": None})
    assert (settings.broker, settings.redis, settings.max_queue) == ("argument:1", "redis://v", 5)


def test_a_misspelt_variable_is_refused_with_the_likely_name():
    with pytest.raises(InvalidSettings, match="CARDIACNETS_BROKER"):
        load_settings({"CARDIACNETS_BROKR": "x:1"})


@pytest.mark.parametrize(
    ("name", "value"),
    [("MAX_BATCH", "0"), ("MAX_BATCH", "many"), ("HTTP_PORT", "70000"), ("LOG_LEVEL", "loud")]
    + [("DASHBOARD_NAME", name) for name in ("https://ward.example", "ward.example:8443", "ward.example.", " w")],
)
def test_an_impossible_value_is_refused_and_named(name, value):
    with pytest.raises(InvalidSettings, match=name.lower()):
        load_settings({f"CARDIACNETS_{name}": value})


def test_a_missing_or_broken_file_is_refused_by_name(tmp_path):
    broken = tmp_path / "broken.toml"
    broken.write_text("broker = ")
    for path in (broken, tmp_path / "absent.toml"):
        with pytest.raises(InvalidSettings, match=path.name):
            load_settings({"CARDIACNETS_CONFIG": str(path)})


def test_settings_cannot_be_changed():
    with pytest.raises(AttributeError):
        Settings().broker = "other:1"


def test_settings_pass_through_the_environment_of_a_child():
    settings = Settings(broker="b:1", bundle=Path("/m"), max_batch=3, idempotent_producer=True, redis_timeout_s=0.25)
    assert load_settings(as_environment(settings)) == settings
