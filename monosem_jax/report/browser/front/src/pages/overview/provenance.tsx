// Every run that the dictionary came from, with hashes that can be copied whole.

import { useState } from "preact/hooks";
import { digits, visible } from "../../text.ts";
import { count, type Numbers } from "./data.ts";

const HASH = " sha256";

export function Provenance({ run, version }: { run: Numbers; version: string }) {
  const names = Object.keys(run).filter((k) => !k.endsWith(HASH) && run[k] !== null && run[k] !== undefined && run[k] !== "");
  return (
    <section>
      <h2>Provenance</h2>
      <p>Hashes are SHA-256 of the file that was written last: a summary, or a store’s header.</p>
      <dl class="origins">
        {names.map((name) => (
          <div>
            <dt>{visible(name)}</dt>
            <dd>
              {shown(name, run[name])}{" "}
              {typeof run[name + HASH] === "string" && <Hash of={name} value={String(run[name + HASH])} />}
            </dd>
          </div>
        ))}
        <div><dt>browser written by</dt><dd>monosem_jax {visible(version)}</dd></div>
      </dl>
    </section>
  );
}

function shown(name: string, value: Numbers[string]) {
  if (name === "git revision") return <Hash of={name} value={String(value)} />;
  if (typeof value !== "number") return visible(String(value));
  return Number.isInteger(value) ? count(value) : digits(value);
}

/** A hash, short; the whole is in its title, and copied on a click. */
function Hash({ of, value }: { of: string; value: string }) {
  const [said, say] = useState("");
  const copy = () => {
    const done = navigator.clipboard?.writeText(value) ?? Promise.reject(new Error("no clipboard"));
    done.then(() => say("copied"), () => say(value)); // pages from disk may not reach the clipboard: then show it whole
  };
  return (
    <>
      <button type="button" class="hash" title={`${visible(value)}: copy`} aria-label={`Copy the hash of ${visible(of)}, ${visible(value.slice(0, 10))}`} onClick={copy}>
        {visible(value.slice(0, 10))}
      </button>
      <span class="small quiet copied" role="status">{said}</span>
    </>
  );
}
