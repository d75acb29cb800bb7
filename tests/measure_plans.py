"""`python tests/measure_plans.py`: how long TensorRT-RTX builds the plans of a preset, and how big they are.

No GPU is needed. The paper preset is exported first, with random weights: two minutes and 5 GB of memory.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from engines.catalog import build_engine
from engines.options import EngineOptions
from engines.tensorrt_build import tell_nobody
from inference.bundle import default_bundle, load_bundle, load_probe
from inference.export import package_network, untrained_manifest
from inference.open_engine_for_bundle import graphs_of
from inference.signals_engine import build_preprocessing

ENGINES = ("tensorrt-rtx", "tensorrt-rtx-fp16")
ROWS = 96


def main():
    """Build, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="*", default=["reference", "paper"])
    parser.add_argument("--gpu", default="SM89", help="the architecture to build for")
    arguments = parser.parse_args()
    print("| preset | engine | seconds | plan, MB | preprocessing: seconds | plan, MB |\n|---|---|---:|---:|---:|---:|")
    for preset in arguments.presets:
        with tempfile.TemporaryDirectory() as folder:
            bundle = load_bundle(default_bundle()) if preset == "reference" else untrained(preset, Path(folder))
            options = EngineOptions(rows=ROWS, cache_folder=Path(folder) / "plans")
            for name in ENGINES:
                network = build_engine(name, graphs_of(bundle), options, gpu=arguments.gpu)
                whole = build_preprocessing(bundle, name, options, arguments.gpu, tell_nobody)
                figures = [f"{note.built_s:.1f} | {note.size / 1e6:.1f}" for note in (network, whole)]
                print(f"| {preset} | {name} | {' | '.join(figures)} |", flush=True)


def untrained(preset, folder):
    """Return a bundle of a preset with random weights, and with its float16 graph."""
    import torch

    from inference.models.presets import find_preset
    from inference.models.untrained import draw_network

    crops = np.ascontiguousarray(load_probe(load_bundle(default_bundle())).inputs)
    network = draw_network(find_preset(preset), 0, torch.tensor(crops))
    return package_network(folder / "bundle", network, untrained_manifest(preset, 3), crops, float16=True)


if __name__ == "__main__":
    main()
