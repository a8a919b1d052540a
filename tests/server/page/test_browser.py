"""The page in a real browser: headless Chromium, driven through its accessibility-relevant surface."""

from __future__ import annotations

import shutil
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry

from downshift.runtime.request import Outcome
from downshift.server.app import create_app
from downshift.server.catalog import Catalog
from downshift.server.connection.listener import listen, url
from downshift.server.http_server import Server
from downshift.server.settings import Settings
from downshift.server.telemetry.metrics import Metrics
from tests.models.images.pictures import encoded, noise, picture
from tests.runtime.doubles import settled
from tests.server.doubles import ENGINE, ScriptedBackend
from tests.server.listening import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from selenium.webdriver import Chrome

    from downshift.runtime.request import Answer, Request
    from downshift.runtime.scheduling.observer import Observer

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytest.importorskip("selenium", reason="selenium is not installed: pip install -e '.[dev]'")
if CHROMIUM is None or DRIVER is None:
    pytest.skip("no chromium and chromedriver here: make browser", allow_module_level=True)

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
AXE = Path(sys.prefix) / "axe.min.js"
UNKNOWN = "\N{EN DASH}"
PATIENCE = 300.0  # seconds for a script of the page: a generous bound
DESK, PHONE = (1280, 1000), (390, 844)


@dataclass
class ToldBackend(ScriptedBackend):
    """Answers at once, and tells an observer."""

    observer: Observer | None = field(default=None)

    def submit(self, request: Request, *, inline: bool = False) -> Future[Answer]:
        future = super().submit(request, inline=inline)
        if self.observer is not None:
            subnet = request.subnet or "s50"
            self.observer.settled(settled(request, Outcome.OK, subnet, ENGINE, 0.001, 0.004, None))
        return future


@contextmanager
def server() -> Iterator[tuple[str, Catalog]]:
    """A real server of two models, its address and its catalog."""
    catalog, metrics = Catalog(["pets", "more"]), Metrics(CollectorRegistry())
    for name in ("pets", "more"):
        backend = ToldBackend()
        backend.observer = metrics.announce(name, backend.manifest, [ENGINE])
        catalog.publish(name, backend)
    settings = Settings(drain_seconds=0)
    running = Server(create_app(catalog, metrics, settings), catalog, settings)
    listener = listen("127.0.0.1", 0)
    thread = threading.Thread(target=running.run, args=([listener],))
    thread.start()
    try:
        wait_for(lambda: running.started)
        yield url(listener), catalog
    finally:
        running.should_exit = True
        thread.join()


@dataclass
class Page:
    """One browser window."""

    driver: Chrome
    address: str

    def open(self, path: str = "/", size: tuple[int, int] = DESK, scheme: str = "light") -> None:
        """Load the page in a window of that size, and wait until it is live and knows its sub-nets.

        The slider stands at "no limit": a busy machine misses the few milliseconds at which it begins.
        """
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.driver.get(self.address + path)
        wait_for(lambda: self.text("#state") == "Live" and self.all("#subnets tr"))
        self.script("document.getElementById('budget').value = 100")

    def all(self, selector: str) -> list[Any]:
        return self.driver.find_elements("css selector", selector)

    def one(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def text(self, selector: str) -> str:
        return str(self.one(selector).text)

    @property
    def complaints(self) -> list[Any]:
        """What the console was told since this was last asked."""
        driver: Any = self.driver  # whose get_log has no types
        return list(driver.get_log("browser"))

    def script(self, code: str) -> Any:
        return self.driver.execute_script(code)

    def upload(self, folder: Path) -> None:
        file = folder / "picture.png"
        file.write_bytes(encoded(picture(noise(2, 2))))
        self.one("#file").send_keys(str(file))
        wait_for(lambda: "answered by" in self.text("#status"))


@pytest.fixture(scope="module")
def driver() -> Iterator[Chrome]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = Service(DRIVER)
    browser = webdriver.Chrome(options=options, service=service)
    browser.set_script_timeout(PATIENCE)
    yield browser
    browser.quit()


@pytest.fixture
def page(driver: Chrome) -> Iterator[Page]:
    with server() as (address, _):
        page = Page(driver, address)
        assert page.complaints is not None  # forgets those of the test before
        yield page
        driver.get("about:blank")


def test_it_loads_quietly_and_asks_nobody_else(page: Page, tmp_path: Path) -> None:
    page.open()
    page.upload(tmp_path)
    asked = page.script("return performance.getEntriesByType('resource').map(each => each.name)")
    assert len(asked) > 8
    assert all(each.startswith((page.address, "blob:")) for each in asked)
    assert page.complaints == []


@pytest.mark.parametrize(("size", "scheme"), [(DESK, "light"), (DESK, "dark"), (PHONE, "light")])
def test_axe_finds_no_barrier(page: Page, tmp_path: Path, size: tuple[int, int], scheme: str) -> None:
    if not AXE.is_file():
        pytest.skip("axe-core is not installed: make browser")
    page.open(size=size, scheme=scheme)
    page.upload(tmp_path)
    page.script(AXE.read_text(encoding="utf-8"))
    violations = page.driver.execute_async_script("axe.run().then(arguments[0])")["violations"]
    assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in violations] == []


