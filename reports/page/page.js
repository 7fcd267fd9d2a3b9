"use strict";
// Without this script the page still reads: it only re-aims the tiles, sorts and filters the table, and copies the command.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // Tiles: one set per arm and length; the chips choose which one shows. The choice lives in the address.
  const sets = all(".tiles");
  const chips = all(".chips button");
  const chosen = {};
  const aim = () => {
    for (const chip of chips) chip.setAttribute("aria-pressed", String(chosen[chip.dataset.group] === chip.dataset.value));
    for (const set of sets) set.hidden = set.dataset.arm !== chosen.arm || set.dataset.length !== chosen.length;
  };
  for (const chip of chips) {
    if (chip.getAttribute("aria-pressed") === "true") chosen[chip.dataset.group] = chip.dataset.value;
    chip.addEventListener("click", () => {
      chosen[chip.dataset.group] = chip.dataset.value;
      aim();
      history.replaceState(null, "", "#" + new URLSearchParams(chosen));
    });
  }
  for (const [group, value] of new URLSearchParams(location.hash.slice(1))) {
    if (chips.some((chip) => chip.dataset.group === group && chip.dataset.value === value)) chosen[group] = value;
  }
  if (chips.length) aim();

  // Table: a click on a heading sorts, a second one reverses; words in the filter must all occur in a row.
  const table = document.getElementById("comparisons");
  const body = table && table.tBodies[0];
  const rows = body ? [...body.rows] : [];
  const key = (row, column) => {
    const cell = row.cells[column];
    return cell.classList.contains("number") ? (cell.dataset.value === "" ? null : Number(cell.dataset.value)) : cell.textContent;
  };
  all("thead button", table || document.createElement("div")).forEach((button, column) => {
    button.addEventListener("click", () => {
      const head = button.parentElement;
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of all("th", table)) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      rows.sort((a, b) => {
        const [x, y] = [key(a, column), key(b, column)];
        if (x === null || y === null) return (x === null) - (y === null); // empty cells stay last either way
        return (x < y ? -1 : x > y ? 1 : 0) * (down ? -1 : 1);
      });
      body.append(...rows);
    });
  });
  const filter = document.getElementById("filter");
  const shown = document.getElementById("shown");
  const sift = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      count += !row.hidden;
    }
    shown.textContent = `${count} of ${rows.length} rows`;
  };
  if (filter) { filter.addEventListener("input", sift); sift(); }

  const copy = document.getElementById("copy");
  copy.addEventListener("click", async () => {
    const text = document.getElementById("command").textContent;
    try {
      await navigator.clipboard.writeText(text);
      copy.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(document.getElementById("command"));
      copy.textContent = "Selected";
    }
  });
})();
