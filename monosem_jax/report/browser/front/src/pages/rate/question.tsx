// One question of the rubric with its points as buttons, or a line for words.

import { useEffect, useRef } from "preact/hooks";
import type { Answer, Step } from "./ratings.ts";

interface Props {
  step: Step;
  answer: Answer | undefined;
  active: boolean;
  short?: boolean; // the whole question stands elsewhere
  onActive: () => void;
  onAnswer: (answer: Answer | undefined) => void;
}

export function QuestionLine({ step, answer, active, short, onActive, onAnswer }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const { question, interval } = step;
  useEffect(() => {
    if (!active || !place.current) return;
    if (!place.current.contains(document.activeElement)) place.current.querySelector<HTMLElement>("input, [aria-pressed=true], button")?.focus({ preventScroll: true });
    (place.current.closest(".rated-interval") ?? place.current).scrollIntoView({ block: "nearest" });
  }, [active]);
  const where = interval === null ? "" : `, interval ${interval + 1}`;
  const name = question.key.replaceAll("_", " ");
  return (
    <div class={`question${active ? " active" : ""}`} ref={place} onFocusIn={onActive} data-step={step.key}>
      {!short && <p class="asks">{question.text}</p>}
      {question.points === 0 ? (
        <input type="text" aria-label={question.text} value={answer ?? ""} maxLength={2000} placeholder="one sentence"
          onInput={(e) => onAnswer(e.currentTarget.value === "" ? undefined : e.currentTarget.value)} />
      ) : (
        <div class="points" role="group" aria-label={`${short ? name : question.text}${where}`}>
          {short && <span class="quiet small" aria-hidden="true">{name}</span>}
          {Array.from({ length: question.points + 1 }, (_, n) => (
            <button type="button" aria-pressed={answer === n} onClick={() => onAnswer(answer === n ? undefined : n)}>{n}</button>
          ))}
        </div>
      )}
    </div>
  );
}
