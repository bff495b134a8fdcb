// The coordinator's API: requests with the token, errors in words, and the stream of events.

const storageKey = "weir-token";
const base = new URL("api/v1/", document.baseURI);

/** A failure that a person can be told of. `status` is 0 when nobody answered. */
export class APIError extends Error {
    constructor(message, status = 0) {
        super(message);
        this.status = status;
    }
}

/** The token lives as long as the tab: closing it signs out. */
export const token = {
    get value() {
        return sessionStorage.getItem(storageKey) ?? "";
    },
    set value(text) {
        if (text) sessionStorage.setItem(storageKey, text);
        else sessionStorage.removeItem(storageKey);
    },
};

/** Tells the page that the token does not hold any more. */
export const signals = new EventTarget();

function headersFor(extra, given) {
    const headers = new Headers(extra);
    const secret = given ?? token.value;
    if (secret) headers.set("Authorization", `Bearer ${secret}`);
    return headers;
}

/** `path` below `/api/v1/` with a query of what is not empty. */
export function address(path, query = {}) {
    const url = new URL(path, base);
    for (const [name, value] of Object.entries(query)) {
        if (value !== undefined && value !== null && value !== "") url.searchParams.set(name, value);
    }
    return url;
}

/** `items/{}` with each `{}` filled in by one part, encoded. */
export function path(template, ...parts) {
    let index = 0;
    return template.replace(/\{\}/g, () => encodeURIComponent(parts[index++]));
}

const wordsOfStatus = {
    400: "The coordinator does not understand this request.",
    401: "The token is not known, or has expired.",
    403: "Your token does not allow this.",
    404: "There is no such thing (any more).",
    409: "This is not possible at the moment.",
    412: "Somebody else has changed this in the meantime.",
    429: "Too many requests. Wait a moment.",
    503: "The coordinator cannot do this at the moment.",
    504: "The node did not answer in time.",
};

/** What a problem document (RFC 9457) says, else what its status means. */
async function failureOf(response) {
    let text = wordsOfStatus[response.status] ?? `The coordinator answers with status ${response.status}.`;
    const type = response.headers.get("Content-Type") ?? "";
    if (type.includes("json")) {
        const problem = await response.json().catch(() => undefined);
        const parts = [problem?.title, problem?.detail].filter((part) => typeof part === "string" && part);
        if (parts.length) text = `${parts.join(": ").slice(0, 400).replace(/\.$/, "")}.`;
    }
    return new APIError(text, response.status);
}

async function send(method, url, { body, headers = {}, secret, signal, timeout = 10_000 } = {}) {
    const all = headersFor(headers, secret);
    if (body !== undefined) all.set("Content-Type", "application/json");
    const limits = [AbortSignal.timeout(timeout), signal].filter(Boolean);
    let response;
    try {
        response = await fetch(url, {
            method, headers: all, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store",
            credentials: "omit", referrerPolicy: "no-referrer", signal: AbortSignal.any(limits),
        });
    } catch (error) {
        if (signal?.aborted) throw error;
        throw new APIError(error.name === "TimeoutError" ? "The coordinator takes too long to answer."
            : "The coordinator cannot be reached.");
    }
    if (response.ok || response.status === 304) return response;
    const failure = await failureOf(response);
    if (response.status === 401 && secret === undefined) signals.dispatchEvent(new Event("signedout"));
    throw failure;
}

async function json(response) {
    if (response.status === 204 || response.headers.get("Content-Length") === "0") return undefined;
    const text = await response.text();
    try {
        return text ? JSON.parse(text) : undefined;
    } catch {
        throw new APIError("The coordinator's answer cannot be read.");
    }
}

