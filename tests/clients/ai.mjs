// The Vercel AI SDK: its core over /v1, and useChat's chat (without React) over /api/chat. Prints one JSON object of what
// it saw, by the server's name.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { AbstractChat, APICallError, DefaultChatTransport, generateText, lastAssistantMessageIsCompleteWithToolCalls, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const servers = JSON.parse(process.argv[2]);
globalThis.AI_SDK_LOG_WARNINGS = false;

const failure = async (run) => {
  try {
    await run();
    return "no error";
  } catch (e) {
    return { name: e.name, status: e.statusCode ?? null, message: e.message, retryable: e.isRetryable ?? null, api: APICallError.isInstance(e) };
  }
};

const core = async ({ address, model: name }) => {
  const provider = createOpenAICompatible({ name: "switchboard", baseURL: `${address}/v1`, apiKey: "unused", includeUsage: true, supportsStructuredOutputs: true });
  const model = provider(name);
  const ask = (prompt, more = {}) => ({ model, prompt, maxRetries: 0, ...more });
  const tools = { get_weather: tool({ description: "The weather of a city.", inputSchema: z.object({ city: z.string() }), execute: async ({ city }) => `${city}: 7 degrees` }) };
  const stream = async (prompt, more = {}) => {
    const parts = [];
    try {
      for await (const part of streamText({ ...ask(prompt, more), onError: () => {} }).fullStream) parts.push(part);
    } catch (e) {
      parts.push({ type: "thrown", error: e });
    }
    return parts;
  };
  const text = (parts) => parts.filter((p) => p.type === "text-delta").map((p) => p.text).join("");
  const seen = {};

  const whole = await generateText(ask("hello"));
  seen.whole = whole.text;
  seen.finish = whole.finishReason;
  seen.usage = [whole.usage.inputTokens, whole.usage.outputTokens];

  const parts = await stream("hello");
  seen.stream = text(parts);
  seen.pieces = parts.filter((p) => p.type === "text-delta").length;
  const last = parts.findLast((p) => p.type === "finish");
  seen.stream_finish = last.finishReason;
  seen.stream_usage = [last.totalUsage.inputTokens, last.totalUsage.outputTokens];

  const thought = await stream("think");
  seen.reasoning = thought.filter((p) => p.type === "reasoning-delta").map((p) => p.text).join("");
  seen.thought = text(thought);

  const round = await stream("weather", { tools, stopWhen: stepCountIs(2) });
  seen.tool_call = round.filter((p) => p.type === "tool-call").map((p) => [p.toolName, p.input]);
  seen.tool_result = round.filter((p) => p.type === "tool-result").map((p) => p.output);
  seen.after_tool = text(round);
  const two = await generateText(ask("two cities", { tools }));
  seen.two_calls = [two.text, two.toolCalls.map((c) => c.input.city), new Set(two.toolCalls.map((c) => c.toolCallId)).size];

  const person = z.object({ name: z.string(), age: z.number() });
  seen.object = (await generateText(ask("Extract: Ada is 36.", { output: Output.object({ schema: person }) }))).output;

  seen.limited = await failure(() => generateText(ask("limited")));
  seen.refused = await failure(() => generateText(ask("refuse")));
  seen.broken = await failure(() => generateText(ask("broken")));
  const cut = await stream("cut");
  const errors = cut.filter((p) => p.type === "error" || p.type === "thrown");
  seen.cut = { said: text(cut), errors: errors.map((p) => p.error?.message ?? p.error), finish: cut.findLast((p) => p.type === "finish")?.finishReason ?? null };
  return seen;
};

// What useChat is built on, with its state in plain variables in place of React's.
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
    super({ ...init, state });
  }
}

const web = async ({ address }) => {
  const api = `${address}/api/chat`;
  const talk = (more = {}, body = undefined) => {
    const errors = [];
    const ends = [];
    const chat = new Chat({ transport: new DefaultChatTransport({ api, body }), onError: (e) => errors.push(e.message), onFinish: (e) => ends.push(e), ...more });
    return { chat, errors, ends };
  };
  const text = (message) => message.parts.filter((p) => p.type === "text").map((p) => p.text).join("");
  const seen = {};

  const first = talk();
  await first.chat.sendMessage({ text: "hello" });
  seen.text = text(first.chat.lastMessage);
  seen.parts = first.chat.lastMessage.parts.map((p) => p.type);
  seen.role = first.chat.lastMessage.role;
  seen.states = first.chat.lastMessage.parts.filter((p) => p.type === "text").map((p) => p.state);
  seen.status = first.chat.status;
  seen.ends = first.ends.map((e) => [e.isAbort, e.isDisconnect, e.isError]);
  await first.chat.sendMessage({ text: "think" }); // the second turn sends the first one along
  seen.second = [first.chat.messages.length, text(first.chat.lastMessage)];
  seen.reasoning = first.chat.lastMessage.parts.filter((p) => p.type === "reasoning").map((p) => p.text);

  const functions = [{ type: "function", function: { name: "get_weather", parameters: { type: "object", properties: { city: { type: "string" } } } } }];
  const calls = [];
  const more = {
    onToolCall: ({ toolCall }) => {
      calls.push([toolCall.toolName, toolCall.input]);
      tools.chat.addToolOutput({ tool: toolCall.toolName, toolCallId: toolCall.toolCallId, output: "7 degrees" });
    },
    sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithToolCalls,
  };
  const tools = talk(more, { tools: functions });
  await tools.chat.sendMessage({ text: "weather" });
  for (let i = 0; i < 200 && !text(tools.chat.lastMessage); i++) await new Promise((done) => setTimeout(done, 10));
  seen.tool_calls = calls;
  seen.tool_parts = tools.chat.lastMessage.parts.filter((p) => p.type.startsWith("tool-")).map((p) => [p.type, p.state, p.input, p.output]);
  seen.after_tool = text(tools.chat.lastMessage);
  seen.tool_errors = tools.errors;

  for (const prompt of ["limited", "refuse", "cut"]) {
    const failing = talk();
    await failing.chat.sendMessage({ text: prompt });
    seen[prompt] = { status: failing.chat.status, errors: failing.errors, said: failing.chat.lastMessage.role === "assistant" ? text(failing.chat.lastMessage) : "" };
  }
  return seen;
};

const seen = {};
for (const [name, server] of Object.entries(servers)) seen[name] = { core: await core(server), web: await web(server) };
console.log(JSON.stringify(seen));
