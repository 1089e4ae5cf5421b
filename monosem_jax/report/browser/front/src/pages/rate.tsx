import type { PageProps } from "../shell.tsx";

export function Rate({ dictionary }: PageProps) {
  return <h1>Rate of {dictionary.name}</h1>;
}
