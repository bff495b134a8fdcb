// The browser's own HLS, as on iPhones, which have no Media Source Extensions.

export class NativePlayer {
    trouble = "";
    hasEnded = false;
    variants = [];
    bitRate = 0;
    #video;
    #url;
    #stopped = false;

    constructor({ video, url, decorate }) {
        this.#video = video;
        this.#url = decorate(url);
    }

    static get isPossible() {
        return document.createElement("video").canPlayType("application/vnd.apple.mpegurl") !== "";
    }

    async start() {
        this.#video.onerror = () => {
            if (this.#stopped) return;
            this.trouble = "Playback failed. Trying again.";
            setTimeout(() => { if (!this.#stopped) this.#load(); }, 2000);
        };
        this.#load();
    }

    #load() {
        this.#video.src = this.#url;
        this.#video.onplaying = () => { this.trouble = ""; };
    }

    stop() {
        this.#stopped = true;
        this.#video.onerror = null;
        this.#video.onplaying = null;
        this.#video.removeAttribute("src");
        this.#video.load();
    }

    get seekable() {
        const { seekable } = this.#video;
        const last = seekable.length - 1;
        return last < 0 ? undefined : { start: seekable.start(0), end: seekable.end(last) };
    }

    seek(time) {
        this.#video.currentTime = time;
    }

    get wallTime() {
        const start = this.#video.getStartDate?.().getTime();
        return Number.isFinite(start) ? start + this.#video.currentTime * 1000 : undefined;
    }
}
