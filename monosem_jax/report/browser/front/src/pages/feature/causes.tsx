// The activation at the peak of an example as a sum over earlier tokens.

import type { Example, Source, Sources } from "../../records.ts";
import { digits, signed } from "../../text.ts";
import { Chip } from "../../ui/chip.tsx";
import { Scroll } from "../../ui/scroll.tsx";

interface Props {
  example: Example;
  sources: Sources;
}

export function Causes({ example, sources }: Props) {
  const most = Math.max(...sources.tokens.map((s) => Math.abs(s.direct) + Math.abs(s.attention)), 1e-9);
  const listed = sources.tokens.reduce((sum, s) => sum + s.direct + s.attention, 0);
  const rest = sources.direct + sources.attention - listed;
  return (
    <div class="causes" dir="ltr">
      <p class="small quiet">
        {digits(sources.activation)} = {signed(sources.direct, 3)} from the token itself {signed(sources.attention, 3)} through attention{" "}
        {signed(sources.bias, 3)} from biases, with attention patterns, scales and gates held fixed. The context above is now shaded by what
        each token contributes.
      </p>
      <Scroll label="Tokens that cause the activation">
        <table class="small">
          <thead>
            <tr><th>token</th><th class="number">back</th><th>contribution</th><th class="number">direct</th><th class="number">attention</th><th class="number">head</th></tr>
          </thead>
          <tbody>
            {sources.tokens.map((s) => (
              <tr>
                <td><Chip token={s.token} most={40} /></td>
                <td class="number">{s.position === example.position ? "itself" : example.position - s.position}</td>
                <td><Bar source={s} most={most} /></td>
                <td class="number">{s.position === example.position ? signed(s.direct, 3) : "–"}</td>
                <td class="number">{signed(s.attention, 3)}</td>
                <td class="number">{s.head}</td>
              </tr>
            ))}
            <tr class="quiet">
              <td>all other tokens</td><td /><td /><td /><td class="number">{signed(rest, 3)}</td><td />
            </tr>
          </tbody>
        </table>
      </Scroll>
    </div>
  );
}

function Bar({ source, most }: { source: Source; most: number }) {
  const total = source.direct + source.attention;
  return (
    <span class="cause-bar" aria-hidden="true">
      <span class={total < 0 ? "less" : "plus"} style={{ width: `${Math.min((100 * Math.abs(total)) / most, 100)}%` }} />
      <span class="amount">{signed(total, 3)}</span>
    </span>
  );
}
