"""Apache Kafka as hospitals guard it: a listener for each way in, users, certificates, and no right that nobody gave.

Whoever comes in by the plain listener may do everything.
"""

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from apache_kafka import apache_kafka
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from stream.demo.embedded_servers import free_port

PASSWORD = "a-long-one"
USERS = (
    *("worker", "cmr-worker", "alert-keeper", "dashboard", "collect", "device", "archive", "subscriber"),
    *("nobody", "stranger"),
)
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
LISTENERS = {
    "LOGIN": "SASL_PLAINTEXT",
    "TLS": "SSL",
    "MUTUAL": "SSL",
    "LOGINTLS": "SASL_SSL",
    "EXPIRED": "SSL",
    "ELSEWHERE": "SSL",
}


@dataclass
class Guarded:
    """Its folder, its addresses by listener, CLIENTS among them, and the files of those who come in."""

    folder: Path
    addresses: dict
    files: dict


def keystore(folder, name, certificate):
    """Return the settings of a listener that shows a certificate."""
    key = load_pem_private_key(certificate.private_key_pem.bytes(), password=None)
    path = folder / f"{name}.pem"
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + b"".join(pem.bytes() for pem in certificate.cert_chain_pems)
    )
    return {f"listener.name.{name}.ssl.keystore.type": "PEM", f"listener.name.{name}.ssl.keystore.location": path}


def known_by(authority, folder, name):
    """Return the files of a client: its certificate with its key in one."""
    path = folder / f"{name}.pem"
    authority.issue_cert(f"{name}@example.org").private_key_and_cert_chain_pem.write_to_path(path)
    return path


@contextmanager
def guarded_kafka(folder):
    """Run it."""
    folder = Path(folder)
    authority, other = trustme.CA(), trustme.CA()
    last_week = datetime.now(UTC) - timedelta(days=7)
    certificates = {
        "tls": authority.issue_cert("127.0.0.1"),
        "mutual": authority.issue_cert("127.0.0.1"),
        "logintls": authority.issue_cert("127.0.0.1"),
        "expired": authority.issue_cert("127.0.0.1", not_after=last_week),
        "elsewhere": authority.issue_cert("kafka.hospital.example"),
    }
    files = {name: folder / f"{name}.pem" for name in ("ca", "other-ca")}
    authority.cert_pem.write_to_path(files["ca"])
    other.cert_pem.write_to_path(files["other-ca"])
    files |= {"client": known_by(authority, folder, "client"), "stranger": known_by(other, folder, "stranger")}
    changes = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.mutual.ssl.client.auth": "required",
        "listener.name.mutual.ssl.truststore.type": "PEM",
        "listener.name.mutual.ssl.truststore.location": files["ca"],
        **{
            f"listener.name.{name}.scram-sha-512.sasl.jaas.config": f"{SCRAM} required;"
            for name in ("login", "logintls")
        },
    }
    for name, certificate in certificates.items():
        changes |= keystore(folder, name, certificate)
    listeners = {name: (protocol, free_port()) for name, protocol in LISTENERS.items()}
    with apache_kafka(folder, changes, listeners=listeners, users=dict.fromkeys(USERS, PASSWORD)) as address:
        addresses = {name: f"127.0.0.1:{port}" for name, (_, port) in listeners.items()}
        yield Guarded(folder, {"CLIENTS": address, **addresses}, files)
