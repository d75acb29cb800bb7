"""axe-core, which looks for what a keyboard or a screen reader cannot use. npm fetches it: it is not ours to copy."""

import shutil
import subprocess

import pytest

AXE = "axe-core@4.14.1"


def fetch_axe(folder):
    """Return axe's script; skip where npm cannot fetch it."""
    if not (npm := shutil.which("npm")):
        pytest.skip("needs npm, which fetches axe-core: apt-get install npm")
    done = subprocess.run(
        [npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--ignore-scripts", "--no-save", AXE],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"needs {AXE}, which npm cannot install here ({done.stderr.strip()[-120:]}): try npm install")
    return (folder / "node_modules/axe-core/axe.min.js").read_text()


def findings(page, axe):
    """Return what axe finds on a page: each rule that is broken, and where."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(axe)
    found = page.evaluate("async () => (await axe.run(document)).violations")
    return [(one["id"], node["target"], node["failureSummary"]) for one in found for node in one["nodes"]]
