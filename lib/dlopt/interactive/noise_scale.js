/* Rate, batch size and momentum: Smith's noise scale, the ball in which a noisy heavy ball ends, and how it gets there. */
(function () {
  "use strict";
  const N = 1000, EPOCHS = 10, CHAINS = 32, FRAMES = 100, CURVATURES = [1, 0.2], START = [2.5, -1.5];

  const variance = (B) => (N - B) / (B * (N - 1)); // of a minibatch gradient, drawn without replacement; tr Sigma = 1
  const updateNoise = (lr, B, m) => (lr / (1 - m)) * (N / B - 1); // checked against dlopt.noise.update_noise
  function noiseBall(lr, curvature, square, m) { // checked against dlopt.noise.noise_ball
    const room = 2 * (1 + m) - lr * curvature;
    return room > 0 ? ((1 + m) * lr * square) / ((1 - m) * curvature * room) : Infinity;
  }
  /* E x_t^2 of v <- m v + (curvature x + noise), x <- x - lr v, by the moments of x and v. */
  function expectedSquare(lr, curvature, square, m, start, steps) {
    let a = start ** 2, b = 0, c = 0;
    const out = [a];
    for (let t = 0; t < steps; t++) {
      c = m * m * c + 2 * m * curvature * b + curvature ** 2 * a + square;
      const xv = m * b + curvature * a;
      b = xv - lr * c;
      a = a - 2 * lr * xv + lr * lr * c;
      out.push(a);
    }
    return out;
  }
  function run(s, B, updates) { // positions of every chain at every update, [updates + 1][chains][2]
    const noise = DlOpt.normals(s.noise), deviation = Math.sqrt(variance(B)), v = Array.from({ length: CHAINS }, () => [0, 0]);
    const out = [v.map(() => START.slice())];
    for (let t = 0; t < updates; t++) {
      out.push(out[t].map((x, k) => x.map((value, i) => {
        v[k][i] = s.momentum * v[k][i] + CURVATURES[i] * value + deviation * noise();
        return value - s.lr * v[k][i];
      })));
    }
    return out;
  }
  DlOpt.lib.noiseScale = { variance, updateNoise, noiseBall, expectedSquare };

  DlOpt.figure("noise_scale", (figure) => {
    figure.slider("lr", { label: "Rate η", min: 0.001, max: 4, value: 0.05, log: true });
    figure.slider("batch", { label: "Batch size B", min: 2, max: 1000, value: 10, log: true });
    figure.slider("momentum", { label: "Momentum m", min: 0, max: 0.99, value: 0, steps: 99 });
    figure.player(FRAMES, 25);
    figure.state.noise = 1;
    let kept = null, key = "", paths, exact, updates;
    figure.button("Keep for comparison", () => { kept = curve(); figure.redraw(); });
    figure.button("New noise", () => { figure.state.noise++; figure.redraw(); });
    const bowl = figure.panel({ label: "One chain in the bowl, with the ellipse of its noise ball", height: 300, x: [-3.5, 3.5], y: [-2.5, 2.5], equal: true, xlabel: "steep coordinate", ylabel: "flat coordinate" });
    const squares = figure.panel({ label: "Mean square of the steep coordinate against epochs", height: 300, x: [0, EPOCHS], logy: true, xlabel: "epochs (examples / N)", ylabel: "mean of x²" });
    figure.onset = () => { if (!figure.playing) figure.t = figure.total; };
    const every = (length) => Math.max(1, Math.floor(length / 300));
    const thin = (points) => points.filter((_, i) => i % every(points.length) === 0 || i === points.length - 1);
    const curve = () => thin(exact.map((value, t) => [(t / updates) * EPOCHS, value]));
    figure.draw = () => {
      const s = figure.state, f = DlOpt.format, B = Math.round(s.batch), square = variance(B), stamp = [s.lr, B, s.momentum, s.noise].join();
      if (stamp !== key) {
        key = stamp;
        updates = Math.max(1, Math.round((EPOCHS * N) / B));
        paths = run(s, B, updates);
        exact = expectedSquare(s.lr, CURVATURES[0], square, s.momentum, START[0], updates);
      }
      const now = Math.round((figure.t / FRAMES) * updates), balls = CURVATURES.map((c) => noiseBall(s.lr, c, square, s.momentum));
      bowl.begin({ x: [-3.5, 3.5], y: [-2.5, 2.5] }).shade((x, y) => Math.min(1, Math.sqrt((x * x + CURVATURES[1] * y * y) / 14)), "bowl", 9);
      bowl.line(thin(paths.slice(0, now + 1)).map((chains) => chains[0]), 0, { "stroke-width": 1.1 });
      const angles = Array.from({ length: 73 }, (_, i) => (i * Math.PI) / 36);
      if (balls.every(Number.isFinite)) bowl.line(angles.map((a) => [2 * Math.sqrt(balls[0]) * Math.cos(a), 2 * Math.sqrt(balls[1]) * Math.sin(a)]), 1, { "stroke-dasharray": "6 4" });
      bowl.dots([paths[now][0]], 0, 5);
      squares.begin({ y: [1e-6, 20] });
      if (kept) squares.line(kept, 5, { "stroke-width": 4, opacity: 0.35 });
      const seen = thin(paths.slice(0, now + 1).map((chains, t) => [(t / updates) * EPOCHS, chains.reduce((sum, x) => sum + x[0] ** 2, 0) / CHAINS]));
      squares.line(seen, 0, { "stroke-width": 1.1 });
      squares.line(curve(), 1, { "stroke-dasharray": "6 4" });
      const g = updateNoise(s.lr, B, s.momentum), limit = (s.lr * N) / ((1 - s.momentum) * B);
      const fate = Number.isFinite(balls[0]) ? `Noise ball of the steep coordinate: mean square ${f(balls[0])}; after ${EPOCHS} epochs it is ${f(exact[updates])}.`
        : "The rate is beyond 2(1 + m) / curvature: it diverges.";
      figure.say(`η = ${f(s.lr)}, B = ${B}, m = ${f(s.momentum)}: noise scale g = ${f(g)} (small-batch limit ${f(limit)}). ${updates} updates in ${EPOCHS} epochs of ${N} examples. ${fate}`);
    };
  });
})();
