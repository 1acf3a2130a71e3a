"""A training run as it happens: a picture that is redrawn in place and stays as the run has left it."""

import html
import math
import time

from IPython.display import HTML, display

WIDTH, HEIGHT, LEFT, BOTTOM = 640, 230, 64, 28  # CSS pixels; the picture shrinks with its page
POINTS = 300  # more than a curve of this width can show
UNTRUSTED = "JupyterLab leaves the curve out of a notebook that it does not trust: run the cell. Ends of the axes: "
ENDS = {"early": "stopped early", "callback": "stopped by the callback"}  # others are their own word


class Live:
    """A callback for ``dlopt.training.train`` that draws the loss while it falls and says how long it will take.

    ``train(..., callback=Live())`` shows one picture, redrawn every ``every`` seconds and after the last update. The
    last picture stays in the notebook, without the bar; it says how the run ended if that was before its last update.

    Args:
        every: seconds between two drawings, > 0; drawing takes about a millisecond.
        title: said above the picture.

    Raises:
        ValueError: ``every`` is not positive.
    """

    def __init__(self, every=0.5, title="Training loss"):
        if not every > 0:
            raise ValueError(f"every must be > 0 seconds, got {every}")
        self.every, self.title = every, title
        self.losses, self.handle, self.began, self.drawn = [], None, None, -math.inf

    def __call__(self, run):
        """Note ``run.loss`` and draw if it is time; never ends the run."""
        now = time.monotonic()
        if self.began is None or run.step <= 1:
            self.losses, self.began, self.first, self.handle = [], now, run.step, None
        self.losses.append(float(run.loss))
        self.seconds = now - self.began
        if now - self.drawn >= self.every or run.step >= run.total:
            self.drawn = now
            self._show(HTML(self.picture(run.step, run.total, self.seconds)))

    def end(self, run):
        """Draw what stays of a run that ended before its last update; ``train`` calls this however the run has ended.
        """
        if self.losses and run.step < run.total:
            how = "ended by an error" if run.stopped == "finished" else ENDS.get(run.stopped, run.stopped)
            self._show(HTML(self.picture(run.step, run.total, self.seconds, how)))
        self.began = None  # what comes next is another picture

    def _show(self, picture):
        if self.handle is None:
            self.handle = display(picture, display_id=True)
        else:
            self.handle.update(picture)

    def picture(self, step, total, seconds, ended=""):
        """The HTML of the picture after ``step`` of ``total`` updates, ``seconds`` after the first one.

        Args:
            step, total, seconds: how far the run is.
            ended: how it ended, if that was before its last update.
        """
        done = ended or step >= total
        state = ended if done else self._left(step, total, seconds)
        said = ", ".join(filter(None, [f"{step} of {total} updates", _time(seconds), state]))
        now = f"{self.losses[-1]:.4g} · {said}"
        label = f"{self.title}: {self.losses[0]:.3g} at first, {self.losses[-1]:.3g} now; {said}"
        bar = f'<progress max="{total}" value="{step}" aria-label="Progress" style="width:100%"></progress>'
        return (f'<figure style="max-width:{WIDTH}px;margin:.5em 0">'
                f"<figcaption><strong>{html.escape(self.title)}</strong> {now}</figcaption>{'' if done else bar}"
                f"{curve(self.losses, step if ended else total, self.first, label)}</figure>")

    def _left(self, step, total, seconds):
        done = step - self.first
        return f"about {_time(seconds / done * (total - step))} left" if done else "time left unknown"


def curve(losses, total, first=1, label=""):
    """An SVG of losses against updates; logarithmic where all are positive and they span a decade.

    Args:
        losses: the loss of each update; gaps where it is not finite.
        total: updates that the horizontal axis covers.
        first: number of the first update.
        label: what a screen reader says.
    """
    stride = max(1, len(losses) // POINTS)
    points = [(first + i, losses[i]) for i in range(0, len(losses), stride)]
    finite = [y for _, y in points if math.isfinite(y)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    log = low > 0 and high > 10 * low
    scale = math.log10 if log else float
    bottom, top = scale(low), scale(high)
    span = (top - bottom) or 1.0

    def place(x, y):
        right = LEFT + (WIDTH - LEFT - 10) * (x - first) / max(1, total - first)
        return f"{right:.1f} {8 + (HEIGHT - BOTTOM - 8) * (1 - (scale(y) - bottom) / span):.1f}"

    path, pen = "", "M"
    for x, y in points:
        inside = math.isfinite(y) and (y > 0 or not log)
        path, pen = (path + pen + place(x, y), "L") if inside else (path, "M")
    floor, end = HEIGHT - BOTTOM, WIDTH - 10
    words = [(LEFT - 6, 16, "end", f"{high:.3g}"), (LEFT - 6, floor, "end", f"{low:.3g}"),
             (LEFT, HEIGHT - 8, "start", first), (end, HEIGHT - 8, "end", f"{total} updates"),
             (end, 16, "end", "loss axis logarithmic" if log else "")]
    text = " ".join(f'<text x="{x}" y="{y}" text-anchor="{anchor}">{word}</text>' for x, y, anchor, word in words)
    return (f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(label, quote=True)}"'
            f' style="width:100%" fill="currentColor" font-size="12" font-family="sans-serif">'
            f'<metadata>{UNTRUSTED}</metadata>'
            f'<path d="M{LEFT} 8V{floor}H{end}" fill="none" stroke="currentColor" opacity=".6"/>'
            f'<path d="{path}" fill="none" stroke="#0072b2" stroke-width="2" stroke-linejoin="round"/>{text}</svg>')


def _time(seconds):
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"
