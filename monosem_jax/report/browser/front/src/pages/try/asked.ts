// Answers of the model to what the page shows. What is asked while it still works replaces what waited.

import { useEffect, useRef, useState } from "preact/hooks";
import type { Change } from "../../engine/change.ts";
import { client, type Client } from "../../engine/client.ts";
import type { ChangedText, ReadText } from "../../engine/protocol.ts";

export const CONTEXTS = 4; // that are read of a text
export const LISTED = 6; // expected tokens that are listed

export interface Loading {
  model?: Client;
  share: number; // of its files
  problem?: string;
}

/** The model of a dictionary. */
export function useModel(id: string): Loading {
  const [state, setState] = useState<Loading & { id: string }>({ id, share: 0 });
  useEffect(() => {
    let current = true;
    const end = (state: Loading) => {
      if (current) setState({ id, ...state });
      current = false; // other files may still come after one that is missing
    };
    setState({ id, share: 0 });
    client(id, (share) => current && setState({ id, share })).then(
      (model) => end({ share: 1, model }),
      (error: Error) => end({ share: 0, problem: error.message }),
    );
    return () => {
      current = false;
    };
  }, [id]);
  return state.id === id ? state : { share: 0 };
}

export interface Asked<T> {
  value?: T; // the newest answer, perhaps to an earlier question
  key: string; // of that answer
  problem?: string;
}

/** The answer to a question that `key` names ("": none), a moment after it was asked. */
export function useAsked<T>(key: string, ask: () => Promise<T>, wait: number): Asked<T> {
  const [state, setState] = useState<Asked<T>>({ key: "" });
  const last = useRef("");
  last.current = key;
  useEffect(() => {
    if (!key) return setState({ key: "" });
    const timer = setTimeout(() => {
      ask().then(
        (value) => last.current === key && setState({ key, value }),
        (error: Error) => last.current === key && setState({ key, problem: error.message }),
      );
    }, wait);
    return () => clearTimeout(timer);
  }, [key]);
  return state;
}

/** The text as the model reads it. */
export const useRead = (model: Client | undefined, text: string): Asked<ReadText> =>
  useAsked(model ? `read ${text}` : "", () => model!.ask("read", { text, contexts: CONTEXTS, k: LISTED }), 0);

/** The text with a feature changed; `read` is the answer that it is about. */
export function useChanged(model: Client | undefined, read: Asked<ReadText>, change: Change | null): Asked<ChangedText> {
  const key = model && read.value && change ? `${JSON.stringify(change)} ${read.key}` : "";
  return useAsked(key, () => model!.ask("change", { change: change!, k: LISTED }), 60);
}

export interface How {
  n: number;
  temperature: number;
  seed: number;
}

/** How the model writes on, token by token. */
export function useContinued(
  model: Client | undefined, read: Asked<ReadText>, change: Change | null, how: How,
): { ids: number[]; done: boolean; problem?: string } {
  const key = model && read.value ? JSON.stringify([change, how, read.key]) : "";
  const [state, setState] = useState<{ key: string; ids: number[]; done: boolean; problem?: string }>({ key: "", ids: [], done: false });
  useEffect(() => {
    if (!key) return;
    let current = true;
    const timer = setTimeout(() => {
      const partial = ({ ids }: { ids: number[] }) => current && setState({ key, ids, done: false });
      model!.ask("continue", { change, ...how, generated: false }, partial).then(
        ({ ids }) => current && setState({ key, ids, done: true }),
        (error: Error) => current && setState({ key, ids: [], done: true, problem: error.message }),
      );
    }, 150);
    return () => {
      current = false;
      clearTimeout(timer);
    };
  }, [key]);
  return { ...state, done: state.done && state.key === key };
}
