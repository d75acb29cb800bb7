"""Where the dashboard lies on its host: at the top, or in a folder that a reverse proxy gives it."""

from __future__ import annotations

from starlette.types import Scope


class Home:
    """Knows the folder. A proxy may take it off the path of a request or leave it there: both are the same place.

    Args:
        folder: such as `/cardiacnets`; "" at the top.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder

    @property
    def cookie_path(self) -> str:
        """The path that a browser sends our cookies to, so that they stay apart from those of its other folders."""
        return self._folder or "/"

    def address(self, place: str) -> str:
        """Return what the browser calls a place on the dashboard, such as `/record`."""
        return self._folder + place

    def lacks_slash(self, scope: Scope) -> bool:
        """Return whether a request names the folder without its slash. Beside that address nothing is ours."""
        return bool(self._folder) and scope["path"] == self._folder

    def inside(self, scope: Scope) -> Scope:
        """Return the request with its path on the dashboard."""
        path = str(scope["path"])
        if not self._folder or not path.startswith(self._folder + "/"):
            return scope
        return {**scope, "path": path.removeprefix(self._folder)}
