// Who may do what: policies of vhosts and apps, tokens of the API, and the backup of the database.

import { api, path } from "./console-api.js";
import { act, confirm, copyText, openDialog, openForm, say } from "./console-dialog.js";
import { badge, choice, field, h, reconcile, setText } from "./console-dom.js";
import { formatBytes, formatDate, words } from "./console-format.js";
import { actionColumn, button, Table, textColumn } from "./console-widgets.js";

// ---------------------------------------------------------------------------------------------------------------------
// Policies

/** `a.key = value` a line; empty lines and those that begin with `#` are left out. */
export function parseSettings(text) {
    const settings = {};
    text.split("\n").forEach((line, index) => {
        const trimmed = line.trim();
        if (!trimmed || trimmed.startsWith("#")) return;
        const [, name, value] = /^([a-z0-9_.]{1,64})\s*=\s*(.+)$/.exec(trimmed) ?? [];
        if (!name) throw new Error(`Line ${index + 1} is not of the form "key = value".`);
        if (Object.hasOwn(settings, name)) throw new Error(`Line ${index + 1} sets ${name} a second time.`);
        settings[name] = value;
    });
    if (!Object.keys(settings).length) throw new Error("A policy needs a setting.");
    return settings;
}

const settingsText = (settings) => Object.entries(settings).map(([name, value]) => `${name} = ${value}`).join("\n");

const placeText = ({ vhost, app }) => `${vhost ? `vhost ${vhost}` : "all vhosts"}, ${app ? `app ${app}` : "all apps"}`;

function editPolicy(policy, refresh) {
    const isNew = !policy;
    const vhost = h("input", { name: "vhost", value: policy?.vhost ?? "", maxlength: 255, readonly: !isNew });
    const app = h("input", { name: "app", value: policy?.app ?? "", maxlength: 255, readonly: !isNew });
    const settings = h("textarea", { name: "settings", rows: 7, spellcheck: "false", required: true });
    settings.value = policy ? settingsText(policy.settings) : "";
    const fields = [
        field("Vhost", vhost, "Empty for all vhosts."), field("App", app, "Empty for all apps."),
        field("Settings", settings, "One a line, as in the configuration's section stream: publish.policy = grace"),
    ];
    return openForm(isNew ? "New policy" : "Change the policy", fields, "Save", async (values) => {
        const query = { vhost: values.vhost.trim(), app: values.app.trim() };
        await api.put("policies", { settings: parseSettings(values.settings) }, { query });
        say("The policy is set. Nodes learn it with their next heartbeat.");
        refresh();
    });
}

async function removePolicy({ vhost, app }, pressed, refresh) {
    const text = `For ${placeText({ vhost, app })} the nodes' own configuration holds again.`;
    if (!await confirm("Remove this policy?", text, "Remove")) return;
    await act(pressed, () => api.delete("policies", { query: { vhost, app } }), "The policy is removed.");
    refresh();
}

function policySection(scope) {
    const revision = h("small");
    const table = new Table({
        label: "Policies", keyOf: ({ vhost, app }) => JSON.stringify([vhost ?? null, app ?? null]),
        empty: "There is no policy: the nodes' own configuration holds.", columns: [
            textColumn("Vhost", "nodeColumn", ({ vhost }) => vhost ?? "all"),
            textColumn("App", "nodeColumn", ({ app }) => app ?? "all"),
            { label: "Settings", isWide: true, name: "settingsColumn", update: (cell, { settings }) => {
                reconcile(cell, Object.entries(settings), ([name]) => name, () => h("div", { class: "code" }),
                    (line, [name, value]) => setText(line, `${name} = ${value}`));
            } },
            actionColumn("Change", (policy) => editPolicy(policy, () => refresh()), placeText),
            actionColumn("Remove", (policy, pressed) => removePolicy(policy, pressed, () => refresh()), placeText),
        ],
    });
    const refresh = scope.every(15_000, async () => {
        const list = await api.get("policies", { signal: scope.signal });
        table.show(list.policies);
        setText(revision, `Revision ${list.revision}`);
    }, (error) => { if (error) table.fail(error.message); });
    const add = button("New policy", () => editPolicy(undefined, refresh));
    const heading = h("header", {}, h("h2", {}, "Policies"), revision, h("div", { class: "end" }, add));
    return h("section", { class: "card" }, heading, table.node);
}

