"""The dashboard in headless Chromium: no errors, no network, and what is moved changes what is shown.

Run in .venv-dashboard by `make test-long`, which needs the system's Chromium. Plain data: test_dashboard.py.
"""

import csv
import http.client
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from made_up import BASE, TWO, made_up, saved, saved_ab, saved_ab_tests, saved_comparison, saved_release, saved_training
from playwright.sync_api import Page, expect, sync_playwright

from nextone.experiments.sweeps.ledger import begin
from nextone.experiments.sweeps.plan import Question, plan_of
from nextone.experiments.sweeps.sweep import made_of

WIDTHS = (1280, 400)
MANY = Question(
    grid=(f"server.page_size={','.join(map(str, range(2, 34)))}",
          f"client.ttl_s={','.join(map(str, range(30, 990, 30)))}"),
    policies=("cloud_only",), minutes=10,
)  # fmt: skip
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "chromium")
WAIT_MS = 90_000  # a busy machine, or a model that is not compiled
expect.set_options(timeout=WAIT_MS)


@contextmanager
def served(folder, *options):
    """The address of a dashboard on a folder, and its process, which Ctrl-C ends at once and without a trace."""
    process = subprocess.Popen(
        [sys.executable, "-m", "nextone.cli", "dashboard", str(folder), *options], stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    line = process.stderr.readline()
    try:
        assert "http://127.0.0.1:" in line, line + process.stderr.read()
        yield re.search(r"http://\S+", line)[0], process, line
    finally:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (130, "nextone: cancelled\n")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    saved(folder / "pages", TWO)
    saved_comparison(folder / "ü demo")
    saved_training(folder / "rl")
    saved_ab(folder / "ab", days=0.1)
    saved_ab_tests(folder / "shares")
    saved_release(folder / "release")
    (folder / "broken").mkdir()
    (folder / "broken" / "results.parquet").write_bytes(b"PAR1" * 50)
    return folder


@pytest.fixture(scope="module")
def address(root):
    with served(root, "--port", "0") as (address, _, _):
        yield address


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(chromium, address, run="", width=1280):
    """A page, which says nothing on the console and asks nobody but the dashboard for anything."""
    with closing(chromium.new_context(viewport={"width": width, "height": 900}, accept_downloads=True)) as context:
        page, errors, asked = context.new_page(), [], []
        page.set_default_timeout(WAIT_MS)
        page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{address}?run={run}" if run else address)
        page.wait_for_selector("#page > *")
        yield page
        assert not errors
        assert asked and not [url for url in asked if urlsplit(url).scheme not in ("data", "blob")
                              and urlsplit(url).hostname != "127.0.0.1"]  # fmt: skip


def fits(page: Page) -> None:
    """Nothing is wider than the window, apart from tables that scroll in their place."""
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    outside = """() => [...document.querySelectorAll("#page *")].filter((each) => {
        const box = each.getBoundingClientRect();
        const inside = each.closest(".wide, .js-plotly-plot, .dash-dropdown");
        return box.width && !inside && (box.right > innerWidth + 1 || box.left < -1);
    }).map((each) => each.outerHTML.slice(0, 80))"""
    assert page.evaluate(outside) == []


@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_fits_and_begins_with_its_answer(chromium, address, width, tmp_path):
    better = "random is better than cloud_only"
    for run, words, figures in (
        ("", better, 0), ("pages", "app_min", 2), ("ü demo", better, 1), ("rl", "54 at", 2),
        ("ab", "The A/B test says: two is", 2), ("shares", "An A/B test of two says", 1),
        ("release", "was rolled back", 2),
    ):  # fmt: skip
        with opened(chromium, address, run, width) as page:
            expect(page.locator("#page")).to_contain_text(words)
            expect(page.locator("#page .js-plotly-plot")).to_have_count(figures)
            page.wait_for_timeout(2000)  # figures find their size
            assert page.get_by_role("button", name=re.compile("share|cloud|studio|plotly", re.I)).count() == 0
            fits(page)
            if run:  # the answer is on the first screen
                assert page.locator("#verdict .first").bounding_box()["y"] < 300
            page.screenshot(path=tmp_path / f"{run or 'home'}-{width}.png", full_page=True)


def test_what_is_damaged_is_one_line(chromium, address):
    with opened(chromium, address, "broken") as page:
        expect(page.locator(".problem")).to_contain_text("results.parquet' is damaged")
    with opened(chromium, address, "no/such") as page:
        expect(page.locator("#page")).to_contain_text("There is no such run here.")


def rows(page, name):
    return page.locator(f"#{name}-table tbody tr")


def downloaded(page, name):
    with page.expect_download() as download:
        page.click(f"#{name}-csv")
    with open(download.value.path(), newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_arms_are_switched_off_tables_sort_and_download(chromium, address):
    with opened(chromium, address, "ü demo") as page:
        expect(rows(page, "comparison")).to_have_count(3 * 15)
        expect(page.locator("#c-forest")).to_contain_text("random")
        page.locator("#c-arms label", has_text="random").click()
        expect(rows(page, "comparison")).to_have_count(2 * 15)
        expect(page.locator("#c-forest")).not_to_contain_text("random")
        page.locator("#c-which label", has_text="the chosen metric").click()
        expect(rows(page, "comparison")).to_have_count(2)
        found = downloaded(page, "comparison")
        assert [row["policy"] for row in found] == ["cloud_only", "tag_momentum"]
        assert rows(page, "comparison").nth(1).locator("td").nth(1).inner_text() == "tag_momentum"
        shown = rows(page, "comparison").nth(1).locator("td").nth(4).inner_text()
        assert float(shown) == pytest.approx(float(found[1]["diff_low"]), abs=0.006)
        page.locator("#comparison-table th", has_text="arm").click()
        page.locator("#comparison-table th", has_text="arm").click()
        expect(rows(page, "comparison").nth(0)).to_contain_text("tag_momentum")


def test_a_test_beside_its_truth(chromium, address):
    with opened(chromium, address, "ab") as page:
        expect(page.locator("#a-forest")).to_contain_text("two: the truth")
        expect(page.locator("#a-looks")).to_contain_text("look")
        expect(rows(page, "ab-test")).to_have_count(10)
        page.locator("#a-which label", has_text="the chosen metric").click()
        expect(rows(page, "ab-test")).to_have_count(1)
        (found,) = downloaded(page, "ab-test")
        assert (found["arm"], found["metric"]) == ("two", "app_min")
        page.locator("#a-arms label", has_text="two").click()
        expect(rows(page, "ab-test")).to_have_count(0)
        expect(page.locator("#a-forest")).not_to_contain_text("two: the truth")
    with opened(chromium, address, "shares") as page:
        expect(rows(page, "ab-tests")).to_have_count(2)
        assert [row["test"] for row in downloaded(page, "ab-tests")] == ["10 %", "50 %"]


def test_a_release_minute_by_minute(chromium, address):
    with opened(chromium, address, "release") as page:
        expect(page.locator("#r-lines")).to_contain_text("effective views per impression")
        expect(page.locator("#r-lines")).to_contain_text("rolled back")
        expect(page.locator("#r-gates")).to_contain_text("surely at least")
        expect(rows(page, "monitor")).to_have_count(114)
        assert {row["version"] for row in downloaded(page, "monitor")} == {"1", "2"}


def at(drag, act, across, down):
    """Click or hover at a part of the width and height of what a figure is dragged by."""
    drag.scroll_into_view_if_needed()
    box = drag.bounding_box()
    getattr(drag, act)(position={"x": box["width"] * across, "y": box["height"] * down}, force=True)


def test_sliders_and_the_map_move_what_is_shown(chromium, address):
    with opened(chromium, address, "pages") as page:
        expect(rows(page, "cell")).not_to_have_count(0)
        page.click("#s-best")
        start, slider = page.locator("#s-here").inner_text(), page.get_by_role("slider").nth(0)
        numbers = page.locator("#cell-table").inner_text()
        slider.focus()
        slider.press("End")
        expect(page.locator("#s-here")).to_contain_text("page_size 12")
        slider.press("Home")
        expect(page.locator("#s-here")).to_contain_text("page_size 2")
        slider.press("ArrowRight")  # snaps to what was swept
        expect(page.locator("#s-here")).to_contain_text("page_size 6")
        changed = page.locator("#cell-table").inner_text()
        assert changed != numbers or "page_size 6" in start
        page.click("#s-best")
        expect(page.locator("#s-here")).to_have_text(start)
        at(page.locator("#s-map .nsewdrag"), "click", 0.05, 0.9)
        expect(page.locator("#s-here")).to_contain_text("page_size 2, ttl_s 30")
        page.wait_for_timeout(1000)  # what stands above it may have moved it
        at(page.locator("#s-map .nsewdrag"), "hover", 0.1, 0.85)
        expect(page.locator("#s-map .hoverlayer")).to_contain_text("requests")
        expect(rows(page, "sweep")).to_have_count(2 * 7)
        page.locator("#s-policies label", has_text="cloud_only").click()
        expect(rows(page, "sweep")).to_have_count(7)
        assert {row["policy"] for row in downloaded(page, "sweep")} == {"tag_momentum"}


@pytest.mark.parametrize("width", WIDTHS)
def test_one_person_down_to_the_impressions(chromium, address, width):
    with opened(chromium, address, "ü demo", width) as page:
        page.fill("#l-user", "5000")
        page.click("#l-go")
        expect(page.locator("#l-out")).to_contain_text("user=5000 must be >= 0 and < population.users=8")
        page.fill("#l-user", "3")
        page.click("#l-go")
        expect(page.locator("#l-out")).to_contain_text("User 3 saw")
        seen = int(re.search(r"saw (\d+) videos", page.locator("#l-out").inner_text())[1])
        expect(rows(page, "impressions")).to_have_count(seen)
        page.wait_for_selector("#l-figure .bars path", state="attached")
        assert [row["user"] for row in downloaded(page, "impressions")] == ["3"] * seen
        fits(page)


def test_the_ledger_of_a_sweep_at_work_moves(chromium, tmp_path):
    plan = plan_of(TWO, BASE)
    results = made_up(plan, fresh=False)
    ledger = begin(tmp_path, plan, made_of(plan), list(results))
    with served(tmp_path, "--port", "0") as (address, _, _), opened(chromium, address, ".") as page:
        expect(page.locator("#ledger")).to_contain_text(f"Running: 0 of about {len(results)} runs done")
        for key in list(results)[:100]:
            ledger.done(key, results[key])
        expect(page.locator("#ledger")).to_contain_text(re.compile(r"100 of about \d+ runs done, .* left"))
        ledger.close()
        expect(page.locator("h1")).to_contain_text("interrupted")


def test_a_thousand_cells(chromium, tmp_path):
    saved(tmp_path / "many", MANY)
    with served(tmp_path, "--port", "0") as (address, _, _), opened(chromium, address, "many") as page:
        expect(page.locator("#s-here")).to_contain_text("page_size")
        expect(rows(page, "sweep")).to_have_count(32 * 32)
        slider = page.get_by_role("slider").nth(1)
        slider.focus()
        slider.press("End")
        expect(page.locator("#s-here")).to_contain_text("ttl_s 960")
        fits(page)


def test_two_at_once_other_ports_and_other_names(root):
    """The usual port is taken: another is found, unless that very port was asked for. Only loopback is answered."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "nextone.cli", "dashboard", str(root), "--port", port]
        told = subprocess.run(command, capture_output=True, text=True)
        assert (told.returncode, told.stderr.count("\n")) == (2, 1) and f"--port {port}: " in told.stderr
    with served(root) as (one, _, _), served(root) as (other, _, line):
        assert one != other and "(port 8050 is taken)" in line
        at = urlsplit(one)
        for headers, status in (({}, 200), ({"Host": "evil.example"}, 403), ({"Origin": "http://evil.example"}, 403),
                                ({"Host": f"localhost:{at.port}"}, 200)):  # fmt: skip
            connection = http.client.HTTPConnection(at.hostname, at.port)
            connection.request("GET", "/", headers=headers)
            assert connection.getresponse().status == status, headers
            connection.close()
        assert listening(at.port) == {"0100007F"}


def listening(port):
    """Addresses that a port listens on, as Linux writes them in hexadecimal."""
    tables = [Path(f"/proc/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
    found = [line.split() for table in tables for line in table]
    return {line[1].split(":")[0] for line in found if line[3] == "0A" and int(line[1].split(":")[1], 16) == port}


def test_an_empty_folder_fills(chromium, tmp_path):
    with served(tmp_path, "--port", "0") as (address, _, _), opened(chromium, address) as page:
        expect(page.locator("#page")).to_contain_text("Nothing is here yet.")
        saved_training(tmp_path / "rl")
        began = time.monotonic()
        expect(page.locator("#page")).to_contain_text("54 at the last")
        assert time.monotonic() - began < 30
