// A reference to an equation, a theorem, a figure, a term or a source shows it while the pointer or the keyboard is on it.
"use strict";
(() => {
  const KINDS = "div.math, div.proof, div.exercise, figure, dl.glossary dt", pages = new Map();
  let box, link, timer;

  async function pageOf(address) {
    if (!pages.has(address)) pages.set(address, fetch(address).then((answer) => answer.text())
      .then((text) => new DOMParser().parseFromString(text, "text/html")));
    return pages.get(address);
  }

  async function content(reference) { // what to show: nodes, or nothing
    if (reference.dataset.note) return [reference.dataset.note];
    const here = reference.pathname === location.pathname;
    if (!reference.hash || (!here && location.protocol === "file:")) return null; // the browser forbids reading other files
    const page = here ? document : await pageOf(reference.href.split("#")[0]);
    let found = page.getElementById(decodeURIComponent(reference.hash.slice(1)));
    found = found && found.closest(KINDS);
    if (found && found.matches("dt")) found = found.nextElementSibling;
    if (!found) return null;
    const copy = found.cloneNode(true);
    for (const node of [copy, ...copy.querySelectorAll("[id]")]) node.removeAttribute("id");
    for (const node of copy.querySelectorAll("script, style, .headerlink, button, .dlopt-data")) node.remove();
    for (const node of copy.querySelectorAll("a, [tabindex]")) node.tabIndex = -1;
    for (const image of copy.querySelectorAll("img")) image.src = new URL(image.getAttribute("src"), reference.href);
    return [copy];
  }

  async function show(reference) {
    const nodes = await content(reference).catch(() => null);
    if (!nodes || link !== reference) return;
    hide();
    link = reference;
    box = document.createElement("div");
    Object.assign(box, { id: "dlopt-preview", className: "dlopt-preview", role: "tooltip" });
    box.append(...nodes);
    (document.querySelector("article") || document.body).append(box);
    const place = link.getBoundingClientRect(), size = box.getBoundingClientRect();
    const below = place.bottom + size.height + 8 < innerHeight || place.top < size.height + 8;
    box.style.top = `${below ? place.bottom + 6 : place.top - size.height - 6}px`;
    box.style.left = `${Math.max(8, Math.min(place.left, innerWidth - size.width - 8))}px`;
    link.setAttribute("aria-describedby", "dlopt-preview");
    box.addEventListener("pointerenter", () => clearTimeout(timer));
    box.addEventListener("pointerleave", () => later(hide, 250));
  }

  function hide() {
    clearTimeout(timer);
    if (box) box.remove();
    if (link) link.removeAttribute("aria-describedby");
    box = link = null;
  }

  function later(action, wait) {
    clearTimeout(timer);
    timer = setTimeout(action, wait);
  }

  const references = document.querySelectorAll("article a.reference.internal[href*='#']");
  for (const reference of references) {
    if (reference.title && /bibliography\.html/.test(reference.pathname)) { // the browser's own hint knows no keyboard
      reference.dataset.note = reference.title;
      reference.removeAttribute("title");
    }
    const begin = (wait) => { if (link !== reference) later(() => { link = reference; show(reference); }, wait); };
    reference.addEventListener("pointerenter", (event) => { if (event.pointerType === "mouse") begin(200); });
    reference.addEventListener("pointerleave", () => later(hide, 250));
    reference.addEventListener("focus", () => { if (reference.matches(":focus-visible")) begin(200); });
    reference.addEventListener("blur", hide);
  }
  addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
  addEventListener("scroll", () => { if (box && !box.matches(":hover")) hide(); }, { passive: true });
})();
