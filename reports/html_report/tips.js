// Tips: what a mark of a figure or a cell of the table stands for, on hover and on focus. Escape hides them. A figure and the
// table are one stop of the Tab key each; arrow keys, Home and End move inside. Marks of one variant light up in all figures.
{
  const CELLS = "#comparisons td";
  const tip = make("div", { id: "tip", role: "tooltip", hidden: "" });
  document.querySelector("main").append(tip);
  let owner = null, lit = [], leaving = 0;

  const saying = (target) => {
    if (target.matches(".mark")) return target.getAttribute("aria-label");
    const cells = target.parentElement.cells;
    const column = table.tHead.rows[0].cells[target.cellIndex], head = column.textContent.trim();
    const names = (column.dataset.name || "exactly").split(" "), values = (target.dataset.value || "").split(" ");
    const exact = names.map((name, i) => (values[i] ? `\n${name} = ${values[i]}` : "")).join("");
    const of = target.cellIndex > 1 ? `${cells[0].textContent.trim()}, ${cells[1].textContent.trim()}\n` : "";
    return `${of}${head}: ${target.textContent.trim() || "none"}${exact}`;
  };

  const light = (variant) => {
    for (const each of lit) each.classList.remove("lit");
    lit = variant ? all(".mark[data-variant], tr[data-variant]").filter((each) => each.dataset.variant === variant) : [];
    for (const each of lit) each.classList.add("lit");
  };

  const hide = () => {
    clearTimeout(leaving);
    tip.hidden = true;
    if (owner) owner.removeAttribute("aria-describedby");
    owner = null;
    light(null);
  };

  const show = (target) => {
    clearTimeout(leaving);
    if (owner === target && !tip.hidden) return;
    hide();
    owner = target;
    tip.textContent = saying(target);
    tip.hidden = false;
    // A mark has its whole text as its name; a cell is described by the tip.
    if (!target.matches(".mark")) target.setAttribute("aria-describedby", "tip");
    place();
    light((target.matches(".mark") ? target : target.parentElement).dataset.variant);
  };

  const place = () => {
    const at = owner.getBoundingClientRect(), size = tip.getBoundingClientRect();
    const width = document.documentElement.clientWidth;
    const above = at.top - size.height - 6;
    tip.style.left = `${Math.max(6, Math.min(width - size.width - 6, (at.left + at.right - size.width) / 2))}px`;
    tip.style.top = `${above >= 6 ? above : Math.min(at.bottom + 6, innerHeight - size.height - 6)}px`;
  };

  const target = (event) => event.target instanceof Element && event.target.closest(`.mark, ${CELLS}`);
  const leave = () => { // time to move the pointer onto the tip; what has the focus keeps its tip
    clearTimeout(leaving);
    leaving = setTimeout(() => {
      const focused = document.activeElement;
      if (focused && focused !== owner && focused.matches(`.mark, ${CELLS}`) && focused.matches(":focus-visible")) show(focused);
      else if (focused !== owner) hide();
    }, 150);
  };
  // A cell that shows all it has needs no tip under the pointer.
  const worth = (each) => each.matches(".mark") || each.dataset.value || each.scrollWidth > each.clientWidth;
  document.addEventListener("pointerover", (event) => {
    if (target(event) && worth(target(event))) show(target(event));
  });
  document.addEventListener("pointerout", (event) => { if (target(event)) leave(); });
  tip.addEventListener("pointerenter", () => clearTimeout(leaving));
  tip.addEventListener("pointerleave", leave);
  document.addEventListener("focusin", (event) => { if (target(event)) { stop(target(event)); show(target(event)); } });
  document.addEventListener("focusout", (event) => { if (target(event)) hide(); });
  addEventListener("scroll", () => {
    if (owner && (owner === document.activeElement || owner.matches(":hover"))) place(); else hide();
  }, { capture: true, passive: true });

  // The one element of a figure or of the table that Tab reaches.
  const stops = new Map();
  const group = (each) => each.closest("svg") || table;
  const stop = (each) => {
    const last = stops.get(group(each));
    if (last && last !== each) last.setAttribute("tabindex", "-1");
    each.setAttribute("tabindex", "0");
    stops.set(group(each), each);
  };
  for (const first of all('.mark[tabindex="0"]')) stops.set(group(first), first);
  if (table && rows.length) {
    table.setAttribute("role", "grid");
    stop(rows[0].cells[0]);
    for (const link of all("#comparisons a")) link.tabIndex = -1; // Enter in its cell follows it
    document.addEventListener("sifted", () => { // what is hidden cannot be reached
      const seen = rows.find((row) => !row.hidden);
      if (seen && stops.get(table).parentElement.hidden) stop(seen.cells[0]);
    });
  }

  const ordered = (svg) => all(".mark", svg).sort((a, b) => a.dataset.mark - b.dataset.mark);
  const middle = (each) => {
    const box = each.getBoundingClientRect();
    return [box.left + box.width / 2, box.top + box.height / 2];
  };
  // The nearest mark above or below; sideways distance counts more, so that a map is walked by columns.
  const nearest = (marks, from, down) => {
    const [x, y] = middle(from);
    let found, least = Infinity;
    for (const each of marks) {
      const [right, below] = middle(each), away = (below - y) * (down ? 1 : -1);
      const far = away + 4 * Math.abs(right - x);
      if (away > 1 && far < least) [found, least] = [each, far];
    }
    return found;
  };
  const markTo = (key, from) => {
    const marks = ordered(group(from)), place = marks.indexOf(from);
    if (key === "ArrowRight") return marks[place + 1];
    if (key === "ArrowLeft") return marks[place - 1];
    if (key === "Home" || key === "End") return marks.at(key === "Home" ? 0 : -1);
    return nearest(marks, from, key === "ArrowDown");
  };
  const cellTo = (key, from, far) => {
    const row = from.parentElement, last = row.cells.length - 1;
    let next = row;
    if (key === "ArrowUp" || key === "ArrowDown") {
      do next = key === "ArrowUp" ? next.previousElementSibling : next.nextElementSibling; while (next && next.hidden);
    } else if (far) {
      next = rows.filter((each) => !each.hidden).at(key === "Home" ? 0 : -1);
    }
    const column = { ArrowLeft: from.cellIndex - 1, ArrowRight: from.cellIndex + 1, Home: 0, End: last }[key];
    return next && next.cells[column === undefined ? from.cellIndex : column];
  };
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return hide();
    const from = target(event);
    if (from && event.key === "Enter" && from.querySelector("a")) return from.querySelector("a").click();
    if (!from || event.altKey || event.metaKey || !/^(Arrow|Home$|End$)/.test(event.key)) return;
    const to = from.matches(".mark") ? markTo(event.key, from) : cellTo(event.key, from, event.ctrlKey);
    event.preventDefault();
    if (to) {
      to.setAttribute("tabindex", "-1");
      to.focus();
    }
  });
}
