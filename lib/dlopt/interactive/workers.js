/* Workers and a server on a clock: who computes when, who waits, which gradients come too late, how stale they are. */
(function () {
  "use strict";
  const UNTIL = 40, FRAMES = 120;

  function uniforms(seed) { // mulberry32
    let state = seed >>> 0;
    return () => {
      state = (state + 0x6d2b79f5) >>> 0;
      let z = Math.imul(state ^ (state >>> 15), 1 | state);
      z = (z + Math.imul(z ^ (z >>> 7), 61 | z)) ^ z;
      return ((z ^ (z >>> 14)) >>> 0) / 4294967296;
    };
  }
  /* Both return update times, staleness of the gradients used, and spans [worker, start, end, used]; checked against
     dlopt.distributed.simulate. draw() is the next computing time. */
  function synchronous(draw, M, b, until) {
    const N = M - b, busy = Array(M).fill(0), times = [], spans = [];
    for (let now = 0; now < until;) {
      const start = busy.map((f) => Math.max(now, f)), arrive = start.map((s) => s + draw());
      const order = arrive.map((_, m) => m).sort((i, j) => arrive[i] - arrive[j] || i - j), end = arrive[order[N - 1]];
      const onTime = new Set(order.slice(0, N));
      for (let m = 0; m < M; m++) {
        if (start[m] >= end && !onTime.has(m)) continue;
        spans.push([m, start[m], arrive[m], onTime.has(m)]);
        busy[m] = onTime.has(m) ? 0 : arrive[m];
      }
      now = end;
      if (now <= until) times.push(now);
    }
    return { times, spans, staleness: times.flatMap(() => Array(N).fill(0)) };
  }
  function asynchronous(draw, M, until) {
    const start = Array(M).fill(0), version = Array(M).fill(0), next = start.map(() => draw());
    const times = [], spans = [], staleness = [];
    for (;;) {
      const m = next.indexOf(Math.min(...next)), now = next[m];
      if (now >= until) return { times, spans, staleness, open: start.map((from, k) => [k, from, next[k], true]) };
      spans.push([m, start[m], now, true]);
      staleness.push(times.length - version[m]);
      times.push(now);
      version[m] = times.length;
      start[m] = now;
      next[m] = now + draw();
    }
  }
  DlOpt.lib.workers = { synchronous, asynchronous };

  DlOpt.figure("workers", (figure) => {
    figure.select("mode", { label: "Server", value: "sync", options: [["sync", "synchronous"], ["async", "asynchronous"]] });
    figure.slider("workers", { label: "Workers M", min: 1, max: 16, value: 6, steps: 15 });
    figure.slider("backups", { label: "of which backups b", min: 0, max: 8, value: 0, steps: 8 });
    figure.slider("chance", { label: "Chance of a delay", min: 0, max: 0.5, value: 0.1, steps: 50 });
    figure.slider("delay", { label: "Delay, in units", min: 0, max: 20, value: 8, steps: 40 });
    figure.player(FRAMES, 20);
    figure.state.draws = 1;
    figure.button("New draws", () => { figure.state.draws++; figure.redraw(); });
    figure.key([["used", 0], ["too late", 1], ["if nobody waited", 5, "4 3"]]);
    const chart = figure.panel({ label: "Who computes when: one row for each worker", height: 300, x: [0, UNTIL], xlabel: "time, in units of a computation", ylabel: "worker" });
    const count = figure.panel({ label: "Gradients used against time", height: 300, x: [0, UNTIL], xlabel: "time", ylabel: "gradients used" });
    figure.onset = () => { if (!figure.playing) figure.t = figure.total; };
    figure.draw = () => {
      const s = figure.state, M = Math.round(s.workers), sync = s.mode === "sync", b = sync ? Math.min(Math.round(s.backups), M - 1) : 0;
      const uniform = uniforms(s.draws), draw = () => 1 + (uniform() < s.chance ? s.delay : 0) + 0.2 * (uniform() - 0.5);
      const run = sync ? synchronous(draw, M, b, UNTIL) : asynchronous(draw, M, UNTIL), now = (UNTIL * figure.t) / FRAMES;
      chart.begin({ y: [0.5, M + 0.5] });
      for (const [m, from, to, used] of [...run.spans, ...(run.open || [])]) if (from < now) chart.bar(from, Math.min(to, now, UNTIL), m + 0.64, m + 1.36, used ? 0 : 1, { opacity: 0.85 });
      for (const t of run.times) if (sync && t <= now) chart.line([[t, 0.5], [t, M + 0.5]], 5, { "stroke-width": 1 });
      const N = sync ? M - b : 1, mean = 1 + s.chance * s.delay, made = run.times.filter((t) => t <= now);
      count.begin({ y: [0, 1.05 * Math.max(1, (M * UNTIL) / mean, N * run.times.length)] });
      count.line([[0, 0], [UNTIL, (M * UNTIL) / mean]], 5, { "stroke-dasharray": "4 3", "stroke-width": 1.5 });
      count.line([[0, 0], ...made.flatMap((t, i) => [[t, N * i], [t, N * (i + 1)]])], 0);
      const late = run.spans.filter((x) => !x[3] && x[2] <= now).length, tau = run.staleness.slice(0, N * made.length);
      const average = tau.reduce((a, x) => a + x, 0) / Math.max(1, tau.length);
      figure.say(`${M} workers, ${sync ? `rounds of ${N} gradients` : "every gradient an update"}. After time ${DlOpt.format(now)}: ${made.length} updates from ` +
        `${N * made.length} gradients, ${late} dropped as too late; mean staleness ${DlOpt.format(average)}, largest ${tau.length ? Math.max(...tau) : 0}. ` +
        `One worker alone would have made ${DlOpt.format(now / mean)} gradients.`);
    };
  });
})();
