"""A real browser without a window, which tests share."""

import os
import shutil
from collections.abc import Iterator

import pytest
from selenium import webdriver

from tests.report.browser import open_browser


@pytest.fixture(scope="session")
def browser() -> Iterator[webdriver.Chrome]:
    """Chromium; where there is none, tests are skipped, or fail if `SEASONING_BROWSER=required`, as in `.ci/run`."""
    if shutil.which("chromium") is None or shutil.which("chromedriver") is None:
        reason = "no chromium with its driver here: apt-get install chromium chromium-driver"
        if os.environ.get("SEASONING_BROWSER") == "required":
            pytest.fail(reason)
        pytest.skip(reason)
    found = open_browser()
    yield found
    found.quit()
