import type { PageProps } from "../shell.tsx";

export function Automata({ dictionary }: PageProps) {
  return <h1>Automata of {dictionary.name}</h1>;
}
