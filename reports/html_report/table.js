// The table of all comparisons: a click on a heading sorts, a second one reverses; words in the filter must all occur in a row.
const table = document.getElementById("comparisons");
const rows = table ? [...table.tBodies[0].rows] : [];
if (table) {
  const body = table.tBodies[0];
  const key = (row, column) => {
    const cell = row.cells[column];
    return cell.classList.contains("number") ? (cell.dataset.value ? parseFloat(cell.dataset.value) : null) : cell.textContent;
  };
  const sort = (column, down) => {
    for (const other of all("th", table)) other.removeAttribute("aria-sort");
    table.tHead.rows[0].cells[column].setAttribute("aria-sort", down ? "descending" : "ascending");
    rows.sort((a, b) => {
      const [x, y] = [key(a, column), key(b, column)];
      if (x === null || y === null) return (x === null) - (y === null); // empty cells stay last either way
      return (x < y ? -1 : x > y ? 1 : 0) * (down ? -1 : 1);
    });
    body.append(...rows);
    keep("sort", column + (down ? "-down" : ""));
  };
  all("thead button", table).forEach((button, column) => {
    button.addEventListener("click", () => sort(column, button.parentElement.getAttribute("aria-sort") === "ascending"));
  });
  const filter = document.getElementById("filter");
  const shown = document.getElementById("shown");
  const texts = new Map();
  const sift = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      if (words.length && !texts.has(row)) texts.set(row, row.textContent.toLowerCase());
      row.hidden = !words.every((word) => texts.get(row).includes(word));
      count += !row.hidden;
    }
    document.dispatchEvent(new Event("sifted"));
    shown.textContent = `${count} of ${rows.length} rows`;
  };
  filter.addEventListener("input", () => { sift(); keep("filter", filter.value); });
  filter.value = state.get("filter") || "";
  const [column, down] = (state.get("sort") || "").split("-");
  if (column && table.tHead.rows[0].cells[column]) sort(Number(column), Boolean(down));
  sift();
}
