"""What tests ask of a browser."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service


__all__ = ["complaints", "display", "move_sliders", "open_browser", "requests", "show"]

_FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars")
_SLIDERS = """
const [values, clean] = arguments;
const set = (slider, value) => {
  slider.value = value;
  slider.dispatchEvent(new Event("input"));
};
document.querySelectorAll("input[data-column]").forEach((slider) => set(slider, values[Number(slider.dataset.column)]));
set(document.querySelector('[data-part="clean"]'), clean);
return Number(document.getElementById("explorer").dataset.soup);
"""


def open_browser() -> webdriver.Chrome:
    """Chromium without a window, which keeps what it logs and what it fetches."""
    options = Options()
    options.binary_location = shutil.which("chromium") or ""
    for flag in _FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))


def display(browser: webdriver.Chrome, width: int, height: int, *, dark: bool) -> None:
    """The size of the screen, and whether it is dark."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    # Smooth scrolling moves buttons away from under a click.
    still = {"name": "prefers-reduced-motion", "value": "reduce"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme, still]})


def show(browser: webdriver.Chrome, page: Path) -> None:
    """Load a page from disk, and forget what was logged before."""
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(page.resolve().as_uri())
    assert browser.execute_script("return document.documentElement.dataset.ready") == "true"


def complaints(browser: webdriver.Chrome) -> list[Any]:
    """Everything on the console since the page was loaded."""
    logged: list[Any] = browser.get_log("browser")
    return logged


def requests(browser: webdriver.Chrome) -> list[str]:
    """Addresses that were asked for since the page was loaded, its own included."""
    messages = [json.loads(each["message"])["message"] for each in browser.get_log("performance")]
    return [
        each["params"]["request"]["url"]
        for each in messages
        if each["method"] == "Network.requestWillBeSent" and not each["params"]["request"]["url"].startswith("data:")
    ]


def move_sliders(browser: webdriver.Chrome, importances: Sequence[int], least_clean: float) -> int | None:
    """Move every slider as a hand would; the place of the soup that the explorer then shows."""
    place: int = browser.execute_script(_SLIDERS, list(importances), least_clean)
    return None if place < 0 else place
