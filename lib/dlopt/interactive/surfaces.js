/* The surfaces that figures walk on: name, window, start, a rate for gradient descent, and f with its gradient. */
(function () {
  "use strict";
  const { cos, sin, exp, PI } = Math;
  const SURFACES = { // f and its gradient as in dlopt.objectives; lowest is the value of the minimum, if not 0
    quadratic: { name: "Quadratic bowl", x: [-3, 3], y: [-3, 3], start: [-2.4, 1.6], lr: 0.3, make({ kappa, angle }) {
      const c = cos((angle * PI) / 180), s = sin((angle * PI) / 180);
      return {
        f(x, y) { const u = c * x + s * y, w = c * y - s * x; return 0.5 * (u * u / kappa + w * w); },
        g(x, y) { const u = (c * x + s * y) / kappa, w = c * y - s * x; return [c * u - s * w, s * u + c * w]; },
      };
    } },
    rosenbrock: { name: "Rosenbrock’s valley", x: [-2, 2], y: [-1, 3], start: [-1.2, 1], lr: 0.001,
      f: (x, y) => (1 - x) ** 2 + 100 * (y - x * x) ** 2,
      g: (x, y) => [-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)] },
    saddle: { name: "Saddle", x: [-2, 2], y: [-1.6, 1.6], start: [1.5, 0.01], lr: 0.2, lowest: -0.25,
      f: (x, y) => 0.5 * x * x - 0.5 * y * y + 0.25 * y ** 4, g: (x, y) => [x, y ** 3 - y] },
    ripple: { name: "Bowl with ripples", x: [-3, 3], y: [-3, 3], start: [2.5, 2.2], lr: 0.02,
      f: (x, y) => 0.5 * (x * x + y * y) + 0.5 * (2 - cos(8 * x) - cos(8 * y)), g: (x, y) => [x + 4 * sin(8 * x), y + 4 * sin(8 * y)] },
    himmelblau: { name: "Himmelblau’s four minima", x: [-6, 6], y: [-6, 6], start: [0.5, -0.5], lr: 0.005,
      f: (x, y) => (x * x + y - 11) ** 2 + (x + y * y - 7) ** 2,
      g(x, y) { const a = x * x + y - 11, b = x + y * y - 7; return [4 * x * a + 2 * b, 2 * a + 4 * y * b]; } },
    plateau: { name: "Well in a plain", x: [-4, 4], y: [-4, 4], start: [2, 1.8], lr: 0.5,
      f: (x, y) => -Math.expm1(-0.5 * (x * x + y * y)), g(x, y) { const e = exp(-0.5 * (x * x + y * y)); return [x * e, y * e]; } },
  };
  const surface = (s) => ({ lowest: 0, ...SURFACES[s.surface], ...(SURFACES[s.surface].make ? SURFACES[s.surface].make(s) : {}) });
  /* The map and the loss curve of paths: shared by the figures that show several steps on one surface. */
  const height = (f, x, y, lowest) => Math.max(...[0, 1].flatMap((i) => [0, 1].map((j) => f(x[i], y[j]) - lowest)));
  function shade(map, s) { // draw the surface of the state s, low ground tinted
    const { f, x, y, lowest } = surface(s), top = height(f, x, y, lowest), low = Math.max(1e-4, 1e-5 * top), scale = Math.log(1 + top / low);
    map.begin({ x, y }).shade((a, b) => Math.log(1 + (f(a, b) - lowest) / low) / scale, [s.surface, s.kappa, s.angle].join());
  }
  function range(above) { // limits of a logarithmic axis that holds the values, cut where they are 0 or overflow
    const seen = above.filter(Number.isFinite), top = Math.min(1e12, 2 * Math.max(...seen)), bottom = Math.max(1e-16, 0.5 * Math.min(...seen));
    return [Math.min(bottom, top / 100), top];
  }
  DlOpt.lib.surfaces = { SURFACES, surface, shade, range };
})();
