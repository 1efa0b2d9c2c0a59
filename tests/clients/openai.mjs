// The official openai SDK for JavaScript, with nothing but its base URL changed. Prints one JSON object of what it saw: of an
// upstream, or of the offline provider.
import OpenAI from "openai";

const [what, address, model] = process.argv.slice(2);
const at = (more = {}) => new OpenAI({ baseURL: `${address}/v1`, apiKey: "unused", ...more });
const say = (content) => [{ role: "user", content }];
const seen = {};

const failure = async (run) => {
  try {
    await run();
    return "no error";
  } catch (e) {
    return { name: e.constructor.name, status: e.status ?? null, code: e.code ?? null, param: e.param ?? null };
  }
};
const text = async (stream) => {
  let said = "";
  for await (const c of stream) said += c.choices[0]?.delta?.content ?? "";
  return said;
};

const upstream = async () => {
  const whole = await at().chat.completions.create({ model, messages: say("hello") });
  seen.whole = whole.choices[0].message.content;
  seen.stream = await text(await at().chat.completions.create({ model, messages: say("hello"), stream: true }));

  const chunks = [];
  const options = { include_usage: true };
  for await (const c of await at().chat.completions.create({ model, messages: say("hello"), stream: true, stream_options: options })) chunks.push(c);
  seen.usage = chunks.at(-1).usage.completion_tokens > 0;
  const plain = [];
  for await (const c of await at().chat.completions.create({ model, messages: say("hello"), stream: true })) plain.push(c);
  seen.unasked_usage = plain.some((c) => c.usage);

  const tools = [{ type: "function", function: { name: "get_weather", parameters: { type: "object", properties: {} } } }];
  const run = at().chat.completions.stream({ model, messages: say("weather"), tools });
  const final = await run.finalChatCompletion();
  seen.tool = final.choices[0].message.tool_calls[0].function;
  const talk = [...say("weather"), final.choices[0].message, { role: "tool", tool_call_id: final.choices[0].message.tool_calls[0].id, content: "7 degrees" }];
  seen.after_tool = await text(await at().chat.completions.create({ model, messages: talk, tools, stream: true }));
  seen.cut_by_provider = await failure(async () => text(await at().chat.completions.create({ model, messages: say("cut"), stream: true })));
};

const offline = async () => {
  seen.bad_request = await failure(() => at().chat.completions.create({ model: "echo", messages: [] }));
  seen.not_found = await failure(() => at().chat.completions.create({ model: "gpt-9", messages: say("x") }));
  seen.limited = await failure(() => at({ maxRetries: 0 }).chat.completions.create({ model: "error-429", messages: say("x") }));
  let tries = 0;
  const counting = (url, init) => (tries++, fetch(url, init));
  seen.unavailable = await failure(() => at({ maxRetries: 1, fetch: counting }).chat.completions.create({ model: "error-first-event", messages: say("x") }));
  seen.tries = tries;
  seen.unauthorized = await failure(() => at({ maxRetries: 0 }).chat.completions.create({ model: "error-401", messages: say("x") }));
  for (const model of ["cut-midstream", "error-midstream", "garbage"]) {
    seen[model] = await failure(async () => text(await at().chat.completions.create({ model, messages: say("x"), stream: true })));
  }
  seen.models = (await at().models.list()).data.map((m) => m.id).includes("echo");

  const controller = new AbortController();
  const endless = await at().chat.completions.create({ model: "endless", messages: say("x"), stream: true }, { signal: controller.signal });
  let n = 0;
  for await (const _ of endless) if (++n === 5) controller.abort();
  seen.aborted_after = n;
};

await { upstream, offline }[what]();
console.log(JSON.stringify(seen));
