"""Settings: from variables, a TOML file and the command line, and nothing misspelt."""

from pathlib import Path

import pytest

from schemas.errors import InvalidSettings
from stream.redis_client import new_redis
from stream.settings import FLAT_NAMES, SECRETS, RedisSettings, Settings, as_environment, load_settings


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
        ("redis+sentinel://h-1:26379,h-2:26379", "the Sentinels, the master and the database"),
        ("redis+sentinel://h-1/ward/first", "the Sentinels, the master and the database"),
        ("redis+sentinel://u:p#ss@h-1,h-2/ward/0", "the Sentinels, the master and the database"),
        ("redis+sentinel://u:p#ss@h-1,h-2:x/ward/0", "the Sentinels, the master and the database"),
        ("redis+sentinel://h-1,h-2:70000/ward/0", "port"),
        ("redis+sentinel://h-1/ward/0?socket_tiemout=1", "socket_tiemout"),
    ],
)
def test_a_redis_url_that_cannot_be_used_is_said_so_before_anything_is_stored(url, words):
    with pytest.raises(InvalidSettings, match=words) as failure:
        new_redis(RedisSettings(url=url))
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
        (
            "REDIS",
            "http://redis",
            r"write a URL with redis://, rediss://, unix://, redis\+sentinel:// or rediss\+sentinel://",
        ),
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


SECRET = "s3cret-of-the-ward"
LOGIN = {"CARDIACNETS_SECURITY_PROTOCOL": "SASL_SSL", "CARDIACNETS_SASL_USERNAME": "ward"}


def every_secret():
    """Settings in which each secret is the same word."""
    return Settings.of(
        security_protocol="SASL_SSL",
        sasl_username="ward",
        sasl_password=SECRET,
        tls_key_password=SECRET,
        redis=f"redis://ward:{SECRET}@h:1/0",
        schema_registry="https://registry",
        schema_registry_user="ward",
        schema_registry_password=SECRET,
        dashboard_token=SECRET,
    )


def test_settings_that_are_printed_show_no_secret():
    token = Settings.of(schema_registry="https://registry", schema_registry_token=SECRET)
    for shown in (every_secret(), token, every_secret().kafka, every_secret().redis):
        assert SECRET not in repr(shown)
        assert SECRET not in str(shown)
        assert SECRET not in str(list(shown.__rich_repr__()))
    assert "broker='localhost:9092'" in repr(every_secret())
    assert "sasl_password=(hidden)" in repr(every_secret()).replace("'", "")
    assert "sasl_password=None" in repr(Settings())


def test_everything_that_is_called_a_password_a_token_or_a_secret_is_one():
    named = {name for names in FLAT_NAMES.values() for name in names if name.endswith(("password", "token", "secret"))}
    assert {*named, "redis", "alert_webhook_url"} == SECRETS


@pytest.mark.parametrize("name", ["SASL_MECHANISM", "SECURITY_PROTOCOL", "LOG_LEVEL"])
def test_a_password_in_the_place_of_a_choice_is_not_repeated(name):
    with pytest.raises(InvalidSettings, match=f"CARDIACNETS_{name} has an impossible value: write one of ") as refused:
        load_settings({f"CARDIACNETS_{name}": SECRET})
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("name", sorted({*FLAT_NAMES["kafka"], *FLAT_NAMES["redis"], *FLAT_NAMES["registry"]}))
def test_no_complaint_about_a_value_repeats_it(name):
    """Whatever the value is put in place of: a password may stand on the wrong line."""
    assert SECRET not in complaint_about({f"CARDIACNETS_{name.upper()}": f"\n{SECRET} @"})


def complaint_about(variables):
    """Return what is said about them, if anything is."""
    try:
        return repr(load_settings(variables)).replace(f"\\n{SECRET} @", "", 1)  # a setting that takes any text
    except InvalidSettings as refused:
        return str(refused)


def test_a_secret_may_lie_in_a_file(tmp_path):
    file = tmp_path / "password"
    file.write_text(f"{SECRET}\n")
    settings = load_settings({**LOGIN, "CARDIACNETS_SASL_PASSWORD_FILE": str(file)})
    assert settings.kafka.sasl_password == SECRET
    (tmp_path / "c.toml").write_text(f'redis_file = "{tmp_path / "url"}"\n')
    (tmp_path / "url").write_text(f"redis://:{SECRET}@h:1/0")
    named = {"CARDIACNETS_CONFIG": str(tmp_path / "c.toml")}
    assert load_settings(named).redis.url == f"redis://:{SECRET}@h:1/0"
    assert load_settings(named, {"redis": "redis://other"}).redis.url == "redis://other"


def test_a_child_takes_its_parents_secret_and_not_the_file_that_the_parent_has_read(tmp_path):
    (tmp_path / "password").write_text(SECRET)
    inherited = {**LOGIN, "CARDIACNETS_SASL_PASSWORD_FILE": str(tmp_path / "password")}
    settings = load_settings(inherited)
    assert load_settings({**inherited, **as_environment(settings)}) == settings


@pytest.mark.parametrize(
    ("content", "words"), [(None, "No such file"), (b"", "alone"), (b"x" * 9000, "8192"), (b"\xff\xfe", "not text")]
)
def test_a_file_that_holds_no_secret_is_refused_by_its_name(content, words, tmp_path):
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InvalidSettings, match=rf"CARDIACNETS_SASL_PASSWORD_FILE=.*password .*{words}"):
        load_settings({**LOGIN, "CARDIACNETS_SASL_PASSWORD_FILE": str(file)})


def test_a_secret_and_its_file_are_not_both_taken(tmp_path):
    (tmp_path / "password").write_text(SECRET)
    both = {"CARDIACNETS_SASL_PASSWORD": "other", "CARDIACNETS_SASL_PASSWORD_FILE": str(tmp_path / "password")}
    with pytest.raises(InvalidSettings, match="set one of the two"):
        load_settings({**LOGIN, **both})


def test_only_a_secret_may_lie_in_a_file():
    with pytest.raises(InvalidSettings, match="no setting is called 'broker_file'"):
        load_settings({"CARDIACNETS_BROKER_FILE": "/broker"})
