// Motifs of a dictionary: families of one token, trigrams, memorised passages, each beside chance.

import type { Motifs } from "../../relations_types.ts";
import { decimals, share, visible, whole } from "../../text.ts";
import { Tokens } from "../../ui/feature_link.tsx";

export function MotifTables({ found, address }: { found: Motifs; address: (feature: number) => string | undefined }) {
  const Feature = ({ n }: { n: number }) => {
    const to = address(n);
    return to ? <a href={to}>{n}</a> : <>{n}</>;
  };
  return (
    <section>
      <h2>Motifs of {visible(found.set)}</h2>
      <div class="scroll" tabIndex={0} role="region" aria-label="Motifs beside chance">
        <table>
          <thead><tr><th scope="col">features</th><th scope="col" class="number">number</th><th scope="col" class="number">by chance</th></tr></thead>
          <tbody>
            {Object.entries(found.one_token).map(([least, n]) => (
              <tr><td>at least {share(Number(least))} of the firings on one token</td><td class="number">{whole(n)}</td><td class="number">–</td></tr>
            ))}
            <tr><td>of those, told apart by the label of the document <span class="quiet">(chance: labels shuffled)</span></td><td class="number">{whole(found.told_apart)}</td><td class="number">{whole(found.told_apart_shuffled)}</td></tr>
            <tr><td>on one pair of tokens <span class="quiet">(chance: firings shuffled among the token’s occurrences)</span></td><td class="number">{whole(found.trigram_candidates)}</td><td class="number">{whole(found.trigrams_shuffled)}</td></tr>
            <tr><td>on one pair, and raising the token that follows</td><td class="number">{whole(found.trigrams.length)}</td><td class="number">–</td></tr>
            <tr><td>in one passage that several documents repeat</td><td class="number">{whole(found.memorised.length)}</td><td class="number">{whole(found.memorised_shuffled)}</td></tr>
          </tbody>
        </table>
      </div>
      {found.families.length > 0 && (
        <>
          <h3>Families of one token</h3>
          <p class="quiet">Several features of one token that the labels of documents tell apart. After each number: the share of the token’s occurrences on which it fires, and the label that tells it best (AUC).</p>
          <ul class="token-families">
            {found.families.map((family) => (
              <li>
                <details>
                  <summary><Tokens tokens={[family.token]} /> {family.features.length} features{family.labels.length > 0 && <span class="quiet small"> · {family.labels.slice(0, 6).map(visible).join(", ")}</span>}</summary>
                  <ul class="family-features">
                    {family.features.map(([n, of]) => (
                      <li><Feature n={n} /> {share(of.share_of_occurrences)} <span class="quiet small">{visible(of.label ?? "")} {of.label_auc === null ? "" : decimals(of.label_auc)}</span></li>
                    ))}
                  </ul>
                </details>
              </li>
            ))}
          </ul>
        </>
      )}
      {found.trigrams.length > 0 && (
        <>
          <h3>Trigrams</h3>
          <div class="scroll" tabIndex={0} role="region" aria-label="Trigrams">
            <table>
              <thead>
                <tr>
                  <th scope="col">feature</th><th scope="col">pair</th><th scope="col">raises</th><th scope="col" class="number">firings on the pair</th>
                  <th scope="col" class="number">fires on the pair</th><th scope="col" class="number">on the second alone</th><th scope="col" class="number">pair followed by it</th><th scope="col" class="number">documents</th>
                </tr>
              </thead>
              <tbody>
                {found.trigrams.map((t) => (
                  <tr>
                    <td><Feature n={t.feature} /></td><td><Tokens tokens={[t.first, t.second]} /></td><td><Tokens tokens={[t.third]} /></td>
                    <td class="number">{share(t.share)}</td><td class="number">{share(t.rate)}</td><td class="number">{share(t.rate_elsewhere)}</td><td class="number">{share(t.followed)}</td><td class="number">{whole(t.documents)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        </>
      )}
      {found.memorised.length > 0 && (
        <>
          <h3>Memorised passages</h3>
          <div class="scroll" tabIndex={0} role="region" aria-label="Memorised passages">
            <table>
              <thead><tr><th scope="col">feature</th><th scope="col" class="number">firings in the passage</th><th scope="col" class="number">firings</th><th scope="col" class="number">documents</th><th scope="col">text</th></tr></thead>
              <tbody>
                {found.memorised.map((m) => (
                  <tr><td><Feature n={m.feature} /></td><td class="number">{share(m.share)}</td><td class="number">{whole(m.firings)}</td><td class="number">{whole(m.documents)}</td><td><bdi class="mono">{visible(m.text)}</bdi></td></tr>
                ))}
              </tbody>
            </table>
          </div>
        </>
      )}
    </section>
  );
}
