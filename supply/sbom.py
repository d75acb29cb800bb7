"""Writes what an environment holds as CycloneDX: its packages with their licences, and the models that lie in ours.

python -m supply.sbom PYTHON OUT, where PYTHON is the interpreter of the environment.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
LEARNED = (".onnx", ".safetensors", ".npz")
LICENCE = "Apache-2.0"
"""Of a model that says nothing else: that of the project."""
SPEC = "1.6"
WHERE = "import inference, pathlib; print(pathlib.Path(inference.__file__).parent.parent)"
STOREYS = ("inference", "training")


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("python", type=Path)
    parser.add_argument("out", type=Path)
    asked = parser.parse_args()
    text = json.dumps(describe(asked.python), indent=1, sort_keys=True)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(text + "\n", encoding="utf-8")


def describe(python: Path) -> dict[str, Any]:
    """Return the SBOM of the environment of an interpreter."""
    options = ["--spec-version", SPEC, "--output-reproducible", "--pyproject", str(ROOT / "pyproject.toml")]
    bom: dict[str, Any] = json.loads(_said(sys.executable, "-m", "cyclonedx_py", "environment", str(python), *options))
    models = list(model_components(Path(_said(str(python), "-c", WHERE).strip())))
    bom["components"] += models
    bom["dependencies"] += [{"ref": model["bom-ref"]} for model in models]
    own = bom["metadata"]["component"]["bom-ref"]
    needs = next(one for one in bom["dependencies"] if one["ref"] == own)
    needs["dependsOn"] = sorted({*needs.get("dependsOn", ()), *(model["bom-ref"] for model in models)})
    return bom


def model_components(root: Path) -> Iterator[dict[str, Any]]:
    """Yield a component for each folder below our packages that holds something learned."""
    files = (path for storey in STOREYS for path in (root / storey).rglob("*") if path.suffix in LEARNED)
    for folder in sorted({path.parent for path in files}):
        yield _model(folder, root)


def _model(folder: Path, root: Path) -> dict[str, Any]:
    place = folder.relative_to(root).as_posix()
    manifest = folder / "manifest.json"
    about = json.loads(manifest.read_text(encoding="utf-8")) if manifest.exists() else {}
    return {
        "bom-ref": f"model:{place}",
        "type": "machine-learning-model",
        "name": about.get("name", f"cardiacnets-{folder.name}"),
        "version": about.get("version", version("cardiacnets")),
        "description": about.get("weights", "demonstration weights, simulated cohort"),
        "licenses": [{"license": {"id": about.get("licence", LICENCE)}}],
        "components": [_file(path, root) for path in sorted(folder.iterdir()) if path.suffix in (*LEARNED, ".json")],
    }


def _file(path: Path, root: Path) -> dict[str, Any]:
    place = path.relative_to(root).as_posix()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {
        "bom-ref": f"file:{place}",
        "type": "file",
        "name": place,
        "hashes": [{"alg": "SHA-256", "content": digest}],
    }


def _said(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd="/", timeout=300).stdout  # noqa: S603


if __name__ == "__main__":
    main()
