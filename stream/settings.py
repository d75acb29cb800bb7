"""The settings: frozen, read once by the entry point from a TOML file and `CARDIACNETS_*` variables."""

from __future__ import annotations

import base64
import binascii
import difflib
import ipaddress
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from engines.options import EngineOptions, usable_cores
from inference.site_policy import REASONS, SitePolicy
from schemas.errors import InvalidSettings
from schemas.messages import ALERT_STATUSES, AlertStatus

from .kafka_login import LOGINS, is_this_machine, refusal_of_login

PREFIX = "CARDIACNETS_"
CONFIG_VARIABLE = "CARDIACNETS_CONFIG"
SERVICE_LINK = re.compile(r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT_\d+_(TCP|UDP)(_\w+)?$")
"""How the variables end by which Kubernetes tells each pod of a Service; one more is `…_PORT`, with a URL in it."""

FILE = "_file"
"""What stands behind a secret's name where a file holds it: CARDIACNETS_SASL_PASSWORD_FILE=/run/secrets/kafka."""
MAX_SECRET = 8192
HIDDEN = "(hidden)"

Positive = Annotated[int, Meta(ge=1)]
PositiveSeconds = Annotated[float, Meta(gt=0, le=86_400)]
Age = Annotated[float, Meta(ge=0, le=150)]
Port = Annotated[int, Meta(ge=0, le=65_535)]
Addresses = Annotated[
    str,
    Meta(pattern=r"^[^\s/,]+(, ?[^\s/,]+)*$", max_length=2048, description="host:port, with commas between several"),
]
SECRET = {"secret": True}
"""Marks a setting that no text may show, and that a file may hold in its place."""
Secret = Annotated[str, Meta(extra=SECRET)]
RedisUrl = Annotated[
    str,
    Meta(
        pattern=r"^(rediss?(\+sentinel)?|unix)://",
        max_length=2048,
        description="a URL with redis://, rediss://, unix://, redis+sentinel:// or rediss+sentinel://",
        extra=SECRET,
    ),
]
AccessToken = Annotated[
    str,
    Meta(
        pattern=r"^\S.{14,}\S\Z",
        max_length=1024,
        description="at least 16 characters, without a space at either end; `openssl rand -hex 16` makes such a token",
        extra=SECRET,
    ),
]
HeaderName = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9-]+\Z", max_length=128, description="the name of a header, such as X-Forwarded-User")
]
Folder = Annotated[
    str,
    Meta(
        pattern=r"^(/[A-Za-z0-9][A-Za-z0-9._~-]*)+\Z",
        max_length=256,
        description="a folder on the proxy's host, such as /cardiacnets: a slash first and none at the end",
    ),
]
RegistryUrl = Annotated[
    str,
    Meta(
        pattern=r"^https?://[^\s/@?#]+(/[^\s@?#]*)?$",
        max_length=2048,
        description="a URL with http:// or https://, without user, password and query",
    ),
]
TopicPrefix = Annotated[
    str,
    Meta(pattern=r"^[A-Za-z0-9._-]*\Z", max_length=128, description="letters, digits, dots, underscores, hyphens"),
]
BearerToken = Annotated[
    str,
    Meta(
        pattern=r"^[!-~]+\Z",
        max_length=8192,
        description="printable ASCII characters, without a space and without a new line at the end",
        extra=SECRET,
    ),
]
"""What a header may hold: an error about another token would show the token."""
TokenUrl = Annotated[
    str,
    Meta(
        pattern=r"^https?://[^\s/@?#]+(/[^\s@#]*)?$",
        max_length=2048,
        description="a URL with https:// or http://, without user and password",
    ),
]
WebhookUrl = Annotated[
    str,
    Meta(
        pattern=r"^https?://[!-\"$-.0->A-~]+(/[!-\"$-?A-~]*)?\Z",
        max_length=2048,
        description="a URL with https:// or http://, in ASCII, without user and password",
        extra=SECRET,
    ),
]
"""Many receivers know their senders by a token in the path, so the URL is a secret too."""
WebhookSecret = Annotated[
    str,
    Meta(
        pattern=r"^whsec_[A-Za-z0-9+/]{32,88}={0,2}( whsec_[A-Za-z0-9+/]{32,88}={0,2})?\Z",
        max_length=256,
        description="whsec_ and 24 to 64 random bytes in base64, or two of them with a space between; "
        "`echo whsec_$(openssl rand -base64 32)` makes one",
        extra=SECRET,
    ),
]
PageUrl = Annotated[
    str,
    Meta(
        pattern=r"^https?://[^\s/@?#]+(/[^\s@?#]*)?\Z",
        max_length=1024,
        description="a URL with https:// or http://, without user, password and query",
    ),
]
KerberosName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]+\Z", max_length=128, description="the name of a service")]
HostName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$",
        max_length=253,
        description="a host name, without scheme, port and path",
    ),
]


