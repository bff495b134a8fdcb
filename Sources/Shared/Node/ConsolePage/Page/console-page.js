// What a page of the console has while it is open: timers and requests that end with it.

import { say } from "./console-dialog.js";

/** What the cluster sums up to, as it was told last: a page that opens need not wait for it. */
export const overview = { newest: undefined };

export class PageScope {
    /** Aborted when the page is left. */
    signal;
    /** What the API said of the token: `name` and `role`. */
    session;
    /** The query of the page's address. */
    query;
    #controller = new AbortController();
    #listeners = [];

    constructor({ session, query }) {
        this.session = session;
        this.query = query;
        this.signal = this.#controller.signal;
    }

    /** Operators may do what changes the cluster, administrators also what concerns access. */
    get isOperator() {
        return ["operator", "admin"].includes(this.session.role);
    }

    get isAdmin() {
        return this.session.role === "admin";
    }

    leave() {
        this.#controller.abort();
    }

    /**
     * Calls `work` now and then each `millis` after it has ended, while the page is open and seen. Gives a function
     * that calls it soon. Failures are handed to `onState`, or `undefined` when it went well.
     */
    every(millis, work, onState = () => {}) {
        let timer;
        let isRunning = false;
        let isWanted = false;
        const run = async () => {
            clearTimeout(timer);
            if (this.signal.aborted) return;
            if (isRunning) {
                isWanted = true;
                return;
            }
            isRunning = true;
            isWanted = false;
            try {
                if (!document.hidden) {
                    await work();
                    if (!this.signal.aborted) onState(undefined);
                }
            } catch (error) {
                if (this.signal.aborted) return;
                onState(error);
            } finally {
                isRunning = false;
            }
            if (!this.signal.aborted) timer = setTimeout(run, isWanted ? 50 : millis);
        };
        this.signal.addEventListener("abort", () => clearTimeout(timer));
        document.addEventListener("visibilitychange", () => { if (!document.hidden) run(); }, { signal: this.signal });
        run();
        return run;
    }

    /** Calls `listener(content)` for each message of the event stream that is called `message`, such as `event`. */
    on(message, listener) {
        this.#listeners.push({ message, listener });
    }

    deliver({ message, content }) {
        if (this.signal.aborted) return;
        for (const { listener } of this.#listeners.filter((known) => known.message === message)) {
            try {
                listener(content);
            } catch (error) {
                say(error.message, { isError: true });
            }
        }
    }

    /** Changes the query of the address, without another entry in the browser's history. */
    setQuery(changes) {
        const [place, query = ""] = location.hash.split("?");
        const parameters = new URLSearchParams(query);
        for (const [name, value] of Object.entries(changes)) {
            if (value) parameters.set(name, value);
            else parameters.delete(name);
        }
        this.query = parameters;
        const text = parameters.toString();
        history.replaceState(null, "", text ? `${place}?${text}` : place);
    }
}

/** Calls `work` once, `millis` after the last call. */
export function debounced(millis, work) {
    let timer;
    return (...values) => {
        clearTimeout(timer);
        timer = setTimeout(() => work(...values), millis);
    };
}
