// Search and filter. The report is whole without it.
(() => {
  'use strict';
  const $ = (id) => document.getElementById(id);
  const all = (from, what) => [...from.querySelectorAll(what)];
  const form = $('find'), words = $('words'), on = $('on'), found = $('found');
  const text = (element) => element.textContent.toLowerCase();
  const items = all(document, '[data-on]').map((element) => ({
    element,
    text: text(element),
    on: element.dataset.on.split(' '),
    open: element.open,
  }));
  const phases = all(document, '.phase').map((element) => ({
    element,
    about: text(element.querySelector('.about')),
    entry: document.querySelector(`[data-phase="${element.id.slice(-2)}"]`),
  }));

  const mark = (wanted) => {
    if (!window.Highlight) return;
    CSS.highlights.delete('found');
    if (!wanted.length) return;
    const ranges = [];
    const walker = document.createTreeWalker($('main'), NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      if (!node.parentElement.closest('[data-on]:not([hidden]), .about')) continue;
      const value = node.data.toLowerCase();
      // A letter that changes its length has no place that could be marked.
      if (value.length !== node.data.length) continue;
      for (const word of wanted) {
        for (let at = value.indexOf(word); at >= 0; at = value.indexOf(word, at + word.length)) {
          const range = new Range();
          range.setStart(node, at);
          range.setEnd(node, at + word.length);
          ranges.push(range);
        }
      }
    }
    CSS.highlights.set('found', new Highlight(...ranges.slice(0, 5000)));
  };

  const apply = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const where = on.value;
    const looking = wanted.length > 0 || where !== '';
    const has = (value) => wanted.every((word) => value.includes(word));
    let certificates = 0, changes = 0;
    for (const item of items) {
      const hit = (!where || item.on.includes(where)) && has(item.text);
      item.element.hidden = !hit;
      if (item.open === undefined) {
        certificates += hit;
      } else {
        changes += hit;
        item.element.open = looking ? hit : item.open;
      }
    }
    let shown = 0;
    for (const phase of phases) {
      const hit = !looking || phase.element.querySelector('[data-on]:not([hidden])') !== null
        || (!where && has(phase.about));
      phase.element.hidden = !hit;
      phase.entry.classList.toggle('dim', !hit);
      shown += hit;
    }
    mark(wanted);
    found.textContent = looking
      ? `${certificates} certificates, ${changes} changes in ${shown} of ${phases.length} phases`
      : '';
  };

  const set = (open) => items.forEach((item) => { if (item.open !== undefined) item.element.open = open; });
  let waiting;
  form.hidden = false;
  form.addEventListener('submit', (event) => event.preventDefault());
  words.addEventListener('input', () => { clearTimeout(waiting); waiting = setTimeout(apply, 120); });
  on.addEventListener('change', apply);
  form.addEventListener('reset', () => setTimeout(apply));
  $('open').addEventListener('click', () => set(true));
  $('close').addEventListener('click', () => set(false));

  // Paper has no triangles to click on.
  let before = [];
  window.addEventListener('beforeprint', () => {
    before = items.map((item) => item.element.open);
    set(true);
  });
  window.addEventListener('afterprint', () => items.forEach((item, at) => {
    if (item.open !== undefined) item.element.open = before[at];
  }));
})();