def is_secret(kind: Any) -> bool:
    """Return whether no text may show a setting of that type."""
    rules = (rule for one in (kind, *get_args(kind)) for rule in getattr(one, "__metadata__", ()))
    return any(isinstance(rule, Meta) and bool(rule.extra and rule.extra.get("secret")) for rule in rules)


class _Group(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings that belong together. A field's encoded name is its flat name: `ttl_s` of the cines is `cine_ttl_s`."""

    def __repr__(self) -> str:
        """Return the settings without the secrets among them."""
        shown = (f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({', '.join(shown)})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Return name and value of each setting, for tracebacks too that show variables."""
        values = [(field, getattr(self, field.name)) for field in msgspec.structs.fields(self)]
        return [
            (field.name, HIDDEN if value is not None and is_secret(field.type) else value) for field, value in values
        ]


class KafkaSettings(_Group, frozen=True, kw_only=True):
    """How the broker is reached, and how a consumer group behaves."""

    broker: Addresses = "localhost:9092"
    """The brokers to ask first: host:port, with commas between several."""
    topic_prefix: TopicPrefix = ""
    """What stands before the names of topics, and of consumer groups that are not set: with `staging.` staging and
    production share a broker and do not see each other. Give each its own Redis database as well."""
    consumer_group: str | None = None
    """The consumer group of the workers. `cardiacnets-screening`, after the topic prefix, where not set."""
    partitions: Positive = 8
    """Partitions of each topic that a process has to create."""
    replication_factor: Positive = 1
    """Replicas of each topic that a process has to create."""
    idempotent_producer: bool | None = None
    """Whether a message that a producer has to send again is kept once. Where not set, it is if the broker can do it:
    Apache Kafka can, Tansu cannot."""
    rebalance_timeout_s: PositiveSeconds = 4.0
    """How long the members of a group have to hand over their partitions."""
    session_timeout_s: PositiveSeconds = 6.0
    """A member that the broker does not hear for this long loses its partitions."""
    heartbeat_interval_s: PositiveSeconds = 0.5
    """How often a member tells the broker that it lives, and hears that partitions change hands."""
    commit_interval_s: PositiveSeconds = 1.0
    """How often acknowledged offsets are committed."""
    isolation_level: Literal["read_committed", "read_uncommitted"] = "read_committed"
    """Messages of a transaction are read once it is committed. With read_uncommitted, those of an open or an aborted
    transaction are read like any other."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How the broker is spoken to: with TLS (SSL), with a login (SASL), with both, or with neither."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI"] = "SCRAM-SHA-512"
    """The mechanism of the login. PLAIN and SCRAM take a user and a password, OAUTHBEARER a token of `oauth_token_url`,
    GSSAPI a Kerberos ticket of the process."""
    sasl_username: str | None = None
    """The user of the login."""
    sasl_password: Secret | None = None
    """The password of the login."""
    oauth_token_url: TokenUrl | None = None
    """The endpoint that gives our client its tokens, with https://, or with http:// on this machine."""
    oauth_token_without_tls: bool = False
    """Whether the client's secret may go to another machine without encryption."""
    oauth_client_id: str | None = None
    """The id of our client at the token endpoint."""
    oauth_client_secret: Secret | None = None
    """The secret of our client."""
    oauth_scope: str | None = None
    """The scopes to ask for, with a space between several, where the endpoint wants them named."""
    oauth_audience: str | None = None
    """The audience to ask for, where the endpoint wants it named."""
    oauth_ca_file: Path | None = None
    """The certificate authority that signed the endpoint's certificate. The system's authorities where not set."""
    kerberos_service: KerberosName = "kafka"
    """What Kerberos calls the service of the brokers."""
    kerberos_host: HostName | None = None
    """The host of that service in Kerberos, where it is another one than the address of the broker."""
    tls_ca_file: Path | None = None
    """The certificate authority that signed the broker's certificate. The system's authorities where not set."""
    tls_certificate_file: Path | None = None
    """Our own certificate, where the broker asks its clients for one."""
    tls_key_file: Path | None = None
    """The private key of our certificate, where the certificate's file does not hold it."""
    tls_key_password: Secret | None = None
    """The password of the private key."""

    def __post_init__(self) -> None:
        """Refuse a setting that would be ignored: a forgotten protocol would send ECGs unencrypted."""
        protocol = self.security_protocol
        login = {name: getattr(self, name) for name in self.__struct_fields__ if name.startswith(LOGINS)}
        if refusal := refusal_of_login(protocol, self.sasl_mechanism, login):
            raise ValueError(refusal)
        if not protocol.endswith("SSL") and (self.tls_ca_file or self.tls_certificate_file):
            raise ValueError(
                f"tls_ca_file and tls_certificate_file need SSL or SASL_SSL; security_protocol is {protocol}"
            )
        if self.tls_key_file and not self.tls_certificate_file:
            raise ValueError("tls_key_file goes with tls_certificate_file")

    def topic(self, name: str) -> str:
        """Return what the broker calls the topic that the contract calls `name`."""
        return self.topic_prefix + name

    def name_of(self, topic: str) -> str:
        """Return what the contract calls a topic of the broker."""
        return topic.removeprefix(self.topic_prefix)

    @property
    def screening_group(self) -> str:
        """The consumer group of the workers."""
        return self.consumer_group or self.topic_prefix + "cardiacnets-screening"


class RegistrySettings(
    _Group, frozen=True, kw_only=True, rename=lambda name: "schema_registry" + ("" if name == "url" else f"_{name}")
):
    """Where the schemas lie that producers wrote their records by, beside our own."""

    url: RegistryUrl | None = None
    """The address of a Schema Registry with Confluent's interface, such as https://registry:8081. A record in Confluent
    framing, or whose header `ce_dataschema` names a schema there, is rejected where not set."""
    user: str | None = None
    """The user of the registry's login."""
    password: Secret | None = None
    """The password of the registry's login."""
    token: BearerToken | None = None
    """A bearer token, in place of user and password."""
    ca_file: Path | None = None
    """The certificate authority that signed the registry's certificate. The system's authorities where not set."""

    def __post_init__(self) -> None:
        """Refuse a setting that would be ignored, and an address that has no host."""
        try:
            address = urlsplit(self.url or "http://registry")
            usable = bool(address.hostname) and address.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise ValueError(f"schema_registry {self.url} is not an address such as https://registry:8081")
        if bool(self.user) != bool(self.password):
            raise ValueError("schema_registry_user and schema_registry_password go together")
        if self.user and self.token:
            raise ValueError("schema_registry_token takes the place of schema_registry_user: set one of the two")
        if self.url is None and (self.user or self.token or self.ca_file):
            raise ValueError(
                "schema_registry_user, schema_registry_token and schema_registry_ca_file need schema_registry"
            )
        if self.ca_file and self.url and not self.url.startswith("https:"):
            raise ValueError("schema_registry_ca_file needs a schema_registry that begins with https://")


class FhirSettings(_Group, frozen=True, kw_only=True, rename=lambda name: f"fhir_{name}"):
    """How `cardiacnets fhir` logs in at the server that it posts to. Other processes have no use for these settings."""

    token: BearerToken | None = None
    """A bearer token for the server. It goes over https:// alone, and to a server on this machine."""
    ca_file: Path | None = None
    """The certificate authority that signed the server's certificate. The system's authorities where not set."""


class RedisSettings(_Group, frozen=True, kw_only=True, rename={"url": "redis", "timeout_s": "redis_timeout_s"}):
    """How Redis is reached, and how long it keeps waveforms."""

    url: RedisUrl = "redis://localhost:6379/0"
    """User, password and TLS travel in the URL: rediss://user:password@host:6380/0?ssl_ca_certs=/etc/ca.pem. Behind
    Sentinels it names them, the master and the database: redis+sentinel://user:password@host-1:26379,host-2/mymaster/0.
    A password of the Sentinels themselves is the option `sentinel_password`."""
    timeout_s: PositiveSeconds = 0.5
    """How long Redis has to answer."""
    waveform_ttl_s: Annotated[int, Meta(ge=60)] = 7 * 86_400
    """How long the ECG of a flagged record is kept for the dashboard."""
    waveforms_at_most: Positive = 100_000
    """How many ECGs of flagged records Redis keeps, about 40 kB each. The oldest makes room for the next one."""
    other_waveform_ttl_s: Annotated[int, Meta(ge=0, le=7 * 86_400)] = 28_800
    """How long the ECG of a live record is kept for the dashboard that was not flagged, or was rejected for its signal:
    a shift of eight hours. 0: not at all."""
    other_waveforms_bytes: Annotated[int, Meta(ge=2**20)] = 64 * 2**20
    """How many bytes of Redis those ECGs may take, about 40 kB each. The oldest makes room for the next one."""
    cines_at_most: Positive = 10_000
    """How many cines Redis keeps, about 160 kB each. The oldest makes room for the next one."""
    ecg_id_ttl_s: Annotated[int, Meta(ge=60)] = 8 * 86_400
    """How long Redis remembers which ECG a record id belongs to: longer than a topic keeps its records. An id takes
    about 200 bytes."""
    ecg_ids_at_most: Positive = 1_000_000
    """How many record ids of the ward Redis remembers. The oldest is forgotten for the next one: another ECG under it
    is not noticed any more."""
    backfill_ecg_ids: Annotated[int, Meta(ge=0)] = 50_000
    """Of how many ECGs of the backfill topic Redis remembers the record ids at most, about 120 bytes each, for a day. A
    newer one may take an older one's place. 0: of none, so two workers do not know of each other's. Set it alike in all
    workers. The ids of the ward are another matter: see `ecg_id_ttl_s`."""
    ecg_id_wait_s: PositiveSeconds = 0.1
    """How long a batch of ECGs may wait for Redis to say so. After that the worker goes by its own memory, and does not
    ask again for 1 to 30 s."""


class ModelSettings(_Group, frozen=True, kw_only=True):
    """Which model screens, by which engine, and whom."""

    bundle: Path | None = None
    """The folder of the model bundle. The shipped bundle where not set."""
    engine: str | None = None
    """The name of an engine. The fastest that passes its check where not set."""
    threads: Positive | None = None
    """CPU threads of the engine. All that the process may use where not set."""
    gpu: Annotated[int, Meta(ge=0)] = 0
    """Which of the GPUs that the process sees. Only engines that run on a GPU look at it."""
    engine_cache: Path | None = None
    """The folder of compiled networks and of measured choices. The user's cache where not set."""

    min_age_years: Age | None = None
    """ECGs of younger patients are not assessable. Counts where it is above what the bundle says: 18 years, mostly."""
    max_age_years: Age | None = None
    """ECGs of older patients are not assessable. Counts where it is below what the bundle says."""
    age_required: bool = False
    """Whether an ECG without an age is not assessable. Otherwise its report has a warning."""
    screen_anyway: str | None = None
    """Reasons for which an ECG is not assessable and that do not count at this site, with commas between several:
    paced, leads_exchanged. Every report says so. The model was not made for these ECGs."""

    def __post_init__(self) -> None:
        """Refuse a reason that is none, and ages of nobody."""
        if unknown := self._reasons() - set(REASONS):
            raise ValueError(f"screen_anyway names {', '.join(sorted(unknown))}: the reasons are {', '.join(REASONS)}")
        if self.min_age_years and self.max_age_years and self.max_age_years <= self.min_age_years:
            raise ValueError("max_age_years must be above min_age_years")

    def site_policy(self) -> SitePolicy:
        """Return what the site asks of an ECG beside what the model asks."""
        return SitePolicy(
            min_age_years=self.min_age_years,
            max_age_years=self.max_age_years,
            age_required=self.age_required,
            screen_anyway=frozenset(reason for reason in REASONS if reason in self._reasons()),
        )

    def _reasons(self) -> set[str]:
        return {text.strip() for text in (self.screen_anyway or "").split(",") if text.strip()}

    def engine_options(self) -> EngineOptions:
        """Return what an engine is opened with."""
        threads = self.threads or usable_cores()
        return EngineOptions(threads=threads, device=self.gpu, cache_folder=self.engine_cache)


class ScreeningSettings(_Group, frozen=True, kw_only=True):
    """How a worker batches records and bounds what it holds."""

    max_batch: Positive | None = None
    """Records a batch. Where not set, what the engine's device wants: 16 on a processor, 32 on a GPU, for a bundle of
    three crops a record. The network sees this many times the bundle's crops."""
    max_queue: Positive = 32
    """Records a lane that may wait for a batch."""
    preparers: Positive | None = None
    """Threads that decode, examine and prepare batches. Where not set, one for every eight cores, and four at most. A
    worker on a GPU needs several; beside an engine that uses all cores, more than one gains nothing."""
    in_flight: Positive = 64
    """Records a lane between arrival and acknowledgement, and as many again that wait to arrive. A shutdown and a
    rebalance wait for them: set fewer for a network that takes a second a record."""
    engine_tries: Positive = 3
    """How often a record is tried on an engine that fails."""
    known_ecgs: Annotated[int, Meta(ge=0)] = 100_000
    """How many record ids of each topic a worker remembers in its own memory, about 300 bytes each. A record whose id
    belongs to another ECG is rejected. 0 switches this check off."""
    engine_failures_in_a_row: Positive = 10
    """After this many records in a row whose tries all failed the engine is at fault: the worker ends, and rejects no
    further record."""
    backfill_waveforms: bool = False
    """Whether Redis keeps flagged ECGs of the backfill topic too, for a day at most."""
    backfill_waveforms_at_most: Positive = 1000
    """How many ECGs of the backfill topic Redis keeps then, about 40 kB each. The next ones are not kept."""
    backfill_cines: bool = False
    """Whether cines of flagged ECGs of the backfill topic are asked for too."""
    backfill_cines_at_most: Positive = 500
    """How many cines of the backfill topic are asked for then within two days, about 160 kB each."""


class AlertSettings(
    _Group,
    frozen=True,
    kw_only=True,
    rename={
        "on_backfill": "backfill_alerts",
        "refractory_s": "alert_refractory_s",
        "worsening": "alert_worsening",
        "per_hour": "alerts_per_hour",
        "escalates_s": "alert_escalates_s",
        "expires_s": "alert_expires_s",
    },
):
    """When an alert goes out, and how it ages."""

    on_backfill: bool = False
    """Whether ECGs of the backfill topic raise alerts too. Their reports go out in any case."""
    refractory_s: Annotated[float, Meta(ge=0, le=7 * 86_400)] = 3600.0
    """For this long a patient gets no second alert for the same disease, unless the disease has worsened."""
    worsening: Annotated[float, Meta(gt=1)] = 2.0
    """The factor by which the odds must rise to count as worse."""
    per_hour: Positive | None = None
    """Alerts an hour that a lane of all workers together may raise. Alerts of high priority always go out; a finding
    over the budget is reported without an alert."""
    escalates_s: PositiveSeconds = 900.0
    """An alert of high priority that nobody acknowledges for this long is escalated."""
    expires_s: PositiveSeconds = 43_200.0
    """An alert that nobody acknowledges for this long expires."""


PRIORITIES = ("high", "medium", "low")


class WebhookSettings(_Group, frozen=True, kw_only=True, rename=lambda name: f"alert_webhook_{name}"):
    """Whom the keeper of alerts tells of them by HTTP, such as a pager, and of which ones."""

    url: WebhookUrl | None = None
    """Where alerts are posted, with https://, or with http:// on this machine. Nothing is posted where not set."""
    secret: WebhookSecret | None = None
    """What the messages are signed with, as Standard Webhooks say: whsec_ and base64. Two, with a space between, sign
    both, so that a receiver may change from one to the other."""
    on: str = "escalated, raised:high"
    """The states that are told, with commas between several; behind a colon one priority, where not all are told."""
    dashboard: PageUrl | None = None
    """The address at which people open the dashboard: a message then has a link to the page of its record."""
    deadline_s: PositiveSeconds = 3600.0
    """For this long a message is tried. Then it is given up, and counted."""
    timeout_s: Annotated[float, Meta(gt=0, le=60)] = 10.0
    """How long the receiver has to answer one message."""
    ca_file: Path | None = None
    """The certificate authority that signed the receiver's certificate. The system's authorities where not set."""
    without_tls: bool = False
    """Whether alerts may go to another machine without encryption."""

    def __post_init__(self) -> None:
        """Refuse half of a webhook, an address that has no host, and what would be told to everybody on the way."""
        _ = self.keys, self.occasions
        if bool(self.url) != bool(self.secret):
            raise ValueError("alert_webhook_url and alert_webhook_secret go together")
        if self.url is None:
            if self.ca_file or self.without_tls:
                raise ValueError("alert_webhook_ca_file and alert_webhook_without_tls need alert_webhook_url")
            return
        host = _host_of(self.url)
        if not host:  # the URL may hold a token, so that no text shows it
            raise ValueError("alert_webhook_url is not an address such as https://pager.example/alerts")
        if self.url.startswith("https:"):
            return
        if self.ca_file:
            raise ValueError("alert_webhook_ca_file needs an alert_webhook_url that begins with https://")
        if not self.without_tls and not is_this_machine(host):
            raise ValueError(
                "alert_webhook_url would tell of alerts without encryption: write https://, or set "
                "alert_webhook_without_tls"
            )

    @property
    def keys(self) -> tuple[bytes, ...]:
        """What the messages are signed with."""
        try:
            texts = [text.removeprefix("whsec_") for text in (self.secret or "").split()]
            return tuple(base64.b64decode(text, validate=True) for text in texts)
        except binascii.Error:
            raise ValueError("alert_webhook_secret holds no base64 behind whsec_") from None

    @property
    def occasions(self) -> frozenset[tuple[AlertStatus, str]]:
        """The states that are told, each with a priority."""
        return frozenset(
            pair for text in self.on.split(",") if text.strip() for pair in _occasions(*text.strip().split(":", 1))
        )


def _occasions(status: str, priority: str | None = None) -> list[tuple[AlertStatus, str]]:
    """Return the pairs of state and priority that a word of `alert_webhook_on` stands for."""
    found = [
        (known, each) for known in ALERT_STATUSES for each in PRIORITIES if known == status and priority in {None, each}
    ]
    if not found:
        named = status if priority is None else f"{status}:{priority}"
        raise ValueError(
            f"alert_webhook_on names {named!r}: the states are {', '.join(ALERT_STATUSES)}, and the priorities "
            f"{', '.join(PRIORITIES)}, such as raised:high"
        )
    return found


def _host_of(url: str) -> str | None:
    """Return the host of a URL; None where there is none, or no port that a server may have."""
    try:
        address = urlsplit(url)
        host = address.hostname if address.port != 0 else None
    except ValueError:
        host = None
    return host


class KeeperSettings(_Group, frozen=True, kw_only=True, rename=lambda name: f"keeper_{name}"):
    """How the keeper of alerts works."""

    consumer_group: str | None = None
    """The consumer group of the keepers of alerts, of which one is at work. `cardiacnets-alert-keeper`, after the topic
    prefix, where not set."""
    alerts: Positive = 20_000
    """How many of the newest alerts the keeper keeps, about 1.5 kB each. An open alert that it had to drop neither
    escalates nor expires: it is counted."""


class CineSettings(
    _Group,
    frozen=True,
    kw_only=True,
    rename={
        "engine": "cine_engine",
        "consumer_group": "cine_consumer_group",
        "ttl_s": "cine_ttl_s",
        "tries": "cine_tries",
        "deadline_s": "cine_deadline_s",
    },
):
    """How cines are drawn and kept."""

    generator: Path | None = None
    """The folder of the cine generator. The shipped generator where not set."""
    engine: str = "onnxruntime"
    """The engine that draws: onnxruntime, or onnxruntime-cuda on a GPU. With another engine, the same ECG and seed give
    the same heart, but not the same bytes. What is set of the screening engine's threads, GPU and cache counts here as
    well."""
    consumer_group: str | None = None
    """The consumer group of the cmr-workers. `cardiacnets-cines`, after the topic prefix, where not set."""
    ttl_s: Annotated[int, Meta(ge=60)] = 86_400
    """How long a cine is kept in Redis."""
    tries: Positive = 3
    """How often a request is tried whose cine could not be drawn."""
    deadline_s: PositiveSeconds = 60.0
    """A request whose cine could not be stored for this long fails with a code."""


OWN_PLACES = frozenset({"api", "healthz", "metrics", "readyz", "record", "sign-in", "sign-out", "static"})
"""What lies at the top of the dashboard: a prefix of that name could not be told from it."""


class DashboardSettings(_Group, frozen=True, kw_only=True, rename=lambda name: f"dashboard_{name}"):
    """Where the dashboard listens, who may open it, and how much it keeps in view."""

    host: str = "127.0.0.1"
    """The address that the dashboard listens on: this machine alone by default."""
    port: Port = 8081
    """The port of the dashboard. 0 takes any free port."""
    name: HostName | None = None
    """The host name that browsers use where a proxy stands before the dashboard, without scheme and port. localhost and
    this machine's own names are known."""
    prefix: Folder | None = None
    """The folder on a reverse proxy's host in which the dashboard lies, such as /cardiacnets. The proxy may take it off
    the path or leave it there. At the top where not set."""
    token: AccessToken | None = None
    """The token that opens the dashboard, at least 16 characters. Where not set, the dashboard prints an address that
    opens it once; when that address was used, it prints the next one."""
    session_s: Annotated[float, Meta(ge=60, le=2_592_000)] = 43_200.0
    """How long a session lasts. Whoever signed in has to sign in again after that."""
    trusted_proxies: str | None = None
    """The addresses of the reverse proxies before the dashboard, or their networks, with commas between several:
    10.0.0.5, fd00::/64. What they say in headers is believed, and nobody else's."""
    user_header: HeaderName | None = None
    """The header in which a trusted proxy says who the user is, such as X-Forwarded-User. The proxy must remove it from
    what browsers send."""
    role_header: HeaderName | None = None
    """The header in which a trusted proxy says the user's roles, with commas or | between several. Where not set, every
    user may acknowledge."""
    acknowledging_role: Annotated[str, Meta(min_length=1, max_length=256)] = "acknowledge"
    """The role that may acknowledge alerts and ask for cines. Users without it may look at everything."""
    records: Positive = 10_000
    """How many of the newest records are kept in view."""
    pages: Annotated[int, Meta(ge=1, le=5000)] = 200
    """How many pages may be open at once. Fewer are taken where the process may open few files."""

    def __post_init__(self) -> None:
        """Refuse a setting that would be ignored, and proxies that are nobody or everybody."""
        if self.prefix and self.prefix.split("/")[1] in OWN_PLACES:
            raise ValueError(f"dashboard_prefix {self.prefix} begins like a place on the dashboard: choose another one")
        if self.user_header and not self.trusted_proxies:
            raise ValueError("dashboard_user_header needs dashboard_trusted_proxies: anybody can send a header")
        if self.role_header and not self.user_header:
            raise ValueError("dashboard_role_header goes with dashboard_user_header")
        if any(network.prefixlen == 0 for network in self.trusted_networks):
            raise ValueError("dashboard_trusted_proxies names the whole world: name the addresses of your proxies")

    @property
    def trusted_networks(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        """The networks of the trusted proxies."""
        return tuple(_network(text.strip()) for text in (self.trusted_proxies or "").split(",") if text.strip())


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(
            f"dashboard_trusted_proxies {text!r} is neither an address nor a network such as 10.0.0.0/24: {error}"
        ) from error


class ProcessSettings(_Group, frozen=True, kw_only=True):
    """How a process is watched, and how it ends."""

    http_host: str = "127.0.0.1"
    """The address of /metrics, /healthz and /readyz: this machine alone by default."""
    http_port: Port = 8080
    """The port of /metrics, /healthz and /readyz. 0 takes any free port."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe message that is logged."""
    log_format: Literal["json", "console"] = "json"
    """JSON for a log collector, console for a person."""
    retry_backoff_s: PositiveSeconds = 0.1
    """The wait after a first failed try. Each further wait is twice as long."""
    drain_s: PositiveSeconds = 10.0
    """How long a process that ends works on what it holds."""
    watchdog_s: PositiveSeconds = 120.0
    """A process that holds work, or knows of work that waits for it, and finishes none for this long ends itself."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All that an operator may set, in groups. Each setting has one flat name, which is also its variable's."""

    kafka: KafkaSettings = KafkaSettings()
    registry: RegistrySettings = RegistrySettings()
    fhir: FhirSettings = FhirSettings()
    redis: RedisSettings = RedisSettings()
    model: ModelSettings = ModelSettings()
    screening: ScreeningSettings = ScreeningSettings()
    alerts: AlertSettings = AlertSettings()
    webhook: WebhookSettings = WebhookSettings()
    keeper: KeeperSettings = KeeperSettings()
    cines: CineSettings = CineSettings()
    dashboard: DashboardSettings = DashboardSettings()
    process: ProcessSettings = ProcessSettings()

    @property
    def cine_group(self) -> str:
        """The consumer group of the cmr-workers."""
        return self.cines.consumer_group or self.kafka.topic_prefix + "cardiacnets-cines"

    @property
    def keeper_group(self) -> str:
        """The consumer group of the keepers of alerts."""
        return self.keeper.consumer_group or self.kafka.topic_prefix + "cardiacnets-alert-keeper"

    @classmethod
    def of(cls, **flat: object) -> Self:
        """Return the settings that these flat names make: `Settings.of(broker="kafka:9092", cine_ttl_s=600)`.

        Raises:
            InvalidSettings: a name that no setting has, or a value that its setting does not take.
        """
        _refuse_unknown(flat)
        groups = {group: {name: flat[name] for name in names if name in flat} for group, names in FLAT_NAMES.items()}
        try:
            return msgspec.convert(groups, cls, strict=False, dec_hook=_as_path)
        except msgspec.ValidationError as error:
            raise InvalidSettings(_complaint(error)) from error

    def flat(self) -> dict[str, Any]:
        """Return each setting under its flat name."""
        return {
            name: getattr(getattr(self, group), field)
            for group, names in FLAT_NAMES.items()
            for name, field in names.items()
        }

    def changed(self, **flat: object) -> Self:
        """Return these settings with the changes, which are named flat.

        Raises:
            InvalidSettings: as `of` does.
        """
        return self.of(**{**self.flat(), **flat})


FLAT_NAMES: dict[str, dict[str, str]] = {
    group.name: {field.encode_name: field.name for field in msgspec.structs.fields(group.type)}
    for group in msgspec.structs.fields(Settings)
}
"""The flat name of each setting, by group, with the field that it is."""

SECRETS = frozenset(
    field.encode_name
    for group in msgspec.structs.fields(Settings)
    for field in msgspec.structs.fields(group.type)
    if is_secret(field.type)
)
"""The flat names of the settings that are secret."""

RENAMED = {"engine_hopeless": "engine_failures_in_a_row"}
"""Names that a setting no longer has, with the name that it has."""


def load_settings(environment: Mapping[str, str], overrides: Mapping[str, object] | None = None) -> Settings:
    """Return the settings; the command line wins over the variables, and they over the TOML file.

    Args:
        environment: the process's variables, of which an empty one is as good as none, and those that Kubernetes sets
            for a Service called cardiacnets-… are none of ours; `CARDIACNETS_CONFIG` names the TOML file, and
            `CARDIACNETS_SASL_PASSWORD_FILE` a file that holds that secret.
        overrides: the command line's; None values count as not given.

    Raises:
        InvalidSettings: a name that no setting has, or a value that its setting does not take.
    """
    values: dict[str, Any] = {}
    if path := environment.get(CONFIG_VARIABLE):
        values |= _with_secrets_of_files(_read_toml(Path(path)))
    variables = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(PREFIX) and name != CONFIG_VARIABLE and value and not _is_service_link(name, value)
    }
    values |= _with_secrets_of_files(variables)
    values |= {name: value for name, value in (overrides or {}).items() if value is not None}
    return Settings.of(**values)


def as_environment(settings: Settings) -> dict[str, str]:
    """Return the variables from which `load_settings` makes these settings again, whatever else a child inherits."""
    variables = {PREFIX + name.upper(): "" if value is None else str(value) for name, value in settings.flat().items()}
    elsewhere = dict.fromkeys((CONFIG_VARIABLE, *(PREFIX + (name + FILE).upper() for name in SECRETS)), "")
    return {**elsewhere, **variables}


def _complaint(error: msgspec.ValidationError) -> str:
    """Return msgspec's complaint with the variable's name for the path to the field, and words for its pattern."""
    complaint, _, path = str(error).partition(" - at ")
    name = path.strip("`").rpartition(".")[2]
    for group, names in FLAT_NAMES.items():
        if name in names:
            if "regex" in complaint or "enum" in complaint:  # the complaint about a choice repeats what was written
                complaint = f"write {_description(group, names[name])}"
            return f"{PREFIX}{name.upper()} has an impossible value: {complaint}"
    return f"a setting has an impossible value: {complaint}"


def _description(group: str, field: str) -> str:
    """Return what the type of a field says of the values that it takes."""
    kind = get_type_hints(type(getattr(Settings(), group)), include_extras=True)[field]
    kinds = (kind, *get_args(kind))  # an optional field is a union
    rules = (rule for kind in kinds for rule in getattr(kind, "__metadata__", ()) if isinstance(rule, Meta))
    choices = [str(choice) for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
    described = next((rule.description for rule in rules if rule.description), "another value")
    return f"one of {', '.join(choices)}" if choices else described


def _is_service_link(name: str, value: str) -> bool:
    return bool(SERVICE_LINK.search(name)) or (name.endswith("_PORT") and value.startswith(("tcp://", "udp://")))


def _as_path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value)
    return value


def _with_secrets_of_files(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values, with the content of a file for each secret that is given by its file."""
    found = dict(values)
    for name in SECRETS & {name.removesuffix(FILE) for name in values if name.endswith(FILE)}:
        path = Path(found.pop(name + FILE))
        if name in found:
            raise InvalidSettings(f"{PREFIX}{(name + FILE).upper()} takes the place of {name!r}: set one of the two")
        found[name] = _read_secret(name, path)
    return found


def _read_secret(name: str, path: Path) -> str:
    variable = PREFIX + (name + FILE).upper()
    try:
        with path.open(encoding="utf-8") as file:
            secret = file.read(MAX_SECRET + 1).rstrip("\r\n")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise InvalidSettings(f"{variable}={path} cannot be read: {why}") from None
    if not 0 < len(secret) <= MAX_SECRET:
        raise InvalidSettings(f"{variable}={path} must hold the secret alone, of at most {MAX_SECRET} characters")
    return secret


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InvalidSettings(f"{CONFIG_VARIABLE}={path} cannot be read: {error}") from error


def _refuse_unknown(values: Mapping[str, object]) -> None:
    known = {name for names in FLAT_NAMES.values() for name in names}
    for name in values:
        if name in RENAMED:
            new = RENAMED[name]
            raise InvalidSettings(f"the setting {name!r} is now called {new!r} ({PREFIX}{new.upper()}): rename it")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r} ({PREFIX}{near[0].upper()})?" if near else ""
            raise InvalidSettings(f"no setting is called {name!r}{hint}")
