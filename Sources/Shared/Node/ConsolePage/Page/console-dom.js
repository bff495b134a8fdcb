// Making and updating elements. Whatever comes from the API gets in as text, never as markup.

const svgNamespace = "http://www.w3.org/2000/svg";

/** Attributes whose value a browser may run or load as a document. */
const addresses = new Set(["href", "src", "poster", "action", "formaction"]);

function setAttributes(node, attributes) {
    for (const [name, value] of Object.entries(attributes)) {
        if (value === undefined || value === null || value === false) continue;
        if (name.startsWith("on")) {
            // Only functions: a text would be a script from who knows where.
            if (typeof value === "function") node.addEventListener(name.slice(2), value);
        } else if (addresses.has(name)) {
            const address = safeAddress(String(value));
            if (address !== undefined) node.setAttribute(name, address);
        } else {
            node.setAttribute(name, value === true ? "" : String(value));
        }
    }
}

/** An address that leads to a page, a file or a place in this page; `undefined` for `javascript:` and its like. */
export function safeAddress(address) {
    if (address.startsWith("#")) return address;
    try {
        const { protocol } = new URL(address, document.baseURI);
        return ["http:", "https:", "blob:"].includes(protocol) ? address : undefined;
    } catch {
        return undefined;
    }
}

/** `h("a", { href: "#/" }, "text", node)`: an element with attributes, listeners (`onclick`) and children. */
export function h(name, attributes = {}, ...children) {
    const node = document.createElement(name);
    setAttributes(node, attributes);
    node.append(...children.flat(Infinity).filter((child) => child !== undefined && child !== null && child !== false));
    return node;
}

export function svg(name, attributes = {}, ...children) {
    const node = document.createElementNS(svgNamespace, name);
    setAttributes(node, attributes);
    node.append(...children);
    return node;
}

/** Writes only what has changed, so that selections and readers' positions stay. */
export function setText(node, text) {
    const next = String(text ?? "");
    if (node.textContent !== next) node.textContent = next;
}

export function setAttribute(node, name, value) {
    if (value === undefined || value === null || value === false) node.removeAttribute(name);
    else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, String(value));
}

/**
 * Makes the children of `parent` those of `items`, in order. Elements of known keys stay and are updated, so the focus
 * does, too. `make(item)` gives an element, `update(element, item)` brings it up to date.
 */
export function reconcile(parent, items, keyOf, make, update) {
    const known = new Map();
    for (const child of parent.children) known.set(child.weirKey, child);
    let place = parent.firstElementChild;
    for (const item of items) {
        const key = keyOf(item);
        let node = known.get(key);
        known.delete(key);
        if (!node) {
            node = make(item);
            node.weirKey = key;
        }
        update(node, item);
        if (node === place) place = place.nextElementSibling;
        else parent.insertBefore(node, place);
    }
    for (const node of known.values()) node.remove();
}

/** A status that is a word first and a colour second. `tone` is good, warn, bad, live or plain. */
export function badge(tone, text) {
    return h("span", { class: `badge ${tone}` }, text);
}

export function setBadge(node, tone, text) {
    if (node.className !== `badge ${tone}`) node.className = `badge ${tone}`;
    setText(node, text);
}

const icons = {
    overview: "M4 13h6V4H4zm0 7h6v-5H4zm8 0h8v-9h-8zm0-16v5h8V4z",
    streams: "M4 6h12v12H4zm13 4l4-3v10l-4-3z",
    nodes: "M4 4h16v6H4zm0 10h16v6H4zM7 7h.01M7 17h.01",
    clients: "M9 11a3.5 3.5 0 100-7 3.5 3.5 0 000 7zm-6 9c0-4 3-6 6-6s6 2 6 6M16 4.5a3.5 3.5 0 010 6.5"
        + "M18 14.5c2 .8 3 2.5 3 5.5",
    recordings: "M12 21a9 9 0 100-18 9 9 0 000 18zm0-5.5a3.5 3.5 0 100-7 3.5 3.5 0 000 7z",
    events: "M5 6h.01M5 12h.01M5 18h.01M9 6h11M9 12h11M9 18h11",
    access: "M6 11h12v9H6zM8.5 11V8a3.5 3.5 0 017 0v3",
    menu: "M4 7h16M4 12h16M4 17h16",
    theme: "M12 3a9 9 0 100 18zM12 3a9 9 0 010 18",
    close: "M6 6l12 12M18 6L6 18",
};

/** A small drawing that says nothing to readers: the text beside it does. */
export function icon(name) {
    const path = svg("path", { d: icons[name] });
    return svg("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false" }, path);
}

let lastId = 0;

/** An id for labels and what they name. */
export function newId(prefix = "id") {
    lastId += 1;
    return `${prefix}-${lastId}`;
}

/** A labelled field. `control` gets its id here. */
export function field(label, control, hint) {
    control.id ||= newId("field");
    const parts = [h("label", { for: control.id }, label), control];
    if (hint) {
        const text = h("small", { id: `${control.id}-hint` }, hint);
        control.setAttribute("aria-describedby", text.id);
        parts.push(text);
    }
    return h("div", { class: "field" }, parts);
}

/** `[["value", "Label"], …]` as a list to choose from. */
export function choice(options, chosen, attributes = {}) {
    return h("select", attributes, options.map(([value, label]) => {
        const option = h("option", { value }, label);
        option.selected = value === chosen;
        return option;
    }));
}
