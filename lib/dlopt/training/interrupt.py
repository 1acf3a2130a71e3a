"""Ctrl-C at a moment when everything is consistent."""

import contextlib
import signal
import threading


@contextlib.contextmanager
def deferred_interrupt():
    """Collect the first Ctrl-C in a list instead of breaking off in the middle of an update; the second one breaks off.

    Outside the main thread, where Python delivers no signals, it does nothing.
    """
    pressed = []
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before in (signal.SIG_IGN, None):
        yield pressed
        return

    def handler(number, frame):
        if pressed:
            raise KeyboardInterrupt
        pressed.append(True)

    signal.signal(signal.SIGINT, handler)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)
