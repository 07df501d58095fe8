// Before anything is painted: the theme, so that a dark page does not flash white.
(() => {
  const root = document.documentElement;
  let chosen = null;
  try {
    chosen = localStorage.getItem("benchmark-theme");
  } catch {
    // Where nothing may be stored, the system's theme is followed.
  }
  const isDark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "dark" : "light";
  root.classList.toggle("dark", isDark);
  if (chosen) root.dataset.isChosen = "";
})();
