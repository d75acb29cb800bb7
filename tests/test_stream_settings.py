"""Settings: from variables, a TOML file and the command line, and nothing misspelt."""

from pathlib import Path

import pytest

from schemas.errors import InvalidSettings
from stream.redis_client import new_redis
from stream.settings import FLAT_NAMES, RedisSettings, Settings, as_environment, load_settings


def test_the_defaults_point_at_loopback():
    settings = load_settings({})
    assert settings.kafka.broker.startswith("localhost")
    assert settings.process.http_host == "127.0.0.1"


def test_a_variable_sets_its_field_and_is_converted():
    settings = load_settings({"CARDIACNETS_MAX_BATCH": "24", "CARDIACNETS_BUNDLE": "/m", "HOME": "/root"})
    assert settings.screening.max_batch == 24
    assert settings.model.bundle == Path("/m")


def test_the_command_line_wins_over_variables_and_they_over_the_file(tmp_path):
    file = tmp_path / "c.toml"
    file.write_text('broker = "file:1"\nredis = "redis://file"\nmax_queue = 5\n')
    environment = {
        "CARDIACNETS_CONFIG": str(file),
        "CARDIACNETS_BROKER": "variable:1",
        "CARDIACNETS_REDIS": "redis://v",
    }
    settings = load_settings(environment, {"broker": "argument:1", "redis": None})
    assert (settings.kafka.broker, settings.redis.url, settings.screening.max_queue) == ("argument:1", "redis://v", 5)
    assert load_settings({"CARDIACNETS_BROKER": "a.b:1, [::1]:2"}).kafka.broker == "a.b:1, [::1]:2"


def test_a_misspelt_variable_is_refused_with_the_likely_name():
    with pytest.raises(InvalidSettings, match="CARDIACNETS_BROKER"):
        load_settings({"CARDIACNETS_BROKR": "x:1"})


def test_a_setting_that_was_renamed_is_refused_with_its_new_name():
    with pytest.raises(InvalidSettings, match="CARDIACNETS_ENGINE_FAILURES_IN_A_ROW"):
        load_settings({"CARDIACNETS_ENGINE_HOPELESS": "5"})


def test_every_flat_name_belongs_to_one_setting():
    names = [name for group in FLAT_NAMES.values() for name in group]
    assert len(names) == len(set(names))
    assert Settings.of(**Settings().flat()) == Settings()


def test_what_kubernetes_says_of_a_service_of_our_name_is_no_setting():
    links = {
        "CARDIACNETS_PORT": "tcp://10.0.0.1:8080",
        "CARDIACNETS_DASHBOARD_PORT": "tcp://10.0.0.1:8081",
        "CARDIACNETS_DASHBOARD_PORT_8081_TCP_ADDR": "10.0.0.1",
        "CARDIACNETS_DASHBOARD_SERVICE_HOST": "10.0.0.1",
        "CARDIACNETS_DASHBOARD_SERVICE_PORT_HTTP": "8081",
    }
    assert load_settings(links) == Settings()
    assert load_settings({"CARDIACNETS_DASHBOARD_PORT": "9000"}).dashboard.port == 9000


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://h?ssl_ca_certs=/ca.pem", "ssl_ca_certs"),
        ("redis://u:p#ss@h", "%23"),
        ("redis://h:70000", "port"),
    ],
)
def test_a_redis_url_that_cannot_be_used_is_said_so_before_anything_is_stored(url, words):
    with pytest.raises(InvalidSettings, match=words) as failure:
        new_redis(RedisSettings(url=url), retries=0)
    assert "p#ss" not in str(failure.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("MAX_BATCH", "0"), ("MAX_BATCH", "many"), ("HTTP_PORT", "70000"), ("LOG_LEVEL", "loud")]
    + [("DASHBOARD_NAME", name) for name in ("https://ward.example", "ward.example:8443", "ward.example.", " w")]
    + [("BROKER", "kafka://ward:9092"), ("BROKER", "a:1 b:1"), ("REDIS", "localhost:6379")]
    + [("BROKER", "tcp://10.0.0.1:9092"), ("REDIS", "tcp://10.0.0.1:6379")],
)
def test_an_impossible_value_is_refused_and_named(name, value):
    with pytest.raises(InvalidSettings, match=f"CARDIACNETS_{name}"):
        load_settings({f"CARDIACNETS_{name}": value})


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"SECURITY_PROTOCOL": "SASL_SSL"}, "needs sasl_username and sasl_password"),
        ({"SECURITY_PROTOCOL": "SASL_SSL", "SASL_USERNAME": "ward"}, "needs sasl_username and sasl_password"),
        ({"SASL_PASSWORD": "p"}, "need a SASL security_protocol; it is PLAINTEXT"),
        ({"SECURITY_PROTOCOL": "SSL", "SASL_USERNAME": "ward", "SASL_PASSWORD": "p"}, "need a SASL"),
        ({"TLS_CA_FILE": "/ca.pem"}, "need SSL or SASL_SSL; security_protocol is PLAINTEXT"),
        ({"SECURITY_PROTOCOL": "SSL", "TLS_KEY_FILE": "/key.pem"}, "goes with tls_certificate_file"),
    ],
)
def test_half_of_what_security_takes_is_refused_rather_than_ignored(changes, missing):
    with pytest.raises(InvalidSettings, match=missing):
        load_settings({f"CARDIACNETS_{name}": value for name, value in changes.items()})


def test_a_missing_or_broken_file_is_refused_by_name(tmp_path):
    broken = tmp_path / "broken.toml"
    broken.write_text("broker = ")
    for path in (broken, tmp_path / "absent.toml"):
        with pytest.raises(InvalidSettings, match=path.name):
            load_settings({"CARDIACNETS_CONFIG": str(path)})


def test_settings_cannot_be_changed():
    with pytest.raises(AttributeError):
        Settings().kafka.broker = "other:1"


def test_settings_pass_through_the_environment_of_a_child_and_win_over_what_it_inherits(tmp_path):
    settings = Settings.of(broker="b:1", bundle=Path("/m"), max_batch=3, idempotent_producer=True, redis_timeout_s=0.25)
    file = tmp_path / "c.toml"
    file.write_text('generator = "/file"\n')
    inherited = {
        "CARDIACNETS_CONFIG": str(file),
        "CARDIACNETS_SECURITY_PROTOCOL": "SASL_SSL",
        "CARDIACNETS_SASL_USERNAME": "ward",
        "CARDIACNETS_SASL_PASSWORD": "p",
        "CARDIACNETS_TLS_CA_FILE": "/ca.pem",
    }
    assert load_settings(inherited).cines.generator == Path("/file")
    assert load_settings({**inherited, **as_environment(settings)}) == settings


def test_an_empty_variable_is_as_good_as_none():
    assert load_settings({"CARDIACNETS_BROKER": "", "CARDIACNETS_BUNDLE": "", "CARDIACNETS_CONFIG": ""}) == Settings()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("REDIS", "http://redis", "write a URL with redis://, rediss:// or unix://"),
        ("BROKER", "kafka 9092", "write host:port"),
        ("DASHBOARD_NAME", "http://ward", "write a host name"),
        ("TOPIC_PREFIX", "a b", "write letters, digits"),
        ("SCHEMA_REGISTRY", "ftp://registry", "write a URL with http:// or https://"),
    ],
)
def test_a_value_of_another_form_is_refused_in_words_and_not_by_a_pattern(name, value, words):
    with pytest.raises(InvalidSettings, match=f"CARDIACNETS_{name} has an impossible value: {words}") as refused:
        load_settings({f"CARDIACNETS_{name}": value})
    assert "regex" not in str(refused.value)
