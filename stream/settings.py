"""The settings: frozen, read once by the entry point from a TOML file and `CARDIACNETS_*` variables."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from schemas.errors import InvalidSettings

PREFIX = "CARDIACNETS_"
CONFIG_VARIABLE = "CARDIACNETS_CONFIG"
SERVICE_LINK = re.compile(r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT_\d+_(TCP|UDP)(_\w+)?$")
"""How the variables end by which Kubernetes tells each pod of a Service; one more is `…_PORT`, with a URL in it."""

Positive = Annotated[int, Meta(ge=1)]
PositiveSeconds = Annotated[float, Meta(gt=0, le=86_400)]
Port = Annotated[int, Meta(ge=0, le=65_535)]
Addresses = Annotated[str, Meta(pattern=r"^[^\s/,]+(, ?[^\s/,]+)*$", max_length=2048)]
RedisUrl = Annotated[str, Meta(pattern=r"^(rediss?|unix)://", max_length=2048)]
HostName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$", max_length=253)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that an operator may set; each field `x` is also the variable `CARDIACNETS_X`."""

    # Kafka
    broker: Addresses = "localhost:9092"
    """host:port of one broker or more, with commas between them."""
    consumer_group: str = "cardiacnets-screening"
    partitions: Positive = 8
    replication_factor: Positive = 1
    idempotent_producer: bool = False
    """On for Apache Kafka; Tansu does not speak that part of the protocol."""
    rebalance_timeout_s: PositiveSeconds = 4.0
    session_timeout_s: PositiveSeconds = 6.0
    heartbeat_interval_s: PositiveSeconds = 1.0
    commit_interval_s: PositiveSeconds = 1.0
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    sasl_username: str | None = None
    sasl_password: str | None = None
    tls_ca_file: Path | None = None
    tls_certificate_file: Path | None = None
    tls_key_file: Path | None = None
    tls_key_password: str | None = None

    # Redis
    redis: RedisUrl = "redis://localhost:6379/0"
    """User, password and TLS travel in the URL: rediss://user:password@host:6380/0?ssl_ca_certs=/etc/ca.pem."""
    redis_timeout_s: PositiveSeconds = 0.5
    waveform_ttl_s: Annotated[int, Meta(ge=60)] = 7 * 86_400

    # The model
    bundle: Path | None = None
    """The model bundle's folder; the shipped one where not set."""
    engine: str | None = None
    """An engine by name; the fastest that passes its check where not set."""
    threads: Positive | None = None

    # Screening
    max_batch: Positive = 16
    """Records a batch; the network sees this many times the bundle's crops."""
    max_queue: Positive = 32
    """Records a lane that may wait for a batch."""
    in_flight: Positive = 64
    """Records a lane between their arrival and their acknowledgement, and as many that wait to arrive. A shutdown and a
    rebalance wait for them: fewer for a network that takes a second a record."""
    engine_tries: Positive = 3
    engine_hopeless: Positive = 10
    """Records in a row on which the engine failed each time: the worker ends, and rejects no more for it."""
    retry_backoff_s: PositiveSeconds = 0.1
    drain_s: PositiveSeconds = 10.0
    watchdog_s: PositiveSeconds = 120.0
    """A worker that holds records, or knows of some that wait for it, and finishes none for this long ends itself."""

    # Alerts
    backfill_alerts: bool = False
    """Whether ECGs of the backfill topic raise alerts too; their reports and cine requests go out in any case."""
    alert_refractory_s: Annotated[float, Meta(ge=0, le=7 * 86_400)] = 3600.0
    """For this long a patient gets no second alert for the same disease, unless it has worsened."""
    alert_worsening: Annotated[float, Meta(gt=1)] = 2.0
    """How many times the odds must rise to count as worse."""
    alerts_per_hour: Positive | None = None
    """A lane's budget in each worker; what exceeds it is reported without an alert, but for alerts of high priority."""
    alert_escalates_s: PositiveSeconds = 900.0
    """An alert of high priority that nobody acknowledged for this long is escalated."""
    alert_expires_s: PositiveSeconds = 43_200.0
    """An alert that nobody acknowledged for this long is expired."""

    # Cines
    generator: Path | None = None
    """The cine generator's folder; the shipped one where not set."""
    cine_consumer_group: str = "cardiacnets-cines"
    cine_ttl_s: Annotated[int, Meta(ge=60)] = 86_400
    cine_tries: Positive = 3
    cine_deadline_s: PositiveSeconds = 60.0
    """A request whose cine could not be stored for this long fails with a code."""

    # The dashboard
    dashboard_host: str = "127.0.0.1"
    dashboard_port: Port = 8081
    dashboard_name: HostName | None = None
    """The host name that browsers use, without scheme and port, where a proxy stands before it; localhost and this
    machine's are known."""
    dashboard_token: str | None = None
    """A random one, printed at the start, where not set."""
    dashboard_records: Positive = 10_000
    """The newest so many records are kept in view."""

    # Watching it
    http_host: str = "127.0.0.1"
    http_port: Port = 8080
    """0 takes any free port."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"

    def __post_init__(self) -> None:
        """Refuse what would be ignored, or is half of a pair: a forgotten protocol would send ECGs unencrypted."""
        protocol, credentials = self.security_protocol, (self.sasl_username, self.sasl_password)
        if protocol.startswith("SASL") and not all(credentials):
            raise ValueError(f"security_protocol {protocol} needs sasl_username and sasl_password")
        if not protocol.startswith("SASL") and any(credentials):
            raise ValueError(f"sasl_username and sasl_password need a SASL security_protocol; it is {protocol}")
        if not protocol.endswith("SSL") and (self.tls_ca_file or self.tls_certificate_file):
            raise ValueError(
                f"tls_ca_file and tls_certificate_file need SSL or SASL_SSL; security_protocol is {protocol}"
            )
        if self.tls_key_file and not self.tls_certificate_file:
            raise ValueError("tls_key_file goes with tls_certificate_file")


def load_settings(environment: Mapping[str, str], overrides: Mapping[str, object] | None = None) -> Settings:
    """Return the settings; the command line wins over the variables, and they over the TOML file.

    Args:
        environment: the process's variables, of which an empty one is as good as none, and those that Kubernetes sets
            for a Service called cardiacnets-… are none of ours; `CARDIACNETS_CONFIG` names the TOML file.
        overrides: the command line's; None values count as not given.

    Raises:
        InvalidSettings: a name that no setting has, or a value that its setting does not take.
    """
    values: dict[str, Any] = {}
    if path := environment.get(CONFIG_VARIABLE):
        values |= _read_toml(Path(path))
    values |= {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(PREFIX) and name != CONFIG_VARIABLE and value and not _is_service_link(name, value)
    }
    values |= {name: value for name, value in (overrides or {}).items() if value is not None}
    _refuse_unknown(values)
    try:
        return msgspec.convert(values, Settings, strict=False, dec_hook=_as_path)
    except msgspec.ValidationError as error:
        raise InvalidSettings(f"a setting has an impossible value: {error}") from error


def as_environment(settings: Settings) -> dict[str, str]:
    """Return the variables from which `load_settings` makes these settings again, whatever else a child inherits."""
    values = {name: getattr(settings, name) for name in Settings.__struct_fields__}
    variables = {PREFIX + name.upper(): "" if value is None else str(value) for name, value in values.items()}
    return {CONFIG_VARIABLE: "", **variables}


def _is_service_link(name: str, value: str) -> bool:
    return bool(SERVICE_LINK.search(name)) or (name.endswith("_PORT") and value.startswith(("tcp://", "udp://")))


def _as_path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value)
    return value


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InvalidSettings(f"{CONFIG_VARIABLE}={path} cannot be read: {error}") from error


def _refuse_unknown(values: Mapping[str, object]) -> None:
    known = Settings.__struct_fields__
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r} ({PREFIX}{near[0].upper()})?" if near else ""
            raise InvalidSettings(f"no setting is called {name!r}{hint}")
