// Notices that a connection has become silent, long before the browser calls it disconnected: when the address of this
// machine has changed, or the server is gone.

const tick = 250;
/** How many readings are remembered. */
const memory = 8;
/** Milliseconds without a packet that mean something where packets came all the time. */
const sudden = 1250;
/** The same where few came: longer than the pause between two checks of a path. */
const slow = 6000;
/** The least time between two alarms. */
const pause = 5000;

const sum = (reports, name) => reports.reduce((total, report) => total + (report[name] ?? 0), 0);

/** Calls `alarm` when nothing arrives any more on a connection that was connected. */
export class SilenceWatch {
    #connection;
    #alarm;
    #timer;
    #before;
    /** Of the readings up to the last one with which something came, the newest: whether something came. */
    #came = [];
    #heardAt = 0;
    #readAt = 0;
    #alarmedAt = -Infinity;

    constructor(connection, alarm) {
        this.#connection = connection;
        this.#alarm = alarm;
        this.#timer = setInterval(() => this.#read(), tick);
    }

    async #read() {
        if (this.#connection.connectionState !== "connected") {
            this.#before = undefined;
            return;
        }
        const reports = await this.#connection.getStats().catch(() => undefined);
        if (!reports) return;
        const pairs = [...reports.values()].filter(({ type }) => type === "candidate-pair");
        const now = performance.now();
        const reading = {
            // Media and what is said of them, and the answers to checks.
            received: sum(pairs, "bytesReceived") + sum(pairs, "responsesReceived"), sent: sum(pairs, "bytesSent"),
        };
        this.#judge(reading, now);
        this.#before = reading;
        this.#readAt = now;
    }

    #judge({ received, sent }, now) {
        // The first reading; or this machine slept.
        if (!this.#before || now - this.#readAt > 2000) {
            this.#came = [];
            this.#heardAt = now;
            return;
        }
        if (received !== this.#before.received) {
            const missed = Math.min(memory, Math.round((now - this.#heardAt) / tick) - 1);
            this.#came = [...this.#came, ...Array.from({ length: Math.max(0, missed) }, () => false), true]
                .slice(-memory);
            this.#heardAt = now;
            return;
        }
        // Who says nothing may get no answers.
        if (this.#isSender && sent === this.#before.sent) this.#heardAt += now - this.#readAt;
        const wasSteady = this.#came.filter(Boolean).length >= memory - 2;
        if (now - this.#heardAt < (wasSteady ? sudden : slow) || now - this.#alarmedAt < pause) return;
        this.#alarmedAt = now;
        this.#alarm();
    }

    get #isSender() {
        return this.#connection.getSenders().some(({ track }) => track);
    }

    stop() {
        clearInterval(this.#timer);
    }
}
