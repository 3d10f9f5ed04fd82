// Counts the words of a text as it is typed, beside a bar. The same rule as count_words in apps/developers/rules.py,
// which alone decides: a word is a run of characters that are no space, with at least one letter or digit.
(() => {
  // What Python's str.split() takes for space; \s has neither U+001C to U+001F nor U+0085, but U+FEFF.
  const space = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/u;
  const letterOrDigit = /[\p{L}\p{N}]/u;

  const countWords = (text) => text.split(space).filter((run) => letterOrDigit.test(run)).length;

  for (const box of document.querySelectorAll("[data-word-count]")) {
    const field = document.getElementById(box.dataset.wordCount);
    const bar = box.querySelector("meter");
    const shown = box.querySelector("[data-word-count-text]");
    const spoken = box.querySelector("[data-word-count-spoken]");
    const fewest = Number(box.dataset.fewest);
    const most = Number(box.dataset.most);
    let speaking = 0;

    const update = () => {
      const count = countWords(field.value);
      let words = box.dataset.fine;
      let number = 0;
      if (count < fewest) {
        words = box.dataset.tooFew;
        number = fewest - count;
      } else if (count > most) {
        words = box.dataset.tooMany;
        number = count - most;
      }
      bar.value = count;
      box.classList.toggle("is-fine", number === 0);
      box.classList.toggle("is-too-long", count > most);
      shown.textContent = words.replace("{count}", count).replace("{number}", number);
      return shown.textContent;
    };

    field.addEventListener("input", () => {
      const words = update();
      // Only when the writer pauses: a number with every key would drown out the text.
      clearTimeout(speaking);
      speaking = setTimeout(() => {
        spoken.textContent = words;
      }, 2000);
    });
    update();
  }
})();
