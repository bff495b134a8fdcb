// Where a stream is played and published, to be copied into programs.

import { copyText } from "./console-dialog.js";
import { choice, h, newId, reconcile, setAttribute, setText } from "./console-dom.js";
import { button } from "./console-widgets.js";

const names = {
    rtmp: "RTMP", flv: "HTTP-FLV", "ws-flv": "WS-FLV", hls: "HLS", dash: "DASH", webrtc: "WHEP",
    ts: "HTTP-TS", srt: "SRT", rtsp: "RTSP", rtsps: "RTSPS",
};
/** What publishers call otherwise. */
const publishNames = { ...names, flv: "FLV by POST", webrtc: "WHIP" };

/** A list of protocols, each with its address and a button that copies it. */
class AddressList {
    #names;
    #list;
    #empty = h("p", { class: "empty", hidden: true }, "There is no node for it at the moment.");

    constructor(title, names) {
        const heading = h("h3", { id: newId("addresses") }, title);
        this.#names = names;
        this.#list = h("ul", { class: "addresses", "aria-labelledby": heading.id });
        this.node = h("div", {}, heading, this.#list, this.#empty);
    }

    show(entries) {
        reconcile(this.#list, entries, ({ protocol }) => protocol, () => this.#make(), (item, entry) => {
            const name = this.#names[entry.protocol] ?? entry.protocol;
            item.weirURL = entry.url;
            setText(item.children[0], name);
            setText(item.children[1], entry.url);
            setAttribute(item.children[2], "aria-label", `Copy the address of ${name}`);
        });
        this.#empty.hidden = entries.length > 0;
    }

    #make() {
        const address = h("span", { class: "code" });
        const item = h("li", {}, h("span", { class: "protocol" }), address,
            button("Copy", () => copyText(item.weirURL, address, "The address is copied.")));
        return item;
    }
}

/** The addresses of a stream on one node, which is chosen where there are several. */
export class AddressBook {
    #play = new AddressList("Play", names);
    #publish = new AddressList("Publish", publishNames);
    #choice = choice([], "", { "aria-label": "Node that plays", hidden: true });
    #found = { play: [], publish: [] };

    constructor() {
        this.#choice.addEventListener("change", () => this.#fill());
        this.choice = this.#choice;
        this.node = h("div", { class: "halves" }, this.#play.node, this.#publish.node);
    }

    /** `play` and `publish` are entries of the API's routes, the best node first. A node stays chosen while it is there. */
    show({ play, publish }) {
        this.#found = { play, publish };
        const nodes = [...new Set(play.map(({ node }) => node))].sort();
        const chosen = nodes.includes(this.#choice.value) ? this.#choice.value : play[0]?.node;
        reconcile(this.#choice, nodes, (node) => node, (node) => h("option", { value: node }), (option, node) => (
            setText(option, node)));
        this.#choice.value = chosen ?? "";
        this.#choice.hidden = nodes.length < 2;
        this.#fill();
    }

    #fill() {
        const { play, publish } = this.#found;
        this.#play.show(play.filter(({ node }) => node === this.#choice.value));
        this.#publish.show(publish.filter(({ node }) => node === publish[0].node));
    }
}
