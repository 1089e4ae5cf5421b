import type { PageProps } from "../shell.tsx";

export function TryIt({ dictionary }: PageProps) {
  return <h1>TryIt of {dictionary.name}</h1>;
}
