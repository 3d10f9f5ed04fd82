// Keeps what is typed into a form[data-draft] on the server, a moment after each change and when the page is left.
// When somebody has been logged out it says so, and goes on by itself once they have logged in again in another tab.
(() => {
  const form = document.querySelector("form[data-draft]");
  const status = form?.querySelector("[data-draft-status]");
  if (!status) return;

  const address = form.dataset.draft;
  const pause = 1000;
  const retryAfter = 15_000;
  let timer = 0;
  let isChanged = false;
  let isSaving = false;
  let isSent = false;

  const say = (words) => {
    if (status.textContent !== words) status.textContent = words;
  };

  // A log-in in another tab has made the form's token an old one.
  const refreshToken = async () => {
    const answer = await fetch(address, {
      headers: { Accept: "application/json" },
      redirect: "manual",
      cache: "no-store",
    });
    if (answer.status !== 200) return answer.status;
    const { csrf_token: token } = await answer.json();
    for (const field of document.querySelectorAll("input[name=csrfmiddlewaretoken]")) field.value = token;
    return 200;
  };

  const send = () => fetch(address, { method: "POST", body: new FormData(form), redirect: "manual" });

  const save = async () => {
    clearTimeout(timer);
    if (isSaving || isSent) return;
    isSaving = true;
    isChanged = false;
    let again = 0;
    try {
      let answer = await send();
      if (answer.status === 403) {
        const tokenStatus = await refreshToken();
        answer = tokenStatus === 200 ? await send() : { status: tokenStatus };
      }
      if (answer.status === 200) {
        const time = new Date().toLocaleTimeString(document.documentElement.lang, { hour: "2-digit", minute: "2-digit" });
        say(status.dataset.saved.replace("{time}", time));
      } else if (answer.status === 401) {
        say(status.dataset.loggedOut);
        again = retryAfter;
      } else if (answer.status === 409) {
        say((await answer.json()).message);
      } else {
        say(status.dataset.failed);
        again = retryAfter;
      }
    } catch {
      // The network: it comes back.
      say(status.dataset.failed);
      again = retryAfter;
    }
    isSaving = false;
    if (again) isChanged = true;
    if (isChanged) timer = setTimeout(save, again || pause);
  };

  const note = () => {
    isChanged = true;
    clearTimeout(timer);
    if (!isSaving) timer = setTimeout(save, pause);
  };

  form.addEventListener("input", note);
  form.addEventListener("change", note);

  // Whoever is quick has typed before this script was there. Back in the history, what was sent is no draft.
  const isAsServed = (field) => {
    if (field.type === "checkbox" || field.type === "radio") return field.checked === field.defaultChecked;
    if (field.options) {
      const served = [...field.options].findIndex((option) => option.defaultSelected);
      return field.selectedIndex === Math.max(served, 0);
    }
    return field.defaultValue === undefined || field.value === field.defaultValue;
  };
  const [arrival] = performance.getEntriesByType("navigation");
  if (arrival?.type !== "back_forward" && ![...form.elements].every(isAsServed)) note();

  // Sent, or thrown away by another form of the page: nothing of it is a draft any more.
  for (const each of [form, ...document.querySelectorAll(`form[action="${address}"]`)]) {
    each.addEventListener("submit", () => {
      isSent = true;
      clearTimeout(timer);
    });
  }
  // Back from the answer to the form as it was: it may be changed and sent again.
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) isSent = false;
  });
  window.addEventListener("focus", () => {
    if (isChanged) save();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState !== "hidden" || isSent || !(isChanged || isSaving)) return;
    if (navigator.sendBeacon(address, new FormData(form))) isChanged = false;
  });
})();
