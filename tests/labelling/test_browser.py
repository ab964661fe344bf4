"""The page in a real browser: chromium, driven by selenium. Skipped where either is missing."""

import csv
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

DRIVER, BROWSER = shutil.which("chromedriver"), shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(DRIVER is None or BROWSER is None, reason="needs chromium and chromedriver"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.implicitly_wait(0)
    yield driver
    driver.quit()


@pytest.fixture(autouse=True)
def _fresh(browser):
    """Nothing of the last test's page, which may have lost its server, is in the console."""
    browser.get("about:blank")
    browser.get_log("browser")


@pytest.fixture
def served(tmp_path):
    """Starts `didact label` and returns the process and the pages' addresses."""
    started = []

    def start(*words):
        command = [sys.executable, "-m", "didact", "label", *words, "--port", "0"]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
        started.append(process)
        urls = []
        for line in process.stdout:
            urls += [word for word in line.split() if word.startswith("http://")]
            if line.startswith("answers"):
                break
        return process, urls

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def until(found, seconds=30.0):
    """Wait until a function returns something true, and return it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := found():
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} seconds")


def heading(browser):
    return browser.find_element(By.ID, "name").text


def press(browser, key, then):
    """Press a key, and wait for the row that must follow."""
    browser.find_element(By.TAG_NAME, "body").send_keys(key)
    until(lambda: then in heading(browser) if then else not heading(browser))


def labels(path):
    with path.open(newline="") as file:
        return dict(list(csv.reader(file))[1:])


def test_images_are_labelled_by_keys_and_undone_and_the_page_goes_on_after_a_kill(browser, served, tmp_path):
    for place in range(4):
        Image.fromarray(np.full((8, 8), 60 * place, np.uint8)).save(tmp_path / f"{place}.png")
    process, (url,) = served(".", "--classes", "dark,light")
    browser.get(url)
    until(lambda: "Row 1 of 4 · 0.png" in heading(browser))
    until(lambda: browser.execute_script("return document.querySelector('#row img').naturalWidth") == 8)
    press(browser, "1", "Row 2 of 4")
    press(browser, "2", "Row 3 of 4")
    press(browser, "s", "Row 4 of 4")
    press(browser, Keys.ARROW_LEFT, "Row 3 of 4")
    press(browser, Keys.ARROW_LEFT, "labelled light")
    press(browser, "1", "Row 4 of 4")
    press(browser, "u", "labelled light")
    press(browser, Keys.CONTROL + "z", "Row 3 of 4")
    assert labels(tmp_path / "labels.csv") == {"0.png": "dark", "1.png": "light"}
    process.kill()
    process.wait()
    browser.find_element(By.TAG_NAME, "body").send_keys("1")
    until(lambda: "does not answer" in browser.find_element(By.ID, "wrong").text)
    assert "Row 3 of 4" in heading(browser)
    process, (url,) = served(".", "--classes", "dark,light")
    browser.get(url)
    until(lambda: "Row 3 of 4" in heading(browser))
    press(browser, "2", "Row 4 of 4")
    press(browser, "2", "")
    assert "All 4 rows" in browser.find_element(By.ID, "row").text
    assert labels(tmp_path / "labels.csv") == {"0.png": "dark", "1.png": "light", "2.png": "light", "3.png": "light"}
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0


def test_a_page_that_is_closed_in_the_middle_of_an_answer_loses_none_and_counts_none_twice(browser, served, tmp_path):
    (tmp_path / "texts.csv").write_text("text\n" + "".join(f"text {place}\n" for place in range(30)))
    _, (url,) = served("texts.csv", "--classes", "a,b")
    for turn in range(10):
        browser.get(url)
        until(lambda: heading(browser))
        shown = browser.find_element(By.CSS_SELECTOR, "#row .text").text
        at = int(shown.split()[1])
        browser.execute_script(
            "document.dispatchEvent(new KeyboardEvent('keydown', {key: '1'})); location = 'about:blank'"
        )
        browser.get(url)
        until(lambda: heading(browser))
        # It arrived or it did not: the page stands at the same row, or at the next one.
        following = int(browser.find_element(By.CSS_SELECTOR, "#row .text").text.split()[1])
        kept = labels(tmp_path / "labels.csv")
        assert following in (at, at + 1) and len(kept) == following, turn
    lines = (tmp_path / "labels.journal.jsonl").read_text().splitlines()
    assert len(lines) == len(kept)


def test_markup_in_data_is_text_and_the_console_stays_silent(browser, served, tmp_path):
    (tmp_path / "rows.csv").write_text("id,a,b\n<b>1,\"<img src=x onerror=document.title='hit'>\",<script>1</script>\n")
    _, (url,) = served("rows.csv", "--classes", "<i>x,y")
    browser.get(url)
    until(lambda: heading(browser))
    assert "<img src=x" in browser.find_element(By.ID, "row").text and "<b>1" in heading(browser)
    assert "<i>x" in browser.find_element(By.ID, "classes").text and browser.title != "hit"
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("width", [360, 1100])
def test_nothing_is_wider_than_the_window_and_every_button_is_large_enough(browser, served, tmp_path, width):
    np.savez(tmp_path / "series.npz", x=np.random.default_rng(0).normal(size=(3, 2, 200)))
    (tmp_path / "rows.csv").write_text(f"id,{'long_name' * 9},b\n1,{'word' * 60},2\n")
    emulated = {"width": width, "height": 640, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", emulated)
    for data in ("series.npz", "rows.csv"):
        process, (url,) = served(
            data, "--classes", ",".join(f"class {place}" for place in range(12)), "--out", f"{data}.csv"
        )
        browser.get(url)
        until(lambda: heading(browser))
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        for button in browser.find_elements(By.TAG_NAME, "button"):
            assert button.size["height"] >= 40 and button.text
        process.kill()
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_page_works_by_tab_and_enter_alone(browser, served, tmp_path):
    (tmp_path / "texts.csv").write_text("text\none\ntwo\n")
    _, (url,) = served("texts.csv", "--classes", "a,b")
    browser.get(url)
    until(lambda: heading(browser))
    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    focused = browser.switch_to.active_element
    assert focused.text == "1a"
    assert browser.execute_script("return getComputedStyle(arguments[0]).outlineStyle", focused) == "solid"
    focused.send_keys(Keys.ENTER)
    until(lambda: "Row 2 of 2" in heading(browser))
    assert labels(tmp_path / "labels.csv") == {"0": "a"}


def test_two_people_see_their_agreement_at_the_end(browser, served, tmp_path):
    (tmp_path / "texts.csv").write_text("text\n" + "".join(f"text {place}\n" for place in range(6)))
    _, urls = served("texts.csv", "--classes", "a,b", "--annotators", "ann,ben", "--overlap", "0.5")
    for url, keys in zip(urls, ("1212", "1122"), strict=True):
        browser.get(url)
        until(lambda: heading(browser))
        for key in keys:
            before = heading(browser)
            browser.find_element(By.TAG_NAME, "body").send_keys(key)
            until(lambda before=before: heading(browser) != before)
            if not heading(browser):
                break
    assert "ann and ben" in browser.find_element(By.ID, "row").text
    assert "of 3 rows alike, kappa" in browser.find_element(By.ID, "row").text
