"""The board in a real browser: what is seen, and what is asked of whom."""

import os
import subprocess
import time
import unittest
from pathlib import Path

import browser
from browser import Browser, Driver, eventually
from rack import Rack, mac, path

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "target/board"
ROWS = "[...document.querySelectorAll('#boxes tbody tr')].filter((row) => !row.hidden)"
NAMES = f"return {ROWS}.map((row) => row.cells[0].firstElementChild.textContent)"
TAB, ENTER = "\ue004", "\ue007"


def text_of(n):
    return f"""return [...document.querySelectorAll('#boxes a')].find((a) => a.pathname === '{path(n)}').closest('tr').innerText"""


class Board(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        reason = browser.missing()
        if reason:
            raise unittest.SkipTest(reason)
        PICTURES.mkdir(parents=True, exist_ok=True)
        cls.driver = Driver()
        cls.addClassCleanup(cls.driver.stop)

    def setUp(self):
        self.rack = Rack()
        self.addCleanup(lambda: self.rack.remove())

    def browse(self, **options):
        session = Browser(self.driver, **options)
        self.addCleanup(session.stop)
        self.browser = session
        return session

    def board(self, at="/", **options):
        """The board, once it is live."""
        session = self.browse(**options)
        session.open(self.rack.url + at)
        self.live()
        return session

    def live(self):
        eventually("a live page", lambda: self.browser.run("return document.getElementById('live')?.textContent === 'Live.'"))

    def names(self):
        return self.browser.run(NAMES)

    def says_nothing_wrong(self):
        wrong = [entry["message"] for entry in self.browser.log("browser") if entry["level"] in ("SEVERE", "WARNING")]
        self.assertEqual(wrong, [])

    def test_a_board_of_254_boxes_asks_nobody_else_for_anything(self):
        page = self.board()
        names = self.names()
        self.assertEqual(len(names), 254)
        self.assertEqual(names[:4], ["gb10-003", "gb10-077", "gb10-040", "gb10-004"])
        self.assertIn("2 failed, 1 stalled", page.run("return document.title"))
        self.assertRegex(page.run(text_of(3)), r"(?s)gb10-003.*3c:6d:66:0a:00:03 10.88.0.3 worker.*failed.*driver fail.*no GPU")
        self.assertIn("got the fallback", page.run(text_of(77)))
        page.picture(PICTURES / "board.png")
        page.open(self.rack.url + path(3))
        self.live()
        page.picture(PICTURES / "story.png")
        asked = page.requested()
        self.assertGreaterEqual(len(asked), 8, asked)
        elsewhere = [url for url in asked if not url.startswith((self.rack.url + "/", "data:,"))]
        self.assertEqual(elsewhere, [])
        self.says_nothing_wrong()

    def test_a_heartbeat_shows_within_a_second(self):
        page = self.board()
        longest = 0
        for number in range(5):
            # By a moment that has nothing to do with the pace of the service.
            time.sleep(0.17 * number)
            began = time.monotonic()
            self.rack.report(5, "verify", "progress", f"look {number}")
            eventually("the heartbeat", lambda: f"look {number}" in page.run(text_of(5)))
            longest = max(longest, time.monotonic() - began)
        self.assertEqual(len(self.names()), 254)
        print(f"# a heartbeat shows after {longest * 1000:.0f} ms at most", flush=True)
        self.assertLess(longest, 1)

    def test_a_failure_moves_up_and_is_counted_and_told(self):
        page = self.board()
        self.assertGreater(self.names().index("gb10-200"), 3)
        self.rack.report(200, "verify", "fail", "GPU memory is too small")
        eventually("the failure", lambda: self.names()[2] == "gb10-200")
        self.assertEqual(page.run("return document.getElementById('failed').textContent"), "3")
        self.assertIn("3 failed", page.run("return document.title"))
        self.assertEqual(page.run("return document.getElementById('said').textContent"), "3 failed, 1 stalled")
        self.rack.report(200, "ready", "done")
        eventually("its recovery", lambda: self.names().index("gb10-200") > 3)

    def test_boxes_are_sorted_and_filtered_also_by_keyboard(self):
        page = self.board()
        page.click("thead th:nth-child(1) button")
        self.assertEqual(self.names()[:2], ["gb10-001", "gb10-002"])
        page.keys(ENTER)
        self.assertEqual(self.names()[:2], ["gb10-254", "gb10-253"])
        sorts = page.run("return [...document.querySelectorAll('thead th')].map((th) => th.ariaSort)")
        self.assertEqual(sorts, ["descending", None, None, None, None, None])
        page.click("#filter")
        page.keys("head gpu")
        self.assertEqual(self.names(), [])
        page.run("document.getElementById('filter').value = ''")
        page.click("#filter")
        page.keys("worker gpu")
        self.assertEqual(self.names(), ["gb10-003"])
        self.assertEqual(page.run("return document.getElementById('count').textContent"), "1 of 254 boxes")
        page.run("const f = document.getElementById('filter'); f.value = ''; f.oninput()")
        page.click("#totals .f button")
        self.assertEqual(self.names(), ["gb10-077", "gb10-003"])
        self.assertEqual(page.run("return document.querySelector('#totals .f button').ariaPressed"), "true")
        # What is chosen is there still after a look at a story.
        page.click("#boxes tbody tr:not([hidden]) a")
        eventually("the story", lambda: page.run("return !!document.getElementById('story')"))
        page.back()
        self.live()
        self.assertEqual(self.names(), ["gb10-077", "gb10-003"])
        page.click("#totals .f button")
        self.assertEqual(len(self.names()), 254)
        self.says_nothing_wrong()

    def test_what_has_the_focus_keeps_it_while_the_board_changes(self):
        page = self.board()
        page.keys(TAB)
        self.assertEqual(page.run("return document.activeElement.textContent"), "To the boxes")
        page.keys(ENTER)
        page.keys(TAB * 6)  # the heads
        page.keys(TAB)
        focused = "return document.activeElement.pathname"
        self.assertEqual(page.run(focused), path(3))
        self.rack.report(3, "verify", "done", "mended")
        eventually("the report", lambda: "mended" in page.run(text_of(3)))
        self.assertEqual(page.run(focused), path(3))
        self.assertGreater(self.names().index("gb10-003"), 1)

    def test_a_click_opens_the_story_of_a_box_which_is_live_too(self):
        page = self.board()
        page.click(f"#boxes a[href='{path(3).rsplit('/', 1)[1]}']")
        eventually("the story", lambda: page.run("return !!document.getElementById('story')"))
        self.live()
        way = page.run("return [...document.querySelectorAll('.way li')].map((li) => li.innerText)")
        self.assertEqual(len(way), 5)
        self.assertRegex(way[1], "first_boot.*done.*50 s")
        self.assertRegex(way[4], "driver.*fail")
        story = page.run("return document.getElementById('story').innerText")
        for part in ("no GPU was found", "staged, from 10.88.0.3", mac(3), "worker", "failed"):
            self.assertIn(part, story)
        page.run("window.same = true")
        self.rack.report(3, "driver", "done", "a GPU after all")
        eventually("the report", lambda: "a GPU after all" in page.run("return document.getElementById('story').innerText"))
        self.assertTrue(page.run("return window.same"), "it was not loaded anew")
        self.says_nothing_wrong()

    def test_without_script_the_pages_are_complete(self):
        page = self.browse(script=False)
        page.open(self.rack.url)
        self.assertEqual(len(self.names()), 254)
        self.assertEqual(self.names()[:3], ["gb10-003", "gb10-077", "gb10-040"])
        text = page.run("return document.body.innerText")
        self.assertRegex(text, r"2\s+failed")
        self.assertIn("Without script this page stays as it is", text)
        self.assertNotIn("Live.", text)
        self.assertRegex(page.run(text_of(3)), r"\d\d:\d\d")
        page.picture(PICTURES / "no-script.png")
        page.click("#boxes tbody a")
        self.assertIn("no GPU was found", page.run("return document.body.innerText"))
        page.click("header a")
        self.assertEqual(len(self.names()), 254)

    def test_a_phone_of_360_pixels_needs_no_scrolling_sideways(self):
        page = self.browse()
        page.size(360, 740)
        for at, name in (("/", "phone"), (path(3), "phone-story")):
            page.open(self.rack.url + at)
            self.live()
            self.assertEqual(page.run("return innerWidth"), 360)
            self.assertLessEqual(page.run("return document.documentElement.scrollWidth"), 360)
            beyond = page.run("""return [...document.querySelectorAll('body *:not(.unseen):not(.skip)')]
                .filter((e) => e.getBoundingClientRect().right > 360.5).map((e) => e.outerHTML.slice(0, 80))""")
            self.assertEqual(beyond, [])
            page.picture(PICTURES / f"{name}.png")
        page.open(self.rack.url)
        self.assertRegex(page.run(text_of(3)), r"(?s)gb10-003.*failed.*driver fail")
        self.assertGreaterEqual(page.run("return parseFloat(getComputedStyle(document.querySelector('td p')).fontSize)"), 12)

    def test_in_the_dark_it_is_dark(self):
        page = self.browse()
        page.dark()
        for at, name in (("/", "dark"), (path(3), "dark-story")):
            page.open(self.rack.url + at)
            self.live()
            colours = page.run("const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]")
            ground, ink = (sum(map(int, c[4:-1].split(","))) for c in colours)
            self.assertLess(ground, 120)
            self.assertGreater(ink, 500)
            page.picture(PICTURES / f"{name}.png")

    def test_axe_finds_no_violation(self):
        axe = axe_core(self)
        for options in ({}, {"dark": True}, {"width": 360}):
            page = self.browse()
            if options:
                self.rack.remove()
                self.rack = Rack(40)  # it takes seconds for each hundred boxes
            if options.get("dark"):
                page.dark()
            if options.get("width"):
                page.size(options["width"], 740)
            for at in ("/", path(3), *([] if options else [path(77)])):
                page.open(self.rack.url + at)
                self.live()
                page.run(axe)
                found = page.run_async("const done = arguments[0]; axe.run().then(done, (e) => done({failed: String(e)}))")
                self.assertNotIn("failed", found)
                violations = [(v["id"], v["help"], [n["html"][:120] for n in v["nodes"]][:3]) for v in found["violations"]]
                self.assertEqual(violations, [], f"{at} {options}")
                self.assertGreater(len(found["passes"]), 15)

    def test_a_script_in_a_detail_stays_text(self):
        script = "<script>window.hacked = true</script><img src=x onerror='window.hacked = true'>"
        self.rack.report(9, "driver", "fail", script)
        page = self.board()
        self.assertIn("<script>window.hacked = true</script>", page.run(text_of(9)))
        self.rack.report(10, "driver", "fail", script)  # by an event
        eventually("the report", lambda: "<script>window" in page.run(text_of(10)))
        self.assertFalse(page.run("return window.hacked ?? false"))
        page.open(self.rack.url + path(9))
        self.live()
        self.assertIn(script, page.run("return document.getElementById('story').innerText"))
        self.rack.report(9, "driver", "fail", script + " again")
        eventually("the report", lambda: "again" in page.run("return document.getElementById('story').innerText"))
        self.assertFalse(page.run("return window.hacked ?? false"))
        self.assertEqual([url for url in page.requested() if url.endswith("/x")], [])

    def test_it_says_so_while_the_service_is_away_and_catches_up(self):
        page = self.board()
        page.run("window.same = true")
        self.rack.stop()
        eventually("the word", lambda: page.run("return document.getElementById('live').textContent").startswith("Not live since"))
        self.rack.start()
        self.rack.report(6, "verify", "fail", "while it was away")
        eventually("the report", lambda: "while it was away" in page.run(text_of(6)))
        self.live()
        self.assertTrue(page.run("return window.same"), "it was not loaded anew")
        self.assertEqual(len(self.names()), 254)


def axe_core(test):
    """The script of axe-core, of the version that the lock file pins."""
    if subprocess.run(["sh", "-c", "command -v npm"], stdout=subprocess.DEVNULL).returncode:
        test.skipTest("needs npm")
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "gb10-provision-api-tests/board"
    cache.mkdir(parents=True, exist_ok=True)
    script = cache / "node_modules/axe-core/axe.min.js"
    lock = Path(__file__).parent / "package-lock.json"
    if not script.exists() or (cache / lock.name).read_bytes() != lock.read_bytes():
        for name in ("package.json", lock.name):
            (cache / name).write_bytes((lock.parent / name).read_bytes())
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        fetched = subprocess.run(command, cwd=cache, capture_output=True, text=True)
        if fetched.returncode:
            test.skipTest(f"axe-core cannot be had: {fetched.stderr.strip().splitlines()[-1:]}")
    return script.read_text()
