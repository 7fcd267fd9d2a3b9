// Shared by the parts of the script. Without it the page still reads: nothing is in the script's hands alone.
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

// An element with attributes and children; texts stay texts.
const make = (tag, attributes = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
};

// The state of the page lives in its address.
const state = new URLSearchParams(/^#case-/.test(location.hash) ? "" : location.hash.slice(1));
const keep = (name, value) => {
  if (value) state.set(name, value); else state.delete(name);
  history.replaceState(null, "", "#" + state);
};

// A button that copies a text; where the browser does not allow it, the text is shown to be copied by hand.
const copies = (button, text) => button.addEventListener("click", async () => {
  const said = button.textContent;
  try {
    await navigator.clipboard.writeText(text());
    button.textContent = "Copied";
  } catch {
    const box = make("textarea", { readonly: "", "aria-label": "Text to copy", rows: 2 }, text());
    button.after(box);
    box.select();
    box.addEventListener("blur", () => box.remove());
    return;
  }
  setTimeout(() => { button.textContent = said; }, 1500);
});
for (const button of all("button.copy")) {
  copies(button, () => button.parentElement.querySelector("code").textContent);
}
