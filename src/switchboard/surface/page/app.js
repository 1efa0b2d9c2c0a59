// The first page: log in with the access key, chat, draw. It talks to the access-key service, and is known by a cookie that
// no script can read; what is kept here is only that somebody has logged in.

const SESSION = "switchboard.session";
const at = (id) => document.getElementById(id);
let messages = [];
let answering = null; // what stops the answer that comes in
let session = new AbortController(); // what stops everything when somebody logs out

let leaving = Promise.resolve(); // the end of the session before

class Refused extends Error {}

async function ask(path, body, signal) {
  const headers = body ? { "content-type": "application/json" } : {};
  const ends = signal ? AbortSignal.any([session.signal, signal]) : session.signal;
  const answer = await fetch(path, {
    method: body ? "POST" : "GET",
    headers,
    body: body && JSON.stringify(body),
    signal: ends,
  });
  if (answer.ok) return answer;
  const { error } = await answer.json().catch(() => ({}));
  const text = error?.message ?? `The server answered ${answer.status}.`;
  if (answer.status === 401 && path !== "/auth/session") {
    logOut();
    throw new Refused(text);
  }
  throw new Error(text);
}

function logOut(text = "") {
  if (localStorage.getItem(SESSION)) leaving = fetch("/auth/session", { method: "DELETE" }).catch(() => {});
  localStorage.removeItem(SESSION);
  session.abort();
  session = new AbortController();
  messages = [];
  at("conversation").replaceChildren();
  at("pictures").replaceChildren();
  at("app").hidden = at("logout").hidden = true;
  at("login").hidden = false;
  told("login", text);
  at("key").focus();
}

function told(form, text) {
  at(form).querySelector(".error").textContent = text;
}

async function enter() {
  const { data } = await (await ask("/models")).json();
  at("model").replaceChildren(...["", ...data.map((m) => m.id)].map((id) => new Option(id || "the default", id)));
  at("login").hidden = true;
  at("app").hidden = false;
  at("logout").hidden = !localStorage.getItem(SESSION);
  at("message").focus();
}

// Runs `work` for a form: one at a time, its error shown beside it.
function onSubmit(form, work) {
  at(form).addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = at(form).querySelector("button");
    if (button.disabled) return;
    told(form, "");
    button.disabled = true;
    try {
      await work();
    } catch (error) {
      if (error instanceof Refused) told("login", error.message);
      else if (error.name !== "AbortError") told(form, error.message);
    } finally {
      button.disabled = false;
    }
  });
}

function said(role, text) {
  const box = document.createElement("div");
  box.className = role;
  box.textContent = text;
  at("conversation").append(box);
  follow();
  return box;
}

// Keeps the newest text and the form below it in sight.
function follow() {
  at("conversation").scrollTop = at("conversation").scrollHeight;
  at("chat").scrollIntoView({ block: "nearest" });
}

async function* pieces(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Error("The answer was cut off.");
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      if (!event.startsWith("data: ")) continue;
      if (event === "data: [DONE]") return;
      const { error, choices } = JSON.parse(event.slice(6));
      if (error) throw new Error(error.message);
      if (choices?.[0]?.delta?.content) yield choices[0].delta.content;
    }
  }
}

onSubmit("login", async () => {
  await leaving; // or its answer would take the new cookie away
  await ask("/auth/session", { access_key: at("key").value });
  localStorage.setItem(SESSION, "begun");
  at("key").value = "";
  await enter();
});

onSubmit("chat", async () => {
  const conversation = messages;
  const text = at("message").value;
  at("message").value = "";
  conversation.push({ role: "user", content: text });
  said("user", text);
  const box = said("assistant", "");
  answering = new AbortController();
  at("stop").hidden = false;
  try {
    const model = at("model").value;
    const body = { messages: conversation, stream: true, ...(model && { model }) };
    for await (const piece of pieces(await ask("/chat", body, answering.signal))) {
      box.textContent += piece;
      follow();
    }
  } catch (error) {
    if (error instanceof Refused) at("message").value = text; // to be sent again once somebody has logged in
    throw error;
  } finally {
    answering = null;
    at("stop").hidden = true;
    if (box.textContent) conversation.push({ role: "assistant", content: box.textContent });
    else box.remove();
  }
});

onSubmit("draw", async () => {
  const prompt = at("prompt").value;
  const { data } = await (await ask("/images/generate", { prompt })).json();
  for (const { url } of data) {
    const picture = new Image();
    picture.src = url;
    picture.alt = prompt;
    at("pictures").prepend(picture);
  }
});

at("message").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    at("chat").requestSubmit();
  }
});
at("stop").addEventListener("click", () => {
  answering?.abort();
  at("message").focus();
});
at("logout").addEventListener("click", () => logOut());

enter().catch((error) => {
  if (error instanceof Refused) return;
  at("login").hidden = false; // the session may be good yet: it stays
  told("login", error.message);
});
