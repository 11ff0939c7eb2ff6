# SPDX-License-Identifier: MIT
"""The page in a real browser: it runs a model and draws a stream, without an error in the console."""

from __future__ import annotations

import shutil

import pytest

from tests.serving.running import running, save

pytest.importorskip("uvicorn")
playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
KEY = "a-key-for-the-page-1234"

# Pixels of a canvas that differ from its corner: 0 where nothing is drawn.
DRAWN = """(selector) => {
  const canvas = document.querySelector(selector);
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let count = 0;
  for (let i = 0; i < data.length; i += 4)
    if (data[i] !== data[0] || data[i + 1] !== data[1] || data[i + 2] !== data[2] || data[i + 3] !== data[3]) count++;
  return count;
}"""
# Pixels of a line's colour: axes and grid are grey.
LINE = """(selector) => {
  const canvas = document.querySelector(selector);
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let count = 0;
  for (let i = 0; i < data.length; i += 4)
    if (data[i + 3] > 128 && Math.max(data[i], data[i + 1], data[i + 2]) - Math.min(data[i], data[i + 1], data[i + 2]) > 80) count++;
  return count;
}"""


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        made = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture
def page(browser):
    """An empty page, and what its console said."""
    opened = browser.new_page(viewport={"width": 1000, "height": 1400})
    said = []

    def listen(message):
        if "willReadFrequently" not in message.text:  # said of this test's own reading of pixels
            said.append(f"{message.type}: {message.text}")

    opened.on("console", listen)
    opened.on("pageerror", lambda error: said.append(f"error: {error}"))
    opened.said = said
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with running(*save(tmp_path_factory.mktemp("models"), "lstm", "words", "backwards")) as started:
        yield started


def open_page(page, service):
    page.goto(service.url + "/")
    page.wait_for_selector("#tensors tr")


def test_the_page_shows_the_models_and_runs_one(page, service):
    open_page(page, service)
    assert page.locator("#models option").all_inner_texts() == ["lstm", "words", "backwards"]
    for name in ("lstm", "words", "backwards"):
        page.select_option("#models", name)
        page.wait_for_function("() => document.getElementById('run-output').textContent === ''")
        page.wait_for_function(
            f"() => document.querySelector('#run-inputs textarea').name === '{'ids' if name == 'words' else 'x'}'"
        )
        if name == "backwards":
            page.wait_for_function("() => document.getElementById('stream').hidden")
        page.click("#run-form button")
        page.wait_for_function(
            "() => document.getElementById('run-output').textContent.startsWith('output [1, ')"
        )
    assert page.said == []


def test_what_does_not_fit_is_shown_as_an_error(page, service):
    open_page(page, service)
    page.fill("#run-inputs textarea", "[[[1, 2]]]")
    page.click("#run-form button")
    page.wait_for_selector("#run-output.error")
    assert "expected shape" in page.inner_text("#run-output")
    page.fill("#run-inputs textarea", "[[[1, ")
    page.click("#run-form button")
    page.wait_for_function("() => document.getElementById('run-output').textContent.includes('JSON')")


@pytest.mark.parametrize("name", ["lstm", "words"])
def test_the_page_draws_a_stream(page, service, name):
    open_page(page, service)
    page.select_option("#models", name)
    page.wait_for_function(
        f"() => document.querySelector('#run-inputs textarea').name === '{'ids' if name == 'words' else 'x'}'"
    )
    page.wait_for_selector("#output-plot canvas")
    assert page.evaluate(LINE, "#output-plot canvas") == 0
    assert page.evaluate(DRAWN, "#state") == 0
    page.fill("#rate", "60")
    page.click("#start")
    page.wait_for_function("() => state.stream && state.stream.timestep > 40", timeout=60_000)
    for selector in ("#input-plot canvas", "#output-plot canvas"):
        assert page.evaluate(LINE, selector) > 200
    assert page.evaluate(DRAWN, "#state") > 1000
    page.click("#reset")
    page.wait_for_function("() => state.stream && state.stream.timestep > 3", timeout=60_000)
    page.click("#start")
    page.wait_for_function("() => state.stream === null")
    assert page.inner_text("#status") == ""
    assert page.said == []


def test_the_page_asks_for_a_key_where_one_is_needed(page, tmp_path):
    (tmp_path / "keys").write_text(KEY)
    with running(*save(tmp_path, "lstm"), "--api-key-file", tmp_path / "keys") as service:
        page.goto(service.url + "/")
        page.wait_for_selector("#key")
        page.fill("#key", KEY)
        page.click("#key-form button")
        page.wait_for_selector("#tensors tr")
        page.click("#start")
        page.wait_for_function("() => state.stream && state.stream.timestep > 3", timeout=60_000)
        # The browser itself reports the first answer, 401.
        assert [line for line in page.said if "401" not in line] == []
