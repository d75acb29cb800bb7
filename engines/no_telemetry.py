"""Keeps the libraries that we run from reporting to their vendors. Call it before one of them is imported.

ONNX Runtime's wheels report each process when they are imported, and keep an identifier of the machine in the user's
cache; a call after the import comes too late. Importing OpenVINO imports its converter tools, and these report the
import to Google Analytics from `openvino_telemetry`; where that cannot be imported they take a stub of their own. The
head of a Ray that we start would report its cluster every hour.
"""

from __future__ import annotations

import os
import sys

VARIABLES = {
    "ORT_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "DO_NOT_TRACK": "1",  # what command-line tools have agreed on; a library that learns to report may keep to it
}
UNWANTED_MODULES = ("openvino_telemetry",)


def forbid_telemetry() -> None:
    """Tell this process's libraries, and its children's, to report nothing, whatever the variables said before."""
    os.environ.update(VARIABLES)
    for module in UNWANTED_MODULES:
        sys.modules.setdefault(module, None)  # type: ignore[arg-type]  # None: importing it fails
