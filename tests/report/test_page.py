"""The page in a real browser, from disk."""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By

from crosspt.report.make import make_report
from tests.report.made_up import SYNTHETIC, edit, make_experiment

HEADLESS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,1000",
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with every kind of section: heatmaps, footnotes, a failed cell, a file that cannot be read."""
    folder = make_experiment(
        tmp_path_factory.mktemp("report"),
        tasks=SYNTHETIC,
        axes={"scheme": ["P", "SLPN"], "shots": [8, 32]},
        seeds=[0, 1],
        figures=[{"kind": "lines"}, {"kind": "heatmaps"}],
        decided=True,
    )
    for shots, value in ((8, 5.25), (32, 5.3)):  # as text, 5.25 would come after 5.3, and 5.3 after 50
        for seed in (0, 1):
            with edit(folder / "cells" / f"P-shots{shots}-seed{seed}" / "results.json") as content:
                for row in content["results"]:
                    row["value"] = value if row["scheme"] == "P" else row["value"]
    (folder / "cells" / "SLPN-shots8-seed1" / "results.json").write_text('{"schema": 1, "resu')
    make_report(folder, folder)
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser(page: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    driver = shutil.which("chromedriver")
    binary = shutil.which("chromium") or shutil.which("google-chrome")
    if not driver or not binary:
        pytest.skip("needs a browser: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in (*HEADLESS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    opened.get(page.as_uri())
    yield opened
    opened.quit()


def test_it_loads_without_a_word_on_the_console(browser: webdriver.Chrome) -> None:
    assert browser.title == "Comparison <of> figure-2 - CrossPT"
    assert browser.find_element(By.TAG_NAME, "h1").text == "Comparison <of> figure-2"
    assert browser.get_log("browser") == []


def test_it_asks_for_nothing_outside_the_file(browser: webdriver.Chrome, page: Path) -> None:
    requested = browser.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert [name for name in requested if not name.startswith("data:")] == []
    assert "http" not in page.read_text().replace("http-equiv", "")


def test_every_image_is_visible(browser: webdriver.Chrome) -> None:
    images = browser.find_elements(By.TAG_NAME, "img")
    assert len(images) > 5
    for image in images:
        assert browser.execute_script("return arguments[0].naturalWidth", image) > 100
        assert image.is_displayed()
        assert image.get_attribute("alt")
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")


def test_tables_sort_both_ways(browser: webdriver.Chrome) -> None:
    table = browser.find_element(By.ID, "table-means")
    headings = [heading.text for heading in table.find_elements(By.CSS_SELECTOR, "thead th")]
    column = headings.index("mean")
    heading = table.find_elements(By.CSS_SELECTOR, "thead th")[column]

    def values() -> list[float]:
        cells = table.find_elements(By.CSS_SELECTOR, f"tbody tr > :nth-child({column + 1})")
        return [float(str(cell.get_attribute("data-value"))) for cell in cells]

    before = values()
    heading.find_element(By.TAG_NAME, "button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert values() == sorted(before, reverse=True) != before
    assert values()[-1] == pytest.approx(5.25)
    heading.find_element(By.TAG_NAME, "button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    assert values() == sorted(before)
    first = table.find_elements(By.CSS_SELECTOR, "thead th")[0]
    first.find_element(By.TAG_NAME, "button").click()
    names = [cell.text for cell in table.find_elements(By.CSS_SELECTOR, "tbody tr > :first-child")]
    assert names == sorted(names, key=str.lower)
    assert heading.get_attribute("aria-sort") is None, "one heading sorts at a time"


def test_it_says_what_is_missing_and_what_to_beware_of(browser: webdriver.Chrome) -> None:
    text = browser.find_element(By.TAG_NAME, "body").text
    assert "Decided by construction" in text
    assert "cells/SLPN-shots8-seed1/results.json is not JSON: Unterminated string" in text
    assert "7 of 8 cells finished" in text
    assert "Every scheme was trained with one setting of learning rates and epochs: none was tuned." in text
    assert browser.find_elements(By.CSS_SELECTOR, "#differences tbody tr")
    assert "not resolved" in browser.find_element(By.ID, "table-statements").text
    mark = browser.find_element(By.CSS_SELECTOR, ".paper sup a")
    note = browser.find_element(By.CSS_SELECTOR, str(mark.get_dom_attribute("href")))
    assert "Multiples of" in note.text


def test_the_first_screen_says_which_is_better(browser: webdriver.Chrome) -> None:
    section = browser.find_element(By.CSS_SELECTOR, ".best")
    lines = [line.text for line in section.find_elements(By.TAG_NAME, "li")]
    assert [line.split(":")[0] for line in lines] == ["shots 8", "shots 32"]
    assert "SLPN is ahead, but P may be as good or better." in lines[1]
    assert "not resolved" in lines[1]
    assert browser.execute_script("return arguments[0].getBoundingClientRect().bottom", section) < 600


def test_a_phone_scrolls_tables_alone_and_their_first_column_stays(browser: webdriver.Chrome) -> None:
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    try:
        assert browser.execute_script("return document.documentElement.scrollWidth") == 390
        box = browser.find_element(By.CSS_SELECTOR, ".scroll:has(#table-means)")
        cell = box.find_element(By.CSS_SELECTOR, "tbody th")
        assert browser.execute_script("return arguments[0].scrollWidth > arguments[0].clientWidth", box)
        before = cell.rect["x"]
        browser.execute_script("arguments[0].scrollLeft = 200", box)
        assert browser.execute_script("return arguments[0].scrollLeft", box) == 200
        assert cell.rect["x"] == before
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_pictures_follow_dark_mode(browser: webdriver.Chrome) -> None:
    image = browser.find_element(By.CSS_SELECTOR, "#figure-means img")
    corners = []
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        picture = np.asarray(Image.open(io.BytesIO(image.screenshot_as_png)).convert("L"))
        corners.append(int(picture[10, 10]))
        assert np.ptp(picture[10:-10, 10:-10].astype(int)) > 150, "what is drawn stands out"
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert corners[0] > 250
    assert corners[1] < 40


def test_long_tables_are_folded(browser: webdriver.Chrome) -> None:
    folded = browser.find_elements(By.CSS_SELECTOR, "details table")
    assert "table-metrics" in [table.get_attribute("id") for table in folded]
    assert not any(table.is_displayed() for table in folded)
    assert browser.find_element(By.ID, "table-means").is_displayed()
