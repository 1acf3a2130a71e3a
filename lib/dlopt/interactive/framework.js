/* The framework of the book's interactive figures: controls, panels, player, readout, theme, shareable state.
   A classic script (modules do not load from file://), inlined with every figure; the first copy on a page serves all. */
(function (version) {
  "use strict";
  if (window.DlOpt && window.DlOpt.version === version) return;
  const kinds = {}, lib = {}, still = matchMedia("(prefers-reduced-motion: reduce)");
  const SVG = ["svg", "g", "path", "line", "circle", "rect", "text", "clipPath"];

  function el(tag, attributes, ...children) {
    const node = SVG.includes(tag) ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value !== null && value !== undefined) node.setAttribute(name, value);
    }
    node.append(...children);
    return node;
  }

  function format(x, digits = 3) { // 0.0123, −1.2 × 10⁻⁷
    if (!Number.isFinite(x)) return Number.isNaN(x) ? "not a number" : x > 0 ? "∞" : "−∞";
    let text = String(+x.toPrecision(digits));
    if (x && (Math.abs(x) < 1e-3 || Math.abs(x) >= 1e5)) {
      const [mantissa, power] = x.toExponential(digits - 1).split("e");
      text = +mantissa + " × 10" + String(+power).replace(/./g, (c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[c]));
    }
    return text.replace("-", "−");
  }

  function normals(seed) { // standard normal numbers: mulberry32 and Box-Muller
    let state = seed >>> 0, spare = null;
    const uniform = () => {
      state = (state + 0x6d2b79f5) >>> 0;
      let z = Math.imul(state ^ (state >>> 15), 1 | state);
      z = (z + Math.imul(z ^ (z >>> 7), 61 | z)) ^ z;
      return ((z ^ (z >>> 14)) >>> 0) / 4294967296;
    };
    return () => {
      if (spare !== null) { const out = spare; spare = null; return out; }
      const r = Math.sqrt(-2 * Math.log(1 - uniform())), angle = 2 * Math.PI * uniform();
      spare = r * Math.sin(angle);
      return r * Math.cos(angle);
    };
  }

  function ticks(low, high, log, count = 5) {
    const out = [];
    if (log) {
      const [a, b] = [Math.log10(low), Math.log10(high)], by = Math.max(1, Math.ceil((b - a) / count));
      for (let p = Math.ceil(a / by - 1e-9) * by; p <= b + 1e-9; p += by) out.push(10 ** p);
      return out;
    }
    const raw = (high - low) / count, unit = 10 ** Math.floor(Math.log10(raw));
    const by = unit * [1, 2, 5, 10].find((m) => m * unit >= raw * 0.999);
    for (let i = Math.ceil(low / by - 1e-9); i * by <= high + 1e-9 * by; i++) out.push(i * by);
    return out;
  }

  /* A panel: a picture with axes. Options: label, x and y ([low, high]), xlabel, ylabel, logx, logy, height, equal. */
  class Panel {
    constructor(figure, options) {
      Object.assign(this, { figure, handles: [], height: 280, x: [0, 1], y: [0, 1] }, options);
      const id = figure.root.id + "-clip-" + figure.panels.length;
      this.canvas = el("canvas", { "aria-hidden": "true" });
      this.clip = el("rect");
      this.frame = el("g");
      this.marks = el("g", { "clip-path": `url(#${id})` });
      this.grips = el("g");
      this.svg = el("svg", { role: "group", "aria-label": this.label, height: this.height },
        el("clipPath", { id }, this.clip), this.frame, this.marks, this.grips);
      this.node = el("div", { class: "dlopt-panel" }, this.canvas, this.svg);
      figure.panelBox.append(this.node);
      figure.panels.push(this);
    }
    begin(changes) { // start a drawing: size, scales, axes
      Object.assign(this, changes);
      this.width = this.node.clientWidth || 360;
      this.box = { l: 52, t: 8, w: this.width - 62, h: this.height - 48 };
      if (this.equal) { // one unit is as long on both axes: widen the range that has room
        const sizes = [this.box.w, this.box.h], spans = [this.x, this.y].map(([a, b]) => b - a);
        const unit = Math.min(sizes[0] / spans[0], sizes[1] / spans[1]);
        [this.x, this.y] = [this.x, this.y].map(([a, b], i) => [(a + b - sizes[i] / unit) / 2, (a + b + sizes[i] / unit) / 2]);
      }
      for (const layer of [this.frame, this.marks]) layer.replaceChildren();
      const { l, t, w, h } = this.box;
      for (const [k, v] of Object.entries({ x: l, y: t, width: w, height: h })) this.clip.setAttribute(k, v);
      const axis = (a) => this.frame.append(a);
      for (const v of ticks(...this.x, this.logx, w < 260 ? 4 : 6)) {
        axis(el("line", { class: "dlopt-grid", x1: this.px(v), x2: this.px(v), y1: t, y2: t + h }));
        axis(el("text", { x: this.px(v), y: t + h + 16, "text-anchor": "middle" }, format(v)));
      }
      for (const v of ticks(...this.y, this.logy)) {
        axis(el("line", { class: "dlopt-grid", x1: l, x2: l + w, y1: this.py(v), y2: this.py(v) }));
        axis(el("text", { x: l - 6, y: this.py(v) + 4, "text-anchor": "end" }, this.logy ? format(v, 1).replace("1 × ", "") : format(v)));
      }
      axis(el("path", { class: "dlopt-axis", d: `M${l} ${t}V${t + h}H${l + w}` }));
      axis(el("text", { x: l + w / 2, y: this.height - 6, "text-anchor": "middle" }, this.xlabel || ""));
      axis(el("text", { x: 12, y: t + h / 2, "text-anchor": "middle", transform: `rotate(-90 12 ${t + h / 2})` }, this.ylabel || ""));
      for (const handle of this.handles) handle.place();
      return this;
    }
    px(v) { return this.box.l + this.box.w * fraction(v, this.x, this.logx); }
    py(v) { return this.box.t + this.box.h * (1 - fraction(v, this.y, this.logy)); }
    at(event) { // data coordinates of a pointer event
      const r = this.svg.getBoundingClientRect();
      return [value((event.clientX - r.left - this.box.l) / this.box.w, this.x, this.logx),
        value(1 - (event.clientY - r.top - this.box.t) / this.box.h, this.y, this.logy)];
    }
    line(points, color = 0, attributes = {}) { // [[x, y], ...]; a gap where a point is not finite
      let d = "", pen = "M";
      for (const [x, y] of points) {
        const a = this.px(x), b = this.py(y);
        if (Number.isFinite(a) && Number.isFinite(b)) {
          d += pen + clamp(a).toFixed(1) + " " + clamp(b).toFixed(1);
          pen = "L";
        } else pen = "M";
      }
      this.marks.append(el("path", { d, fill: "none", stroke: `var(--c${color})`, "stroke-width": 2, "stroke-linejoin": "round", ...attributes }));
    }
    dots(points, color = 0, r = 2.5, attributes = {}) {
      for (const [x, y] of points) {
        const a = this.px(x), b = this.py(y);
        if (Math.abs(a) < 1e4 && Math.abs(b) < 1e4) this.marks.append(el("circle", { cx: a, cy: b, r, fill: `var(--c${color})`, ...attributes }));
      }
    }
    bar(x0, x1, y0, y1, color = 0, attributes = {}) {
      const a = this.px(x0), b = this.py(y1);
      this.marks.append(el("rect", { x: a, y: b, width: Math.max(0, this.px(x1) - a), height: Math.max(0, this.py(y0) - b), fill: `var(--c${color})`, ...attributes }));
    }
    text(x, y, label, attributes = {}) {
      this.marks.append(el("text", { x: this.px(x), y: this.py(y), ...attributes }, label));
    }
    shade(f, key, bands = 14) { // f(x, y) in [0, 1]: 0 is tinted, 1 is clear, with level lines; redone when key changes
      const { l, t, w, h } = this.box, W = Math.max(1, Math.round(w)), H = Math.max(1, Math.round(h));
      const stamp = [key, W, H, this.x, this.y, this.figure.dark].join();
      if (stamp === this.stamp) return;
      this.stamp = stamp;
      Object.assign(this.canvas, { width: W, height: H });
      this.canvas.style.cssText = `left:${l}px;top:${t}px`;
      const context = this.canvas.getContext("2d"), image = context.createImageData(W, H), level = new Float64Array(W * H);
      for (let j = 0; j < H; j++) for (let i = 0; i < W; i++) level[j * W + i] = f(value(i / W, this.x, this.logx), value(1 - j / H, this.y, this.logy));
      const tint = this.figure.dark ? [99, 184, 238] : [0, 114, 178], ink = this.figure.dark ? 255 : 0;
      for (let k = 0; k < W * H; k++) {
        const band = Math.floor(level[k] * bands), edge = (k + 1) % W && k + W < W * H && (band !== Math.floor(level[k + 1] * bands) || band !== Math.floor(level[k + W] * bands));
        image.data.set(edge ? [ink, ink, ink, 75] : [...tint, Math.round(95 * (1 - Math.min(1, Math.max(0, level[k]))))], 4 * k);
      }
      context.putImageData(image, 0, 0);
    }
    handle(key, options) { // a point to drag by mouse, touch or arrow keys; its state is [x, y]
      const handle = { key, color: 1, min: [-Infinity, -Infinity], max: [Infinity, Infinity], ...options };
      const within = ([x, y]) => [x, y].map((v, i) => Math.min(Math.max(v, handle.min[i], [this.x, this.y][i][0]), handle.max[i], [this.x, this.y][i][1]));
      const move = (point) => this.figure.set(key, within(point).map((v) => +v.toPrecision(4)), true);
      const grip = el("g", {
        class: "dlopt-handle", tabindex: 0, role: "slider", "aria-label": handle.label + ": drag, or use the arrow keys",
        onpointerdown: (e) => { grip.setPointerCapture(e.pointerId); grip.focus({ preventScroll: true }); e.preventDefault(); },
        ontouchstart: (e) => e.preventDefault(), // or the browser scrolls instead: touch-action does not reach SVG groups
        onpointermove: (e) => { if (grip.hasPointerCapture(e.pointerId)) move(this.at(e)); },
        onkeydown: (e) => {
          const direction = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] }[e.key];
          if (!direction) return;
          e.preventDefault();
          const by = (e.shiftKey ? 0.1 : 0.02);
          move(this.figure.state[key].map((v, i) => v + direction[i] * by * ([this.x, this.y][i][1] - [this.x, this.y][i][0])));
        },
      }, el("circle", { r: 22, fill: "transparent" }), el("circle", { class: "dlopt-ring", r: 8, fill: "var(--bg)", stroke: `var(--c${handle.color})`, "stroke-width": 3 }));
      handle.place = () => {
        const [x, y] = this.figure.state[key];
        grip.setAttribute("transform", `translate(${this.px(x)} ${this.py(y)})`);
        for (const [k, v] of Object.entries({ valuemin: this.x[0], valuemax: this.x[1], valuenow: x, valuetext: `x ${format(x)}, y ${format(y)}` })) grip.setAttribute("aria-" + k, v);
      };
      this.figure.control(key, handle.value, (text) => text.split(",").map(Number), (v) => v.join());
      this.grips.append(grip);
      this.handles.push(handle);
      return grip;
    }
  }
  const clamp = (v) => Math.max(-2e4, Math.min(2e4, v));
  const fraction = (v, [a, b], log) => (log ? Math.log(v / a) / Math.log(b / a) : (v - a) / (b - a));
  const value = (s, [a, b], log) => (log ? a * (b / a) ** s : a + (b - a) * s);

  class Figure {
    constructor(root) {
      Object.assign(this, { root, panels: [], state: {}, controls: {}, t: 0, config: JSON.parse(root.dataset.config || "{}") });
      while (document.getElementById(root.id) !== root) root.id += "-2";
      const { title, help } = root.dataset;
      this.inLab = !!root.closest(".jp-Notebook, .jp-OutputArea");
      this.controlBox = el("div", { class: "dlopt-controls" });
      this.buttonBox = el("div", { class: "dlopt-buttons" });
      this.panelBox = el("div", { class: "dlopt-panels" });
      this.text = el("p", { class: "dlopt-readout" });
      this.live = el("p", { class: "dlopt-sr", role: "status" });
      root.replaceChildren(el("p", { class: "dlopt-title", id: root.id + "-title" }, title), el("p", { class: "dlopt-help" }, help + (this.inLab ? "" : " The page’s address holds your setting.")),
        this.controlBox, this.buttonBox, this.panelBox, this.text, this.live);
      root.setAttribute("aria-labelledby", root.id + "-title");
      root.addEventListener("keydown", (e) => e.stopPropagation()); // arrow keys are ours, not the page's
    }
    control(key, initial, parse, print, show = () => {}) {
      this.state[key] = this.config[key] ?? initial;
      this.controls[key] = { parse, print, show };
    }
    set(key, v, byReader) {
      this.state[key] = v;
      this.controls[key].show(v);
      if (this.onset) this.onset(key, byReader);
      this.redraw();
      if (byReader) this.share();
    }
    slider(key, { label, min, max, value: initial, log = false, steps = 200, digits = 3, unit = "" }) {
      const output = el("span", { "aria-hidden": "true" }), where = (v) => Math.round(steps * fraction(v, [min, max], log));
      const input = el("input", { type: "range", min: 0, max: steps, step: 1,
        oninput: () => this.set(key, +value(input.value / steps, [min, max], log).toPrecision(4), true) });
      const show = (v) => {
        input.value = where(v);
        output.textContent = format(v, digits) + unit;
        input.setAttribute("aria-valuetext", output.textContent);
      };
      this.control(key, initial, Number, (v) => String(+v.toPrecision(4)), show);
      this.controlBox.append(el("label", {}, label, output, input));
      show(this.state[key]);
    }
    select(key, { label, options, value: initial }) {
      const input = el("select", { onchange: () => this.set(key, input.value, true) },
        ...options.map(([v, text]) => el("option", { value: v }, text)));
      this.control(key, initial, (v) => (options.some((o) => o[0] === v) ? v : initial), String, (v) => { input.value = v; });
      this.controlBox.append(el("label", {}, label, input));
      input.value = this.state[key];
    }
    button(label, action) {
      const node = el("button", { type: "button", onclick: action }, label);
      this.buttonBox.append(node);
      return node;
    }
    key(entries) { // [[name, color, dashes], ...]: what the lines are
      const swatch = (color, dashes) => el("svg", { width: 28, height: 12, "aria-hidden": "true" }, el("line",
        { x1: 0, x2: 28, y1: 6, y2: 6, stroke: `var(--c${color})`, "stroke-width": 3, "stroke-dasharray": dashes }));
      this.panelBox.before(el("p", { class: "dlopt-key" }, ...entries.map(([name, color, dashes]) => el("span", {}, swatch(color, dashes), name))));
    }
    player(total, rate = 30) { // Play, Step, Start over; figure.t runs from 0 to total
      this.total = this.t = total;
      const play = this.button("Play", () => (this.playing ? stop() : start()));
      const stop = () => { this.playing = false; play.textContent = "Play"; this.redraw(); };
      const start = () => {
        if (this.t >= this.total) this.t = 0;
        if (still.matches) { this.t = this.total; return this.redraw(); } // no motion: the result at once
        this.playing = true;
        play.textContent = "Pause";
        let last = performance.now(), due = 0;
        const frame = (now) => {
          if (!this.playing || !this.root.isConnected) return;
          due += ((now - last) * rate) / 1000;
          last = now;
          const whole = Math.min(Math.floor(due), this.total - this.t);
          if (whole) { due -= whole; this.t += whole; this.redraw(); }
          if (this.t >= this.total) stop(); else requestAnimationFrame(frame);
        };
        requestAnimationFrame(frame);
      };
      this.stop = stop;
      this.button("Step", () => { if (this.t >= this.total) this.t = 0; this.t++; stop(); });
      this.button("Start over", () => { this.t = 0; stop(); });
    }
    panel(options) { return new Panel(this, options); }
    say(text) { // shown at once, spoken when it has stood still for a moment
      this.text.textContent = text;
      clearTimeout(this.timer);
      this.timer = setTimeout(() => { this.live.textContent = text; }, 700);
    }
    redraw() {
      if (!this.queued) this.queued = requestAnimationFrame(() => { this.queued = 0; this.theme(); this.draw(); });
    }
    theme() {
      const [r, g, b] = getComputedStyle(this.root).color.match(/[\d.]+/g).map(Number);
      this.dark = 0.3 * r + 0.6 * g + 0.1 * b > 128;
      this.root.toggleAttribute("data-dark", this.dark);
    }
    share() { // the address holds the setting: #id?key=value&... (not inside JupyterLab, whose address it is not)
      if (this.inLab) return;
      clearTimeout(this.sharing);
      this.sharing = setTimeout(() => {
        const query = Object.entries(this.controls).map(([k, c]) => k + "=" + encodeURIComponent(c.print(this.state[k])).replace(/%2C/g, ","));
        history.replaceState(null, "", "#" + this.root.id + "?" + query.join("&"));
      }, 250);
    }
    restore() {
      const [id, query] = location.hash.slice(1).split("?");
      if (id !== this.root.id || !query) return;
      for (const [key, text] of new URLSearchParams(query)) {
        const parsed = this.controls[key] && this.controls[key].parse(text);
        if (parsed !== undefined && ![].concat(parsed).some(Number.isNaN)) {
          this.state[key] = parsed;
          this.controls[key].show(parsed);
        }
      }
      this.redraw();
      this.root.scrollIntoView({ block: "nearest" });
    }
  }

  function mount() {
    for (const root of document.querySelectorAll(".dlopt-figure:not([data-mounted])")) {
      if (!kinds[root.dataset.figure]) continue;
      root.dataset.mounted = "";
      const figure = (root.dlopt = new Figure(root));
      kinds[root.dataset.figure](figure);
      figure.restore();
      figure.theme();
      figure.draw();
      new ResizeObserver(() => figure.redraw()).observe(figure.panelBox);
      const watch = new MutationObserver(() => figure.redraw());
      for (const node of [document.documentElement, document.body]) watch.observe(node, { attributeFilter: ["data-theme", "data-jp-theme-light", "class"] });
      addEventListener("hashchange", () => figure.restore());
    }
  }
  window.DlOpt = { version, lib, format, normals, mount, figure(kind, build) { kinds[kind] = build; mount(); } };
})("VERSION");
