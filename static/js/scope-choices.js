// The scopes of a form: shows those of the chosen profile, how many characters a reason has left, and how many similar
// applications ask for each scope at the chosen organisation.
(() => {
  const form = document.querySelector("form[data-asked-by]");
  if (!form) return;

  // --- the profile -----------------------------------------------------------------------------------

  const profiles = form.querySelectorAll("[name=profile]");
  const sections = form.querySelectorAll("fieldset.scope-profile");
  const chosenProfile = () => form.querySelector("[name=profile]:checked")?.value ?? "";

  const showProfile = () => {
    const chosen = chosenProfile();
    for (const section of sections) {
      const isChosen = section.dataset.profile === chosen;
      section.hidden = !isChosen;
      // What is hidden is not sent either, and comes back when its profile is chosen again.
      section.disabled = !isChosen;
      section.querySelector("legend").classList.add("visually-hidden");
    }
    form.querySelector("[data-choose-profile]").hidden = chosen !== "";
  };

  if (profiles.length) {
    for (const profile of profiles) profile.addEventListener("change", showProfile);
    showProfile();
  }

  // --- the organisation ------------------------------------------------------------------------------

  const organisation = form.querySelector("select[name=organisation]");
  const data = document.getElementById("scope-counts");

  const showOrganisation = () => {
    const counts = JSON.parse(data.textContent)[organisation.value] ?? {};
    for (const section of sections) {
      const { alike = 0, scopes = {} } = counts[section.dataset.profile] ?? {};
      for (const row of section.querySelectorAll("[data-scope]")) {
        const several = alike ? form.dataset.askedBy : form.dataset.askedByNone;
        const words = alike === 1 ? form.dataset.askedByOne : several;
        const number = scopes[row.dataset.scope] ?? 0;
        row.querySelector("[data-asked-by]").textContent = words.replace("{number}", number).replace("{all}", alike);
      }
    }
    for (const part of form.querySelectorAll("[data-of-organisation]")) {
      part.hidden = part.dataset.ofOrganisation !== organisation.value;
    }
  };

  if (organisation && data) {
    organisation.addEventListener("change", showOrganisation);
    showOrganisation();
  }

  // --- reasons ---------------------------------------------------------------------------------------

  for (const help of form.querySelectorAll("[data-characters]")) {
    const field = document.getElementById(help.dataset.characters);
    const asked = help.textContent;
    const update = () => {
      // As the server counts: characters, without the spaces around them.
      const length = [...field.value.trim()].length;
      const left = Number(help.dataset.most) - length;
      const words = left < 0 ? help.dataset.over : help.dataset.left;
      help.textContent = length === 0 ? asked : words.replace("{number}", Math.abs(left));
      help.classList.toggle("is-too-long", left < 0);
    };
    field.addEventListener("input", update);
    update();
  }
})();
