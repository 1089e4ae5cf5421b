// The search of the header: a number opens that feature, words look for features. The key "/" goes to it from everywhere.

import { useEffect, useRef, useState } from "preact/hooks";
import { go, routeTo, routeToFeature } from "../route.ts";
import type { Dictionary } from "../site.ts";

const typing = (element: Element | null): boolean =>
  element instanceof HTMLElement && (element.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(element.tagName));

export function Find({ dictionary }: { dictionary: Dictionary }) {
  const box = useRef<HTMLInputElement>(null);
  const [problem, setProblem] = useState("");
  useEffect(() => {
    const pressed = (e: KeyboardEvent) => {
      if (e.key !== "/" || e.ctrlKey || e.metaKey || e.altKey || typing(document.activeElement)) return;
      e.preventDefault();
      const own = document.querySelector<HTMLInputElement>("main [data-find]"); // a page's own search comes first
      (own ?? box.current)?.select();
      (own ?? box.current)?.focus();
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, []);
  const submit = (e: Event) => {
    e.preventDefault();
    const text = box.current?.value.trim() ?? "";
    if (!text) return;
    const number = /^#?(\d{1,9})$/.exec(text)?.[1];
    const features = dictionary.sets.features?.n_features ?? dictionary.n_features;
    if (number !== undefined && Number(number) >= features) {
      setProblem(`The features are numbered from 0 to ${features - 1}`);
      return;
    }
    go(number === undefined ? routeTo(dictionary.id, "features", "", { q: text }) : routeToFeature(dictionary.id, Number(number)));
    if (box.current) box.current.value = "";
    box.current?.blur();
  };
  return (
    <form class="find" role="search" onSubmit={submit}>
      <input
        ref={box} type="search" placeholder="number or words ( / )" maxLength={200} spellcheck={false} dir="auto"
        aria-label={`Find a feature of ${dictionary.name}: its number, or words`} onInput={() => setProblem("")}
        aria-invalid={problem ? "true" : undefined}
      />
      {problem && <span class="problem small" role="alert">{problem}</span>}
    </form>
  );
}
