// What useChat is built on, with an answer that is left in the middle and picked up by another chat with the same id, as after
// a page was loaded anew. Prints one JSON object of what it saw.
import { AbstractChat, DefaultChatTransport } from "ai";

const api = `${process.argv[2]}/api/chat`;

class State {
  status = "ready";
  error = undefined;
  messages = [];
  pushMessage = (m) => { this.messages = [...this.messages, m]; };
  popMessage = () => { this.messages = this.messages.slice(0, -1); };
  replaceMessage = (i, m) => { this.messages = this.messages.with(i, m); };
  snapshot = (thing) => structuredClone(thing);
}
class Chat extends AbstractChat {
  constructor(init) {
    const state = new State();
    state.messages = init.messages ?? [];
    super({ ...init, state });
  }
}

const text = (message) => message.parts.filter((p) => p.type === "text").map((p) => p.text).join("");
const later = (ms) => new Promise((done) => setTimeout(done, ms));

// the first page: its connection breaks in the middle of the answer
const gone = new AbortController();
const question = { id: "q1", role: "user", parts: [{ type: "text", text: process.argv[3] }] };
const answer = await fetch(api, {
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify({ id: "resumed", trigger: "submit-message", messages: [question] }),
  signal: gone.signal,
});
const reader = answer.body.getReader();
let begun = "";
while (!begun.includes("text-delta")) begun += new TextDecoder().decode((await reader.read()).value);
gone.abort();
await later(100);

// the second page: it knows what was asked, and picks up the answer
const errors = [];
const chat = new Chat({ id: "resumed", messages: [question], transport: new DefaultChatTransport({ api }), onError: (e) => errors.push(e.message) });
await chat.resumeStream();
const seen = { status: chat.status, messages: chat.messages.map((m) => [m.role, text(m)]), errors };

// nothing is under way any more
const idle = new Chat({ id: "resumed", transport: new DefaultChatTransport({ api }), onError: (e) => errors.push(e.message) });
await idle.resumeStream();
seen.idle = [idle.status, idle.messages.length];

// and the conversation goes on
await chat.sendMessage({ text: "and then" });
seen.next = text(chat.lastMessage);
console.log(JSON.stringify(seen));
