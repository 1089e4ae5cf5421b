// Text that the reader gives, read by the model in the page itself.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { Tokenizer } from "../engine/tokenizer.ts";
import { routeToFeature } from "../route.ts";
import type { PageProps } from "../shell.tsx";
import { digits, whole } from "../text.ts";
import { Chip } from "../ui/chip.tsx";
import { Absent } from "../ui/note.tsx";
import { type Loading, useChanged, useContinued, useModel, useRead } from "./try/asked.ts";
import { ChangeForm } from "./try/change.tsx";
import { Choose } from "./try/choose.tsx";
import { exampleOf, Examples, suggested } from "./try/examples.tsx";
import { Expected, rows } from "./try/expected.tsx";
import { activationOf, Described, FiredList, firedOn } from "./try/fired.tsx";
import { Flow } from "./try/flow.tsx";
import { type Known, useKnown } from "./try/names.ts";
import { pieces, tokenText } from "./try/pieces.ts";
import { Legend, Mean, precision, shadingOf } from "./try/shading.tsx";
import { change, changeOf, stateOf } from "./try/state.ts";
import { Continuations } from "./try/written.tsx";
import "../styles/try.css";

export function TryIt({ dictionary, site, route }: PageProps) {
  if (!dictionary.has.model) {
    return (
      <>
        <h1>Try it</h1>
        <Absent>The model is not in this browser: {dictionary.absent.model || "no reason is known"}.</Absent>
      </>
    );
  }
  return <WithModel dictionary={dictionary} site={site} route={route} />;
}

function WithModel(props: PageProps) {
  const loading = useModel(props.dictionary.id), known = useKnown(props.dictionary);
  return (
    <>
      <h1>Try it</h1>
      <p class="quiet">
        The model runs here, in the page: nothing that you write leaves it. Choose a token to see which features fire on it; choose
        a feature to see where it fires, and change it to see what the model expects then.
      </p>
      {loading.model && known ? <Trial {...props} loading={loading} known={known} /> : <Progress loading={loading} />}
    </>
  );
}

function Progress({ loading }: { loading: Loading }) {
  if (loading.problem) return <p class="problem" role="alert">{loading.problem}</p>;
  return <p role="status">Loading the model… <progress value={loading.share} aria-label="Share of the model's files that are loaded" /></p>;
}