export const api = {
    async get(name, { query, ...options } = {}) {
        return json(await send("GET", address(name, query), options));
    },
    /**
     * As `get`, of what `known` remembers: `undefined` when nothing has changed since. `known` belongs to one reader of
     * one address, and keeps the validator.
     */
    async getChanged(name, known, { query, ...options } = {}) {
        const url = address(name, query);
        const isSame = known.url === url.href;
        const headers = isSame && known.etag ? { "If-None-Match": known.etag } : {};
        const response = await send("GET", url, { headers, ...options });
        if (response.status === 304) return undefined;
        Object.assign(known, { url: url.href, etag: response.headers.get("ETag") ?? undefined });
        return json(response);
    },
    async post(name, body, options) {
        return json(await send("POST", address(name, options?.query), { body, timeout: 30_000, ...options }));
    },
    async put(name, body, options) {
        return json(await send("PUT", address(name, options?.query), { body, timeout: 30_000, ...options }));
    },
    async delete(name, options) {
        return json(await send("DELETE", address(name, options?.query), { timeout: 30_000, ...options }));
    },
    /** The bytes of a file, and its validator; `undefined` when the one with `etag` is still right. */
    async blob(name, { etag, ...options } = {}) {
        const headers = etag ? { "If-None-Match": etag } : {};
        const response = await send("GET", address(name, options.query), { headers, ...options });
        if (response.status === 304) return undefined;
        return { blob: await response.blob(), etag: response.headers.get("ETag") ?? undefined };
    },
};

// ---------------------------------------------------------------------------------------------------------------------
// Events

/** Cuts server-sent events out of text that comes in pieces. At most `limit` characters are kept for one event. */
export class EventParser {
    #rest = "";
    #event = {};
    #limit;

    constructor(limit = 1 << 20) {
        this.#limit = limit;
    }

    /** The events that `text` completes: `{ event, data, id }`. */
    push(text) {
        const found = [];
        const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
        this.#rest = lines.pop();
        if (this.#rest.length > this.#limit) throw new APIError("An event is too long.");
        for (const line of lines) {
            if (line !== "") {
                this.#take(line);
            } else {
                if (this.#event.data !== undefined) found.push(this.#event);
                this.#event = {};
            }
        }
        return found;
    }

    #take(line) {
        const colon = line.indexOf(":");
        if (colon === 0) return;
        const name = colon < 0 ? line : line.slice(0, colon);
        const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
        if (name === "data") {
            this.#event.data = this.#event.data === undefined ? value : `${this.#event.data}\n${value}`;
            if (this.#event.data.length > this.#limit) throw new APIError("An event is too long.");
        } else if (name === "event" || name === "id") {
            this.#event[name] = value;
        }
    }
}

const pause = (millis, signal) => new Promise((resolve) => {
    const timer = setTimeout(resolve, millis);
    signal.addEventListener("abort", () => {
        clearTimeout(timer);
        resolve();
    }, { once: true });
});

/**
 * Follows the cluster's events until `signal` is aborted, over broken connections: `onEvent({ event, data, id })`,
 * `onState(true)` when it is connected, `onState(false)` when not. `EventSource` cannot send a token.
 */
export async function followEvents({ signal, onEvent, onState }) {
    let lastId;
    let attempt = 0;
    while (!signal.aborted) {
        const inner = new AbortController();
        const connection = AbortSignal.any([signal, inner.signal]);
        // The server says something every 15 seconds: silence is a dead connection.
        let timer;
        const touch = () => {
            clearTimeout(timer);
            timer = setTimeout(() => inner.abort(), 45_000);
        };
        try {
            touch();
            const headers = headersFor({ Accept: "text/event-stream", ...(lastId ? { "Last-Event-ID": lastId } : {}) });
            const response = await fetch(address("events/stream"), {
                headers, cache: "no-store", credentials: "omit", signal: connection,
            });
            if (response.status === 401) signals.dispatchEvent(new Event("signedout"));
            if (!response.ok) throw await failureOf(response);
            onState(true);
            attempt = 0;
            const parser = new EventParser();
            const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
            for (;;) {
                const { value, done } = await reader.read();
                if (done) break;
                touch();
                for (const event of parser.push(value)) {
                    if (event.id) lastId = event.id;
                    onEvent(event);
                }
            }
        } catch {
            // It begins anew below.
        } finally {
            clearTimeout(timer);
            inner.abort();
        }
        if (signal.aborted) return;
        onState(false);
        await pause(Math.min(15_000, 1000 * 2 ** attempt) * (0.75 + Math.random() / 2), signal);
        attempt += 1;
    }
}
