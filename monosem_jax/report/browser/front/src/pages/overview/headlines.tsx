import { Warning } from "../../ui/note.tsx";
import { Versus } from "../../ui/versus.tsx";
import type { Group, Headline } from "./figures.ts";

/** The headline figures by the question that they answer. */
export function Headlines({ groups }: { groups: Group[] }) {
  return (
    <>
      {groups.map((g) => (
        <section class="headlines">
          <h2>{g.question}</h2>
          <div class="tiles">{g.figures.map((f) => <Tile figure={f} />)}</div>
        </section>
      ))}
    </>
  );
}

function Tile({ figure }: { figure: Headline }) {
  return (
    <article class="tile">
      <h3>{figure.name}</h3>
      <p class="value">{figure.value}</p>
      {figure.versus && figure.versus.rows.length > 0 && <Versus {...figure.versus} />}
      {figure.warnings.map((w) => <Warning>{w}</Warning>)}
      <p class="meaning">{figure.meaning}</p>
      {figure.detail && <p class="quiet">{figure.detail}</p>}
      {figure.paper && <p class="quiet">In the paper: {figure.paper}.</p>}
      <p class="quiet">{figure.rule}</p>
    </article>
  );
}
