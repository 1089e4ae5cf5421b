// Light or dark: as the system says, until someone chooses.

import { useEffect, useState } from "preact/hooks";

const KEY = "monosem.theme";
const dark = matchMedia("(prefers-color-scheme: dark)");

function stored(): string {
  try {
    return localStorage.getItem(KEY) ?? "";
  } catch {
    return ""; // no storage for files in this browser
  }
}

export function ThemeButton() {
  const [chosen, choose] = useState(stored);
  const [system, setSystem] = useState(dark.matches);
  const shown = chosen || (system ? "dark" : "light");
  const other = shown === "dark" ? "light" : "dark";
  useEffect(() => {
    const changed = () => setSystem(dark.matches);
    dark.addEventListener("change", changed);
    return () => dark.removeEventListener("change", changed);
  }, []);
  useEffect(() => {
    document.documentElement.dataset.theme = shown;
    try {
      if (chosen) localStorage.setItem(KEY, chosen);
    } catch {
      // kept for this visit only
    }
  }, [shown, chosen]);
  return (
    <button type="button" class="theme" onClick={() => choose(other)} aria-label={`Change to ${other} colours`} title={`Change to ${other} colours`}>
      <span aria-hidden="true">{shown === "dark" ? "☀" : "☾"}</span>
    </button>
  );
}
