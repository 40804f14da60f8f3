// A client of the TypeScript SDK, 1 or 2: does what it is told on standard input, and prints what it was answered.
// {"sdk": 1 | 2, "mode": "legacy" | "auto", "modules": folder, "target": {"command": [...]} | {"url": "..."}, "script": [[method, params], ...]}
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const told = JSON.parse(readFileSync(0, "utf8"));
const require = createRequire(`${told.modules}/`);
const load = (name) => import(pathToFileURL(require.resolve(name)));
const two = told.sdk === 2;

const { Client, StreamableHTTPClientTransport } = two
  ? await load("@modelcontextprotocol/client")
  : { ...(await load("@modelcontextprotocol/sdk/client/index.js")), ...(await load("@modelcontextprotocol/sdk/client/streamableHttp.js")) };
const { StdioClientTransport } = await load(two ? "@modelcontextprotocol/client/stdio" : "@modelcontextprotocol/sdk/client/stdio.js");
const types = two ? {} : await load("@modelcontextprotocol/sdk/types.js");

const capabilities = { sampling: {}, elicitation: { form: {} }, roots: { listChanged: true } };
const options = two ? { capabilities, versionNegotiation: { mode: told.mode } } : { capabilities };
const client = new Client({ name: "others", version: "1" }, options);
const heard = [];
const on = (method, schema, answer) => client.setRequestHandler(two ? method : types[schema], async (request) => {
  heard.push(method);
  return answer(request);
});
on("elicitation/create", "ElicitRequestSchema", () => ({ action: "accept", content: { name: "Ann" } }));
on("sampling/createMessage", "CreateMessageRequestSchema", () => ({
  role: "assistant", model: "m", content: { type: "text", text: "hello" }, stopReason: "endTurn",
}));
on("roots/list", "ListRootsRequestSchema", () => ({ roots: [{ uri: "file:///home/ann", name: "home" }] }));

const { command, url } = told.target;
const transport = url
  ? new StreamableHTTPClientTransport(new URL(url))
  : new StdioClientTransport({ command: command[0], args: command.slice(1), env: process.env, stderr: "ignore" });
await client.connect(transport);

const asked = {
  "tools/list": () => client.listTools(),
  "tools/call": (params, progress) => two
    ? client.callTool(params, { onprogress: progress })
    : client.callTool(params, undefined, { onprogress: progress }),
  "resources/list": () => client.listResources(),
  "resources/templates/list": () => client.listResourceTemplates(),
  "resources/read": (params) => client.readResource(params),
  "prompts/list": () => client.listPrompts(),
  "prompts/get": (params) => client.getPrompt(params),
  "completion/complete": (params) => client.complete(params),
};
const answers = [["server", client.getServerVersion(), client.getServerCapabilities(), client.getInstructions()]];
for (const [method, params] of told.script) {
  const progress = [];
  try {
    const answer = await asked[method](params, (each) => progress.push(each));
    // The SDK drops progress that it has read together with the answer: only the first is sure to be told.
    answers.push([method, answer, progress.slice(0, 1)]);
  } catch (error) {
    answers.push([method, { code: error.code, message: error.message }]);
  }
}
// Roots may be asked for outside any call: over HTTP that needs a stream which is open by then, or is not.
answers.push(["asked", heard.filter((each) => each !== "roots/list")]);
await client.close();
console.log(JSON.stringify(answers));
process.exit(0);
