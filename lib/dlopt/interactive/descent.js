/* Descent playground: a method walks down a surface from a start that the reader drags. */
(function () {
  "use strict";
  const { SURFACES, surface, shade, range } = DlOpt.lib.surfaces;

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
      const s = figure.state, { lowest } = surface(s), { points, values } = run(s, STEPS), t = figure.t;
      shade(map, s);
      map.line(points.slice(0, t + 1), 1);
      map.dots(points.slice(0, t + 1), 1);
      map.dots([points[t]], 0, 6);
      const above = values.map((v) => Math.max(v - lowest, 1e-16));
      curve.begin({ y: range(above) });
      curve.line(above.slice(0, t + 1).map((v, i) => [i, v]), 1);
      curve.dots([[t, above[t]]], 0, 5);
      const [a, b] = points[t], far = values[t] - lowest;
      const fate = !(far < 1e6) ? "It diverges." : far < 1e-6 ? "It has reached the minimum." : far > above[0] ? "The loss is above where it started." : "";
      const limit = s.surface === "quadratic" ? ` The bowl’s steepest curvature is 1: gradient descent is stable below rate 2${s.mu > 0 && s.method === "momentum" ? ", the heavy ball below " + DlOpt.format(2 + 2 * s.mu) : ""}.` : "";
      figure.say(`Step ${t} of ${STEPS}: loss ${DlOpt.format(far)} above the minimum, at x = ${DlOpt.format(a)}, y = ${DlOpt.format(b)}. ${fate}${limit}`);
    };
  });
})();
