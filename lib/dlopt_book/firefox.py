"""The site in Firefox, over WebDriver BiDi: that it loads, asks nobody else, complains of nothing and fits a phone."""

import contextlib
import itertools
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from dlopt_book import browser

NAMES = ("firefox-esr", "firefox")
START, ANSWER = 60, 60  # seconds that Firefox may take to start, and to answer
QUIET = 300  # milliseconds that a page's scripts get after it is loaded
STATE = """async (wait, whole) => {
  document.head.append(Object.assign(document.createElement('style'), { textContent: whole }));
  for (const figure of document.querySelectorAll('.dlopt-figure')) {
    figure.scrollIntoView();
    for (let k = 0; k < 40 && !('mounted' in figure.dataset); k++) await new Promise(done => setTimeout(done, 50));
  }
  await new Promise(done => setTimeout(done, wait));
  return JSON.stringify({
  wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  fonts: [...document.fonts].filter(font => font.status === 'error').map(font => font.family),
  formulas: document.querySelectorAll('mjx-container').length,
  flat: [...document.querySelectorAll('mjx-container')].filter(e => e.closest('article') && e.checkVisibility()
    && !e.getBoundingClientRect().height).length,
  figures: [...document.querySelectorAll('.dlopt-figure')].filter(e => !('mounted' in e.dataset)).length,
});
}"""


def firefox():
    """The path of a Firefox on this machine, ``DLOPT_FIREFOX`` first; None if there is none."""
    return os.environ.get("DLOPT_FIREFOX") or next(filter(None, map(shutil.which, NAMES)), None)


class Session:
    """A running Firefox, spoken to in WebDriver BiDi.

    Args:
        socket: a websocket at Firefox's ``/session``.
    """

    def __init__(self, socket):
        self.socket, self.ids, self.events = socket, itertools.count(1), []
        self.call("session.new", capabilities={"alwaysMatch": {"acceptInsecureCerts": True}})
        self.call("session.subscribe", events=["log.entryAdded", "network.beforeRequestSent", "network.fetchError"])
        self.tab = self.call("browsingContext.getTree")["contexts"][0]["context"]

    def call(self, method, **parameters):
        """Send a command and return its result; events that come meanwhile are kept in ``events``.

        Raises:
            RuntimeError: Firefox refuses the command.
        """
        number = next(self.ids)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self.socket.recv())
            if answer.get("id") != number:
                self.events.append(answer)
            elif answer["type"] == "error":
                raise RuntimeError(f"Firefox refuses {method}: {answer['message']}")
            else:
                return answer["result"]

    def look(self, address, size=browser.PHONE):
        """Open a page and return everything wrong with it, one sentence each."""
        self.events.clear()
        self.call("browsingContext.setViewport", context=self.tab, viewport=size)
        self.call("browsingContext.navigate", context=self.tab, url=address, wait="complete")
        arguments = [{"type": "number", "value": QUIET}, {"type": "string", "value": browser.WHOLE}]
        for _ in range(2):  # a page that sends readers on takes the script with it
            answer = self.call("script.callFunction", functionDeclaration=STATE, awaitPromise=True, arguments=arguments,
                               target={"context": self.tab})
            if answer["type"] == "success":
                return [*self._heard(address), *_seen(json.loads(answer["result"]["value"]))]
        raise RuntimeError(f"{address} cannot be looked at: {answer['exceptionDetails']['text']}")

    def _heard(self, address):
        origin = re.match(r"\w+://[^/]*", address)[0]
        for event in self.events:
            data = event.get("params", {})
            if event.get("method") == "log.entryAdded" and data["level"] == "error":
                yield f"console error: {data['text'][:160]}"
            elif event.get("method") == "network.beforeRequestSent":
                url = data["request"]["url"]
                if not url.startswith((origin, "data:", "blob:", "about:", "resource:", "chrome:")):
                    yield f"request to another host: {url[:120]}"
            elif event.get("method") == "network.fetchError" and data.get("errorText") != "NS_BINDING_ABORTED":
                yield f"request failed ({data.get('errorText')}): {data['request']['url'][:120]}"


def _seen(state):
    if state["wide"] > 0:
        yield f"scrolls sideways by {state['wide']} px"
    yield from (f"font that does not load: {name}" for name in state["fonts"])
    if state["flat"]:
        yield f"{state['flat']} of {state['formulas']} formulas have no height"
    if state["figures"]:
        yield f"{state['figures']} interactive figures did not start"


@contextlib.contextmanager
def running():
    """A headless Firefox with a profile of its own; gives a `Session`.

    Raises:
        FileNotFoundError: none is installed.
        RuntimeError: it does not open its port in time.
    """
    from websocket import create_connection

    path = firefox()
    if path is None:
        raise FileNotFoundError("no Firefox on this machine: apt-get install firefox-esr, or set DLOPT_FIREFOX to one")
    with tempfile.TemporaryDirectory() as profile:
        Path(profile, "user.js").write_text('user_pref("datareporting.policy.dataSubmissionEnabled", false);\n'
                                            'user_pref("browser.aboutwelcome.enabled", false);\n')
        log = Path(profile, "log")
        command = [path, "--headless", "--no-remote", "--remote-debugging-port", "0", "--profile", profile]
        with open(log, "w") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT,
                                       env={**os.environ, "MOZ_HEADLESS": "1", "HOME": profile})
        try:
            socket = create_connection(f"{_port(process, log)}/session", timeout=ANSWER, suppress_origin=True)
            with contextlib.closing(socket):
                yield Session(socket)
        finally:
            process.terminate()
            process.wait(timeout=30)


def _port(process, log):
    deadline = time.monotonic() + START
    while time.monotonic() < deadline and process.poll() is None:
        found = re.search(r"WebDriver BiDi listening on (ws://\S+)", log.read_text(errors="replace"))
        if found:
            return found[1]
        time.sleep(0.1)
    raise RuntimeError(f"Firefox did not start within {START} s:\n{log.read_text(errors='replace')[-1000:]}")


def survey(session, site, say=print):
    """Look at every page of the site, from a server and from ``file://``; returns what is wrong: page -> sentences."""
    problems = {}
    with browser.served(site) as base:
        for where in (base, Path(site).as_uri()):
            for name in browser.pages(site):
                found = session.look(f"{where}/{name}")
                if found:
                    problems[f"{where.split(':')[0]} {name}"] = found
                    say(f"{where.split(':')[0]:<5} {name}: {'; '.join(found)}")
    return problems
