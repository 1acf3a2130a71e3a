/* Optimizer race: three rules walk down one surface from one start, each with its own sliders. */
(function () {
  "use strict";
  const { SURFACES, surface, shade, range } = DlOpt.lib.surfaces, { sqrt, sign, max } = Math, LANES = [1, 2, 3], STEPS = 300;

  /* The rules of dlopt.rules for one coordinate: gradient, state (zero at first), step count, rate, b (mu or beta1), r (rho or beta2) -> step.
     Each is [name, function, rate or null for the surface's own, steps that b and r remember]; checked against the library. */
  const first = (g, s, b) => (s.m = b * s.m + (1 - b) * g), second = (g, s, r) => (s.v = r * s.v + (1 - r) * g * g), E = 1e-8;
  const sum = (g, s, b) => (s.m = b * s.m + g), warm = (b, t) => b * (1 - 0.5 * 0.96 ** (t * 4e-3));
  const scaled = (lr, m, v) => (-lr * m) / (sqrt(v) + E), hat = (x, b, t) => x / (1 - b ** t);
  const RULES = {
    sgd: ["Gradient descent", (g, s, t, lr) => -lr * g, null, 1, 1],
    momentum: ["Momentum", (g, s, t, lr, b) => -lr * sum(g, s, b), null, 10, 1],
    nesterov: ["Nesterov", (g, s, t, lr, b) => -lr * (g + b * sum(g, s, b)), null, 10, 1],
    adagrad: ["AdaGrad", (g, s, t, lr) => (-lr * g) / (sqrt((s.v += g * g)) + 1e-10), 0.5, 1, 1],
    rmsprop: ["RMSProp", (g, s, t, lr, b, r) => scaled(lr, g, second(g, s, r)), 0.05, 1, 100],
    adadelta: ["AdaDelta", (g, s, t, lr, b, r) => {
      const x = (-sqrt(s.d + 1e-6) / sqrt(second(g, s, r) + 1e-6)) * g;
      s.d = r * s.d + (1 - r) * x * x;
      return lr * x;
    }, 1, 1, 20],
    adadelta_printed: ["AdaDelta as printed", (g, s, t, lr, b, r) => (lr * g) / (sqrt(second(g, s, r)) + 1e-6), 1, 1, 20],
    adam: ["Adam", (g, s, t, lr, b, r) => scaled(lr, hat(first(g, s, b), b, t), hat(second(g, s, r), r, t)), 0.1, 10, 1000],
    adam_uncorrected: ["Adam, uncorrected", (g, s, t, lr, b, r) => scaled(lr, first(g, s, b), second(g, s, r)), 0.1, 10, 1000],
    amsgrad: ["AMSGrad", (g, s, t, lr, b, r) => scaled(lr, hat(first(g, s, b), b, t), hat((s.d = max(s.d, second(g, s, r))), r, t)), 0.1, 10, 1000],
    nadam: ["NAdam", (g, s, t, lr, b, r) => {
      const mu = warm(b, t), next = warm(b, t + 1);
      s.d = (t > 1 ? s.d : 1) * mu;
      return scaled(lr, (next / (1 - s.d * next)) * first(g, s, b) + ((1 - mu) / (1 - s.d)) * g, hat(second(g, s, r), r, t));
    }, 0.1, 10, 1000],
    radam: ["RAdam", (g, s, t, lr, b, r) => {
      const end = 2 / (1 - r) - 1, rho = end - (2 * t * r ** t) / (1 - r ** t), m = hat(first(g, s, b), b, t), v = second(g, s, r);
      return rho > 5 ? scaled(lr * sqrt((((rho - 4) * (rho - 2) * end) / ((end - 4) * (end - 2) * rho)) * (1 - r ** t)), m, v) : -lr * m;
    }, 0.1, 10, 1000],
    lion: ["Lion", (g, s, t, lr, b, r) => {
      const u = b * s.m + (1 - b) * g;
      s.m = r * s.m + (1 - r) * g;
      return -lr * sign(u);
    }, 0.03, 10, 100],
  };
  function run(s, { rule, lr, b, r }, steps) {
    const { f, g } = surface(s), points = [s.start.slice()], values = [f(...s.start)], states = [0, 1].map(() => ({ m: 0, v: 0, d: 0 }));
    for (let t = 1; t <= steps; t++) {
      const p = points[t - 1], d = g(...p);
      points.push(p.map((x, i) => x + RULES[rule][1](d[i], states[i], t, lr, b, r)));
      values.push(f(...points[t]));
    }
    return { points, values };
  }
  DlOpt.lib.optimizerRace = { RULES, run };

  DlOpt.figure("optimizer_race", (figure) => {
    const start = SURFACES[figure.config.surface] || SURFACES.quadratic, state = figure.state, DASH = ["", "", "7 3", "2 2"];
    const numbers = (rule, s) => [RULES[rule][2] ?? s.lr, ...RULES[rule].slice(3)]; // rate and two memories, in steps
    figure.select("surface", { label: "Surface", value: "quadratic", options: Object.entries(SURFACES).map(([k, s]) => [k, s.name]) });
    figure.slider("kappa", { label: "Condition (bowl)", min: 1, max: 100, value: 30, log: true, steps: 100 });
    figure.slider("angle", { label: "Rotation (bowl)", min: 0, max: 90, value: 0, steps: 90, unit: "°" });
    for (const i of LANES) {
      const rule = figure.config["rule" + i] || ["momentum", "adagrad", "adam"][i - 1], [lr, b, r] = numbers(rule, start);
      const memory = { min: 1, max: 1000, log: true, steps: 150, unit: " steps" };
      figure.select("rule" + i, { label: i + ": rule", value: rule, options: Object.entries(RULES).map(([k, r]) => [k, r[0]]) });
      figure.slider("lr" + i, { label: i + ": rate", min: 1e-4, max: 10, value: lr, log: true });
      figure.slider("b" + i, { label: i + ": memory μ, β₁", value: b, ...memory });
      figure.slider("r" + i, { label: i + ": memory ρ, β₂", value: r, ...memory });
    }
    figure.key(LANES.map((i) => [i, i, DASH[i]]));
    figure.player(STEPS);
    const map = figure.panel({ label: "Surface with three paths", height: 320, equal: true, xlabel: "x", ylabel: "y" });
    const curve = figure.panel({ label: "Loss curves", height: 320, x: [0, STEPS], logy: true, xlabel: "step", ylabel: "loss above the minimum" });
    map.handle("start", { label: "Start", value: start.start, color: 0 });
    figure.onset = (key) => { // a new rule brings its own numbers, a new surface its own start and rates
      const s = SURFACES[state.surface], i = key.slice(-1);
      if (key.startsWith("rule")) numbers(state[key], s).forEach((v, k) => figure.set(["lr", "b", "r"][k] + i, v));
      if (key === "surface") { figure.set("start", s.start); LANES.forEach((j) => figure.set("lr" + j, numbers(state["rule" + j], s)[0])); }
      if (!figure.playing) figure.t = STEPS;
    };
    figure.draw = () => {
      const { lowest } = surface(state), t = figure.t, lanes = LANES.map((i) => {
        const [rule, lr, b, r] = ["rule", "lr", "b", "r"].map((k) => state[k + i]), { points, values } = run(state, { rule, lr, b: 1 - 1 / b, r: 1 - 1 / r }, STEPS);
        return { i, rule, points, above: values.map((v) => max(v - lowest, 1e-16)) };
      });
      shade(map, state);
      curve.begin({ y: range(lanes.flatMap((lane) => lane.above)) });
      for (const { i, points, above } of lanes) {
        const dash = { "stroke-dasharray": DASH[i] };
        map.line(points.slice(0, t + 1), i, dash);
        map.dots([points[t]], i, 5);
        curve.line(above.slice(0, t + 1).map((v, k) => [k, v]), i, dash);
      }
      const told = lanes.map(({ i, rule, above }) => `${i}, ${RULES[rule][0]}: ${above[t] < 1e9 ? DlOpt.format(above[t]) : "diverged"}`);
      figure.say(`Step ${t}, loss above the minimum: ${told.join("; ")}. ${lanes.reduce((a, b) => (b.above[t] < a.above[t] ? b : a)).i} is ahead.`);
    };
  });
})();
