// A conversation by @openai/agents-realtime, which agents.mjs holds in Node and the page of test_agents_browser.py in Chromium.

// `n` milliseconds of a tone of `hertz`, as the microphone of a page has it.
export const tone = (hertz, n) => {
  const wave = new Int16Array(24 * n);
  for (let i = 0; i < wave.length; i++) wave[i] = Math.round(8000 * Math.sin((2 * Math.PI * hertz * i) / 24000));
  return wave.buffer;
};

const shown = (item) =>
  item.type === "message"
    ? { role: item.role, status: item.status, text: item.content.map((c) => c.text ?? c.transcript).join("") }
    : { role: item.type, status: item.status, text: `${item.name}(${item.arguments}) → ${item.output}` };

// Says each of `turns`: a text, or the pitch of what is spoken; what came of it. `understood(event)`: whether the SDK knows an event.
export const talk = async ({ RealtimeAgent, RealtimeSession, tool }, { url, apiKey = "unused", model, turns, config, understood }) => {
  const seen = { kinds: [], strange: [], errors: [], tools: [], audio: 0, interrupted: 0, statuses: [] };
  const weather = tool({
    name: "get_weather",
    description: "The weather in a city.",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false },
    strict: true,
    execute: async ({ city }) => (seen.tools.push(city), "7 degrees"),
  });
  const agent = new RealtimeAgent({ name: "Friend", instructions: "Be kind.", tools: [weather] });
  const session = new RealtimeSession(agent, { transport: "websocket", model, config });
  let answered = () => {};
  session.on("error", (e) => seen.errors.push(e.error?.error?.error ?? String(e.error?.message ?? e.error)));
  session.on("audio", (e) => {
    seen.audio += e.data.byteLength;
    answered();
  });
  session.on("audio_interrupted", () => seen.interrupted++);
  session.transport.on("*", (e) => {
    seen.kinds.push(e.type);
    if (e.type === "response.done") seen.statuses.push(e.response.status);
    if (e.type === "session.updated") seen.session = e.session;
    if (understood && !understood(e)) seen.strange.push(e);
  });
  session.on("history_updated", () => answered());
  session.transport.on("usage_update", () => answered());
  const count = (kind) => seen.kinds.filter((k) => k === kind).length;
  const whole = () => session.history.filter((i) => i.role === "assistant" && i.status !== "in_progress").length;
  const transcribed = () => session.history.every((i) => i.role !== "user" || i.content.every((c) => c.text ?? c.transcript));
  const wait = (condition, what) =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${what}: ${JSON.stringify({ ...seen, history: session.history })}`)), 10_000);
      answered = () => condition() && (clearTimeout(timer), resolve());
      answered();
    });

  await session.connect({ apiKey, url });
  for (const turn of turns) {
    const before = whole();
    if (typeof turn === "string") session.sendMessage(turn);
    else for (const [hertz, n] of [[turn, 700], [0, 800]]) for (let at = 0; at < n; at += 100) session.sendAudio(tone(hertz, 100));
    if (turn === "at length") {
      await wait(() => seen.audio > 20_000, "no sound");
      session.interrupt();
    }
    await wait(() => whole() > before && transcribed() && count("response.created") === count("response.done"), `no answer to ${turn}`);
  }
  seen.history = session.history.map(shown);
  seen.usage = { input: session.usage.inputTokens, output: session.usage.outputTokens };
  session.close();
  return seen;
};
