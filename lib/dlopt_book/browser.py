"""The site as a reader's browser sees it: what it asks for, what it complains about, what it shows to whom."""

import contextlib
import functools
import gzip
import http.server
import io
import os
import shutil
import threading
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
DESKTOP, TABLET, PHONE = ({"width": w, "height": h} for w, h in ((1280, 900), (768, 1024), (390, 844)))
WHOLE = "*, *::before, *::after { content-visibility: visible !important; transition: none !important; " \
        "animation: none !important; }"  # nothing left out for being far from the screen, nothing on the move
ARRIVED = """async () => {
  for (const e of document.querySelectorAll('article .dlopt-figure')) {
    e.scrollIntoView();
    for (let k = 0; k < 40 && !('mounted' in e.dataset); k++) await new Promise(done => setTimeout(done, 50));
  }
  window.scrollTo(0, document.body.scrollHeight);
  await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
  const waiting = [...document.images].map(e => { e.loading = 'eager'; return e.decode().catch(() => 0); });
  return Promise.all(waiting).then(() => 0);
}"""
PATIENCE = 120_000  # milliseconds that a page may take on a busy machine
OPEN_ALL = """() => {
  document.querySelectorAll('details').forEach(d => { d.open = true; });
  document.querySelectorAll('.toggle-hidden').forEach(e => e.classList.remove('toggle-hidden'));
}"""
SIMPLER = """() => {
  for (const e of document.querySelectorAll('mjx-container')) {
    e.textContent = 'formula';
    e.style.cssText = 'overflow: visible; line-height: normal';
  }
  const seen = new Set();
  for (const e of document.querySelectorAll('pre span, dt.sig span, dt.sig em')) {
    const kind = [e.className, e.parentNode.className, (e.closest('div[class*=cell], dt') || e).className].join('|');
    if (seen.has(kind)) e.replaceWith(...e.childNodes); else seen.add(kind);
  }
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
  for (const e of article.querySelectorAll('img')) {
    const shape = e.clientWidth / e.clientHeight * e.naturalHeight / e.naturalWidth;
    if (Math.abs(shape - 1) > .03) found.push('image out of shape: ' + e.getAttribute('src').slice(-60));
  }
  for (const e of article.querySelectorAll('.dlopt-figure:not([data-mounted])'))
    found.push('interactive figure that did not start: ' + e.id);
  for (const e of article.querySelectorAll('img'))
    if (e.complete && !e.naturalWidth) found.push('image that does not load: ' + e.getAttribute('src').slice(-60));
  for (const e of article.querySelectorAll('figure'))
    if (!e.querySelector('figcaption')) found.push('figure without caption');
  for (const e of article.querySelectorAll('mjx-container, div.math, pre'))
    if (e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX === 'auto' && e.tabIndex < 0)
      found.push('scrolls without a way by keyboard: ' + e.textContent.slice(0, 60));
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
    compress = False

    def log_message(self, *args):
        pass

    def send_head(self):
        """As inherited; a reader who asks for it gets text compressed, and everything may be kept for an hour."""
        path = Path(self.translate_path(self.path))
        if not (self.compress and path.is_file() and "gzip" in self.headers.get("Accept-Encoding", "")):
            return super().send_head()
        data, text = path.read_bytes(), path.suffix in (".html", ".css", ".js", ".svg", ".json")
        data = gzip.compress(data, 6) if text else data
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(str(path)))
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "max-age=3600")
        if text:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        return io.BytesIO(data)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, address):
        pass  # a browser that closes a page in mid-transfer is no event


@contextlib.contextmanager
def served(folder, port=0, compress=False):
    """Serve ``folder`` on this machine, compressed as web hosts do if asked; gives the base address."""
    handler = type("_Handler", (_Quiet,), {"compress": compress})
    server = _Server(("127.0.0.1", port), functools.partial(handler, directory=folder))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def opened(running, address, *, dark=False, size=DESKTOP, slower=1, asked=None):
    """Open a page in a fresh profile and wait until it is quiet.

    Args:
        running: a Playwright ``Browser``.
        address: an ``http`` or ``file`` address.
        dark: the color scheme that the reader's system asks for.
        size: the window, a dict of ``width`` and ``height`` in CSS pixels.
        slower: how many times slower the processor is to seem.
        asked: a list to which the address of every request is added.

    Yields:
        The Playwright page, and a list of sentences that grows with every foreign request and every complaint.
    """
    context = running.new_context(viewport=size, color_scheme="dark" if dark else "light")
    context.set_default_timeout(PATIENCE)
    page, heard = context.new_page(), []
    origin = urlsplit(address)
    page.on("request", lambda request: heard.extend(_foreign(request.url, origin)))
    page.on("request", lambda request: asked is not None and asked.append(request.url))
    page.on("console", lambda message: message.type == "error" and heard.append(f"console error: {message.text}"))
    page.on("pageerror", lambda error: heard.append(f"script error: {error}"))
    page.on("requestfailed", lambda request: heard.extend(_failed(request)))
    page.on("response", lambda answer: answer.status >= 400 and heard.append(f"{answer.status}: {answer.url[:120]}"))
    if slower > 1:
        context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": slower})
    try:
        page.goto(address, wait_until="load")
        if origin.scheme == "http":
            page.wait_for_load_state("networkidle")
        elif 'http-equiv="refresh"' in Path(url2pathname(origin.path)).read_text(encoding="utf-8"):
            page.wait_for_url(lambda url: url != address, wait_until="load")  # nothing else tells that it moved
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


def scroll(page):
    """Lay out the whole page, go to its end and wait for the images and the interactive figures that load only now."""
    page.add_style_tag(content=WHOLE)
    page.evaluate(ARRIVED)


def axe(page, rules=None):
    """axe-core's complaints about the page as it stands, with everything that folds unfolded; one sentence each.

    A chapter has thousands of words of code and of parts of formulas. Before axe looks, a word of code that is like
    another one loses its markup, and a formula becomes a word: the page is of no further use.

    Args:
        page: from `opened`.
        rules: names of axe's rules; None: all that stand for WCAG 2.1 AA and good practice.
    """
    page.evaluate(OPEN_ALL)
    page.evaluate(SIMPLER)
    page.add_style_tag(content=WHOLE)
    page.wait_for_timeout(200)  # scripts that watch sizes have their turn
    only = {"type": "rule", "values": rules} if rules else {"type": "tag", "values": RULES}
    options = {"runOnly": only, "resultTypes": ["violations"],
               "preload": False}  # axe would fetch style sheets again, some from a wrong address
    violations = Axe().run(page, options=options).response["violations"]
    return [f"axe: {v['id']} ({v['impact']}): {v['help']}: {' '.join(node['html'].split())[:160]}"
            for v in violations for node in v["nodes"]]


def boxes(page):
    """How many boxes the browser has made of a page so far; those of sections that it left out are not among them."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    return next(m["value"] for m in session.send("Performance.getMetrics")["metrics"] if m["name"] == "LayoutObjects")


