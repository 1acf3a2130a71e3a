/* Pareto explorer: bytes and accuracy of the same network pruned, rounded and factorized, one point per setting. */
(function () {
  "use strict";
  /* Indices of the runs that no other beats in bytes and accuracy; checked against dlopt.compression.pareto. */
  function front(runs) {
    const beaten = (a) => runs.some((b) => b.bytes <= a.bytes && b.accuracy >= a.accuracy && (b.bytes < a.bytes || b.accuracy > a.accuracy));
    return runs.map((run, i) => [run, i]).filter(([run]) => !beaten(run)).map(([, i]) => i);
  }
  const find = (runs, s) => runs.findIndex((r) => ["sparsity", "bits", "rank"].every((k) => String(r[k]) === String(s[k])));
  DlOpt.lib.paretoExplorer = { front, find };

  DlOpt.figure("pareto_explorer", (figure) => {
    const runs = figure.config.runs, best = front(runs);
    const values = (key) => [...new Set(runs.map((run) => run[key]))].sort((a, b) => a - b);
    const percent = (v) => `${DlOpt.format(100 * v, 4)} %`;
    const names = { sparsity: (v) => percent(v), bits: (v) => (v === 32 ? "32 (as trained)" : String(v)), rank: (v) => (v === 0 ? "full" : String(v)) };
    for (const [key, label] of [["sparsity", "Weights removed"], ["bits", "Bits per weight"], ["rank", "Rank of the layers"]])
      figure.select(key, { label, value: String(values(key)[0]), options: values(key).map((v) => [String(v), names[key](v)]) });
    const raw = Math.max(...runs.map((run) => run.bytes)), low = Math.min(...runs.map((run) => run.bytes));
    const plane = figure.panel({ label: "Accuracy against the bytes of the file, one point per setting", height: 320, x: [low / 1.3, raw * 1.3], logx: true, y: [0, 1], xlabel: "bytes of the file", ylabel: "accuracy" });
    figure.draw = () => {
      const s = figure.state, chosen = runs[find(runs, s)], at = (run) => [run.bytes, run.accuracy];
      plane.begin();
      plane.dots(runs.map(at), 5, 3, { opacity: 0.45 });
      plane.line(best.map((i) => runs[i]).sort((a, b) => a.bytes - b.bytes).map(at), 2, { "stroke-dasharray": "5 3" });
      plane.dots(best.map((i) => at(runs[i])), 2, 4);
      if (!chosen) { figure.say("This setting was not run."); return; }
      for (const key of ["sparsity", "bits", "rank"]) {
        const along = runs.filter((run) => ["sparsity", "bits", "rank"].every((k) => k === key || run[k] === chosen[k]));
        plane.line(along.sort((a, b) => a[key] - b[key]).map(at), 1, { opacity: 0.5, "stroke-width": 1 });
      }
      plane.dots([at(chosen)], 1, 8);
      const better = best.map((i) => runs[i]).filter((run) => run !== chosen && run.bytes <= chosen.bytes && run.accuracy >= chosen.accuracy);
      const rival = better.sort((a, b) => b.accuracy - a.accuracy)[0];
      const verdict = !rival ? "No other setting is both smaller and better." : `Beaten by ${names.sparsity(rival.sparsity)} removed, ${names.bits(rival.bits)} bits, rank ${names.rank(rival.rank)}: ` +
        `${Math.round(rival.bytes).toLocaleString("en")} bytes at ${percent(rival.accuracy)}.`;
      figure.say(`${names.sparsity(chosen.sparsity)} removed, ${names.bits(chosen.bits)} bits, rank ${names.rank(chosen.rank)}: ${Math.round(chosen.bytes).toLocaleString("en")} bytes, ` +
        `${DlOpt.format(figure.config.raw / chosen.bytes)} times less than the weights themselves, accuracy ${percent(chosen.accuracy)}. ${verdict}`);
    };
  });
})();
