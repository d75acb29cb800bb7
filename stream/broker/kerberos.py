"""What a login by Kerberos needs of this machine: the library, and a ticket or a keytab."""

from __future__ import annotations

from urllib.parse import urlsplit

from schemas.errors import DeploymentError
from stream.settings import KafkaSettings


def check_kerberos(settings: KafkaSettings) -> None:
    """Check what aiokafka would miss in the middle of a connection.

    Raises:
        DeploymentError: the library or a ticket is not there, or Kerberos does not know the broker.
    """
    try:
        import gssapi
    except ImportError as error:
        raise DeploymentError(
            f"CARDIACNETS_SASL_MECHANISM=GSSAPI needs the library of Kerberos ({error}): apt-get install gcc "
            "libkrb5-dev, pip install 'cardiacnets[kerberos]'"
        ) from error
    try:
        gssapi.Credentials(usage="initiate")
    except gssapi.exceptions.GSSError as error:
        raise DeploymentError(
            "there is no Kerberos ticket to log in with at Kafka: get one by kinit, or name a keytab in "
            f"KRB5_CLIENT_KTNAME, from which tickets are fetched and renewed ({error})"
        ) from error
    host = settings.kerberos_host or urlsplit(f"//{settings.broker.split(',')[0].strip()}").hostname
    service = gssapi.Name(f"{settings.kerberos_service}@{host}", name_type=gssapi.NameType.hostbased_service)
    try:
        gssapi.SecurityContext(name=service, usage="initiate").step()
    except gssapi.exceptions.GSSError as error:
        raise DeploymentError(
            f"Kerberos gives no ticket for the broker {settings.kerberos_service}/{host}: set "
            f"CARDIACNETS_KERBEROS_SERVICE and CARDIACNETS_KERBEROS_HOST to what it calls the broker ({error})"
        ) from error
