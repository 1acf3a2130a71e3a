/* Phase map: where (rate x curvature, momentum) puts the two roots, and what the ball in its valley does there. */
(function () {
  "use strict";
  const STEPS = 60, { sqrt, hypot, cos, sin, PI } = Math;

  /* The roots of z² − pz + q as [re, im], larger modulus first; checked against dlopt.heavy_ball.roots. */
  function roots(a, mu, nesterov) {
    const p = nesterov ? (1 + mu) * (1 - a) : 1 + mu - a, q = nesterov ? mu * (1 - a) : mu, d = p * p - 4 * q;
    if (d < 0) return [[p / 2, sqrt(-d) / 2], [p / 2, -sqrt(-d) / 2]];
    const one = [(p + sqrt(d)) / 2, 0], two = [(p - sqrt(d)) / 2, 0];
    return Math.abs(one[0]) >= Math.abs(two[0]) ? [one, two] : [two, one];
  }
  const radius = (a, mu, nesterov) => hypot(...roots(a, mu, nesterov)[0]);
  function regime(a, mu, nesterov) {
    const [[re, im]] = roots(a, mu, nesterov);
    return hypot(re, im) >= 1 ? "diverges" : Math.abs(im) > 1e-12 ? "oscillates" : re >= 0 ? "creeps" : "alternates";
  }
  /* v <- mu v + g; the step is -lr v or -lr (g + mu v), at curvature 1 from x = 1: the rules of dlopt.rules. */
  function run(a, mu, nesterov, steps) {
    let x = 1, v = 0;
    const out = [x];
    for (let t = 0; t < steps; t++) { const g = x; v = mu * v + g; x -= a * (nesterov ? g + mu * v : v); out.push(x); }
    return out;
  }
  DlOpt.lib.phaseMap = { roots, regime, run };
  const circle = (r) => Array.from({ length: 91 }, (_, i) => [r * cos((i * PI) / 45), r * sin((i * PI) / 45)]);
  const WORDS = { creeps: "creeps to the bottom without crossing it", oscillates: "swings through the bottom",
    alternates: "jumps from side to side at every step", diverges: "is thrown out of its valley" };

  DlOpt.figure("phase_map", (figure) => {
    figure.select("method", { label: "Method", value: "heavy ball", options: [["heavy ball", "Heavy ball"], ["nesterov", "Nesterov"]] });
    figure.player(STEPS, 12);
    const map = figure.panel({ label: "Map of rate times curvature and momentum, fast settings tinted", height: 300, x: [0, 4.2], y: [0, 1], xlabel: "rate × curvature ηλ", ylabel: "momentum μ" });
    const plane = figure.panel({ label: "The two roots in the complex plane, with the unit circle", height: 300, x: [-1.6, 1.6], y: [-1.6, 1.6], equal: true, xlabel: "real part", ylabel: "imaginary part" });
    const valley = figure.panel({ label: "The ball in its valley", height: 220, x: [-1.5, 1.5], y: [-0.1, 1.2], xlabel: "x", ylabel: "f(x)" });
    const path = figure.panel({ label: "Position against the step", height: 220, x: [0, STEPS], y: [-1.5, 1.5], xlabel: "step", ylabel: "x" });
    map.handle("point", { label: "Setting", value: [0.1, 0.5], min: [0.001, 0], max: [4.2, 0.999] });
    figure.onset = () => { if (!figure.playing) figure.t = STEPS; };
    figure.draw = () => {
      const nesterov = figure.state.method === "nesterov", [a, mu] = figure.state.point, t = figure.t, f = DlOpt.format;
      map.begin().shade((x, y) => Math.min(1, radius(x, y, nesterov)), nesterov, 10);
      const ms = Array.from({ length: 101 }, (_, i) => i / 100);
      if (!nesterov) map.line(ms.map((m) => [2 * (1 + m), m]), 1, { "stroke-dasharray": "6 4" });
      else map.line(ms.map((m) => [(2 + 2 * m) / (1 + 2 * m), m]), 1, { "stroke-dasharray": "6 4" });
      map.line(ms.map((m) => [nesterov ? ((1 - m) / (1 + m)) ** 2 : (1 - sqrt(m)) ** 2, m]), 2);
      if (!nesterov) map.line(ms.map((m) => [(1 + sqrt(m)) ** 2, m]), 2);
      else map.line(ms.map((m) => [1, m]), 2);
      const pair = roots(a, mu, nesterov);
      plane.begin({ x: [-1.6, 1.6], y: [-1.6, 1.6] });
      plane.line(circle(1), 5, { "stroke-width": 1 });
      plane.line(circle(hypot(...pair[0])), 0, { "stroke-width": 1, "stroke-dasharray": "4 4" });
      plane.dots(pair, 1, 6);
      const xs = run(a, mu, nesterov, STEPS), seen = xs.slice(0, t + 1), r = hypot(...pair[0]);
      valley.begin().line(Array.from({ length: 61 }, (_, i) => [i / 20 - 1.5, (i / 20 - 1.5) ** 2 / 2]), 5, { "stroke-width": 1.2 });
      valley.dots(seen.map((x) => [x, x * x / 2]), 1, 3, { opacity: 0.4 });
      valley.dots([[xs[t], xs[t] ** 2 / 2]], 0, 7);
      path.begin().line(seen.map((x, i) => [i, x]), 1);
      path.dots([[t, xs[t]]], 0, 5);
      const digits = r < 1 ? ` A decimal digit costs ${f(-1 / Math.log10(Math.max(r, 1e-9)))} steps.` : "";
      figure.say(`ηλ = ${f(a)}, μ = ${f(mu)}: the ball ${WORDS[regime(a, mu, nesterov)]}. Largest root modulus ${f(r)}.${digits} Step ${t}: x = ${f(xs[t])}.`);
    };
  });
})();
