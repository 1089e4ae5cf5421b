import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import { FORMAT, loadSite, type Site } from "./site.ts";
import { useRoute } from "./route.ts";
import { Shell } from "./shell.tsx";
import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/shell.css";

function App() {
  const route = useRoute();
  const [site, setSite] = useState<Site | null>(null);
  const [error, setError] = useState("");
  useEffect(() => {
    loadSite().then(
      (found) => (found.format > FORMAT ? setError(newer(found)) : setSite(found)),
      (e: Error) => setError(e.message),
    );
  }, []);
  if (error) return <main class="page"><p class="problem" role="alert">{error}</p></main>;
  return site ? <Shell site={site} route={route} /> : null;
}

const newer = (site: Site) =>
  `data/site.js has format ${site.format}; this page reads formats up to ${FORMAT}: write it again with a newer monosem_jax`;

const root = document.getElementById("app");
if (root) {
  root.replaceChildren(); // what the page says when scripts do not run
  render(<App />, root);
}
