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

// Whatever scrolls sideways can be reached with Tab and moved with the arrow keys. A block is measured when the browser
// lays it out, which is when it comes near the screen (book.css), and again when something in it is unfolded.
const WIDE = "div.math, mjx-container:not([aria-hidden]), .bd-article pre, .bd-article div.text_html, .dlopt-wide, " +
  ".cell_output > .output, .pst-scrollable-table-container";
const measured = new ResizeObserver((entries) => makeScrollable(entries.map((entry) => entry.target)));
function makeScrollable(blocks) { // all that is measured before all that is changed: one layout, not hundreds
  const within = (selector) => blocks.flatMap((block) => [block, ...block.querySelectorAll(selector)]).filter((e) => e.matches(selector));
  const formulas = within("span.math > mjx-container:not([aria-hidden])");
  const lines = formulas.map((formula) => formula.closest("p, li, td, th, dd, figcaption, div").clientWidth);
  const widths = formulas.map((formula) => formula.scrollWidth);
  formulas.forEach((formula, i) => formula.classList.toggle("wide", widths[i] > lines[i]));
  const wide = within(WIDE);
  const scrolls = wide.map((element) => element.scrollWidth > element.clientWidth &&
    getComputedStyle(element).overflowX !== "visible");
  wide.forEach((element, i) => {
    if (scrolls[i]) element.tabIndex = 0;
    else if (element.matches("div.math, mjx-container")) element.removeAttribute("tabindex");
  });
}

// The scripts of an interactive figure run when it comes near the screen, or goes to the printer, or is what a link means.
const waiting = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) if (isIntersecting) start(target);
}, { rootMargin: "100% 0px" });
function start(output) {
  waiting.unobserve(output);
  for (const script of output.querySelectorAll("script[type='text/later']")) {
    const copy = document.createElement("script");
    copy.textContent = script.textContent;
    script.replaceWith(copy);
  }
}
function startNamed() {
  const figure = document.getElementById(location.hash.slice(1).split("?")[0]);
  if (figure?.matches(".dlopt-figure")) start(figure.parentNode);
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
  for (const block of article?.querySelectorAll("section > :not(section)") || []) measured.observe(block);
  const outputs = [...document.querySelectorAll("script[type='text/later']")].map((script) => script.parentNode);
  for (const output of outputs) waiting.observe(output);
  startNamed();
  addEventListener("hashchange", startNamed);
  addEventListener("beforeprint", () => outputs.forEach(start));
});
