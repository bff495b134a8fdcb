// Small charts of what changes over time: an SVG line with its area, and words for those who do not see it.

import { h, setAttribute, setText, svg } from "./console-dom.js";

const width = 600;

/**
 * A chart of samples `{ at, value }`, `at` in milliseconds.
 *
 * `format` turns a value into text. `spanMillis` is what the axis shows, `floor` the least value at its top. A small one
 * is a sparkline: no axis, no text.
 */
export class Chart {
    #line = svg("path", { class: "line" });
    #area = svg("path", { class: "area" });
    #cursor = svg("line", { class: "cursor", y1: 0, visibility: "hidden" });
    #drawing;
    #top = h("span", { class: "axis top" });
    #bottom = h("span", { class: "axis bottom" });
    #reading = h("output", { class: "reading", "aria-hidden": "true" });
    #title;
    #format;
    #height;
    #span;
    #floor;
    #samples = [];
    #scale = 1;
    #isSmall;

    constructor({ title, format, spanMillis = 15 * 60_000, floor = 1, isSmall = false }) {
        this.#floor = floor;
        this.#title = title;
        this.#format = format;
        this.#span = spanMillis;
        this.#isSmall = isSmall;
        this.#height = isSmall ? 40 : 140;
        this.#drawing = svg("svg", {
            viewBox: `0 0 ${width} ${this.#height}`, preserveAspectRatio: "none", role: "img",
        }, this.#area, this.#line, this.#cursor);
        this.#cursor.setAttribute("y2", this.#height);
        if (isSmall) {
            this.node = h("div", { class: "chart small" }, this.#drawing);
            this.show([]);
            return;
        }
        const caption = h("figcaption", {}, h("span", {}, title), this.#reading);
        const frame = h("div", { class: "frame" }, this.#drawing, this.#top, this.#bottom);
        this.node = h("figure", { class: "chart" }, caption, frame, this.#timeAxis());
        frame.addEventListener("pointermove", ({ offsetX }) => this.#point(offsetX / frame.clientWidth));
        frame.addEventListener("pointerleave", () => this.#leave());
        this.show([]);
    }

    #timeAxis() {
        const minutes = Math.round(this.#span / 60_000);
        return h("div", { class: "times", "aria-hidden": "true" },
            h("span", {}, `${minutes} min ago`), h("span", {}, "now"));
    }

    /** Draws the samples, the oldest first; those older than the axis are left out. */
    show(samples, now = Date.now()) {
        const start = now - this.#span;
        const index = samples.findIndex(({ at }) => at >= start);
        this.#samples = index < 0 ? [] : samples.slice(Math.max(0, index - 1));
        const values = this.#samples.map(({ value }) => value);
        const highest = Math.max(0, ...values);
        this.#scale = niceCeiling(Math.max(highest, this.#floor));
        this.#draw(start);
        const newest = values.at(-1);
        const lowest = values.length ? Math.min(...values) : undefined;
        const text = values.length ? `${this.#title}: now ${this.#format(newest)}, between ${this.#format(lowest)} and `
            + `${this.#format(highest)} in the last ${Math.round(this.#span / 60_000)} minutes`
            : `${this.#title}: nothing measured yet`;
        setAttribute(this.#drawing, "aria-label", text);
        if (this.#isSmall) return;
        setText(this.#top, highest ? this.#format(this.#scale) : "");
        setText(this.#bottom, "0");
        if (this.#cursor.getAttribute("visibility") === "hidden") {
            setText(this.#reading, values.length ? this.#format(newest) : "–");
        }
    }

    #draw(start) {
        const x = (at) => ((at - start) / this.#span * width).toFixed(1);
        const y = (value) => (this.#height - 1 - value / this.#scale * (this.#height - 3)).toFixed(1);
        let path = "";
        let area = "";
        let begin;
        let before;
        const close = () => {
            if (begin !== undefined) area += `L${x(before)},${this.#height}L${x(begin)},${this.#height}Z`;
        };
        for (const { at, value } of this.#samples) {
            // Where nothing was measured for long there is a gap, not a line.
            const isApart = before === undefined || at - before > Math.max(45_000, this.#span / 40);
            if (isApart) {
                close();
                begin = at;
            }
            const step = `${isApart ? "M" : "L"}${x(at)},${y(value)}`;
            path += step;
            area += step;
            before = at;
        }
        close();
        setAttribute(this.#line, "d", path || "M0,0");
        setAttribute(this.#area, "d", area || "M0,0");
    }

    #point(share) {
        if (!this.#samples.length) return;
        const start = Date.now() - this.#span;
        const at = start + share * this.#span;
        const nearest = this.#samples.reduce((best, sample) => (
            Math.abs(sample.at - at) < Math.abs(best.at - at) ? sample : best));
        const place = (nearest.at - start) / this.#span * width;
        this.#cursor.setAttribute("x1", place);
        this.#cursor.setAttribute("x2", place);
        this.#cursor.setAttribute("visibility", "visible");
        const time = new Date(nearest.at).toLocaleTimeString("en-GB");
        setText(this.#reading, `${this.#format(nearest.value)} at ${time}`);
    }

    #leave() {
        this.#cursor.setAttribute("visibility", "hidden");
        const newest = this.#samples.at(-1);
        setText(this.#reading, newest ? this.#format(newest.value) : "–");
    }
}

/** A round number at or above `value`. */
function niceCeiling(value) {
    if (!(value > 0)) return 1;
    const power = 10 ** Math.floor(Math.log10(value));
    const steps = [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((step) => step * power);
    return steps.find((step) => step >= value * 1.02) ?? value * 1.1;
}

/** A share of a whole: a bar with its number. It turns to warn at 0.7 and to bad at 0.9. */
export class LoadBar {
    #bar = h("span", { class: "fill" });
    #text = h("span", { class: "value" });
    #track;

    constructor(label) {
        this.#track = h("span", { class: "track", role: "meter", "aria-label": label, "aria-valuemin": 0,
            "aria-valuemax": 100 }, this.#bar);
        this.node = h("span", { class: "load" }, this.#track, this.#text);
    }

    /** `share` is 0…1, or `undefined` when nobody knows the whole; `text` stands beside it. */
    show(share, text) {
        const known = Number.isFinite(share);
        const percent = known ? Math.round(Math.min(1, Math.max(0, share)) * 100) : 0;
        const tone = percent >= 90 ? "bad" : percent >= 70 ? "warn" : "good";
        setAttribute(this.node, "class", known ? `load ${tone}` : "load unknown");
        setAttribute(this.#track, "aria-valuenow", percent);
        setAttribute(this.#track, "aria-valuetext", text);
        this.#bar.style.width = `${percent}%`;
        setText(this.#text, text);
    }
}

/** Samples of one value over time, bounded. */
export class History {
    samples = [];
    #limit;

    constructor(limit = 600) {
        this.#limit = limit;
    }

    add(value, at = Date.now()) {
        if (!Number.isFinite(value)) return;
        if (this.samples.length && this.samples.at(-1).at >= at) return;
        this.samples.push({ at, value });
        if (this.samples.length > this.#limit) this.samples.splice(0, this.samples.length - this.#limit);
    }

    /** Takes what the server remembers; what came since stays. */
    adopt(samples) {
        const newest = samples.at(-1)?.at ?? 0;
        this.samples = [...samples, ...this.samples.filter(({ at }) => at > newest)].slice(-this.#limit);
    }
}
