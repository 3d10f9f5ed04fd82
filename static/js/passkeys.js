// Shows what needs passkeys ([data-needs-passkeys]) where the browser knows them, and says when one did not work.
(() => {
  if (window.PublicKeyCredential) {
    for (const element of document.querySelectorAll("[data-needs-passkeys]")) element.hidden = false;
    for (const element of document.querySelectorAll("[data-without-passkeys]")) element.hidden = true;
  }
  document.addEventListener("allauth.error", () => {
    for (const element of document.querySelectorAll("[data-passkey-failure]")) element.hidden = false;
  });
})();
