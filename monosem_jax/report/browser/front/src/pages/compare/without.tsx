// A page of relations in a browser that was written without them says how to get them.

import type { Comparison } from "../../relations.ts";
import { visible } from "../../text.ts";
import { Absent } from "../../ui/note.tsx";
import "../../styles/compare.css";

export function WithoutComparison({ title, kind, what, comparison }: {
  title: string;
  kind: string;
  what: string; // what has to be compared
  comparison: Comparison | null;
}) {
  const why = comparison?.absent[kind];
  return (
    <>
      <h1>{title}</h1>
      {comparison ? (
        <Absent>The comparison in this browser has none: {visible(why ?? "")}.</Absent>
      ) : (
        <Absent>This browser was written without a comparison of dictionaries.</Absent>
      )}
      <p>To see it, compare {what}, and write the browser again with what was found:</p>
      <pre class="command" tabIndex={0} aria-label="Command"><code>{`python -m experiments.compare --workdir=runs/relations --config.runs=runs/a1,runs/a2
python -m experiments.report --workdir=runs/browser --config.analysis=runs/a1_analysis,runs/a2_analysis --config.compare=runs/relations`}</code></pre>
      {kind === "map" && <p class="quiet">The map needs umap-learn: <code>pip install 'monosem_jax[map]'</code>.</p>}
    </>
  );
}
