import type { PageProps } from "../shell.tsx";

export function Features({ dictionary }: PageProps) {
  return <h1>Features of {dictionary.name}</h1>;
}
