// Previous and next, link, downloads, help.

import { useEffect, useRef, useState } from "preact/hooks";
import type { FeatureRecord } from "../../records.ts";
import { routeTo, routeToFeature } from "../../route.ts";
import type { Dictionary } from "../../site.ts";
import { whole } from "../../text.ts";
import { copied, npy, save, saveJson, vector } from "./download.ts";
import { type Order, placeOf } from "./order.ts";

interface Props {
  record: FeatureRecord | null;
  dictionary: Dictionary;
  set: string;
  feature: number;
  order: Order | undefined;
  help: () => void;
}

export function Toolbar({ record, dictionary, set, feature, order, help }: Props) {
  const place = order && placeOf(order, feature);
  const step = (to: number | null | undefined, name: string, sign: string) =>
    to === null || to === undefined ? (
      <span class="step disabled" aria-disabled="true">{sign}<span class="unseen">no {name}</span></span>
    ) : (
      <a class="step" href={routeToFeature(dictionary.id, to, set)} title={`${name}: ${to}`} rel={name}>
        {sign}<span class="unseen">{name}: {to}</span>
      </a>
    );
  return (
    <div class="feature-tools" role="toolbar" aria-label="This feature">
      <div class="steps">
        {step(place?.previous, "previous", "‹")}
        <a href={order?.address ?? routeTo(dictionary.id, "features")} class="small">{place?.at !== undefined && place.at >= 0 && order?.filtered ? `${whole(place.at + 1)} of ${whole(place.n)} in your list` : `all ${whole(dictionary.sets[set]?.records ?? 0)} ${set}`}</a>
        {step(place?.next, "next", "›")}
      </div>
      <div class="row">
        {set === "features" && dictionary.has["model"] && (
          <a href={routeTo(dictionary.id, "try", "", { feature })} class="small" title="See it fire on your own text, and steer with it">Try it on text</a>
        )}
        <CopyLink />
        {record && (
          <button type="button" onClick={() => saveJson(`${dictionary.id}-${set}-${feature}.json`, record)} title="Download the record as JSON">JSON</button>
        )}
        {set === "features" && dictionary.has["vectors"] && <VectorButton dictionary={dictionary} feature={feature} />}
        <button type="button" onClick={help} aria-keyshortcuts="?" title="Keys of this page">?<span class="unseen"> keys of this page</span></button>
      </div>
    </div>
  );
}

function CopyLink() {
  const [said, say] = useState("");
  const timer = useRef(0);
  useEffect(() => () => clearTimeout(timer.current), []);
  async function copy() {
    const done = await copied(location.href);
    say(done ? "copied" : "copy it from the address bar");
    clearTimeout(timer.current);
    timer.current = window.setTimeout(() => say(""), 2500);
  }
  return (
    <button type="button" data-key="copy" onClick={copy} title="Copy the link to exactly this view">
      <span role="status">{said || "copy link"}</span>
    </button>
  );
}

function VectorButton({ dictionary, feature }: { dictionary: Dictionary; feature: number }) {
  const [problem, setProblem] = useState("");
  const download = () =>
    vector(dictionary, feature).then(
      (values) => save(`${dictionary.id}-vector-${feature}.npy`, [npy(values)], "application/octet-stream"),
      (error: Error) => setProblem(error.message),
    );
  return (
    <>
      <button type="button" onClick={download} title="Download the dictionary vector as a NumPy file">vector .npy</button>
      {problem && <span class="problem small" role="alert">{problem}</span>}
    </>
  );
}
