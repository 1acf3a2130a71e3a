// Repairs that need a script: searching from file://, scrolling by keyboard, names of formulas.
"use strict";

// From file:// the browser forbids reading other pages, so the search shows titles without excerpts.
if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS !== "undefined") {
  DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
}

// Whatever scrolls sideways can be reached with Tab and moved with the arrow keys.
function makeScrollable() {
  for (const formula of document.querySelectorAll("span.math > mjx-container:not([aria-hidden])")) {
    const line = formula.closest("p, li, td, th, dd, figcaption, div");
    formula.classList.toggle("wide", formula.scrollWidth > line.clientWidth);
  }
  const wide = "div.math, mjx-container:not([aria-hidden]), .bd-article pre, .bd-article div.text_html, " +
    ".pst-scrollable-table-container";
  for (const element of document.querySelectorAll(wide)) {
    const scrolls = element.scrollWidth > element.clientWidth && getComputedStyle(element).overflowX !== "visible";
    if (scrolls) element.tabIndex = 0;
    else if (element.matches("div.math, mjx-container")) element.removeAttribute("tabindex");
  }
}

// A table's header that is a formula needs a text; its MathML is not taken for one everywhere.
function nameFormulas() {
  for (const formula of document.querySelectorAll("th mjx-container")) {
    const text = document.createElement("span");
    text.className = "visually-hidden";
    text.textContent = formula.querySelector("mjx-assistive-mml")?.textContent.trim() || "formula";
    formula.setAttribute("aria-hidden", "true");
    formula.after(text);
  }
}

window.addEventListener("load", () => {
  const typeset = window.MathJax && MathJax.startup ? MathJax.startup.promise : Promise.resolve();
  typeset.then(() => {
    nameFormulas();
    const article = document.querySelector("article, main");
    if (article) new ResizeObserver(makeScrollable).observe(article); // also when something is unfolded
  });
});
