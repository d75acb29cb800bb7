"""Finds the ECG files of folders."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

ECG_SUFFIXES = (".hea", ".xml", ".dcm", ".dicom", ".scp", ".ecg", ".mwf", ".edf", ".bdf", ".ishne")
"""In a folder, files with these endings are taken for ECGs."""


def find_ecgs(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the files as they are named. In folders, yield the files that look like ECGs, folder by folder, sorted."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        for folder, subfolders, names in os.walk(path):
            subfolders.sort()
            for name in sorted(names):
                if name.lower().endswith(ECG_SUFFIXES):
                    yield Path(folder, name)
