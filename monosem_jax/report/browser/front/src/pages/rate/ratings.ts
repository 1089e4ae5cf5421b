// Answers to the rubric, and the file of ratings that `experiments.analyze --ratings=FILE` reads. Pure functions.

import type { Item, Material, Question } from "./material.ts";

export type Answer = string | number;
export type Answers = Record<string, Answer>; // step → answer
export type Ratings = Record<string, Answers>; // id of an item → its answers

/** A question about an item, or about one interval of it. */
export interface Step {
  key: string;
  question: Question;
  interval: number | null;
}

const stepKey = (question: string, interval: number | null): string => (interval === null ? question : `${question}@${interval}`);

/** The questions of an item in the order in which they are asked: about the whole, then about each interval. */
export function steps(rubric: Question[], item: Item, answers: Answers): Step[] {
  const whole = rubric.filter((q) => !q.each_interval && isAsked(q, rubric, answers));
  const each = rubric.filter((q) => q.each_interval);
  return [
    ...whole.map((question) => ({ key: question.key, question, interval: null })),
    ...item.intervals
      .filter((i) => i.examples.length > 0)
      .flatMap((i) => each.map((question) => ({ key: stepKey(question.key, i.interval), question, interval: i.interval }))),
  ];
}

function isAsked(q: Question, rubric: Question[], answers: Answers): boolean {
  if (!q.only_below) return true;
  const [given, all] = [answers[q.only_below], rubric.find((o) => o.key === q.only_below)?.points ?? 0];
  return typeof given === "number" && given < all;
}

const isAnswered = (answer: Answer | undefined): boolean => (typeof answer === "string" ? answer.trim() !== "" : answer !== undefined);

/** The answers with one more; `undefined` takes it back. An answer to a question that is then not asked is dropped. */
export function answered(rubric: Question[], answers: Answers, step: string, answer: Answer | undefined): Answers {
  const changed: Answers = { ...answers };
  if (answer === undefined) delete changed[step];
  else changed[step] = answer;
  for (const q of rubric) if (!isAsked(q, rubric, changed)) delete changed[q.key];
  return changed;
}

export type State = "none" | "begun" | "done";

/** How far an item is. */
export function stateOf(rubric: Question[], item: Item, answers: Answers | undefined): State {
  const given = Object.values(answers ?? {}).some(isAnswered);
  if (!answers || !given) return "none";
  return steps(rubric, item, answers).every((s) => isAnswered(answers[s.key])) ? "done" : "begun";
}

interface Rated {
  id: string;
  intervals: Record<string, Record<string, number>>;
  [question: string]: unknown;
}

/** The file: items of which every question about the whole is answered, with their complete intervals. What is begun
 * goes under `begun`, which the analysis does not read, so that nothing is lost between two sessions. */
export function exported(material: Material, ratings: Ratings): { material: string; ratings: Rated[]; begun: Ratings } {
  const rated: Rated[] = [];
  const begun: Ratings = {};
  for (const item of material.items) {
    const answers = ratings[item.id] ?? {};
    const all = steps(material.rubric, item, answers);
    const open = all.filter((s) => !isAnswered(answers[s.key]));
    const whole = all.filter((s) => s.interval === null);
    if (open.length < all.length && open.length > 0) begun[item.id] = answers;
    if (open.some((s) => s.interval === null)) continue;
    const intervals: Rated["intervals"] = {};
    for (const { interval } of item.intervals) {
      const each = all.filter((s) => s.interval === interval);
      if (each.length && each.every((s) => isAnswered(answers[s.key]))) {
        intervals[String(interval)] = Object.fromEntries(each.map((s) => [s.question.key, answers[s.key] as number]));
      }
    }
    if (Object.keys(intervals).length === 0) {
      if (open.length > 0) begun[item.id] = answers;
      continue;
    }
    rated.push({ id: item.id, ...Object.fromEntries(whole.map((s) => [s.key, trimmed(answers[s.key])])), intervals });
  }
  return { material: material.hash, ratings: rated, begun };
}

const trimmed = (answer: Answer | undefined) => (typeof answer === "string" ? answer.trim() : answer);

/** Reads a file of ratings back, strictly; throws an Error that says what is wrong with it. */
export function imported(material: Material, text: string): Ratings {
  let file: unknown;
  try {
    file = JSON.parse(text);
  } catch {
    throw new Error("This is no JSON file.");
  }
  if (!isRecord(file) || !Array.isArray(file.ratings)) throw new Error("This is no file of ratings: it has no list “ratings”.");
  const items = new Map(material.items.map((i) => [i.id, i]));
  const found: Ratings = {};
  for (const given of file.ratings as unknown[]) {
    const item = isRecord(given) ? items.get(String(given.id)) : undefined;
    if (!isRecord(given) || !item) throw new Error("The file has an item that this material does not have: it belongs to another analysis.");
    if (item.id in found) throw new Error(`The file rates item ${item.id} twice.`);
    const flat: Record<string, unknown> = {};
    for (const [key, value] of Object.entries(given)) if (key !== "id" && key !== "intervals") flat[key] = value;
    for (const [interval, each] of Object.entries(isRecord(given.intervals) ? given.intervals : {})) {
      for (const [key, value] of Object.entries(isRecord(each) ? each : {})) flat[`${key}@${interval}`] = value;
    }
    found[item.id] = checked(material.rubric, item, flat);
  }
  for (const [id, answers] of Object.entries(isRecord(file.begun) ? file.begun : {})) {
    const item = items.get(id);
    if (item && isRecord(answers)) found[id] = checked(material.rubric, item, answers);
  }
  return found;
}

function checked(rubric: Question[], item: Item, given: Record<string, unknown>): Answers {
  let answers: Answers = {};
  for (const q of rubric) {
    const places = q.each_interval ? item.intervals.filter((i) => i.examples.length).map((i) => i.interval) : [null];
    for (const place of places) {
      const key = stepKey(q.key, place);
      const value = given[key];
      if (value === undefined) continue;
      const fits = q.points ? Number.isInteger(value) && Number(value) >= 0 && Number(value) <= q.points : typeof value === "string";
      if (!fits) throw new Error(`Item ${item.id}: ${key} is out of range (0 to ${q.points}).`);
      answers = { ...answers, [key]: value as Answer };
    }
  }
  const known = new Set([...rubric.filter((q) => !q.each_interval).map((q) => q.key), ...steps(rubric, item, answers).map((s) => s.key)]);
  const unknown = Object.keys(given).find((key) => !known.has(key));
  if (unknown !== undefined) throw new Error(`Item ${item.id} has an answer that the rubric does not ask for.`);
  for (const q of rubric) if (!isAsked(q, rubric, answers)) delete answers[q.key];
  return answers;
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null && !Array.isArray(value);
