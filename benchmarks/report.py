"""Size and speed of the page's explorer over many soups, in a real browser without a window.

The soups are made at random (the page says so). A move is one step of a slider: the time that its handler takes, which
chooses the soup, fills every number and draws both maps; and the time until the browser has shown the next frame.

    python -m benchmarks.report

Needs chromium and its driver (apt-get install chromium chromium-driver).
"""

import argparse
import json
import shutil
import statistics
import tempfile
import time
import zlib
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

from tests.report.boards import board_page, made_board


MOVES = """
const [moves, done] = arguments;
const sliders = [...document.querySelectorAll("input[data-column]")];
const handled = [], shown = [];
const step = (number) => {
  if (number === moves) return done([handled, shown]);
  const slider = sliders[(7 * number) % sliders.length];
  slider.value = String((3 * number + 1) % 11);
  const begun = performance.now();
  slider.dispatchEvent(new Event("input"));
  handled.push(performance.now() - begun);
  requestAnimationFrame(() => setTimeout(() => { shown.push(performance.now() - begun); step(number + 1); }, 0));
};
step(0);
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--soups", type=int, nargs="+", default=[165, 1000, 5000])
    parser.add_argument("--columns", type=int, default=90)
    parser.add_argument("--moves", type=int, default=100)
    given = parser.parse_args()
    browser = open_browser()
    print(
        "| soups x columns | screen | page, MiB | compressed, MiB | loaded, s "
        "| move, ms: median | most | shown: median |"
    )
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        for soups in given.soups:
            text = board_page(made_board(soups, given.columns - 5, 0), f"{soups} soups")
            page = Path(folder) / f"{soups}.html"
            page.write_text(text, encoding="utf-8")
            for name, width, height in (("desktop", 1280, 900), ("phone", 390, 800)):
                size = {"width": width, "height": height, "deviceScaleFactor": 2, "mobile": width < 600}
                browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
                begun = time.perf_counter()
                browser.get(page.as_uri())
                assert browser.execute_script("return document.documentElement.dataset.ready") == "true"
                loaded = time.perf_counter() - begun
                handled, shown = browser.execute_async_script(MOVES, given.moves)
                mebibytes = [len(each) / 2**20 for each in (text.encode(), zlib.compress(text.encode(), 9))]
                print(
                    f"| {soups:,} x {given.columns} | {name} | {mebibytes[0]:.2f} | {mebibytes[1]:.2f} | {loaded:.2f} "
                    f"| {statistics.median(handled):.1f} | {max(handled):.1f} | {statistics.median(shown):.1f} |"
                )
    print(f"\n{json.dumps(browser.capabilities['browserVersion'])} without a window, scripts drawn by the CPU")
    browser.quit()


def open_browser() -> webdriver.Chrome:
    options = Options()
    options.binary_location = shutil.which("chromium") or ""
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    return webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))


if __name__ == "__main__":
    main()
