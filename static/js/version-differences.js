// Lists what sending the version would change, as apps/console/differences.py does.
(() => {
  const list = document.querySelector("[data-differences]");
  const form = list?.closest("form");
  if (!form) return;

  const live = JSON.parse(document.getElementById("live-version").textContent);
  const sentences = list.dataset;
  const clean = (text) => text.replace(/\r\n?/g, "\n").trim();

  const differences = () => {
    const ended = [];
    const found = [];
    for (const row of form.querySelectorAll(".scope-choice")) {
      const before = live.scopes[row.dataset.scope];
      const isTicked = row.querySelector("[name=scopes]").checked;
      const say = (kind) => [kind, sentences[kind].replace("{scope}", () => row.querySelector(".choice-text").textContent.trim())];
      if (before && !isTicked) {
        ended.push(say("removed"));
      } else if (!before && isTicked) {
        found.push(say("added"));
      } else if (before) {
        const isOptional = row.querySelector("[name=optional]").checked;
        if (clean(row.querySelector("textarea").value) !== clean(before.reason)) found.push(say("reason"));
        if (isOptional !== before.is_optional) found.push(say(isOptional ? "optional" : "needed"));
      }
    }
    if (clean(form.elements.namedItem("description").value) !== live.description) {
      found.push(["description", sentences.description]);
    }
    return [...ended, ...found];
  };

  const update = () => {
    const found = differences();
    const items = (found.length ? found : [["nothing", sentences.nothing]]).map(([kind, sentence]) => {
      const item = document.createElement("li");
      item.textContent = sentence;
      item.className = kind === "removed" ? "ends-at-once" : "";
      return item;
    });
    list.replaceChildren(...items);
  };

  form.addEventListener("input", update);
  form.addEventListener("change", update);
  update();
})();
