"""A parameter server and its workers as processes of one group: one receiving thread for every worker.

A thread that waits for one rank notices at once when that rank is gone; a receive from any source would not. What a
server decides is in :mod:`dlopt.distributed.store`; here is how it hears and answers.
"""

import re
import threading
import time
from dataclasses import dataclass, field

import torch
import torch.distributed as dist

from dlopt.checks import positive, whole
from dlopt.distributed.flat import Flat, shard
from dlopt.distributed.store import Store

HELLO, PUSH, PULL, DONE = range(1, 5)  # what a worker's header says: kind, version, whether it wants an answer, extra
OK, STOP, REFUSED = range(3)  # what a server's header says: status, version
WATCH = 0.05  # seconds between two looks at who has fallen silent


def reason(error):
    """What a lost connection says first, without the place in the source of gloo where it says it."""
    text = re.sub(r"\[/.*?\]|\s+", " ", str(error)).strip()
    return text.split(". ")[0][:100] or type(error).__name__


def header(*values):
    """A message's head: four whole numbers in int64, exact to any version a run can reach."""
    return torch.tensor([*values, 0, 0, 0, 0][:4], dtype=torch.int64)


@dataclass
class ServerLog:
    """What a server saw.

    Attributes:
        theta: its parameters at the end, [n].
        updates: number of updates.
        seconds: from the first parameters sent to the last update.
        staleness: of every gradient used, in order.
        used, late, bad: number of gradients by rank: used, dropped as late, dropped as not finite.
        lost: ``{rank: reason}`` for workers that ended or fell silent, even if they came back.
    """

    theta: torch.Tensor
    updates: int = 0
    seconds: float = 0.0
    staleness: list = field(default_factory=list)
    used: dict = field(default_factory=dict)
    late: dict = field(default_factory=dict)
    bad: dict = field(default_factory=dict)
    lost: dict = field(default_factory=dict)


