// One item: what the questions are about the whole, and its intervals from the strongest down, each with its questions.

import { Chip } from "../../ui/chip.tsx";
import { Examples } from "./examples.tsx";
import { type Item, type Material, parts } from "./material.ts";
import { QuestionLine } from "./question.tsx";
import { type Answer, type Answers, steps } from "./ratings.ts";

interface Props {
  material: Material;
  item: Item;
  answers: Answers;
  active: string;
  onActive: (step: string) => void;
  onAnswer: (step: string, answer: Answer | undefined) => void;
}

export function ItemView({ material, item, answers, active, onActive, onAnswer }: Props) {
  const all = steps(material.rubric, item, answers);
  const n = parts(item);
  const line = (step: (typeof all)[number], short = false) => (
    <QuestionLine
      key={`${item.id} ${step.key}`}
      step={step}
      answer={answers[step.key]}
      active={active === step.key}
      short={short}
      onActive={() => onActive(step.key)}
      onAnswer={(answer) => onAnswer(step.key, answer)}
    />
  );
  const about = new Set(material.rubric.filter((q) => q.key === "logits" || q.only_below === "logits").map((q) => q.key));
  return (
    <div class="rated">
      <section class="rated-whole" aria-label="About the whole item">
        {all.filter((s) => s.interval === null && !about.has(s.key)).map((s) => line(s))}
        <h2>Tokens that become more likely</h2>
        {item.logits.length > 0 ? (
          <ul class="rated-logits">
            {item.logits.map(([token, weight]) => (
              <li>
                <Chip token={token} />
                <span class="track" aria-hidden="true"><span style={{ width: `${100 * Math.max(0, Math.min(1, weight))}%` }} /></span>
                <span class="quiet small">{weight.toFixed(2)}</span>
              </li>
            ))}
          </ul>
        ) : (
          <p class="quiet">This material has none, for any item: answer 0 throughout.</p>
        )}
        {all.filter((s) => s.interval === null && about.has(s.key)).map((s) => line(s))}
        <details class="small">
          <summary>About each interval</summary>
          {material.rubric.filter((q) => q.each_interval).map((q) => <p><strong>{q.key}</strong>: {q.text}</p>)}
        </details>
      </section>
      <div class="rated-intervals">
        {item.intervals.map((interval) => (
          <section class="rated-interval" aria-label={`Interval ${interval.interval + 1}`}>
            <h2>
              {Math.round((100 * interval.interval) / n)} to {Math.round((100 * (interval.interval + 1)) / n)} %{" "}
              <span class="quiet">of the maximum</span>
            </h2>
            {interval.examples.length > 0 ? <Examples interval={interval} n={n} /> : <p class="quiet">No token of the text fired this strongly.</p>}
            <div class="row">{all.filter((s) => s.interval === interval.interval).map((s) => line(s, true))}</div>
          </section>
        ))}
      </div>
    </div>
  );
}
