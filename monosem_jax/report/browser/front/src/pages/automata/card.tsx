// One automaton: the drawing, its figures and controls, its steps as a table, and texts in which it was let loose.

import type { Automaton } from "../../relations_types.ts";
import { decimals, share, signed, visible } from "../../text.ts";
import { Tokens } from "../../ui/feature_link.tsx";
import { Term } from "../../ui/note.tsx";
import { Drawing } from "./drawing.tsx";
import { Followed } from "./followed.tsx";

export const KINDS: Record<string, string> = {
  loop: "a feature that excites itself",
  pair: "two features that excite each other",
  cycle3: "three features in a circle",
  cycle4: "four features in a circle",
  branch: "one that excites two others, each of which excites it",
  chain: "four features, each exciting the next",
};

export function AutomatonCard({ automaton, address, id }: {
  automaton: Automaton;
  address: (feature: number) => string | undefined;
  id: string;
}) {
  const { kind, nodes, edges } = automaton;
  return (
    <article class="card automaton-card" aria-label={`${kind} of ${nodes.map((n) => n.feature).join(", ")}`}>
      <header class="row">
        <strong>{visible(kind)}</strong>
        <span class={automaton.confirmed ? "confirmed" : "quiet"}>{automaton.confirmed ? "✓ confirmed" : "not confirmed"}</span>
        <span class="quiet small">
          <Term means="the smallest weight of its steps, in nats">score</Term> {decimals(automaton.score)} ·{" "}
          <Term means="how many of this kind with that score a graph with shuffled edges has: the null model">by chance</Term> {decimals(automaton.expected)} ·{" "}
          <Term means="of all automata of this kind that score as high, the share found by chance">false share</Term> {share(automaton.false_share)}
        </span>
      </header>
      <Drawing automaton={automaton} address={address} id={id} />
      <details>
        <summary>Features and steps ({edges.length})</summary>
        <ul class="automaton-nodes">
          {nodes.map((node) => {
            const to = address(node.feature);
            return (
              <li>
                {to ? <a href={to}>{node.feature}</a> : node.feature} fires on <Tokens tokens={node.tokens.map(([t]) => t)} most={6} />, raises{" "}
                <Tokens tokens={node.logits.map(([t]) => t)} most={6} />
                {node.label && <span class="quiet"> ({visible(node.label)})</span>}; density {share(node.density)}
              </li>
            );
          })}
        </ul>
        <div class="scroll" tabIndex={0} role="region" aria-label={`Steps of the ${kind} of ${nodes.map((n) => n.feature).join(", ")}`}>
          <table>
            <thead>
              <tr>
                <th scope="col">step</th>
                <th scope="col">token</th>
                <th scope="col" class="number"><Term means="nats by which the source's next tokens raise how often the target fires">weight</Term></th>
                <th scope="col" class="number"><Term means="share of the sampled tokens on which the target fires while the source is held at its maximum">source held</Term></th>
                <th scope="col" class="number"><Term means="the same with nothing held">nothing held</Term></th>
                <th scope="col" class="number"><Term means="the same with random features held: the control">random held</Term></th>
                <th scope="col" class="number"><Term means="source held minus nothing held, with a 99 % interval over prompts">difference</Term></th>
                <th scope="col" class="number"><Term means="how much more often than by chance the target follows the source in held-out text, and in brackets at a distance, where they only share a topic">in text</Term></th>
                <th scope="col">confirmed</th>
              </tr>
            </thead>
            <tbody>
              {edges.map((e) => (
                <tr>
                  <td>{e.source} → {e.target}</td>
                  <td><Tokens tokens={[e.token]} /></td>
                  <td class="number">{decimals(e.weight)}</td>
                  <td class="number">{share(e.check.held)}</td>
                  <td class="number">{share(e.check.unheld)}</td>
                  <td class="number">{share(e.check.random)}</td>
                  <td class="number">{signed(e.check.difference)} <span class="quiet">({signed(e.check.low)} to {signed(e.check.high)})</span></td>
                  <td class="number">{e.lift === null ? "–" : `×${decimals(e.lift, 1)}`} <span class="quiet">({e.lift_apart === null ? "–" : `×${decimals(e.lift_apart, 1)}`})</span></td>
                  <td>{e.check.confirmed ? "yes" : "no"}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </details>
      {automaton.followed && <Followed automaton={automaton} />}
    </article>
  );
}
