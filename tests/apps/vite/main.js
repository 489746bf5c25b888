// The page shows `words.js`. When that file changes, hot reload replaces the words without loading the page again:
// `loads` counts full loads, in the session storage, and stays where it was.
import { words } from "./words.js";

const loads = Number(sessionStorage.getItem("loads") ?? 0) + 1;
sessionStorage.setItem("loads", String(loads));
document.getElementById("loads").textContent = String(loads);

const show = (text) => {
  document.getElementById("words").textContent = text;
};
show(words);

if (import.meta.hot) {
  import.meta.hot.accept("./words.js", (changed) => show(changed.words));
}
