// Export and import of ratings as a file.

import { useRef, useState } from "preact/hooks";
import { visible } from "../../text.ts";
import type { Material } from "./material.ts";
import { exported, imported, type Ratings } from "./ratings.ts";

const LARGEST = 20e6; // bytes of a file that is read

interface Props {
  material: Material;
  name: string;
  ratings: Ratings;
  onImport: (found: Ratings) => void;
}

export function Files({ material, name, ratings, onImport }: Props) {
  const [said, say] = useState("");
  const input = useRef<HTMLInputElement>(null);
  const file = exported(material, ratings);
  const begun = Object.keys(file.begun).length;

  function save() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(file, null, 1)], { type: "application/json" }));
    link.download = `ratings-${name}.json`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    say(`${file.ratings.length} rated items written.${begun ? ` ${begun} begun ones are in the file too, to go on with; the analysis leaves their open parts out.` : ""}`);
  }

  async function open(chosen: File | undefined) {
    if (!chosen) return;
    try {
      if (chosen.size > LARGEST) throw new Error("The file is larger than 20 MB.");
      const found = imported(material, await chosen.text());
      const replaced = Object.keys(found).filter((id) => ratings[id]).length;
      onImport(found);
      say(`${Object.keys(found).length} items read${replaced ? `; ${replaced} that were rated here were replaced` : ""}.`);
    } catch (e) {
      say(visible((e as Error).message));
    }
    if (input.current) input.current.value = "";
  }

  return (
    <div class="row rate-files">
      <button type="button" onClick={save} disabled={file.ratings.length + begun === 0}>Save ratings</button>
      <button type="button" onClick={() => input.current?.click()}>Open a saved file</button>
      <input ref={input} type="file" accept="application/json,.json" hidden aria-label="File of ratings" onChange={(e) => void open(e.currentTarget.files?.[0])} />
      <span role="status" class="small">{said}</span>
    </div>
  );
}
