// The page's end of the worker: one model at a time, loaded from its data files when it is first needed.

import source from "worker:./worker.ts";
import { bytes, json } from "../data.ts";
import type { Manifest, TokenizerData } from "./model.ts";
import type { Answer, ContinuedText, Kind, Questions } from "./protocol.ts";

export const FORMAT = 1;

interface Waiting {
  done: (answer: unknown) => void;
  failed: (error: Error) => void;
  partial: (answer: ContinuedText) => void;
}

/** A model that runs in a worker of its own. */
export class Client {
  private readonly waiting = new Map<number, Waiting>();
  private asked = 0;

  private constructor(private readonly worker: Worker, readonly manifest: Manifest, readonly tokenizer: TokenizerData) {
    worker.onmessage = ({ data }: MessageEvent<Answer>) => this.receive(data);
    worker.onerror = (event) => {
      const error = new Error(`the model stopped: ${event.message || "its program failed"}`);
      for (const each of this.waiting.values()) each.failed(error);
      this.waiting.clear();
    };
  }

  /** Loads the model of a dictionary; `advance` is told the share of its files that are there. */
  static async load(id: string, advance: (share: number) => void): Promise<Client> {
    const manifest = await json<Manifest>(`${id}/model`);
    if (manifest.format > FORMAT) {
      throw new Error(`data/${id}/model.js has format ${manifest.format}; this page reads formats up to ${FORMAT}`);
    }
    const tokenizer = await json<TokenizerData>(manifest.tokenizer);
    const total = manifest.packs.flat().length;
    let there = 0;
    const packs = await Promise.all(manifest.packs.map((keys) => Promise.all(keys.map(async (key) => {
      const part = await bytes(key);
      advance(++there / total);
      return part;
    }))));
    const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    const client = new Client(new Worker(address), manifest, tokenizer);
    await client.ask("load", { manifest, tokenizer, packs });
    URL.revokeObjectURL(address);
    return client;
  }

  ask<K extends Kind>(
    kind: K, ask: Questions[K]["ask"], partial: (answer: ContinuedText) => void = () => undefined,
  ): Promise<Questions[K]["answer"]> {
    const number = ++this.asked;
    return new Promise((resolve, reject) => {
      this.waiting.set(number, { done: resolve as (answer: unknown) => void, failed: reject, partial });
      this.worker.postMessage({ number, kind, ...ask });
    });
  }

  stop(): void {
    this.worker.terminate();
  }

  private receive(answer: Answer): void {
    const found = this.waiting.get(answer.number);
    if ("partial" in answer) return found?.partial(answer.partial);
    this.waiting.delete(answer.number);
    if ("error" in answer) found?.failed(new Error(answer.error));
    else found?.done(answer.answer);
  }
}

const clients = new Map<string, Promise<Client>>();

/** The model of a dictionary, which stays loaded until another one is asked for. */
export function client(id: string, advance: (share: number) => void): Promise<Client> {
  const known = clients.get(id);
  if (known) return known;
  for (const [other, old] of clients) {
    clients.delete(other);
    old.then((c) => c.stop(), () => undefined);
  }
  const found = Client.load(id, advance);
  clients.set(id, found);
  found.catch(() => clients.delete(id)); // so that a later visit tries again
  return found;
}
