// A client: node fetch.mjs URL… , run by `sc-tool run --`. Prints the status and the body of each.
// Node's own fetch takes no notice of proxy variables before Node 24; undici's agent of the same makers does.
import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(path.join(process.env.NODE_MODULES, "package.json"));
const { EnvHttpProxyAgent, fetch, setGlobalDispatcher } = require("undici");

setGlobalDispatcher(new EnvHttpProxyAgent());
for (const url of process.argv.slice(2)) {
  const answer = await fetch(url);
  console.log(answer.status, await answer.text());
}
process.exit(0);
