import type { PageProps } from "../shell.tsx";

export function Splitting({ dictionary }: PageProps) {
  return <h1>Splitting of {dictionary.name}</h1>;
}
