// Keeps the preview of the consent screen up to date. The server has put everything that may be on it into the page:
// this shows and hides it, and sets text.
(() => {
  const preview = document.querySelector("[data-consent-preview]");
  const form = preview?.closest("form");
  if (!form) return;

  const title = preview.querySelector("[data-preview-title]");
  const nothing = preview.querySelector("[data-preview-nothing]");
  const fixed = preview.querySelector("[data-preview-fixed]");
  const nameField = form.elements.namedItem("name");
  const organisation = form.elements.namedItem("organisation");

  const showNames = () => {
    if (!nameField) return;
    const name = nameField.value.trim();
    const chosen = [...preview.querySelectorAll("[data-preview-organisation]")].filter((each) => {
      each.hidden = each.dataset.previewOrganisation !== organisation.value;
      return !each.hidden && each.dataset.name;
    })[0];
    for (const letter of preview.querySelectorAll("[data-name] .monogram:first-child")) {
      letter.textContent = [...(name || title.dataset.unnamed)][0];
    }
    // A function, because a name may have "$&" in it.
    title.textContent = title.dataset.previewTitle
      .trim()
      .replace("{organisation}", () => chosen?.dataset.name ?? "")
      .replace("{application}", () => name || title.dataset.unnamed);
  };

  const showScopes = () => {
    let isAnyShown = false;
    for (const group of preview.querySelectorAll("[data-preview-group]")) {
      let isShown = false;
      for (const place of group.querySelectorAll("[data-preview-scope]")) {
        const row = form.querySelector(`.scope-choice[data-scope="${CSS.escape(place.dataset.previewScope)}"]`);
        const tick = row.querySelector("[name=scopes]");
        const isOptional = row.querySelector("[name=optional]").checked;
        const isHere = tick.checked && !tick.matches(":disabled") && isOptional === "optional" in place.dataset;
        place.hidden = !isHere;
        place.querySelector(".choice-text > .muted").textContent = row.querySelector("textarea").value.trim();
        isShown ||= isHere;
      }
      group.hidden = !isShown;
      isAnyShown ||= isShown;
    }
    const section = [...form.querySelectorAll("fieldset.scope-profile")].find((each) => !each.disabled);
    fixed.hidden = !section || section.querySelector("[name=scopes]") !== null;
    nothing.hidden = isAnyShown || !fixed.hidden;
  };

  const update = () => {
    showNames();
    showScopes();
  };
  form.addEventListener("input", update);
  form.addEventListener("change", update);
  update();
  // Beside the form there is room; below it, it is one step away.
  if (window.matchMedia("(max-width: 63.99rem)").matches) preview.open = false;
})();
