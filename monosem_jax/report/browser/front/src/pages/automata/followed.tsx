// Texts that the model wrote after the first feature of an automaton was held for some tokens and released.

import type { Automaton } from "../../relations_types.ts";
import { digits, visible } from "../../text.ts";

export function Followed({ automaton }: { automaton: Automaton }) {
  const { followed, nodes } = automaton;
  if (!followed) return null;
  const after = (running: number[]) => mean(running.slice(followed.held_tokens));
  return (
    <details>
      <summary>Let loose: {digits(100 * after(followed.running), 2)} % of the later tokens fire some feature of it (never held: {digits(100 * after(followed.plain_running), 2)} %)</summary>
      <p class="quiet small">
        After “{visible(followed.prompt)}” feature {nodes[0]?.feature} was held at its maximum for {followed.held_tokens} tokens and then released.
        A shaded token fires the feature named below it.
      </p>
      <ol class="let-loose">
        {followed.pieces.map((pieces, t) => (
          <li>
            {pieces.map((piece, i) => {
              const fires = followed.fires[t]?.[i] ?? [];
              const of = fires.map((k) => nodes[k]?.feature).join(", ");
              return (
                <span class={`let-piece${fires.length ? " let-fires" : ""}${i < followed.held_tokens ? " let-held" : ""}`}>
                  <bdi>{visible(piece)}</bdi>
                  {fires.length > 0 && <small><span class="unseen"> fires </span>{of}</small>}
                </span>
              );
            })}
          </li>
        ))}
      </ol>
    </details>
  );
}

const mean = (x: number[]): number => x.reduce((a, b) => a + b, 0) / Math.max(x.length, 1);
