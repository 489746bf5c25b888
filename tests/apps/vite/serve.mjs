// Starts Vite's dev server on a folder: node serve.mjs FOLDER PORT
// The packages are found through the folder named by NODE_MODULES, since they are not installed beside this file.
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [root, port] = process.argv.slice(2);
const require = createRequire(path.join(process.env.NODE_MODULES, "package.json"));
const { createServer } = await import(pathToFileURL(require.resolve("vite")).href);

const server = await createServer({
  root,
  configFile: false,
  cacheDir: path.join(root, ".vite"),
  clearScreen: false,
  server: { host: "127.0.0.1", port: Number(port), strictPort: true, allowedHosts: [".example.com"] },
});
await server.listen();
console.log(`ready ${port}`);
