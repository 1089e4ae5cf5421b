import type { PageProps } from "../shell.tsx";
import { client } from "../engine/client.ts";

export function TryIt({ dictionary }: PageProps) {
  void client;
  return <h1>TryIt of {dictionary.name}</h1>;
}
