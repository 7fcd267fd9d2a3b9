// The section of a case: unfolded where the address names it; its raw samples are drawn when it is first unfolded.
{
  const kept = document.getElementById("samples");
  let samples = null;

  const strip = (title, by, processes, show) => {
    const values = processes.flatMap(([, rounds]) => rounds.flat());
    const low = Math.min(...values), high = Math.max(...values), wide = Math.max(240, 56 * processes.length);
    const label = `${title}: ${values.length} samples, ${processes.length} × ${by}, ${show(low)} to ${show(high)}`;
    const dots = processes.map(([, rounds], at) => rounds.flat().map((value, i, all) => {
      const x = (wide * (at + 0.2 + (0.6 * (i + 0.5)) / all.length)) / processes.length;
      const y = high > low ? 66 - (60 * (value - low)) / (high - low) : 36;
      return `<circle cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="2.5"/>`;
    }).join("")).join("");
    const drawn = make("div");
    drawn.innerHTML = `<svg viewBox="0 0 ${wide} 72" width="${wide}" role="img">${dots}</svg>`; // numbers alone
    drawn.firstChild.setAttribute("aria-label", label);
    return make("figure", { class: "strip-plot" }, drawn, make("figcaption", {}, label));
  };

  const draw = (place) => {
    samples = samples || JSON.parse(kept.textContent);
    for (const [metric, { unit, by, processes }] of Object.entries(samples[place.dataset.case])) {
      const [factor, name] = unit === "s" ? [1000, "ms"] : [1, unit];
      const show = (value) => `${Number((value * factor).toPrecision(4))} ${name}`;
      const most = Math.max(...processes.map(([, rounds]) => rounds.length));
      const heads = Array.from({ length: most }, (_, i) => make("th", { scope: "col" }, `Round ${i}`));
      const body = processes.map(([process, rounds]) => make("tr", {}, make("th", { scope: "row" }, String(process)),
        ...rounds.map((round) => make("td", {}, round.map((value) => Number((value * factor).toPrecision(6))).join("  ")))));
      const made = make("table", {}, make("thead", {}, make("tr", {}, make("th", { scope: "col" }, `${by[0].toUpperCase()}${by.slice(1)} (${name})`), ...heads)), make("tbody", {}, ...body));
      place.append(make("h3", {}, metric), strip(metric, by, processes, show),
        make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Raw samples of ${metric}, ${place.dataset.id}` }, made));
    }
  };
  document.addEventListener("toggle", (event) => {
    const place = event.target.open && event.target.querySelector(":scope > div > .raw:empty");
    if (place) draw(place);
  }, true);

  const unfold = () => {
    const named = /^#case-\d+$/.test(location.hash) && document.querySelector(location.hash);
    if (!named) return;
    for (let each = named.closest("details"); each; each = each.parentElement.closest("details")) each.open = true;
    named.parentElement.scrollIntoView();
    named.parentElement.querySelector("summary").focus();
  };
  addEventListener("hashchange", unfold);
  unfold();
}
