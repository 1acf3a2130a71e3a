/* Descent playground: a method walks down a surface from a start that the reader drags. */
(function () {
  "use strict";
  const { cos, sin, exp, PI } = Math;
  const SURFACES = { // f and its gradient as in dlopt.objectives; lowest is the value of the minimum
    quadratic: { name: "Quadratic bowl", x: [-3, 3], y: [-3, 3], start: [-2.4, 1.6], lr: 0.3, lowest: 0, make({ kappa, angle }) {
      const c = cos((angle * PI) / 180), s = sin((angle * PI) / 180);
      return {
        f(x, y) { const u = c * x + s * y, w = c * y - s * x; return 0.5 * (u * u / kappa + w * w); },
        g(x, y) { const u = (c * x + s * y) / kappa, w = c * y - s * x; return [c * u - s * w, s * u + c * w]; },
      };
    } },
    rosenbrock: { name: "Rosenbrock’s valley", x: [-2, 2], y: [-1, 3], start: [-1.2, 1], lr: 0.001, lowest: 0,
      f: (x, y) => (1 - x) ** 2 + 100 * (y - x * x) ** 2,
      g: (x, y) => [-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)] },
    saddle: { name: "Saddle", x: [-2, 2], y: [-1.6, 1.6], start: [1.5, 0.01], lr: 0.2, lowest: -0.25,
      f: (x, y) => 0.5 * x * x - 0.5 * y * y + 0.25 * y ** 4, g: (x, y) => [x, y ** 3 - y] },
    ripple: { name: "Bowl with ripples", x: [-3, 3], y: [-3, 3], start: [2.5, 2.2], lr: 0.02, lowest: 0,
      f: (x, y) => 0.5 * (x * x + y * y) + 0.5 * (2 - cos(8 * x) - cos(8 * y)), g: (x, y) => [x + 4 * sin(8 * x), y + 4 * sin(8 * y)] },
    himmelblau: { name: "Himmelblau’s four minima", x: [-6, 6], y: [-6, 6], start: [0.5, -0.5], lr: 0.005, lowest: 0,
      f: (x, y) => (x * x + y - 11) ** 2 + (x + y * y - 7) ** 2,
      g(x, y) { const a = x * x + y - 11, b = x + y * y - 7; return [4 * x * a + 2 * b, 2 * a + 4 * y * b]; } },
    plateau: { name: "Well in a plain", x: [-4, 4], y: [-4, 4], start: [2, 1.8], lr: 0.5, lowest: 0,
      f: (x, y) => -Math.expm1(-0.5 * (x * x + y * y)), g(x, y) { const e = exp(-0.5 * (x * x + y * y)); return [x * e, y * e]; } },
  };
  const surface = (s) => ({ ...SURFACES[s.surface], ...(SURFACES[s.surface].make ? SURFACES[s.surface].make(s) : {}) });

  /* v <- mu v + g; the step is -lr v (heavy ball) or -lr (g + mu v) (Nesterov). The rules of dlopt.rules, tested against them. */
  function run(s, steps) {
    const { f, g } = surface(s), points = [s.start.slice()], values = [f(...s.start)];
    let [x, y] = s.start, v = [0, 0];
    for (let t = 0; t < steps; t++) {
      const d = g(x, y);
      v = [s.mu * v[0] + d[0], s.mu * v[1] + d[1]];
      const u = s.method === "nesterov" ? [d[0] + s.mu * v[0], d[1] + s.mu * v[1]] : v;
      x += -s.lr * u[0];
      y += -s.lr * u[1];
      points.push([x, y]);
      values.push(f(x, y));
    }
    return { points, values };
  }
  DlOpt.lib.descent = { SURFACES, run };

  DlOpt.figure("descent", (figure) => {
    const STEPS = 200, first = SURFACES[figure.config.surface] || SURFACES.quadratic;
    figure.select("surface", { label: "Surface", value: "quadratic", options: Object.entries(SURFACES).map(([k, s]) => [k, s.name]) });
    figure.select("method", { label: "Method", value: "momentum", options: [["momentum", "Heavy ball"], ["nesterov", "Nesterov"]] });
    figure.slider("lr", { label: "Learning rate", min: 1e-4, max: 4, value: first.lr, log: true });
    figure.slider("mu", { label: "Momentum", min: 0, max: 0.99, value: 0, steps: 99 });
    figure.slider("kappa", { label: "Condition (bowl)", min: 1, max: 100, value: 10, log: true, steps: 100 });
    figure.slider("angle", { label: "Rotation (bowl)", min: 0, max: 90, value: 30, steps: 90, unit: "°" });
    figure.player(STEPS);
    const map = figure.panel({ label: "Surface seen from above, low ground tinted, with the path", height: 320, equal: true, xlabel: "x", ylabel: "y" });
    const curve = figure.panel({ label: "Loss curve", height: 320, x: [0, STEPS], logy: true, xlabel: "step", ylabel: "loss above the minimum" });
    map.handle("start", { label: "Start", value: first.start });
    figure.onset = (key) => { // a new surface brings its own start and rate; any change shows the whole path at once
      const s = SURFACES[figure.state.surface];
      if (key === "surface") { figure.set("lr", s.lr); figure.set("start", s.start); }
      if (!figure.playing) figure.t = STEPS;
    };
    figure.draw = () => {
      const s = figure.state, { f, x, y, lowest } = surface(s), { points, values } = run(s, STEPS), t = figure.t;
      const low = Math.max(1e-4, 1e-5 * height(f, x, y, lowest)), scale = Math.log(1 + height(f, x, y, lowest) / low);
      map.begin({ x, y }).shade((a, b) => Math.log(1 + (f(a, b) - lowest) / low) / scale, [s.surface, s.kappa, s.angle].join());
      map.line(points.slice(0, t + 1), 1);
      map.dots(points.slice(0, t + 1), 1);
      map.dots([points[t]], 0, 6);
      const above = values.map((v) => Math.max(v - lowest, 1e-16)), seen = above.filter(Number.isFinite);
      const top = Math.min(1e12, 2 * Math.max(...seen)), bottom = Math.max(1e-16, 0.5 * Math.min(...seen));
      curve.begin({ y: [Math.min(bottom, top / 100), top] });
      curve.line(above.slice(0, t + 1).map((v, i) => [i, v]), 1);
      curve.dots([[t, above[t]]], 0, 5);
      const [a, b] = points[t], far = values[t] - lowest;
      const fate = !(far < 1e6) ? "It diverges." : far < 1e-6 ? "It has reached the minimum." : far > above[0] ? "The loss is above where it started." : "";
      const limit = s.surface === "quadratic" ? ` The bowl’s steepest curvature is 1: gradient descent is stable below rate 2${s.mu > 0 && s.method === "momentum" ? ", the heavy ball below " + DlOpt.format(2 + 2 * s.mu) : ""}.` : "";
      figure.say(`Step ${t} of ${STEPS}: loss ${DlOpt.format(far)} above the minimum, at x = ${DlOpt.format(a)}, y = ${DlOpt.format(b)}. ${fate}${limit}`);
    };
  });
  function height(f, x, y, lowest) { return Math.max(...[0, 1].flatMap((i) => [0, 1].map((j) => f(x[i], y[j]) - lowest))); }
})();