def check(running, address, *, accessibility=True, asked=None, counted=None):
    """Everything wrong with one page, one sentence each: on a phone, then as wide as a desk, by day and by night.

    Args:
        running: a Playwright ``Browser``.
        address: an ``http`` or ``file`` address.
        accessibility: let axe look, in light and in dark.
        asked: a list to which the address of every request is added.
        counted: a list to which the number of boxes is added that the page takes when it opens on a phone.
    """
    with opened(running, address, size=PHONE, asked=asked) as (page, heard):
        if counted is not None:
            counted.append(boxes(page))
        scroll(page)
        found = page.evaluate(LOOK) + page.evaluate(WIDER)
        page.set_viewport_size(DESKTOP)
        found += page.evaluate(WIDER)
        for scheme, rules in (("light", None), ("dark", ["color-contrast"])):
            page.emulate_media(color_scheme=scheme)
            found += [f"{sentence} ({scheme})" for sentence in axe(page, rules)] if accessibility else []
        return heard + found


def pages(site):
    """The site's pages, as paths below the folder ``site``."""
    every = sorted(path.relative_to(site) for path in site.rglob("*.html"))
    return [path.as_posix() for path in every if path.parts[0] not in ("_static", "_sources", "reports", "_downloads")]


def photograph(site, folder):
    """Write pictures of every page at three widths, in light and in dark; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with browser() as running, served(site) as base:
        for name in pages(site):
            for look in ("light", "dark"):
                with opened(running, f"{base}/{name}", dark=look == "dark") as (page, _):
                    for size in (DESKTOP, TABLET, PHONE):
                        page.set_viewport_size(size)
                        scroll(page)
                        page.evaluate("scrollTo(0, 0)")  # the header belongs to the top
                        stem = name.removesuffix(".html").replace("/", "-")
                        written.append(folder / f"{stem}-{size['width']}-{look}.png")
                        page.screenshot(path=written[-1], full_page=True)
    return written
