"""What a login by Kerberos needs of this machine: the library, and a ticket or a keytab."""

from __future__ import annotations

from schemas.errors import DeploymentError


def check_kerberos() -> None:
    """Check what aiokafka would miss in the middle of a connection.

    Raises:
        DeploymentError: the library is not there, or there is nothing to log in with.
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
