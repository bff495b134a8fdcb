// Light or dark, before the first paint: a plain script, since modules wait for the whole page.

document.documentElement.dataset.theme = localStorage.getItem("weir-theme") ?? "auto";
