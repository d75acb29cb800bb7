"""GPUs as the driver tells them in files, which the tests write as a driver does."""

import pytest

from engines.nvidia import Gpu, find_gpus

OPEN_MODULE = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build  (dvs)\nGCC version: 12.2"
)
CLOSED_MODULE = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54  Tue Feb 20 2024\nGCC version:  gcc 12"
INFORMATION = "Model: \t\t NVIDIA {}\nIRQ:   \t\t 11\nGPU UUID: \t GPU-6f0c\nVideo BIOS: \t 96.00.9f.00.01\n"


def write_driver(folder, version, *models):
    (folder / "version").write_text(version)
    for place, model in enumerate(models):
        gpu = folder / "gpus" / f"0000:0{place}:00.0"
        gpu.mkdir(parents=True)
        (gpu / "information").write_text(INFORMATION.format(model))
    return folder


@pytest.mark.parametrize(("text", "version"), [(OPEN_MODULE, "570.86.15"), (CLOSED_MODULE, "550.54")])
def test_gpus_are_found_with_their_driver_in_the_order_of_their_addresses(text, version, tmp_path):
    found = find_gpus(write_driver(tmp_path, text, "H200", "L4"))
    assert found == (Gpu("NVIDIA H200", version), Gpu("NVIDIA L4", version))


def test_without_a_driver_there_are_no_gpus(tmp_path):
    assert find_gpus(tmp_path / "nowhere") == ()
    assert find_gpus(write_driver(tmp_path, OPEN_MODULE)) == ()


def test_a_driver_that_tells_otherwise_still_has_its_gpus(tmp_path):
    folder = write_driver(tmp_path, "no version here", "L4")
    (folder / "gpus" / "0000:00:00.0" / "information").write_text("something else")
    assert find_gpus(folder) == (Gpu("unknown", "unknown"),)
