// The paper's blind rating: what an item responds to, and how well its examples fit, without knowing whether it is a
// feature or a neuron.

import { useEffect, useRef, useState } from "preact/hooks";
import { go, withQuery } from "../route.ts";
import type { PageProps } from "../shell.tsx";
import { useLoaded } from "../ui/loaded.tsx";
import { Absent, Warning } from "../ui/note.tsx";
import { Files } from "./rate/files.tsx";
import { ItemView } from "./rate/item.tsx";
import { loadMaterial, type Material } from "./rate/material.ts";
import { type Answer, answered, type Ratings, type State, stateOf, steps } from "./rate/ratings.ts";
import { keep, kept } from "./rate/store.ts";
import "../styles/rate.css";

export function Rate(props: PageProps) {
  const { dictionary } = props;
  if (!dictionary.has.rating) {
    return (
      <>
        <h1>Blind rating</h1>
        <Absent>There is nothing to rate: {dictionary.absent.rating ?? "this browser was written without the material"}.</Absent>
      </>
    );
  }
  return <Loaded key={dictionary.id} {...props} />;
}

function Loaded(props: PageProps) {
  const material = useLoaded(() => loadMaterial(props.dictionary), props.dictionary.id);
  return material ? <Rating {...props} material={material} /> : <h1>Blind rating</h1>;
}

const STATES: Record<State, string> = { none: "not rated", begun: "begun", done: "rated" };

function Rating({ dictionary, route, material }: PageProps & { material: Material }) {
  const [ratings, setRatings] = useState<Ratings>(() => kept(material));
  const [stays, setStays] = useState(true);
  const [active, setActive] = useState("");
  const following = useRef((step: string) => step); // the question after one, as of the last drawing
  const n = material.items.length;
  const at = Math.max(1, Math.min(n, Math.trunc(Number(route.query.get("item"))) || 1));
  const item = material.items[at - 1];
  const answers = (item && ratings[item.id]) ?? {};
  const all = item ? steps(material.rubric, item, answers) : [];
  const states = material.items.map((i) => stateOf(material.rubric, i, ratings[i.id]));
  const done = states.filter((s) => s === "done").length;

  const change = (changed: Ratings) => {
    setRatings(changed);
    setStays(keep(material, changed));
  };
  const open = (number: number) => {
    if (number < 1 || number > n) return;
    setActive("");
    go(withQuery(route, { item: number }));
    scrollTo(0, 0);
  };
  const answer = (step: string, given: Answer | undefined) => {
    if (item) change({ ...ratings, [item.id]: answered(material.rubric, answers, step, given) });
  };
  const move = (by: number) => {
    const next = all.findIndex((s) => s.key === active) + by;
    if (next >= all.length) return open(at + 1);
    setActive(all[Math.max(0, next)]?.key ?? "");
  };

  useEffect(() => {
    function key(e: KeyboardEvent) {
      if (e.ctrlKey || e.metaKey || e.altKey || e.isComposing || e.defaultPrevented) return;
      const target = e.target as HTMLElement;
      const typing = target.matches("input, textarea, select");
      const elsewhere = target.closest("a, button, summary, input, select, textarea") && !target.closest(".question");
      if (elsewhere && (typing || e.key === "Enter")) return; // it does what it is for
      const step = all.find((s) => s.key === active);
      if (!typing && /^\d$/.test(e.key) && step && Number(e.key) <= step.question.points) {
        answer(step.key, Number(e.key));
        setTimeout(() => next(step.key)); // after the questions that this answer adds
      } else if (e.key === "Enter" || e.key === "ArrowDown" || (!typing && !step && /^\d$/.test(e.key))) move(1);
      else if (e.key === "ArrowUp") move(-1);
      else if (!typing && e.key === "ArrowRight") open(at + 1);
      else if (!typing && e.key === "ArrowLeft") open(at - 1);
      else if (typing && e.key === "Escape") target.blur();
      else return;
      e.preventDefault();
    }
    const next = (step: string) => setActive((now) => (now === step ? following.current(step) : now));
    addEventListener("keydown", key);
    return () => removeEventListener("keydown", key);
  });
  following.current = (step) => all[all.findIndex((s) => s.key === step) + 1]?.key ?? step;

  return (
    <div class="rate">
      <h1>Blind rating</h1>
      <p>
        {n} items, features and neurons mixed: nothing here says which is which. Read the examples of all intervals, say what the item responds to,
        and judge how well they fit. Ratings stay in this browser until you save them as a file for <code>experiments.analyze --ratings=FILE</code>.
      </p>
      {!stays && <Warning>This browser keeps nothing for this page: save your ratings before you close it.</Warning>}
      <Files material={material} name={dictionary.id} ratings={ratings} onImport={(found) => change({ ...ratings, ...found })} />
      <nav class="rate-items" aria-label="Items">
        {states.map((s, i) => (
          <button type="button" class={s} aria-current={i + 1 === at ? "true" : undefined} aria-label={`Item ${i + 1}, ${STATES[s]}`} onClick={() => open(i + 1)}>
            {i + 1}
          </button>
        ))}
      </nav>
      <div class="rate-bar">
        <button type="button" onClick={() => open(at - 1)} disabled={at === 1}>Previous</button>
        <p><strong>Item {at}</strong> of {n} <span class="quiet">· {done} rated</span></p>
        <progress max={n} value={done} aria-label="Items rated" />
        <button type="button" onClick={() => open(at + 1)} disabled={at === n}>Next</button>
        <p class="quiet small keys-help"><kbd>Enter</kbd> begins, <kbd>0</kbd>–<kbd>5</kbd> points, <kbd>Enter</kbd> <kbd>↓</kbd> <kbd>↑</kbd> question, <kbd>←</kbd> <kbd>→</kbd> item</p>
      </div>
      <p class="quiet small shades">
        Shade: <span class="rate-ramp">0 {[0.12, 0.34, 0.56, 0.78, 1].map((s) => <span class="fired" style={{ "--share": String(s) }} aria-hidden="true"> </span>)} the item's maximum.</span>
        {" "}<strong>Bold</strong>: activations in the interval; underlined: the token that was drawn.
      </p>
      {item && <ItemView material={material} item={item} answers={answers} active={active} onActive={setActive} onAnswer={answer} />}
    </div>
  );
}
