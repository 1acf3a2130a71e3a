"""The site as a reader's browser sees it: what it asks for, what it complains about, what it shows to whom."""

import contextlib
import functools
import http.server
import os
import shutil
import threading
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
TYPESET = "() => !window.MathJax || !MathJax.startup || MathJax.startup.promise.then(() => true)"
OPEN_ALL = """() => {
  document.querySelectorAll('details').forEach(d => { d.open = true; });
  document.querySelectorAll('.toggle-hidden').forEach(e => e.classList.remove('toggle-hidden'));
}"""
LOOK = r"""() => {
  const article = document.querySelector('article, main') || document.body, found = [];
  for (const e of article.querySelectorAll('.math'))
    if (!e.querySelector('mjx-container')) found.push('mathematics not typeset: ' + e.textContent.slice(0, 60));
  for (const e of article.querySelectorAll('mjx-merror, [data-mjx-error]'))
    found.push('mathematics with an error: ' + (e.getAttribute('data-mjx-error') || e.textContent).slice(0, 80));
  for (const e of article.querySelectorAll('img'))
    if (!(e.getAttribute('alt') || '').trim())
      found.push('image without alt text: ' + e.getAttribute('src').slice(-60));
  for (const e of article.querySelectorAll('img'))
    if (e.complete && !e.naturalWidth) found.push('image that does not load: ' + e.getAttribute('src').slice(-60));
  for (const e of article.querySelectorAll('figure'))
    if (!e.querySelector('figcaption')) found.push('figure without caption');
  return found;
}"""
WIDER = """() => {
  const room = document.documentElement.clientWidth, all = document.documentElement.scrollWidth;
  if (all <= room) return [];
  const guilty = [...document.querySelectorAll('main *')].find(e => e.getBoundingClientRect().right > room + 1);
  const where = guilty ? `, from <${guilty.tagName.toLowerCase()} class="${guilty.className}">` : '';
  return [`scrolls sideways: ${all} px wide on a screen of ${room}${where}`];
}"""


def chromium():
    """The path of a Chromium or Chrome on this machine, ``DLOPT_CHROMIUM`` first; None if there is none."""
    return os.environ.get("DLOPT_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


@contextlib.contextmanager
def browser():
    """A headless Chromium, a Playwright ``Browser``.

    Raises:
        FileNotFoundError: none is installed.
    """
    path = chromium()
    if path is None:
        raise FileNotFoundError("no Chromium on this machine: apt-get install chromium, or set DLOPT_CHROMIUM to one")
    flags = ["--disable-dev-shm-usage"]  # containers give little shared memory
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        flags.append("--no-sandbox")  # Chromium refuses to sandbox the root user
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=flags)
        try:
            yield running
        finally:
            running.close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, address):
        pass  # a browser that closes a page in mid-transfer is no event


@contextlib.contextmanager
def served(folder, port=0):
    """Serve ``folder`` on this machine; gives the base address without a final slash."""
    server = _Server(("127.0.0.1", port), functools.partial(_Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def opened(running, address, *, dark=False, size=DESKTOP):
    """Open a page in a fresh profile and wait until it is quiet and typeset.

    Args:
        running: a Playwright ``Browser``.
        address: an ``http`` or ``file`` address.
        dark: the color scheme that the reader's system asks for.
        size: the window, a dict of ``width`` and ``height`` in CSS pixels.

    Yields:
        The Playwright page, and a list of sentences that grows with every foreign request and every complaint.
    """
    context = running.new_context(viewport=size, color_scheme="dark" if dark else "light")
    page, heard = context.new_page(), []
    origin = urlsplit(address)
    page.on("request", lambda request: heard.extend(_foreign(request.url, origin)))
    page.on("console", lambda message: message.type == "error" and heard.append(f"console error: {message.text}"))
    page.on("pageerror", lambda error: heard.append(f"script error: {error}"))
    page.on("requestfailed", lambda request: heard.extend(_failed(request)))
    page.on("response", lambda answer: answer.status >= 400 and heard.append(f"{answer.status}: {answer.url[:120]}"))
    try:
        page.goto(address, wait_until="load")
        page.wait_for_load_state("networkidle")
        page.evaluate(TYPESET)
        yield page, heard
    finally:
        context.close()


def _failed(request):
    if request.failure != "net::ERR_ABORTED":  # the page moved on, as the redirect from index.html does
        yield f"request failed ({request.failure}): {request.url[:120]}"


def _foreign(url, origin):
    asked = urlsplit(url)
    if asked.scheme not in ("data", "blob", "about") and (asked.scheme, asked.netloc) != (origin.scheme, origin.netloc):
        yield f"request to another host: {url[:120]}"


def axe(page):
    """axe-core's complaints about the page as it stands, with everything that folds unfolded; one sentence each."""
    page.evaluate(OPEN_ALL)
    page.add_style_tag(content="*, *::before, *::after { transition: none !important; animation: none !important; }")
    page.wait_for_timeout(200)  # scripts that watch sizes have their turn
    options = {"runOnly": {"type": "tag", "values": RULES}, "resultTypes": ["violations"],
               "preload": False}  # axe would fetch style sheets again, some from a wrong address
    violations = Axe().run(page, options=options).response["violations"]
    return [f"axe: {v['id']} ({v['impact']}): {v['help']}: {' '.join(node['html'].split())[:160]}"
            for v in violations for node in v["nodes"]]


def check(running, address, *, dark=False, size=DESKTOP, accessibility=True):
    """Everything wrong with one page under one set of circumstances, one sentence each."""
    with opened(running, address, dark=dark, size=size) as (page, heard):
        found = page.evaluate(LOOK) + page.evaluate(WIDER)
        page.evaluate("() => window.scrollTo(0, document.body.scrollHeight)")  # what loads lazily loads now
        page.wait_for_load_state("networkidle")
        found += axe(page) if accessibility else []
        return heard + found


def pages(site):
    """The site's pages, as paths below the folder ``site``."""
    every = sorted(path.relative_to(site) for path in site.rglob("*.html"))
    return [path.as_posix() for path in every if path.parts[0] not in ("_static", "_sources", "reports", "_downloads")]


def photograph(site, folder):
    """Write pictures of every page: light and dark at desktop width, light at phone width; returns their paths."""
    looks = {"light": {}, "dark": {"dark": True}, "phone": {"size": PHONE}}
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with browser() as running, served(site) as base:
        for name in pages(site):
            for look, how in looks.items():
                with opened(running, f"{base}/{name}", **how) as (page, _):
                    written.append(folder / f"{name.removesuffix('.html').replace('/', '-')}-{look}.png")
                    page.screenshot(path=written[-1], full_page=True)
    return written
