// Requests from the page to its server.

// A failed request. `status` is the HTTP status, or 0 if the server was not reached; `wait` is the number of seconds to
// wait before trying again, if the server gave one.
export class Failure extends Error {
  constructor(reason, status, wait = null) {
    super(reason);
    this.status = status;
    this.wait = wait;
  }

  // Whether the same request may succeed later.
  get retryable() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

const SECONDS = 10;

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, signal: AbortSignal.timeout(1000 * SECONDS) });
  } catch {
    throw new Failure("the page’s own server does not answer: is qdfast play still running?", 0);
  }
  if (response.ok) return response;
  const wait = Number(response.headers.get("Retry-After")) || null;
  const reason = await response.json().then((body) => body.error, () => response.statusText);
  throw new Failure(reason, response.status, wait);
}

function post(path, body) {
  return ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
}

// {model, version, words}
export const model = async () => (await ask("api/model")).json();

// {guesses: [[label, probability], …], version}
export const guess = async (drawing) => (await post("api/guess", { drawing })).json();

// {drawings: [[[xs, ys], …], …], kind}
export const drawings = async (word) => (await ask(`api/drawings?${new URLSearchParams({ word })}`)).json();

// Lines of ndjson for [{drawing, word, recognized}, …].
export const ndjson = async (drawings) => (await post("api/ndjson", { drawings })).blob();
