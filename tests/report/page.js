// What the tests ask of the page.
var probe = (() => {
  const shown = (e) => e.checkVisibility({visibilityProperty: true}) && !e.closest('.unseen');
  const name = (e) => `${e.localName}.${e.className} "${e.textContent.trim().slice(0, 40)}"`;
  const rgb = (text) => {
    const [r, g, b, a] = text.match(/[\d.]+/g).map(Number);
    return {r, g, b, a: a === undefined ? 1 : a};
  };
  // WCAG 2.2, relative luminance and contrast ratio.
  const luminance = (c) => [c.r, c.g, c.b]
    .map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ratio = (a, b) => {
    const [x, y] = [luminance(a), luminance(b)].sort((p, q) => q - p);
    return (x + 0.05) / (y + 0.05);
  };
  // The colours that may lie behind an element: of a gradient, each of its stops.
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const style = getComputedStyle(e);
      if (style.backgroundImage !== 'none' && style.backgroundSize === 'auto') {
        return style.backgroundImage.match(/rgba?\([^)]*\)/g).map(rgb);
      }
      const colour = rgb(style.backgroundColor);
      if (colour.a === 1) return [colour];
      if (colour.a !== 0) throw new Error('a translucent background: ' + name(e));
    }
    throw new Error('no background');
  };
  return {
    diffs: () => [...document.querySelectorAll('.phase')].map((p) =>
      [...p.querySelectorAll('.diff')].map((d) => d.textContent)),
    openAll: () => document.querySelectorAll('details').forEach((d) => { d.open = true; }),
    overflow: () => {
      const width = document.documentElement.clientWidth;
      const out = [];
      if (document.documentElement.scrollWidth > width) out.push('the page');
      for (const e of document.body.querySelectorAll('*')) {
        if (!shown(e) || e.closest('.skip') || e.parentElement.closest('.scroll')) continue;
        if (e.getBoundingClientRect().right > width + 0.5) out.push(name(e));
      }
      return out;
    },
    contrast: () => {
      const low = [];
      let pairs = 0;
      const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
      for (let n = walker.nextNode(); n; n = walker.nextNode()) {
        const e = n.parentElement;
        if (!n.data.trim() || !shown(e) || e.closest('.skip, script, style')) continue;
        for (const colour of behind(e)) {
          pairs += 1;
          const value = ratio(rgb(getComputedStyle(e).color), colour);
          if (value < 4.5) low.push(`${value.toFixed(2)} ${name(e)}`);
        }
      }
      const input = document.querySelector('#words');
      const placeholder = rgb(getComputedStyle(input, '::placeholder').color);
      if (ratio(placeholder, behind(input)[0]) < 4.5) low.push('the placeholder');
      return {pairs, low};
    },
    // The picture of trust, each row as its words by column.
    trust: () => [...document.querySelectorAll('.trust tbody')].map((body) => ({
      kind: body.querySelector('.kind').textContent,
      rows: [...body.querySelectorAll('tr')].slice(1).map((row) => ({
        label: row.querySelector('th').textContent,
        cells: [...row.querySelectorAll('td')].flatMap((cell) =>
          Array(cell.colSpan).fill(cell.querySelector('.unseen').textContent)),
      })),
    })),
    focus: () => {
      const e = document.activeElement;
      const style = getComputedStyle(e);
      const at = e.getBoundingClientRect();
      return {
        at: [...document.querySelectorAll('*')].indexOf(e),
        name: name(e),
        visible: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2
          && at.bottom > 0 && at.top < innerHeight && at.right > 0,
      };
    },
    choose: (where) => {
      const on = document.querySelector('#on');
      on.value = where;
      on.dispatchEvent(new Event('change', {bubbles: true}));
      return {
        changes: [...document.querySelectorAll('details')].filter(shown).length,
        open: [...document.querySelectorAll('details')].filter((d) => shown(d) && d.open).length,
        certificates: [...document.querySelectorAll('.leaves tbody tr')].filter(shown).length,
        phases: [...document.querySelectorAll('.phase')].filter(shown).map((p) => p.id),
        said: document.querySelector('#found').textContent,
      };
    },
  };
})();
