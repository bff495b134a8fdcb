// Dialogs, which hold the focus while they are open, and short messages at the edge of the page.

import { h } from "./console-dom.js";

/**
 * Opens a dialog and gives what `body` ended it with, or `undefined` when it was closed. `body(close)` makes the
 * content; the browser keeps the focus inside and gives it back.
 */
export function openDialog(title, body) {
    return new Promise((resolve) => {
        const heading = h("h2", { id: "dialog-title" }, title);
        const dialog = h("dialog", { "aria-labelledby": "dialog-title" });
        let result;
        const close = (value) => {
            result = value;
            dialog.close();
        };
        dialog.addEventListener("close", () => {
            dialog.remove();
            resolve(result);
        });
        dialog.addEventListener("click", (event) => { if (event.target === dialog) close(); });
        dialog.append(h("div", { class: "sheet" }, heading, body(close)));
        document.body.append(dialog);
        dialog.showModal();
    });
}

/** Asks before something that cannot be taken back. Gives whether the answer was yes. */
export async function confirm(title, text, action, { isDangerous = true } = {}) {
    const answer = await openDialog(title, (close) => [
        h("p", {}, text),
        h("div", { class: "actions" },
            h("button", { type: "button", onclick: () => close(false), autofocus: true }, "Cancel"),
            h("button", { type: "button", class: isDangerous ? "danger" : "primary", onclick: () => close(true) },
                action)),
    ]);
    return answer === true;
}

/**
 * A form in a dialog. `submit(data)` gets the values; when it throws, the dialog stays and says why. Gives what
 * `submit` gave, or `undefined`.
 */
export function openForm(title, fields, action, submit) {
    return openDialog(title, (close) => {
        const problem = h("p", { class: "problem", role: "alert", hidden: true });
        const button = h("button", { type: "submit", class: "primary" }, action);
        const send = async (event) => {
            event.preventDefault();
            button.disabled = true;
            problem.hidden = true;
            try {
                close(await submit(Object.fromEntries(new FormData(event.target))) ?? true);
            } catch (error) {
                problem.textContent = error.message;
                problem.hidden = false;
            } finally {
                button.disabled = false;
            }
        };
        return h("form", { onsubmit: send }, fields, problem, h("div", { class: "actions" },
            h("button", { type: "button", onclick: () => close() }, "Cancel"), button));
    });
}

const messages = () => document.getElementById("messages");

/** Says something for a few seconds; errors stay longer and are read out at once. */
export function say(text, { isError = false } = {}) {
    const remove = () => item.remove();
    const item = h("div", { class: isError ? "message error" : "message", role: isError ? "alert" : "status" },
        h("span", {}, text), h("button", { type: "button", "aria-label": "Close message", onclick: remove }, "×"));
    messages().append(item);
    while (messages().children.length > 4) messages().firstElementChild.remove();
    setTimeout(remove, isError ? 12_000 : 5_000);
}

/** Copies `text`. Where the browser does not let a page do that, `node`, which shows it, is selected for the keyboard. */
export async function copyText(text, node, done) {
    try {
        await navigator.clipboard.writeText(text);
        say(done);
    } catch {
        if (node instanceof HTMLInputElement) node.select();
        else getSelection().selectAllChildren(node);
        say("This browser does not copy by itself: the text is selected.");
    }
}

/** Runs what a button does: it cannot be pressed twice, and what goes wrong is said. */
export async function act(button, work, done) {
    if (button.disabled) return undefined;
    button.disabled = true;
    try {
        const result = await work();
        if (done) say(done);
        return result ?? true;
    } catch (error) {
        say(error.message, { isError: true });
        return undefined;
    } finally {
        button.disabled = false;
    }
}
