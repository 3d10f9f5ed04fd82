// Adds a button before each block marked data-copy that puts the block's text on the clipboard. data-copy is what the
// button says, data-copied what it says afterwards, data-copy-label what it is called where that is not enough.

// Browsers offer the clipboard on https and on this machine only.
const blocks = navigator.clipboard ? document.querySelectorAll("[data-copy]") : [];

for (const block of blocks) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "secondary small copy-button";
  button.textContent = block.dataset.copy;
  if (block.dataset.copyLabel) {
    button.setAttribute("aria-label", block.dataset.copyLabel);
  }
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(block.textContent);
    button.textContent = block.dataset.copied;
    setTimeout(() => {
      button.textContent = block.dataset.copy;
    }, 2000);
  });
  block.before(button);
}
