// Repairs that need a script: searching from file:// and for symbols, scrolling by keyboard, names of formulas.
"use strict";

// From file:// the browser forbids reading other pages, so the search shows titles without excerpts.
if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS !== "undefined") {
  DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
}

// The search knows symbols by their names: η finds eta, β₁ finds beta1. Sphinx leaves splitQuery alone if it is there.
const GREEK = "αalpha βbeta γgamma δdelta εepsilon ϵepsilon ζzeta ηeta θtheta ϑtheta κkappa λlambda μmu νnu ξxi πpi ρrho σsigma " +
  "τtau φphi ϕphi χchi ψpsi ωomega Δdelta Σsigma Λlambda Θtheta Φphi Ωomega ∇nabla ∂partial ∑sum ∞infty ℓell";
const NAMES = new Map(GREEK.split(" ").map((entry) => [entry[0], entry.slice(1)]));
window.splitQuery = (query) => [...query].map((c) => NAMES.get(c) || NAMES.get(c.toLowerCase()) ||
    ("₀₁₂₃₄₅₆₇₈₉".includes(c) ? "₀₁₂₃₄₅₆₇₈₉".indexOf(c) : c)).join("").split(/[^\p{Letter}\p{Number}_]+/u).filter(Boolean);

// Whatever scrolls sideways can be reached with Tab and moved with the arrow keys.
function makeScrollable() { // all that is measured before all that is changed: one layout, not hundreds
  const formulas = [...document.querySelectorAll("span.math > mjx-container:not([aria-hidden])")];
  const lines = formulas.map((formula) => formula.closest("p, li, td, th, dd, figcaption, div").clientWidth);
  const widths = formulas.map((formula) => formula.scrollWidth);
  formulas.forEach((formula, i) => formula.classList.toggle("wide", widths[i] > lines[i]));
  const wide = [...document.querySelectorAll("div.math, mjx-container:not([aria-hidden]), .bd-article pre, " +
    ".bd-article div.text_html, .pst-scrollable-table-container")];
  const scrolls = wide.map((element) => element.scrollWidth > element.clientWidth &&
    getComputedStyle(element).overflowX !== "visible");
  wide.forEach((element, i) => {
    if (scrolls[i]) element.tabIndex = 0;
    else if (element.matches("div.math, mjx-container")) element.removeAttribute("tabindex");
  });
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
  nameFormulas();
  const article = document.querySelector("article, main");
  if (article) new ResizeObserver(makeScrollable).observe(article); // also when something is unfolded
});