// ---------------------------------------------------------------------------------------------------------------------
// Tokens

const roles = [
    ["viewer", "Viewer: reads"], ["operator", "Operator: kicks, drains, records"], ["admin", "Administrator: all"],
];
const lives = [["", "Never"], ["86400", "In a day"], ["2592000", "In 30 days"], ["31536000", "In a year"]];

/** The secret is told once: it is shown, and copied if the person asks. */
function showSecret({ token, secret }) {
    const text = h("input", { readonly: true, value: secret, class: "code", spellcheck: "false" });
    const copy = () => copyText(secret, text, "The token is copied.");
    return openDialog(`Token of ${token.name}`, (close) => [
        h("p", {}, "This is the only time that it can be seen. Keep it where secrets are kept."),
        field("Token", text),
        h("div", { class: "actions" }, h("button", { type: "button", onclick: copy }, "Copy"),
            h("button", { type: "button", class: "primary", onclick: () => close() }, "Done")),
    ]);
}

async function makeToken(refresh) {
    const input = h("input", {
        name: "name", required: true, maxlength: 64, pattern: "[A-Za-z0-9._@\\-]+", autocomplete: "off",
    });
    const fields = [
        field("Name", input, "Who uses it. Events show this name. Letters, digits, . _ @ -"),
        field("Role", choice(roles, "viewer", { name: "role" })),
        field("Expires", choice(lives, "2592000", { name: "life" })),
    ];
    const made = await openForm("New token", fields, "Make", ({ name, role, life }) => (
        api.post("tokens", { name, role, ...(life ? { expiresInSeconds: Number(life) } : {}) })));
    if (!made?.secret) return;
    refresh();
    await showSecret(made);
}

async function revoke({ id, name }, pressed, refresh) {
    if (!await confirm(`Revoke the token of ${name}?`, "Who uses it is signed out at once.", "Revoke")) return;
    await act(pressed, () => api.delete(path("tokens/{}", id)), "The token is revoked.");
    refresh();
}

function tokenSection(scope) {
    const table = new Table({
        label: "Tokens", keyOf: ({ id }) => id, empty: "No token was made yet.", columns: [
            textColumn("Name", "nameColumn", ({ name }) => name, { isWide: true }),
            { label: "Role", name: "stateColumn", make: (cell) => cell.append(badge("plain", "")),
                update: (cell, { role }) => setText(cell.firstElementChild, words(role)) },
            textColumn("Made", "momentColumn", ({ createdMillis }) => formatDate(createdMillis)),
            textColumn("Expires", "momentColumn", ({ expiresMillis: at }) => (at ? formatDate(at) : "never")),
            actionColumn("Revoke", (token, pressed) => revoke(token, pressed, () => refresh()), ({ name }) => name),
        ],
    });
    const refresh = scope.every(30_000, async () => {
        table.show((await api.get("tokens", { signal: scope.signal })).tokens);
    }, (error) => { if (error) table.fail(error.message); });
    const heading = h("header", {}, h("h2", {}, "Tokens"),
        h("div", { class: "end" }, button("New token", () => makeToken(refresh))));
    return h("section", { class: "card" }, heading, table.node);
}

// ---------------------------------------------------------------------------------------------------------------------
// Backup

function backupSection() {
    const result = h("p", { role: "status" });
    const keep = h("button", { type: "button", onclick: () => act(keep, async () => {
        const { file, bytes, atMillis } = await api.post("backup", undefined, { timeout: 120_000 });
        setText(result, `${file}, ${formatBytes(bytes)}, made ${formatDate(atMillis)}`);
    }, "The database is backed up.") }, "Back up on the coordinator");
    return h("section", { class: "card" }, h("header", {}, h("h2", {}, "Backup")), h("div", { class: "inside stack" },
        h("p", {}, "Copies the coordinator's database while it is in use: "
            + "placements, recordings, events, policies and tokens."),
        h("div", { class: "actions start" }, keep), result));
}

export function accessPage(scope, main) {
    main.append(h("div", { class: "head" }, h("h1", { tabindex: -1 }, "Access")));
    if (!scope.isOperator) {
        main.append(h("p", { class: "empty" }, "Your token does not allow this."));
        return "Access";
    }
    main.append(h("div", { class: "stack" }, policySection(scope), scope.isAdmin && tokenSection(scope),
        scope.isAdmin && backupSection()));
    return "Access";
}