class ParameterServer:
    """Serves one model (or a shard of it) to all ranks from ``servers`` on.

    Args:
        model: the module that every worker builds too; its parameters are the start.
        rule: a rule of `dlopt.rules` or its name; every elementwise rule will do.
        updates: number of updates after which workers are told to stop.
        servers: S >= 1; this server is rank 0 ... S - 1 and holds that shard of the parameters. Shards know nothing of
            each other, so backups, which could leave different gradients out of different shards, need S = 1.
        silence: seconds after which a worker that owes a gradient is no longer waited for; it may come back.
        every: call ``on_update(store)`` after every so many updates (checkpoints); the lock is held.
        policy: the arguments of :class:`dlopt.distributed.store.Store`: mode, backups, bound, rate, compensation, and
            the rule's hyper-parameters.

    Raises:
        ValueError: arguments that do not belong together.
    """

    def __init__(self, model, rule="sgd", *, updates, servers=1, silence=30.0, every=None, on_update=None, **policy):
        rank, size = dist.get_rank(), dist.get_world_size()
        if not rank < whole("servers", servers) < size:
            raise ValueError(f"servers are ranks 0 ... {servers - 1} of more than {servers}, this is {rank} of {size}")
        if servers > 1 and policy.get("backups"):
            raise ValueError("backups need servers=1: shards would leave out different gradients")
        self.workers = range(servers, size)
        flat = Flat(model)
        self.fingerprint, self.n = flat.fingerprint, len(flat.theta)
        theta = flat.theta[shard(self.n, servers, rank)].cpu().clone()
        self.store = Store(theta, rule, workers=self.workers, **policy)
        self.updates, self.silence = whole("updates", updates), positive("silence", silence)
        self.every, self.on_update = every, on_update
        self.lost, self.owes, self.silent, self.changed = {}, {}, set(), threading.Condition()
        self.copies = self.store.mode == "async" or self.store.backups > 0

    def serve(self):
        """Serve until all updates are made and every worker knows, or has gone.

        Returns:
            A `ServerLog`.

        Raises:
            RuntimeError: all workers were lost before the last update.
        """
        start = time.monotonic()
        self.owes = {worker: start for worker in self.workers}  # since when we have been waiting for it
        self.seconds, self.first = 0.0, None
        threads = {w: threading.Thread(target=self._serve, args=(w,), daemon=True) for w in self.workers}
        for thread in threads.values():
            thread.start()
        while any(thread.is_alive() for worker, thread in threads.items() if worker not in self.silent):
            with self.changed:
                self._forget_the_silent()
                self.changed.wait(WATCH)
        if self.store.version < self.updates and len(self.lost) == len(self.workers):
            reasons = "; ".join(self.lost[worker] for worker in sorted(self.lost))
            raise RuntimeError(f"all workers were lost after {self.store.version} updates: {reasons}")
        return self._log()

    def _serve(self, worker):
        """Hear and answer one worker until it is done or gone."""
        buffer, out = torch.empty_like(self.store.theta), torch.empty_like(self.store.theta)
        head = header()
        try:
            while True:
                dist.recv(head, worker)
                kind, version, wants, extra = head.tolist()
                self._heard(worker)
                if kind == HELLO and not self._welcome(worker, extra, version):
                    break
                if kind == PUSH:
                    if extra:
                        dist.recv(buffer, worker)
                    self._take(worker, buffer if extra else None, version)
                if kind == DONE or wants and not self._answer(worker, out):
                    break
            self._gone(worker)
        except RuntimeError as error:
            self._gone(worker, f"rank {worker} was lost ({reason(error)})")

    def _welcome(self, worker, fingerprint, n):
        fits = (fingerprint, n) == (self.fingerprint, self.n)
        if not fits:
            dist.send(header(REFUSED, self.n), worker)
        return fits

    def _heard(self, worker):
        """A sign of life; and the buffer of the last gradient must be free before the next one comes."""
        with self.changed:
            self.owes[worker] = time.monotonic()
            self.silent.discard(worker)
            self.store.join(worker)
            self.changed.wait_for(lambda: self._over() or self.store.mode == "async" or self.store.is_ready(worker))

    def _over(self):
        return self.store.version >= self.updates

    def _take(self, worker, g, version):
        with self.changed:
            if not self._over():
                before = self.store.version
                self.store.push(worker, g, version)
                self._after(before)

    def _after(self, before):
        """What follows from a push or a leave: the time of the last update, a checkpoint, others that may go on."""
        if self.store.version > before:
            self.seconds = time.monotonic() - self.first
            if self.on_update and self.every and self.store.version % self.every == 0:
                self.on_update(self.store)
        self.changed.notify_all()

    def _answer(self, worker, out):
        """Send the parameters as soon as the policy allows; False when there is no more to do."""
        with self.changed:
            self.owes.pop(worker, None)
            self.changed.wait_for(lambda: self._over() or self.store.is_ready(worker))
            going = not self._over()
            theta, version = self.store.pull(worker)
            if self.copies:
                theta = out.copy_(theta)
            self.first = self.first or time.monotonic()
            if going:
                self.owes[worker] = time.monotonic()
        dist.send(header(OK if going else STOP, version), worker)
        dist.send(theta, worker)
        return going

    def _forget_the_silent(self):
        now = time.monotonic()
        for worker in [w for w, since in self.owes.items() if now - since > self.silence]:
            self.silent.add(worker)
            self._leave(worker, f"rank {worker} sent nothing for {self.silence:g} s")

    def _gone(self, worker, reason=None):
        with self.changed:
            self._leave(worker, reason)

    def _leave(self, worker, reason):
        self.owes.pop(worker, None)
        if reason and not self._over():
            self.lost[worker] = reason
        before = self.store.version
        self.store.leave(worker)
        self._after(before)

    def _log(self):
        s = self.store
        return ServerLog(s.theta.clone(), s.version, self.seconds, list(s.staleness), dict(s.used), dict(s.late),
                         dict(s.bad), dict(self.lost))


