// A conversation in text by the openai SDK: node realtime.mjs ws|websocket ADDRESS MODEL TEXT…
import OpenAI from "openai";
import { OpenAIRealtimeWebSocket } from "openai/realtime/websocket";
import { OpenAIRealtimeWS } from "openai/realtime/ws";

const [kind, address, model, ...texts] = process.argv.slice(2);
const Realtime = { ws: OpenAIRealtimeWS, websocket: OpenAIRealtimeWebSocket }[kind];
const client = new OpenAI({ apiKey: "unused", baseURL: `${address}/v1` });
const rt = new Realtime({ model }, client);
const seen = { kinds: [], said: [], whole: [], statuses: [], items: [], errors: [], session: null };

const done = new Promise((resolve, reject) => {
  rt.on("error", reject);
  rt.socket.addEventListener("close", (e) => resolve([e.code, e.reason]));
});
const ask = (text) => {
  seen.said.push("");
  rt.send({ type: "conversation.item.create", item: { type: "message", role: "user", content: [{ type: "input_text", text }] } });
  rt.send({ type: "response.create" });
};
rt.on("event", (e) => seen.kinds.push(e.type));
rt.on("session.created", () => {
  rt.send({ type: "session.update", session: { type: "realtime", output_modalities: ["text"], instructions: "Be kind." } });
});
rt.on("session.updated", (e) => {
  seen.session = e.session;
  ask(texts.shift());
});
rt.on("conversation.item.added", (e) => seen.items.push(e.item.role));
rt.on("response.output_text.delta", (e) => (seen.said[seen.said.length - 1] += e.delta));
rt.on("response.output_text.done", (e) => seen.whole.push(e.text));
rt.on("response.done", (e) => {
  seen.statuses.push(e.response.status);
  if (texts.length) ask(texts.shift());
  else rt.close({ code: 1000, reason: "enough" });
});
const timer = setTimeout(() => { console.error(JSON.stringify(seen)); process.exit(1); }, 15_000);
seen.closed = await done;
clearTimeout(timer);
console.log(JSON.stringify(seen));
process.exit(0);
