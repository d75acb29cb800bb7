"""A pytest plugin that hides a library as if it were not installed: `HIDDEN=openvino pytest -p hidden_library`."""

import os
import sys
from importlib.machinery import PathFinder


class Hiding(PathFinder):
    """Finds every module but those of the hidden library."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] == os.environ["HIDDEN"]:
            return None
        return super().find_spec(name, path, target)


sys.meta_path[sys.meta_path.index(PathFinder)] = Hiding
