// What was trained on what, in a sentence that can be read before any data file has come.

import type { Dictionary } from "../../site.ts";
import { visible } from "../../text.ts";
import { count, number, type OverviewData } from "./data.ts";

const KINDS: Record<string, string> = {
  resid_pre: "the residual stream before block",
  attn_out: "the attention output of block",
  resid_mid: "the residual stream after the attention of block",
  mlp_in: "the MLP input of block",
  mlp_hidden: "the MLP neurons of block",
  mlp_out: "the MLP output of block",
};

/** A site in words, such as "the MLP neurons of block 0". */
export function siteInWords(site: string): string {
  return site.split("+").map((part) => {
    const [kind = "", block = ""] = part.split(".");
    return KINDS[kind] ? `${KINDS[kind]} ${block}` : visible(part);
  }).join(" and ");
}

const many = (n: number): string =>
  n >= 1e9 ? `${(n / 1e9).toPrecision(3)} billion` : n >= 1e6 ? `${Number((n / 1e6).toPrecision(3))} million` : count(n);

export function Lede({ dictionary, data }: { dictionary: Dictionary; data: OverviewData | undefined }) {
  const run = dictionary.run;
  const value = (key: string) => number(run, key);
  const word = (key: string) => (typeof run[key] === "string" ? visible(String(run[key])) : "");
  const rows = value("rows trained");
  const [layers, parameters, tokens] = [value("transformer layers"), value("parameters"), value("tokens trained")];
  const text = word("text");
  return (
    <>
      <p class="kicker">Dictionary <code>{visible(dictionary.name)}</code></p>
      <h1>{count(dictionary.n_features)} features of {siteInWords(dictionary.site)}</h1>
      <p class="lede">
        A sparse autoencoder{word("architecture") && <> (<code>{word("architecture")}</code>)</>}
        {rows !== null && <> trained on {many(rows)} activations</>} of the site <code>{visible(dictionary.site)}</code>.{" "}
        {layers !== null && (
          <>
            The model is a transformer of {count(layers)} {layers === 1 ? "layer" : "layers"}
            {parameters !== null && <> with {many(parameters)} parameters</>}
            {tokens !== null && <>, trained on {many(tokens)} tokens</>}
            {text && <> of {text === "embedded" ? "the text that comes with the package" : <>the text <code>{text}</code></>}</>}.{" "}
          </>
        )}
        {data && <>Its features were measured on {many(data.density_tokens)} tokens that neither has seen.</>}
      </p>
    </>
  );
}