function Trial({ dictionary, route, loading, known }: PageProps & { loading: Loading; known: Map<number, Known> }) {
  const model = loading.model!;
  const tokenizer = useMemo(() => new Tokenizer(model.tokenizer), [model]);
  const state = stateOf(route, dictionary.n_features);
  const set = (changes: Record<string, string | number | null>, replace = false) => change(route, changes, replace);

  // The first text is an example of the feature that the address names, or of one that is best for a label.
  useEffect(() => {
    const feature = state.feature ?? suggested(known)[0]?.feature;
    if (state.text !== null || feature === undefined) return;
    exampleOf(dictionary, tokenizer, feature).then((text) => set({ text, feature }, true), () => undefined);
  }, [state.text === null]);

  const text = state.text ?? "";
  const coming = state.text === null && suggested(known).length > 0; // the first text
  const read = useRead(coming ? undefined : model, text), current = read.value;
  const feature = state.feature, about = feature === null ? undefined : known.get(feature);
  const largest = about && about.largest > 0 ? about.largest : 1;
  const asked = changeOf(state, largest);
  const changing = useChanged(model, read, asked);
  const after = asked && changing.value && changing.value.losses.length === current?.ids.length ? changing.value : null;
  const how = { n: state.n, temperature: state.temperature, seed: state.seed };
  const plain = useContinued(model, read, null, how), held = useContinued(asked ? model : undefined, read, asked, how);

  const shown = useMemo(() => (current ? pieces(tokenizer, current.ids) : []), [tokenizer, current]);
  const n = current?.ids.length ?? 0;
  const values = useMemo(() => (current && feature !== null ? activationOf(current, feature) : null), [current, feature]);
  // Without a choice: the token on which the feature fires most, or the last one.
  const peak = values ? values.reduce((best, v, t) => (Math.abs(v) > Math.abs(values[best]!) ? t : best), 0) : 0;
  const token = Math.min(state.token ?? (values && values[peak] !== 0 ? peak : n - 1), n - 1);
  const piece = shown.find((p) => p.tokens.includes(token));
  const fired = useMemo(() => (current && token >= 0 ? firedOn(current, token) : []), [current, token]);
  const next = current && token + 1 < n && !current.starts.includes(token + 1) ? current.ids[token + 1]! : null;
  const shading = current && shadingOf(state.shade, current, values, after, largest);

  return (
    <>
      <TextBox text={text} set={(value) => set({ text: value, token: null }, true)} />
      <Examples dictionary={dictionary} tokenizer={tokenizer} known={known} choose={(value, f) => set({ text: value, feature: f, token: null })} />
      {read.problem && <p class="problem" role="alert">{read.problem}</p>}
      {current && (
        <div class="try-columns">
          <div class="try-read">
            <div class="row try-over">
              <h2>{whole(n - current.starts.length + 1)} tokens</h2>
              <Legend state={state} shading={shading ?? null} canCompare={asked !== null} set={set} />
            </div>
            <Flow pieces={shown} chosen={token} shading={shading ?? null} choose={(t) => set({ token: t }, true)} />
            {current.left_out > 0 && <p class="small quiet">The last {whole(current.left_out)} tokens are not read: the page reads {whole(n)} at a time.</p>}
            <Mean losses={current.losses} after={after?.losses ?? null} />
          </div>

          <div class="try-changed">
            <h2>Change {feature === null ? "a feature" : `feature ${feature}`}</h2>
            {feature === null ? <p class="quiet">Choose a feature: one that fires on the token, or another one by its name.</p> : (
              <>
                <p class="row">
                  <Described known={about} />
                  {about && <a href={routeToFeature(dictionary.id, feature)}>Open feature {feature}</a>}
                  <button type="button" class="small" onClick={() => set({ feature: null, mode: null, shade: null })}>Choose none</button>
                </p>
                <p class="small quiet">
                  {about ? `Largest activation in the records ${digits(about.largest)}` : "It has no record: the unit is 1"};
                  {" "}in this text {digits(values ? Math.abs(values[peak] ?? 0) : 0)}.
                </p>
                <ChangeForm state={state} largest={about?.largest ?? 0} change={set} />
                {changing.problem && <p class="problem" role="alert">{changing.problem}</p>}
              </>
            )}
            <Choose known={known} choose={(f) => set({ feature: f })} />
          </div>

          <div class="try-token">
            <h2>On the token <Chip token={tokenText(tokenizer, current.ids[token] ?? -1)} /></h2>
            {piece && piece.tokens.length > 1 && (
              <p class="row small">
                <span class="quiet">One character, in the bytes of {piece.tokens.length} tokens:</span>
                {piece.tokens.map((t) => (
                  <button type="button" class="small" aria-pressed={t === token} onClick={() => set({ token: t }, true)}>
                    {tokenText(tokenizer, current.ids[t]!)}
                  </button>
                ))}
              </p>
            )}
            <h3>Features that fire ({fired.length})</h3>
            <FiredList id={dictionary.id} fired={fired} known={known} chosen={feature} choose={(f) => set({ feature: f })} />
            <h3>What the model expects after it</h3>
            <Expected
              tokenizer={tokenizer}
              list={token >= 0 ? rows(token, after?.before ?? current.expected, after?.after ?? null) : []}
              next={next}
              changed={asked !== null}
            />
          </div>
        </div>
      )}
      {current && (
        <>
          <div class="row try-over">
            <h2>How it writes on</h2>
            <label class="small">tokens <input type="number" min={1} max={100} value={state.n} onChange={(e) => set({ n: e.currentTarget.value }, true)} /></label>
            <label class="small">temperature <input type="number" min={0.01} max={10} step={0.1} value={state.temperature} onChange={(e) => set({ temperature: e.currentTarget.value }, true)} /></label>
            <button type="button" onClick={() => set({ seed: state.seed + 1 }, true)}>Another sample</button>
          </div>
          <p class="small quiet">
            Drawn after the end of the text; both sides use the same random numbers, so they differ only because of the change. Coloured: other tokens at the same place.
          </p>
          <Continuations tokenizer={tokenizer} plain={plain} changed={asked && held} name={`With feature ${feature} ${asked?.mode === "ablate" ? "ablated" : asked?.mode === "pin" ? "pinned" : "steered"}`} />
        </>
      )}
      <p class="small quiet">{precision(model.manifest)}</p>
    </>
  );
}

function TextBox({ text, set }: { text: string; set: (text: string) => void }) {
  const [draft, setDraft] = useState(text);
  const sent = useRef(text), timer = useRef(0);
  useEffect(() => {
    if (text !== sent.current) setDraft(text); // from the address, not from here
    sent.current = text;
  }, [text]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const typed = (value: string) => {
    setDraft(value);
    clearTimeout(timer.current);
    timer.current = window.setTimeout(() => {
      sent.current = value;
      set(value);
    }, 250);
  };
  return (
    <label class="try-text">
      <span>Text</span>
      <textarea rows={4} dir="auto" spellcheck={false} maxLength={20_000} value={draft} onInput={(e) => typed(e.currentTarget.value)} placeholder="Write or paste text" />
    </label>
  );
}