def test_a_picture_and_the_slider_give_an_answer_by_keyboard_alone(page: Page, tmp_path: Path) -> None:
    page.open()
    page.upload(tmp_path)
    assert page.text("#status").startswith("dog")
    assert len(page.all("#labels li")) == 3
    assert page.one("tr.answered").get_attribute("data-subnet") == "s50"
    before = page.text("#budget-text")
    page.one("#budget").send_keys("\ue012" * 5)  # the left arrow
    assert page.text("#budget-text") != before
    assert page.one("#budget").get_attribute("aria-valuetext") == page.text("#budget-text")
    page.one("#budget").send_keys("\ue010")  # the end key
    assert page.text("#budget-text") == "no limit"
    page.one("input[name=subnet][value='']").send_keys("\ue015\ue015")  # the down arrow
    wait_for(lambda: "answered by s90" in page.text("#status"))
    assert page.one("tr.answered").get_attribute("data-subnet") == "s90"


def test_a_refusal_is_said_in_its_own_words(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("no picture")
    page.open()
    page.one("#file").send_keys(str(file))
    wait_for(lambda: "not a JPEG, PNG" in page.text("#status"))


def test_live_figures_move_and_the_chart_can_be_read_by_keyboard(page: Page, tmp_path: Path) -> None:
    page.open()
    assert page.text("[data-figure=accuracy] .value") == UNKNOWN
    page.upload(tmp_path)
    page.one("#repeat").click()
    wait_for(lambda: page.text("[data-figure=accuracy] .value") == "90.0 %")
    wait_for(lambda: page.text("[data-figure=attainment] .value") == "100.0 %")
    wait_for(lambda: page.text("[data-figure=queue] .value") == "1 ms")
    wait_for(lambda: page.text("[data-figure=rate] .value") not in (UNKNOWN, "", "0", "0.0"))
    page.one("#repeat").click()
    wait_for(lambda: "s50 100 %" in page.text("#mix-legend"))
    chart = page.one("#mix")
    chart.send_keys("\ue012")  # the left arrow
    assert chart.get_attribute("aria-valuenow") == "-1"
    assert chart.get_attribute("aria-valuetext").startswith("1 s ago: ")


def test_a_fresh_page_shows_the_past(page: Page, tmp_path: Path) -> None:
    page.open()
    page.upload(tmp_path)
    wait_for(lambda: "1 answers in the last minute" in page.text("#mix-now"))
    page.open()
    wait_for(lambda: "1 answers in the last minute" in page.text("#mix-now"))


def test_dark_and_light_follow_the_system(page: Page) -> None:
    papers = []
    for scheme in ("light", "dark"):
        page.open(scheme=scheme)
        papers.append(page.script("return getComputedStyle(document.body).backgroundColor"))
    assert len(set(papers)) == 2


def test_nothing_sticks_out_of_a_phone(page: Page, tmp_path: Path) -> None:
    page.open(size=PHONE)
    page.upload(tmp_path)
    assert page.script("return document.documentElement.scrollWidth") <= PHONE[0]


def test_another_model_can_be_chosen_and_stays_chosen(page: Page, tmp_path: Path) -> None:
    page.open()
    page.one("#model").send_keys("more")
    wait_for(lambda: "model=more" in page.driver.current_url)
    page.open("/?model=more")
    page.upload(tmp_path)
    assert page.one("#model").get_attribute("value") == "more"
    wait_for(lambda: "1 answers" in page.text("#mix-now"))


def test_a_server_that_shuts_down_and_comes_back_is_told(driver: Chrome) -> None:
    with server() as (address, catalog):
        page = Page(driver, address)
        page.open()
        catalog.drain()
        wait_for(lambda: page.text("#state") == "Shutting down")
    wait_for(lambda: page.text("#state") == "Server away, trying again")
    driver.get("about:blank")
