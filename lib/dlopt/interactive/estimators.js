/* Estimators: what squared, absolute and Huber loss estimate, as points and an outlier are dragged. */
(function () {
  "use strict";
  const sum = (list) => list.reduce((a, b) => a + b, 0);
  const LOSSES = {
    squared: { name: "Squared (mean, LSE)", f: (r) => r * r },
    absolute: { name: "Absolute (median, LAD)", f: Math.abs },
    huber: { name: "Huber", f: (r, d) => (Math.abs(r) <= d ? 0.5 * r * r : d * (Math.abs(r) - 0.5 * d)) },
  };
  const risk = (points, [a, b], loss, delta) => sum(points.map(([x, y]) => LOSSES[loss].f(y - a - b * x, delta))) / points.length;

  const mean = (y) => sum(y) / y.length;
  function median(y) {
    const s = [...y].sort((a, b) => a - b), h = s.length >> 1;
    return s.length % 2 ? s[h] : (s[h - 1] + s[h]) / 2;
  }
  function huber(y, delta) { // the zero of the clipped residuals' sum, which falls with c: bisection
    let [low, high] = [Math.min(...y), Math.max(...y)];
    for (let i = 0; i < 100; i++) {
      const c = (low + high) / 2;
      if (sum(y.map((v) => Math.max(-delta, Math.min(delta, v - c)))) > 0) low = c; else high = c;
    }
    return (low + high) / 2;
  }
  function lse(points, weights = points.map(() => 1)) { // [intercept, slope] of the weighted least squares line
    const total = sum(weights), mx = sum(points.map((p, i) => weights[i] * p[0])) / total, my = sum(points.map((p, i) => weights[i] * p[1])) / total;
    const sxx = sum(points.map((p, i) => weights[i] * (p[0] - mx) ** 2)), sxy = sum(points.map((p, i) => weights[i] * (p[0] - mx) * (p[1] - my)));
    const b = sxx > 0 ? sxy / sxx : 0;
    return [my - b * mx, b];
  }
  function lad(points) { // some best line goes through two of the points: try all pairs
    let best = null, least = Infinity;
    points.forEach((p, i) => points.slice(i + 1).forEach((q) => {
      if (p[0] === q[0]) return;
      const b = (q[1] - p[1]) / (q[0] - p[0]), line = [p[1] - b * p[0], b], value = risk(points, line, "absolute");
      if (value < least) [best, least] = [line, value];
    }));
    return best || [median(points.map((p) => p[1])), 0];
  }
  function huberLine(points, delta) { // iteratively reweighted least squares
    let line = lse(points);
    for (let i = 0; i < 2000; i++) {
      const next = lse(points, points.map(([x, y]) => Math.min(1, delta / Math.max(1e-300, Math.abs(y - line[0] - line[1] * x)))));
      const moved = Math.abs(next[0] - line[0]) + Math.abs(next[1] - line[1]);
      line = next;
      if (moved < 1e-13) break;
    }
    return line;
  }
  DlOpt.lib.estimators = { risk, mean, median, huber, lse, lad, huberLine };

  const POINTS = [[1, 1.9], [2, 2.2], [3, 3.8], [4, 3.7], [5, 5.4], [6, 5.5], [7, 7.2], [8, 7.1], [9, 1]];
  DlOpt.figure("estimators", (figure) => {
    const keys = POINTS.map((_, i) => "p" + i), f = DlOpt.format, dashes = [null, "7 3", "2 3"];
    figure.select("fit", { label: "Fit", value: "level", options: [["level", "A level: mean, median, Huber"], ["line", "A line: LSE, LAD, Huber"]] });
    figure.select("loss", { label: "Loss in the right panel", value: "squared", options: Object.entries(LOSSES).map(([k, l]) => [k, l.name]) });
    figure.slider("delta", { label: "Huber’s δ", min: 0.05, max: 10, value: 1, log: true });
    figure.button("Put the points back", () => keys.forEach((k, i) => figure.set(k, POINTS[i], true)));
    figure.key([["squared", 0, null], ["absolute", 1, dashes[1]], ["Huber", 2, dashes[2]]]);
    const data = figure.panel({ label: "Data with the three fits", x: [0, 10], y: [0, 10], xlabel: "x", ylabel: "y", height: 320 });
    const land = figure.panel({ label: "Loss landscape", height: 320 });
    keys.forEach((k, i) => data.handle(k, { label: i < 8 ? `Point ${i + 1}` : "Outlier", value: POINTS[i], color: i < 8 ? 5 : 3 }));
    figure.draw = () => {
      const { fit, loss, delta } = figure.state, points = keys.map((k) => figure.state[k]), y = points.map((p) => p[1]);
      const level = fit === "level", lines = level ? [[mean(y), 0], [median(y), 0], [huber(y, delta), 0]] : [lse(points), lad(points), huberLine(points, delta)];
      data.begin();
      lines.forEach(([a, b], i) => data.line([[-1, a - b], [11, a + 11 * b]], i, { "stroke-width": 3, "stroke-dasharray": dashes[i] }));
      (level ? curves : map)(points, lines, loss, delta);
      const say = level ? `Mean ${f(lines[0][0])}, median ${f(lines[1][0])}, Huber ${f(lines[2][0])} for δ = ${f(delta)}.`
        : ["LSE", "LAD", "Huber"].map((name, i) => `${name}: y = ${f(lines[i][0])} ${lines[i][1] < 0 ? "−" : "+"} ${f(Math.abs(lines[i][1]))} x`).join("; ") + ".";
      figure.say(`${say} The outlier is at x = ${f(points[8][0])}, y = ${f(points[8][1])}.`);
    };
    function curves(points, lines) { // average loss of a level c, each less its minimum and divided by its largest value
      land.canvas.style.display = "none";
      land.begin({ x: [0, 10], y: [0, 1], xlabel: "level c", ylabel: "loss above its minimum (scaled)" });
      Object.keys(LOSSES).forEach((name, i) => {
        const delta = figure.state.delta, at = (c) => risk(points, [c, 0], name, delta), low = at(lines[i][0]), top = Math.max(at(0), at(10)) - low;
        const chosen = name === figure.state.loss;
        land.line(Array.from({ length: 201 }, (_, j) => [j / 20, (at(j / 20) - low) / top]), i, { "stroke-width": chosen ? 4 : 2, "stroke-dasharray": dashes[i] });
        land.dots([[lines[i][0], 0]], i, 6);
      });
    }
    function map(points, lines, loss, delta) {
      land.canvas.style.display = "";
      land.begin({ x: [-4, 12], y: [-1.5, 2], xlabel: "intercept", ylabel: "slope" });
      const low = risk(points, lines[Object.keys(LOSSES).indexOf(loss)], loss, delta);
      land.shade((a, b) => Math.min(1, 0.28 * Math.log(1 + 20 * (risk(points, [a, b], loss, delta) / low - 1) / 10)), [loss, delta, points.join()].join());
      lines.forEach((line, i) => land.dots([line], i, 7, { stroke: "var(--bg)", "stroke-width": 2 }));
    }
  });
})();
