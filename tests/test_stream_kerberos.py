"""A login at Apache Kafka by Kerberos (GSSAPI), with a key distribution centre of the test's own."""

import asyncio
import os
import shutil
import subprocess
from contextlib import contextmanager
from importlib.util import find_spec

import pytest
from apache_kafka import apache_kafka, needs_apache_kafka
from harness import PROMPT, collect, good_values, publish_values
from waiting import PATIENCE_S, wait_until

from schemas.errors import DeploymentError
from stream.broker.clients import connection, ensure_topics
from stream.demo.child_process import Child
from stream.demo.embedded_servers import embedded_redis, free_port
from stream.demo.stage import await_worker, start_worker
from stream.settings import Settings

REALM = "WARD.EXAMPLE"
RECORDS = 10
FIXED = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "GSSAPI"}
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
serves = pytest.mark.skipif(
    find_spec("gssapi") is None or shutil.which("krb5kdc", path=PATH) is None,
    reason="needs MIT Kerberos: apt-get install krb5-kdc krb5-admin-server gcc libkrb5-dev, pip install gssapi",
)


@pytest.mark.skipif(find_spec("gssapi") is not None, reason="the library of Kerberos is installed")
def test_without_the_library_of_kerberos_it_is_said_what_to_install():
    with pytest.raises(
        DeploymentError, match=r"GSSAPI needs the library of Kerberos .*pip install 'cardiacnets\[kerberos\]'"
    ):
        connection(Settings.of(**FIXED).kafka)


@contextmanager
def kerberos(folder):
    """Run a centre that knows a broker and a worker; yield the environment of who uses it, and the keytabs' folder."""
    port = free_port()
    files = {
        "krb5.conf": f"""
[libdefaults]
  default_realm = {REALM}
  dns_lookup_kdc = false
  dns_canonicalize_hostname = false
  rdns = false
  udp_preference_limit = 1
[realms]
  {REALM} = {{
    kdc = 127.0.0.1:{port}
  }}
""",
        "kdc.conf": f"""
[kdcdefaults]
  kdc_listen = 127.0.0.1:{port}
  kdc_tcp_listen = 127.0.0.1:{port}
[realms]
  {REALM} = {{
    database_name = {folder}/principal
    key_stash_file = {folder}/stash
    acl_file = {folder}/acl
  }}
""",
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="ascii")
    environment = {"KRB5_CONFIG": str(folder / "krb5.conf"), "KRB5_KDC_PROFILE": str(folder / "kdc.conf")}

    def run(*words):
        variables = {**os.environ, **environment, "PATH": PATH}
        subprocess.run(words, check=True, capture_output=True, env=variables, timeout=PATIENCE_S)

    run("kdb5_util", "create", "-s", "-P", "master")
    for name in ("kafka/localhost", "worker"):
        run("kadmin.local", "-q", f"addprinc -randkey {name}")
        run("kadmin.local", "-q", f"ktadd -k {folder / name.partition('/')[0]}.keytab {name}")
    with Child([shutil.which("krb5kdc", path=PATH), "-n"], log=folder / "kdc.log", environment=environment) as centre:
        wait_until(lambda: "starting" in (folder / "kdc.log").read_text() or not centre.running)
        yield environment


@pytest.fixture
def place(tmp_path):
    """The settings of a worker with a keytab, of an Apache Kafka that takes tickets."""
    port, module = free_port(), "com.sun.security.auth.module.Krb5LoginModule"
    rules = f'useKeyTab=true storeKey=true keyTab="{tmp_path}/kafka.keytab" principal="kafka/localhost@{REALM}"'
    changes = {
        "sasl.enabled.mechanisms": "GSSAPI",
        "sasl.kerberos.service.name": "kafka",
        "listener.name.ticket.gssapi.sasl.jaas.config": f"{module} required {rules};",
    }
    with kerberos(tmp_path) as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setenv("KRB5CCNAME", f"FILE:{tmp_path}/tickets")
        patch.setenv("JAVA_TOOL_OPTIONS", f"-Djava.security.krb5.conf={environment['KRB5_CONFIG']}")
        with (
            apache_kafka(tmp_path, changes, listeners={"TICKET": ("SASL_PLAINTEXT", port)}),
            embedded_redis(tmp_path) as (redis, _),
        ):
            own = {"broker": f"127.0.0.1:{port}", "redis": redis, "partitions": 2, "kerberos_host": "localhost"}
            yield Settings.of(**PROMPT, **FIXED, **own), patch


@serves
@needs_apache_kafka
@pytest.mark.servers
@pytest.mark.timeout(2 * PATIENCE_S)
def test_a_worker_screens_with_a_ticket_of_its_keytab_and_is_told_that_it_has_none(place, tmp_path):
    settings, patch = place
    patch.setenv("KRB5_CLIENT_KTNAME", str(tmp_path / "absent.keytab"))
    with pytest.raises(DeploymentError, match="there is no Kerberos ticket to log in with at Kafka: get one by kinit"):
        asyncio.run(ensure_topics(settings.kafka))
    patch.setenv("KRB5_CLIENT_KTNAME", str(tmp_path / "worker.keytab"))
    asyncio.run(ensure_topics(settings.kafka))
    own, values = settings.changed(http_port=free_port()), good_values(RECORDS)
    with start_worker(own, tmp_path / "worker.log") as worker:
        await_worker(worker, own)
        asyncio.run(publish_values(settings, values))
        answers = asyncio.run(collect(settings, until=lambda answers: answers.answered >= RECORDS))
    assert answers.report_ids.keys() == values.keys()
    wrong = settings.changed(kerberos_service="queue")
    with pytest.raises(
        DeploymentError, match="Kerberos gives no ticket for the broker queue/localhost: set CARDIACNETS_KERB"
    ):
        asyncio.run(ensure_topics(wrong.kafka))
