import type { PageProps } from "../shell.tsx";

export function Compare({ dictionary }: PageProps) {
  return <h1>Compare of {dictionary.name}</h1>;
}
