// Two repairs that need a script: searching from file://, and scrolling by keyboard.
"use strict";

// From file:// the browser forbids reading other pages, so the search shows titles without excerpts.
if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS !== "undefined") {
  DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
}

// Whatever scrolls sideways can be reached with Tab and moved with the arrow keys.
function makeScrollable() {
  const wide = "div.math, mjx-container, .bd-article pre, .bd-article div.text_html, .pst-scrollable-table-container";
  for (const element of document.querySelectorAll(wide)) {
    const scrolls = element.scrollWidth > element.clientWidth && getComputedStyle(element).overflowX !== "visible";
    if (scrolls) element.tabIndex = 0;
    else if (element.tabIndex === 0 && element.matches("div.math, mjx-container")) element.removeAttribute("tabindex");
  }
}

window.addEventListener("load", () => {
  const typeset = window.MathJax && MathJax.startup ? MathJax.startup.promise : Promise.resolve();
  typeset.then(makeScrollable);
  window.addEventListener("resize", makeScrollable);
});
