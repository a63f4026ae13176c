"""The fixtures of the tests that open the page in a browser, where there is what they need."""

from __future__ import annotations

from importlib.util import find_spec

if find_spec("playwright") and find_spec("starlette"):
    from browser_fixtures import chromium, server, url, visit

    __all__ = ["chromium", "server", "url", "visit"]
