// Tables as files, and single values to paste: made from what the page holds, in base units with full precision.
{
  const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  // A cell with exact values holds one for each column of the file that its heading names.
  const exact = (cell) => {
    const value = cell.dataset.value;
    if (value === undefined) return [cell.textContent];
    const head = cell.closest("table").tHead.rows[0].cells[cell.cellIndex];
    return (head.dataset.name || head.textContent).split(" ").map((_, i) => value.split(" ")[i] || "");
  };
  const line = (cells, texts) => [...cells].flatMap(texts).map(quoted).join(",") + "\n";
  const csv = (made) => line(made.tHead.rows[0].cells, (head) => (head.dataset.name || head.textContent).split(" "))
    + [...made.tBodies[0].rows].filter((row) => !row.hidden).map((row) => line(row.cells, exact)).join("");
  const save = (name, text) => {
    const link = make("a", { download: name, href: URL.createObjectURL(new Blob([text], { type: "text/csv" })) });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };
  for (const button of all("button.csv")) {
    const made = document.getElementById(button.dataset.of);
    button.hidden = false;
    button.addEventListener("click", () => save(`${button.dataset.of}.csv`, csv(made)));
  }

  // A value of the table of comparisons: the cell that was last clicked or had the focus.
  const tools = document.getElementById("chosen");
  if (tools) {
    let chosen = null;
    const latex = (text) => text
      .replace(/[\\&%$#_{}~^]/g, (sign) => ({ "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}" }[sign] || `\\${sign}`))
      .replaceAll("×", "$\\times$").replaceAll("≈", "$\\approx$").replaceAll("▲", "$\\blacktriangle$").replaceAll("▼", "$\\blacktriangledown$");
    const ways = {
      "Copy number": () => exact(chosen).filter(Boolean).join(" "),
      "Copy row as CSV": () => line(chosen.parentElement.cells, exact).trimEnd(),
      "Copy row as LaTeX": () => `${[...chosen.parentElement.cells].map((cell) => latex(cell.textContent.trim())).join(" & ")} \\\\`,
    };
    for (const [title, text] of Object.entries(ways)) {
      const button = make("button", { type: "button" }, title);
      copies(button, text);
      tools.append(button, " ");
    }
    const choose = (event) => {
      const cell = event.target instanceof Element && event.target.closest("td");
      if (!cell) return;
      if (chosen) chosen.removeAttribute("aria-selected");
      chosen = cell;
      cell.setAttribute("aria-selected", "true");
      tools.hidden = false;
    };
    table.addEventListener("click", choose);
    table.addEventListener("focusin", choose);
  }
}
