// Chips: which variant and length the tiles show, and what ratios are taken to; groups of one kind in several panels move together.
{
  const chips = all(".chips input"), chosen = {};
  const aim = () => {
    for (const chip of chips) chip.checked = chosen[chip.dataset.group] === chip.value;
    for (const set of all(".set")) set.hidden = set.dataset.variant !== chosen.variant || set.dataset.length !== chosen.length;
  };
  for (const chip of chips) {
    const group = chip.dataset.group;
    if (state.get(group) === chip.value || (!(group in chosen) && chip.checked)) chosen[group] = chip.value;
    chip.addEventListener("change", () => {
      chosen[group] = chip.value;
      aim();
      keep(group, chip.value);
    });
  }
  for (const group of all(".chips[hidden]")) group.hidden = false;
  if (chips.length) aim();
}
