// A form[data-submit-once] is sent once, however often its button is pressed; a page that came back with errors begins
// at their summary.
(() => {
  document.querySelector("[data-focus-first]")?.focus();

  for (const form of document.querySelectorAll("form[data-submit-once]")) {
    let isSent = false;
    form.addEventListener("submit", (event) => {
      if (isSent) event.preventDefault();
      isSent = true;
    });
    window.addEventListener("pageshow", () => {
      isSent = false;
    });
  }
})();
