"""The page that asks who somebody is."""

from __future__ import annotations

import html
from pathlib import Path

from starlette.responses import Response

from stream.settings import DashboardSettings

from .home import Home


class SignInPage:
    """Fills the page in with what this dashboard wants to be given.

    Args:
        template: the file of the page.
        home: where the dashboard lies: the page may stand at any address, so its own names it whole.
    """

    def __init__(self, template: Path, settings: DashboardSettings, home: Home) -> None:
        asks, label, help_ = _words(settings)
        self.wrong = (
            "This is not the token." if settings.token is not None else "This code does not work, or has worked before."
        )
        shown = "hidden" if settings.token is None and settings.user_header is not None else ""
        words = {"asks": asks, "label": label, "help": help_, "shown": shown}
        self._text = _filled(template.read_text(), home=home.address("/"), **words)

    def response(self, status: int, place: str, error: str = "") -> Response:
        """Return the page.

        Args:
            place: where to go on.
            error: what was wrong with the last try.
        """
        text = _filled(self._text, next=place, error=error)
        # A form sends no origin from a page without a referrer, and the origin says that the form is ours.
        headers = {"Referrer-Policy": "same-origin"}
        return Response(text, status, media_type="text/html; charset=utf-8", headers=headers)


def _words(settings: DashboardSettings) -> tuple[str, str, str]:
    """Return what the page asks for, what its field is called, and how one comes by it."""
    hours = settings.session_s / 3600
    ends = f"A session ends after {hours:.3g} hours, or when you sign out."
    if settings.token is not None:
        return "Enter the token of this dashboard.", "Token", ends
    if settings.user_header is not None:
        name = f" ({settings.name})" if settings.name else ""
        return f"Open this dashboard by its usual name{name}: the proxy before it says who you are.", "", ""
    return (
        "Open the address that the dashboard printed last, or enter its code here.",
        "One-time code",
        f"Each code works once. Then the dashboard prints the next one, in its log. {ends}",
    )


def _filled(text: str, **values: str) -> str:
    for name, value in values.items():
        text = text.replace("{{" + name + "}}", html.escape(value))
    return text
