// Tiles: one set per arm and length; the chips choose which one shows.
{
  const chips = all(".chips button");
  const chosen = {};
  const aim = () => {
    for (const chip of chips) chip.setAttribute("aria-pressed", String(chosen[chip.dataset.group] === chip.dataset.value));
    for (const set of all(".tiles")) set.hidden = set.dataset.arm !== chosen.arm || set.dataset.length !== chosen.length;
  };
  for (const chip of chips) {
    const { group, value } = chip.dataset;
    if (state.get(group) === value || (!chosen[group] && chip.getAttribute("aria-pressed") === "true")) chosen[group] = value;
    chip.addEventListener("click", () => {
      chosen[group] = value;
      aim();
      keep(group, value);
    });
  }
  if (chips.length) aim();
}
