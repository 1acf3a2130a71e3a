// Typesets formulas with MathJax in Node.js: reads {root, tex, formulas: [[source, display], ...]} from standard input,
// writes {formulas: [html, ...], css} to standard output.
"use strict";
const { root, tex, formulas } = JSON.parse(require("fs").readFileSync(0, "utf8"));
global.MathJax = {
  loader: { paths: { mathjax: root }, require, load: ["adaptors/liteDOM", "input/tex-base", "[tex]/ams", "[tex]/newcommand",
    "[tex]/configmacros", "[tex]/boldsymbol", "[tex]/cancel", "[tex]/color", "output/chtml", "a11y/assistive-mml"] },
  tex: { packages: ["base", "ams", "newcommand", "configmacros", "boldsymbol", "cancel", "color"], ...tex },
  chtml: { mtextInheritFont: true, adaptiveCSS: false, fontURL: "FONTS" },
  startup: { typeset: false },
};
require(root + "/startup.js");
MathJax.startup.promise.then(() => {
  const adaptor = MathJax.startup.adaptor;
  const typeset = ([source, display]) => adaptor.outerHTML(MathJax.tex2chtml(source, { display }));
  const css = adaptor.textContent(MathJax.chtmlStylesheet());
  process.stdout.write(JSON.stringify({ formulas: formulas.map(typeset), css }));
}).catch((error) => { process.stderr.write(String(error.stack || error)); process.exit(1); });
