/* Schedules t^-a: chains on a noisy parabola, and the conditions that the exponent meets. */
(function () {
  "use strict";
  const STEPS = 10000, CHAINS = 64, FRAMES = 160;

  const rate = (s, t) => s.scale * t ** -s.exponent;
  const recorded = [...new Set(Array.from({ length: FRAMES + 1 }, (_, i) => Math.round(STEPS ** (i / FRAMES))))];

  /* E x_t^2 by its recursion, lambda = sigma = 1; checked against dlopt.chains.expected_square. */
  function expectedSquare(s, steps) {
    let square = s.start ** 2;
    const out = [];
    for (let t = 1; t <= steps; t++) { const c = rate(s, t); square = (1 - c) ** 2 * square + c * c; out.push(square); }
    return out;
  }
  function chains(s) { // values of every chain at the recorded steps
    const noise = DlOpt.normals(s.noise), x = new Float64Array(CHAINS).fill(s.start), out = [];
    for (let t = 1, next = 0; t <= STEPS; t++) {
      const c = rate(s, t);
      for (let k = 0; k < CHAINS; k++) x[k] -= c * (x[k] + noise());
      if (t === recorded[next]) { out.push(Array.from(x)); next++; }
    }
    return out;
  }
  const conditions = (a) => ({ vanishes: a > 0, diverges: a <= 1, squares: a > 0.5 });
  DlOpt.lib.scheduleExponent = { expectedSquare, conditions };

  DlOpt.figure("schedule_exponent", (figure) => {
    figure.slider("exponent", { label: "Exponent a of γ = c·t⁻ᵃ", min: 0, max: 1.5, value: 0.5, steps: 150 });
    figure.slider("scale", { label: "Scale c", min: 0.1, max: 1.5, value: 1, steps: 140 });
    figure.slider("start", { label: "Start", min: -4, max: 4, value: 3, steps: 80 });
    figure.player(recorded.length - 1, 40);
    figure.state.noise = 1;
    figure.button("New noise", () => { figure.state.noise++; figure.redraw(); });
    const paths = figure.panel({ label: "Twelve chains against the step", height: 300, x: [1, STEPS], logx: true, y: [-4.5, 4.5], xlabel: "step t", ylabel: "x" });
    const squares = figure.panel({ label: "Mean square of 64 chains and its expectation", height: 300, x: [1, STEPS], logx: true, logy: true, xlabel: "step t", ylabel: "mean of x²" });
    figure.onset = () => { if (!figure.playing) figure.t = figure.total; };
    let key = "", values, exact;
    figure.draw = () => {
      const s = figure.state, now = figure.t, stamp = [s.exponent, s.scale, s.start, s.noise].join();
      if (stamp !== key) { key = stamp; values = chains(s); exact = expectedSquare(s, STEPS); }
      const seen = recorded.slice(0, now + 1);
      paths.begin();
      for (let k = 0; k < 12; k++) paths.line(seen.map((t, i) => [t, values[i][k]]), k % 4, { "stroke-width": 1.1 });
      squares.begin({ y: [1e-5, 20] });
      squares.line(recorded.map((t) => [t, exact[t - 1]]), 5, { "stroke-dasharray": "6 4", "stroke-width": 1.5 });
      squares.line(seen.map((t, i) => [t, values[i].reduce((sum, x) => sum + x * x, 0) / CHAINS]), 1);
      const met = conditions(s.exponent), sign = (yes) => (yes ? "✓ met" : "✗ not met");
      const fate = !met.vanishes ? "The chains stay in their noise ball." : !met.diverges ? "The steps add up to a finite distance: the chains freeze."
        : `The chains converge${met.squares ? "" : " in mean square (the third condition is sufficient, not necessary)"}.`;
      figure.say(`γ → 0: ${sign(met.vanishes)}. Σγ = ∞: ${sign(met.diverges)}. Σγ² < ∞: ${sign(met.squares)}. ${fate} ` +
        `Expected square after ${DlOpt.format(recorded[now], 5)} steps: ${DlOpt.format(exact[recorded[now] - 1])}.`);
    };
  });
})();
