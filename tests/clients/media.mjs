// The official openai SDK for JavaScript: vectors, older text and responses of the offline provider; images and sound of an
// upstream. Prints one JSON object of what it saw.
import OpenAI, { toFile } from "openai";

const [what, address] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${address}/v1`, apiKey: "unused", maxRetries: 0 });
const seen = {};

const failure = async (run) => {
  try {
    await run();
    return "no error";
  } catch (e) {
    return { name: e.constructor.name, status: e.status ?? null, code: e.code ?? null, param: e.param ?? null };
  }
};

const offline = async () => {
  const vectors = await client.embeddings.create({ model: "hashed-words", input: ["Hello there", "Hello"], dimensions: 64 });
  seen.lengths = vectors.data.map((d) => d.embedding.length);
  const plain = await client.embeddings.create({ model: "hashed-words", input: "Hello there", dimensions: 64, encoding_format: "float" });
  seen.same = plain.data[0].embedding.every((n, i) => Math.abs(n - vectors.data[0].embedding[i]) < 1e-6);
  seen.completion = (await client.completions.create({ model: "echo", prompt: "one two" })).choices[0].text;
  seen.streamed = "";
  for await (const c of await client.completions.create({ model: "echo", prompt: "one two", stream: true })) seen.streamed += c.choices[0]?.text ?? "";
  const response = await client.responses.create({ model: "echo", input: "one two three" });
  seen.response = [response.output_text, response.status, response.usage.total_tokens];
  const stream = client.responses.stream({ model: "echo", input: "one two three" });
  seen.deltas = 0;
  for await (const e of stream) if (e.type === "response.output_text.delta") seen.deltas++;
  seen.final = (await stream.finalResponse()).output_text;
  const tools = [{ type: "function", name: "get_weather", parameters: { type: "object", properties: {} }, strict: false }];
  const called = await client.responses.create({ model: "tool-call", input: '{"city": "Oslo"}', tools });
  seen.tool = called.output.filter((i) => i.type === "function_call").map((i) => [i.name, i.arguments]);
  seen.bound = await failure(() => client.responses.create({ model: "echo", input: "a", previous_response_id: "resp_1" }));
  seen.empty = await failure(() => client.embeddings.create({ model: "hashed-words", input: "" }));
};

const upstream = async () => {
  const image = await client.images.generate({ model: "gpt-image-x", prompt: "a cat", response_format: "url" });
  seen.image = [image.data[0].url.slice(0, 22), image.data[0].revised_prompt];
  const bytes = Buffer.concat([Buffer.from(image.data[0].b64_json, "base64"), Buffer.alloc(1_000_000)]);
  const png = await toFile(bytes, "a cat.png", { type: "image/png" });
  seen.edited = (await client.images.edit({ model: "gpt-image-x", image: [png, png], mask: png, prompt: "a cat" })).data.length;
  const speech = await client.audio.speech.create({ model: "tts-x", voice: "alloy", input: "Hello", response_format: "wav" });
  const sound = Buffer.from(await speech.arrayBuffer());
  seen.speech = [speech.headers.get("content-type"), sound.length, sound.toString("latin1", 0, 4)];
  const file = () => toFile(sound, "hello.wav", { type: "audio/wav" });
  seen.text = (await client.audio.transcriptions.create({ model: "gpt-transcribe", file: await file() })).text;
  seen.deltas = "";
  for await (const e of await client.audio.transcriptions.create({ model: "gpt-transcribe", file: await file(), stream: true })) {
    if (e.type === "transcript.text.delta") seen.deltas += e.delta;
    else seen.done = [e.type, e.text];
  }
  seen.limited = await failure(() => client.audio.speech.create({ model: "tts-x", voice: "alloy", input: "limited" }));
  seen.voice = await failure(() => client.audio.speech.create({ model: "tts-x", voice: "bogus", input: "Hello" }));
  seen.nothing = await failure(async () => client.audio.transcriptions.create({ model: "gpt-transcribe", file: await toFile(Buffer.alloc(0), "a.wav") }));
};

await { offline, upstream }[what]();
console.log(JSON.stringify(seen));
