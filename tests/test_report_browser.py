"""The report in a real browser: Chromium of the system, without its sandbox and without network."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_pages import a_large_ledger, a_report_ledger
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from benchmark.report.page import make_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
PHONE_PX = 390
PATIENCE_S = 60

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(
        CHROMIUM is None or DRIVER is None,
        reason="needs Chromium and its driver: on Debian, apt-get install chromium chromium-driver",
    ),
]


class Browser:
    """A page opened from disk."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, path: Path, *, width: int = 1280, theme: str = "light") -> None:
        self.resize(width)
        self.prefer(theme)
        self.driver.get(path.as_uri())
        self.driver.execute_script("localStorage.clear()")
        self.driver.get(path.as_uri())
        self.wait("return 'ready' in document.documentElement.dataset")

    def resize(self, width: int) -> None:
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )

    def prefer(self, theme: str) -> None:
        wishes = {"prefers-color-scheme": theme, "prefers-reduced-motion": "reduce"}
        self.command(
            "Emulation.setEmulatedMedia", features=[{"name": name, "value": wish} for name, wish in wishes.items()]
        )

    def command(self, name: str, **arguments: Any) -> Any:
        return self.driver.execute_cdp_cmd(name, arguments)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def wait(self, script: str, *arguments: Any) -> Any:
        """What the script gives as soon as that is true."""
        end = time.monotonic() + PATIENCE_S
        while not (found := self.run(script, *arguments)):
            assert time.monotonic() < end, f"in vain: {script}"
            time.sleep(0.05)
        return found

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def click(self, selector: str) -> None:
        self.run("arguments[0].scrollIntoView({block: 'center'})", self.find(selector))
        self.find(selector).click()

    def sort(self, heading: str, direction: str) -> None:
        """Click on a heading and wait until the table says that it is sorted so."""
        self.click(heading)
        self.wait(
            "return document.querySelector(arguments[0]).getAttribute('aria-sort') === arguments[1]", heading, direction
        )

    def texts(self, selector: str) -> list[str]:
        return self.run("return [...document.querySelectorAll(arguments[0])].map(e => e.textContent.trim())", selector)

    def column(self, table: str, heading: str) -> list[str]:
        headings = self.texts(f"{table} thead th")
        return self.texts(f"{table} tbody tr > :nth-child({headings.index(heading) + 1})")

    def press(self, *keys: str) -> str:
        """Press keys and say what is in focus then."""
        ActionChains(self.driver).send_keys(*keys).perform()
        return self.run(
            "const e = document.activeElement; return e.id || e.getAttribute('href') || e.className || e.type"
        )

    def complaints(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> set[str]:
        """The schemes of all addresses asked for so far."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [
            event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"
        ]
        return {address.partition(":")[0] for address in asked}


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,1000",
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture
def browser(driver: webdriver.Chrome) -> Browser:
    return Browser(driver)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A small report of odd names, and one of more rows than a table shows; each made once."""
    folder, made = tmp_path_factory.mktemp("reports"), {}

    def page(name: str) -> Path:
        if name not in made:
            rng = np.random.default_rng(7)
            ledger = (
                a_large_ledger(folder / "large", 200, rng)
                if name == "large"
                else a_report_ledger(folder / "small", rng, dataset="folder:</script><script>throw 1</script> & größe")
            )
            made[name] = folder / f"{name}.html"
            made[name].write_text(make_report([ledger.folder]), encoding="utf-8")
        return made[name]

    return page


@pytest.fixture
def small(browser: Browser, pages: Callable[[str], Path]) -> Browser:
    browser.open(pages("small"))
    return browser


BOARD = "#dataset-1-board"


def test_a_click_on_a_heading_sorts_by_number_the_most_accurate_first(small: Browser):
    heading = f"{BOARD} thead th:nth-child(6)"

    small.sort(heading, "descending")
    downwards = small.column(BOARD, "Accuracy")
    small.sort(heading, "ascending")
    upwards = small.column(BOARD, "Accuracy")

    assert [text[:6] for text in downwards] == ["0.9000", "0.7000", "0.7000", "0.5000"]
    assert upwards == downwards[::-1]


def test_a_number_is_not_sorted_as_text(browser: Browser, pages: Callable[[str], Path]):
    browser.open(pages("large"))
    headings = browser.texts(f"{BOARD} thead th")

    browser.sort(f"{BOARD} thead th:nth-child({headings.index('Peak MiB') + 1})", "ascending")

    shown = [int(text) for text in browser.column(BOARD, "Peak MiB")]
    assert shown == sorted(shown)
    assert shown[0] == 500
    assert len(shown) == 25, "a page of the table"


def test_searching_and_choosing_leave_the_rows_that_are_meant(small: Browser):
    info = "return document.querySelector('#dataset-1 .dt-info').textContent.startsWith(arguments[0])"
    small.find(".dt-search input").send_keys("NetB")
    small.wait(info, "1 to 2 of 2 rows")
    found = small.column(BOARD, "Backbone")
    small.find('[data-filters="dataset-1-board"] select[data-heading="Mode"] option:nth-child(3)').click()
    small.wait(info, "1 to 1 of 1 rows")

    assert found == ["NetB", "NetB"]
    assert (small.column(BOARD, "Backbone"), small.column(BOARD, "Mode")) == (["NetB"], ["unit"])


@pytest.mark.parametrize(
    ("chart", "words"),
    [("pareto", "2.00 M parameters"), ("ablation", "native: 0."), ("time", "of "), ("accuracy", "0.")],
)
def test_a_mark_shows_its_values_when_it_is_pointed_at(small: Browser, chart: str, words: str):
    small.run(f"document.querySelector('#dataset-1-{chart}').scrollIntoView({{block: 'center', behavior: 'instant'}})")
    mark = small.run(
        f"return [...document.querySelectorAll('#dataset-1-{chart} g:has(> title)')]"
        ".findLast(g => g.textContent.includes('NetA'))"
    )

    ActionChains(small.driver).move_to_element(mark).perform()

    tip = small.wait("const tip = document.querySelector('#tip'); return tip.hidden ? '' : tip.textContent")
    assert tip.startswith("Net")
    assert words in tip


def colours_of(browser: Browser) -> tuple[str, str]:
    """Of the page's ground, and of the text in a chart."""
    return browser.run(
        "return [getComputedStyle(document.body).backgroundColor,"
        " getComputedStyle(document.querySelector('#dataset-1-pareto g[style*=\"--ink\"]')).fill]"
    )


def test_the_theme_follows_the_system_and_then_the_button(browser: Browser, pages: Callable[[str], Path]):
    browser.open(pages("small"), theme="dark")
    dark = colours_of(browser)
    pressed = browser.find("#theme").get_attribute("aria-pressed")

    browser.find("#theme").click()
    light = browser.wait(
        "const c = getComputedStyle(document.querySelector('#dataset-1-pareto g[style*=\"--ink\"]')).fill;"
        "return c === 'rgb(29, 37, 48)' && c"
    )

    assert dark == ["rgb(18, 22, 27)", "rgb(230, 233, 238)"]
    assert pressed == "true"
    assert light
    assert colours_of(browser)[0] == "rgb(246, 247, 249)"
    assert browser.find("#theme").get_attribute("aria-pressed") == "false"


def test_the_choice_of_a_theme_is_remembered(small: Browser, pages: Callable[[str], Path]):
    small.find("#theme").click()
    small.driver.get(pages("small").as_uri())

    assert small.run("return document.documentElement.dataset.theme") == "dark"

    small.prefer("dark")
    small.prefer("light")
    assert small.run("return document.documentElement.dataset.theme") == "dark", "the system's theme replaced it"


@pytest.mark.parametrize("name", ["small", "large"])
def test_on_a_phone_tables_scroll_and_the_page_does_not(browser: Browser, pages: Callable[[str], Path], name: str):
    browser.open(pages(name), width=PHONE_PX)

    wide = browser.run(
        "return [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1"
        " && !e.closest('.scroll, .frame, .dt-layout-table, nav ul'))"
        ".map(e => e.outerHTML.slice(0, 80))"
    )
    table = browser.run("const e = document.querySelector('.dt-layout-table'); return [e.scrollWidth, e.clientWidth]")

    assert browser.run("return document.documentElement.scrollWidth") == PHONE_PX
    assert wide == []
    assert table[0] > table[1], "the table is as narrow as the phone, so this shows nothing"


def test_nothing_complains_and_no_request_leaves_the_file(browser: Browser, pages: Callable[[str], Path]):
    browser.complaints(), browser.requests()  # of the tests before

    browser.open(pages("small"))
    for details in browser.driver.find_elements(By.CSS_SELECTOR, "details"):
        browser.run("arguments[0].open = true", details)
    browser.find("#theme").click()
    browser.command("Page.printToPDF", printBackground=True)

    assert browser.complaints() == []
    assert "file" in (schemes := browser.requests())
    assert schemes <= {"file", "data", "blob"}


def test_the_keyboard_skips_to_the_results_and_reaches_button_search_and_headings(small: Browser):
    first = small.press(Keys.TAB)
    outline = small.run("return getComputedStyle(document.activeElement).outlineStyle")
    skipped = small.press(Keys.ENTER)
    small.run("document.activeElement.blur(); window.scrollTo(0, 0)")
    small.driver.get(small.driver.current_url.partition("#")[0])
    small.wait("return 'ready' in document.documentElement.dataset")
    reached = [small.press(Keys.TAB) for _ in range(16)]

    assert (first, outline, skipped) == ("#main", "solid", "main")
    assert reached[:2] == ["#main", "theme"]
    assert any("dt-search" in name for name in reached), reached
    assert any("dt-column-order" in name or "dt-layout-table" in name for name in reached), reached


def test_the_button_works_by_keyboard(small: Browser):
    small.press(Keys.TAB)
    small.press(Keys.TAB)

    small.press(Keys.SPACE)

    assert small.run("return document.documentElement.dataset.theme") == "dark"


def test_a_table_below_a_chart_can_be_sorted_once_it_is_unfolded(small: Browser):
    table = "#dataset-1-time-table"
    small.click("details:has(#dataset-1-time-table) summary")
    small.wait("return document.querySelector(arguments[0]).classList.contains('dataTable')", table)

    small.sort(f"{table} thead th:nth-child(3)", "ascending")

    assert small.column(table, "Wall, s") == ["20.0", "20.0", "80.0", "80.0"]


def test_a_command_can_be_copied(small: Browser):
    small.command("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    small.click("#dataset-1-commands summary")

    small.click("#dataset-1-commands button.copy")

    assert small.wait("return document.querySelector('#said').textContent") == "Copied."
    copied = small.driver.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    assert copied == small.find("#dataset-1-commands td code").text
    assert copied.startswith("benchmark rerun ")


def test_paper_is_white_and_has_all_rows_and_commands(browser: Browser, pages: Callable[[str], Path]):
    browser.open(pages("large"), theme="dark")

    browser.run("dispatchEvent(new Event('beforeprint'))")
    printed = (browser.run("return document.documentElement.dataset.theme"), len(browser.column(BOARD, "Rank")))
    is_open = browser.run("return document.querySelector('#dataset-1-commands').open")
    browser.run("dispatchEvent(new Event('afterprint'))")

    assert printed == ("light", 100)
    assert is_open
    assert browser.run("return document.documentElement.dataset.theme") == "dark"
    assert len(browser.column(BOARD, "Rank")) == 25
    assert not browser.run("return document.querySelector('#dataset-1-commands').open")


def test_names_that_look_like_scripts_do_nothing(small: Browser):
    assert small.texts("section.dataset h2") == ["folder:</script><script>throw 1</script> & größe"]
    assert small.run("return document.querySelectorAll('.chart svg').length") > 0
    assert small.run("return document.scripts.length") == small.run(
        "return document.querySelectorAll('script[id], script:not([src]), script[src^=\"blob:\"]').length"
    )


def test_without_javascript_every_number_is_there(browser: Browser, pages: Callable[[str], Path]):
    browser.command("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.driver.get(pages("small").as_uri())
        board = browser.find(BOARD).text
        has_chart = browser.find("#dataset-1-pareto").is_displayed()
        has_button = browser.find("#theme").is_displayed()
    finally:
        browser.command("Emulation.setScriptExecutionDisabled", value=False)

    assert "0.9000" in board
    assert has_chart
    assert not has_button


def test_the_pages_of_each_table_have_a_name_of_their_own(browser: Browser, pages: Callable[[str], Path]):
    browser.open(pages("large"))

    browser.click(f"{BOARD}_wrapper .dt-paging-button.next")

    browser.wait("return document.querySelector('#dataset-1 .dt-info').textContent.startsWith('26 to 50 of 100 rows')")
    names = browser.run("return [...document.querySelectorAll('nav')].map(e => e.getAttribute('aria-label'))")
    assert len(names) == len(set(names)) == 3, names
