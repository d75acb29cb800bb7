"""OpenBLAS is told which kernels to use where it does not know the processor, and nowhere else."""

import os
import subprocess
import sys

import pytest

from stream.blas_kernels import NEEDED, VARIABLE, choose_blas_kernels

ALL = " ".join(NEEDED)


def processor(vendor="AuthenticAMD", family=26, flags=ALL):
    return f"processor\t: 0\nvendor_id\t: {vendor}\ncpu family\t: {family}\nflags\t\t: fpu {flags}\n\nprocessor\t: 1\n"


@pytest.mark.parametrize(
    ("content", "before", "after"),
    [
        (processor(), {}, "SkylakeX"),
        (processor(), {VARIABLE: "Zen"}, "Zen"),
        (processor(family=25), {}, None),
        (processor(vendor="GenuineIntel"), {}, None),
        (processor(flags="avx512f avx2"), {}, None),
        ("Processor : ARMv8\n", {}, None),
        ("cpu family\t: x\n", {}, None),
        (None, {}, None),
    ],
)
def test_kernels_are_chosen_for_a_processor_that_openblas_does_not_know(tmp_path, content, before, after):
    path, environment = tmp_path / "cpuinfo", dict(before)
    if content is not None:
        path.write_text(content)
    choose_blas_kernels(environment, path)
    assert environment.get(VARIABLE) == after


def test_products_are_those_of_numpys_own_kernels_within_rounding():
    """Here, whatever the processor is: the command line chooses as the test does."""
    program = (
        "import os; from stream.blas_kernels import choose_blas_kernels; choose_blas_kernels(os.environ);"
        "import numpy as np; n = np.random.default_rng(0).standard_normal((24, 278)).astype('f');"
        "print(float(np.abs(n @ n.T - n.astype('d') @ n.T.astype('d')).max()))"
    )
    given = {name: value for name, value in os.environ.items() if name != VARIABLE}
    said = subprocess.run([sys.executable, "-c", program], env=given, capture_output=True, text=True, check=True)
    assert float(said.stdout) < 1e-3
