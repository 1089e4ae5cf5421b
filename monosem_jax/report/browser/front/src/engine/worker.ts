/** The engine off the page's own thread: takes questions, posts answers. The build makes a string of this program. */
import { type Change } from "./change.ts";
import { Engine, type Reading } from "./engine.ts";
import { divergences, everyLogSumExp, type Predictions, predictions, tokenLosses } from "./predictions.ts";
import type { Answer, ChangedText, Question, ReadText } from "./protocol.ts";
import { joined } from "./tensors.ts";
import { Tokenizer } from "./tokenizer.ts";

interface Worker {
  onmessage: ((event: { data: Question }) => void) | null;
  postMessage(answer: Answer): void;
}

const scope = globalThis as unknown as Worker;
let engine: Engine | null = null;
let tokenizer: Tokenizer | null = null;
let readings: { reading: Reading; lse: Float64Array }[] = [];

function loaded(): { engine: Engine; tokenizer: Tokenizer } {
  if (!engine || !tokenizer) throw new Error("the model is not loaded");
  return { engine, tokenizer };
}

function read(text: string, contexts: number, k: number): ReadText {
  const { engine, tokenizer } = loaded(), all = engine.contexts(tokenizer.encode(text)), used = all.slice(0, contexts);
  const before = new Map(readings.map((r) => [String(r.reading.ids), r])); // who types changes the last context only
  readings = used.map((ids) => {
    const same = before.get(String(ids));
    if (same) return same;
    const reading = engine.read(ids);
    return { reading, lse: everyLogSumExp(reading.logits, ids.length) };
  });
  const starts = [0], offsets = [0], features: number[] = [], values: number[] = [];
  const n = engine.manifest.dictionary.n_features;
  for (const { reading } of readings) {
    for (let t = 0; t < reading.ids.length; t++) {
      for (let i = 0; i < n; i++) {
        const f = reading.f[t * n + i]!;
        if (f !== 0) features.push(i), values.push(f);
      }
      offsets.push(features.length);
    }
    starts.push(starts.at(-1)! + reading.ids.length);
  }
  return {
    ids: Int32Array.from(readings.flatMap((r) => [...r.reading.ids])),
    starts,
    offsets: Int32Array.from(offsets),
    features: Int32Array.from(features),
    values: Float32Array.from(values),
    losses: floats(readings.map((r) => tokenLosses(r.reading.logits, r.lse, r.reading.ids))),
    expected: together(readings.map((r) => predictions(r.reading.logits, r.lse, r.reading.logits, r.lse, k))),
    left_out: all.slice(contexts).reduce((total, ids) => total + ids.length - 1, 0),
  };
}

function changed(change: Change, k: number): ChangedText {
  const { engine } = loaded();
  const found = readings.map(({ reading, lse }) => {
    const logits = engine.changed(reading, change), after = everyLogSumExp(logits, lse.length);
    return {
      losses: tokenLosses(logits, after, reading.ids),
      divergence: divergences(reading.logits, lse, logits, after),
      before: predictions(reading.logits, lse, logits, after, k),
      after: predictions(logits, after, reading.logits, lse, k),
    };
  });
  return {
    losses: floats(found.map((x) => x.losses)),
    divergence: floats(found.map((x) => x.divergence)),
    before: together(found.map((x) => x.before)),
    after: together(found.map((x) => x.after)),
  };
}

function continued(question: Question & { kind: "continue" }): { ids: number[] } {
  const { engine } = loaded(), { bos, transformer } = engine.manifest;
  // As much of the text's end as leaves room for what is written.
  const text = readings.flatMap(({ reading }) => [...reading.ids].slice(1));
  const n = Math.min(question.n, transformer.context_length - 2), room = transformer.context_length - 1 - n;
  const ids = [bos, ...(room > 0 ? text.slice(-room) : [])], found: number[] = [];
  const how = { ...question, n, from: question.generated ? ids.length : 0 };
  for (const id of engine.continued(ids, question.change, how)) {
    found.push(id);
    if (found.length % 8 === 0) scope.postMessage({ number: question.number, partial: { ids: [...found] } });
  }
  return { ids: found };
}

function floats(parts: Float32Array[]): Float32Array {
  return Float32Array.from(parts.flatMap((part) => [...part]));
}

function together(parts: Predictions[]): Predictions {
  return {
    tokens: Int32Array.from(parts.flatMap((part) => [...part.tokens])),
    p: floats(parts.map((part) => part.p)),
    other: floats(parts.map((part) => part.other)),
    k: parts[0]?.k ?? 0,
  };
}

function answer(question: Question): Extract<Answer, { answer: unknown }>["answer"] {
  switch (question.kind) {
    case "load":
      engine = new Engine(question.manifest, question.packs.map(joined));
      tokenizer = new Tokenizer(question.tokenizer);
      readings = [];
      return { parameters: Object.values(question.manifest.tensors).reduce((n, t) => n + t.shape.reduce((a, b) => a * b, 1), 0) };
    case "tokenize":
      return { ids: Int32Array.from(loaded().tokenizer.encode(question.text)) };
    case "read":
      return read(question.text, question.contexts, question.k);
    case "change":
      return changed(question.change, question.k);
    case "continue":
      return continued(question);
    case "numbers": {
      const { engine } = loaded(), reading = engine.read(question.ids), { f, logits } = reading;
      const rows = engine.rows(question.ids), reconstruction = engine.dictionary.decode(f, rows, question.ids.length);
      return { f, reconstruction, logits: question.change ? engine.changed(reading, question.change) : logits };
    }
  }
}

scope.onmessage = ({ data }) => {
  try {
    scope.postMessage({ number: data.number, answer: answer(data) });
  } catch (error) {
    scope.postMessage({ number: data.number, error: error instanceof Error ? error.message : String(error) });
  }
};