class Worker:
    """Computes gradients for servers: fetches parameters, pushes what its model's backward pass left.

    Args:
        model: the module, built as on the servers, on any device.
        servers: S, ranks 0 ... S - 1.
        n_push, n_fetch: push the sum of so many gradients, fetch every so many steps (Downpour SGD).
        local_lr: with ``n_fetch > 1``: step of plain SGD that the worker takes on its own copy in between.

    Attributes:
        versions: of the parameters that the model has, by server.
        flat: the model's vectors; ``flat.zero_grad()`` before every backward pass.

    Raises:
        ValueError: the servers' model is another one.
        RuntimeError: a server is lost or does not answer.
    """

    def __init__(self, model, *, servers=1, n_push=1, n_fetch=1, local_lr=0.0):
        self.flat, self.servers = Flat(model), range(whole("servers", servers))
        self.n_push, self.n_fetch, self.local_lr = whole("n_push", n_push), whole("n_fetch", n_fetch), local_lr
        n = len(self.flat.theta)
        self.parts = [shard(n, servers, server) for server in self.servers]
        self.on_cpu = self.flat.theta.device.type == "cpu"
        self.theta = self.flat.theta if self.on_cpu else torch.empty_like(self.flat.theta, device="cpu").pin_memory()
        self.outgoing = torch.zeros_like(self.theta) if n_push > 1 or not self.on_cpu else self.flat.gradient
        self.versions, self.stopped, self.steps = [0] * servers, set(), 0
        self._fetch(HELLO, [n] * servers, self.flat.fingerprint)

    @property
    def running(self):
        """False once all servers have said that their updates are made."""
        return len(self.stopped) < len(self.servers)

    def step(self):
        """After a backward pass: push and fetch, as ``n_push`` and ``n_fetch`` say."""
        self.steps += 1
        push, fetch = self.steps % self.n_push == 0, self.steps % self.n_fetch == 0
        if self.n_push > 1:
            self.outgoing += self.flat.gradient if self.on_cpu else self.flat.gradient.cpu()
        elif not self.on_cpu:
            self.outgoing.copy_(self.flat.gradient)
        if self.local_lr:
            self.flat.theta -= self.local_lr * self.flat.gradient
        if push:
            self._push(wants=fetch)
        elif fetch:
            self._fetch(PULL, self.versions)

    def done(self):
        """Say goodbye before the servers have said stop."""
        self._talk(lambda server, _: dist.send(header(DONE), server))
        self.stopped.update(self.servers)

    def _push(self, wants):
        finite = int(torch.isfinite(self.outgoing.sum()))

        def push(server, part):
            dist.send(header(PUSH, self.versions[server], int(wants), finite), server)
            if finite:
                dist.send(self.outgoing[part], server)

        self._talk(push)
        if self.n_push > 1:
            self.outgoing.zero_()
        if wants:
            self._talk(self._receive)
            self._install()

    def _fetch(self, kind, numbers, extra=0):
        self._talk(lambda server, _: dist.send(header(kind, numbers[server], 1, extra), server))
        self._talk(self._receive)
        self._install()

    def _receive(self, server, part):
        head = header()
        dist.recv(head, server)
        status, version, *_ = head.tolist()
        if status == REFUSED:
            raise ValueError(f"rank {dist.get_rank()}: this worker's model has {len(self.flat.theta)} parameters and "
                             f"server {server}'s another {version}, or other names or types; build the same model")
        dist.recv(self.theta[part], server)
        self.versions[server] = version
        if status == STOP:
            self.stopped.add(server)

    def _install(self):
        if not self.on_cpu:
            self.flat.theta.copy_(self.theta)

    def _talk(self, action):
        for server in [server for server in self.servers if server not in self.stopped]:
            try:
                action(server, self.parts[server])
            except RuntimeError as error:
                raise RuntimeError(f"rank {dist.get_rank()}: server {server} was lost or does not answer "
                                   f"({reason(error)})") from None
